#include "base/error.h"
#include "base/memory.h"
#include "base/reason.h"
#include "ends/failure.h"
#include "ends/outlet_scheme.h"
#include "ends/tcp_stream.h"
#include "net/address.h"
#include "net/dial.h"

/* Lives until the dialling has ended, or is of no more use. */
struct tcp_dial {
    struct tcp_stream *stream;
    struct dial *dial;
    const struct whitelist *whitelist;
    char *host;
    struct sockaddr_storage refused; /* the last address that may not be dialled; or AF_UNSPEC */
    struct loop_task failing;        /* tells `error`, where there was nothing to dial */
    int error;
};

static void destroy(struct tcp_dial *self)
{
    loop_task_cancel(&self->failing);
    memory_free(self->host);
    memory_free(self);
}

static void on_abandoned(void *context)
{
    struct tcp_dial *self = context;
    if (self->dial != NULL)
        dial_cancel(self->dial);
    destroy(self);
}

static bool may_dial(void *holder, const struct sockaddr_storage *address)
{
    struct tcp_dial *self = holder;
    bool is_allowed = whitelist_allows(self->whitelist, self->host, address);
    if (!is_allowed)
        self->refused = *address;
    return is_allowed;
}

static void on_done(void *holder, int fd, int error)
{
    struct tcp_dial *self = holder;
    struct tcp_stream *stream = self->stream;
    const char *why = error == CULVERT_ERROR_REFUSED
                          ? whitelist_objection(self->whitelist, self->host, &self->refused)
                          : failure_text(error);
    tcp_stream_on_abandon(stream, NULL, NULL);
    destroy(self);
    if (error == 0)
        tcp_stream_connected(stream, fd);
    else
        tcp_stream_failed(stream, failure_code(error, REASON_UNREACHABLE), why);
}

static void run_failing(struct loop_task *task)
{
    struct tcp_dial *self = CONTAINER_OF(task, struct tcp_dial, failing);
    on_done(self, -1, self->error);
}

static int start(struct loop *loop, struct tcp_dial *self, const struct outlet_target *target)
{
    struct dial_request request = {
        .host = self->host,
        .port = target->port,
        .timeout = target->timeout != 0 ? target->timeout : OUTLET_TIMEOUT,
        .asker = target->asker,
        .filter = may_dial,
        .done = on_done,
        .holder = self,
    };
    if (!whitelist_may_resolve(self->whitelist, self->host, target->port)) {
        (void)address_parse(self->host, target->port, &self->refused); /* a name has none yet */
        return CULVERT_ERROR_REFUSED;
    }
    return dial_start(loop, &request, &self->dial);
}

int outlet_tcp_dial(struct loop *loop, const struct outlet_target *target,
                    const struct whitelist *whitelist, struct stream **stream)
{
    int result = CULVERT_ERROR_NO_MEMORY;
    struct tcp_dial *self = memory_allocate_zero(sizeof(*self));
    if (self == NULL)
        return result;
    self->whitelist = whitelist;
    self->failing.run = run_failing;
    self->host = memory_copy_text(target->host);
    if (self->host == NULL)
        goto out;
    result = tcp_stream_pending(loop, &self->stream);
    if (result != 0)
        goto out;
    *stream = tcp_stream_base(self->stream);
    tcp_stream_on_abandon(self->stream, on_abandoned, self);
    self->error = start(loop, self, target);
    /* The holder has not set its events yet. */
    if (self->error != 0)
        loop_defer_next(loop, &self->failing);
    return 0;
out:
    destroy(self);
    return result;
}
