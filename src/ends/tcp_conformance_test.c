#include "base/memory.h"
#include "ends/outlet.h"
#include "ends/test_conformance.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- the outlet ---- */

enum { QUEUED_MAX = 16 };

struct targets {
    struct test_loop *test;
    struct whitelist whitelist;
    int listening;
    uint16_t port;
    int silent; /* its queue of connections is full */
    uint16_t silent_port;
    int queued[QUEUED_MAX]; /* the connections in it */
};

/* A listener with a full queue lets further connections hang. */
static void open_silent(struct targets *targets)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    targets->silent = test_tcp_listen(&targets->silent_port);
    assert_int_equal(listen(targets->silent, 0), 0);
    address.sin_port = htons(targets->silent_port);
    for (size_t i = 0; i < QUEUED_MAX; i++) {
        targets->queued[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(targets->queued[i], (struct sockaddr *)&address, sizeof(address));
    }
}

static void *open_targets(struct test_loop *test)
{
    char why[256];
    struct targets *targets = memory_allocate_zero(sizeof(*targets));
    assert_non_null(targets);
    targets->test = test;
    whitelist_init(&targets->whitelist);
    assert_int_equal(whitelist_add(&targets->whitelist, "127.0.0.1:*", why, sizeof(why)), 0);
    targets->listening = test_tcp_listen(&targets->port);
    fcntl(targets->listening, F_SETFL, O_NONBLOCK);
    open_silent(targets);
    return targets;
}

static void close_targets(void *self)
{
    struct targets *targets = self;
    close(targets->listening);
    close(targets->silent);
    for (size_t i = 0; i < QUEUED_MAX; i++)
        close(targets->queued[i]);
    whitelist_deinit(&targets->whitelist);
    memory_free(targets);
}

static struct stream *dial_port(struct targets *targets, uint16_t port)
{
    struct stream *stream;
    struct outlet_target target = {.kind = "tcp", .host = "127.0.0.1", .port = port};
    assert_int_equal(outlet_dial(&targets->test->loop, &target, &targets->whitelist, &stream), 0);
    return stream;
}

static struct stream *dial(void *self)
{
    struct targets *targets = self;
    return dial_port(targets, targets->port);
}

static struct stream *dial_refusing(void *self)
{
    uint16_t port;
    close(test_tcp_listen(&port));
    return dial_port(self, port);
}

static struct stream *dial_silent(void *self)
{
    struct targets *targets = self;
    return dial_port(targets, targets->silent_port);
}

static int accept_target(void *self)
{
    struct targets *targets = self;
    return accept4(targets->listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

/* ---- the inlet ---- */

static struct inlet *open_inlet(struct test_loop *test, const struct inlet_events *events,
                                void *holder)
{
    struct inlet *inlet;
    assert_int_equal(inlet_tcp(&test->loop, "127.0.0.1", 0, events, holder, &inlet), 0);
    return inlet;
}

static int connect_client(const struct inlet *inlet)
{
    return test_tcp_connect("127.0.0.1", inlet_port(inlet));
}

int main(void)
{
    const struct conformance_outlet outlet = {
        .name = "tcp outlet",
        .open = open_targets,
        .close = close_targets,
        .dial = dial,
        .dial_refusing = dial_refusing,
        .dial_silent = dial_silent,
        .accept = accept_target,
    };
    const struct conformance_inlet inlet = {
        .name = "tcp inlet", .open = open_inlet, .connect = connect_client};
    return conformance_run_outlet(&outlet) + conformance_run_inlet(&inlet);
}
