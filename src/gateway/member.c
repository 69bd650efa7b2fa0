#include "gateway/member.h"

#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/reason.h"
#include "gateway/asking.h"
#include "gateway/dialect.h"

#include <stdio.h>
#include <string.h>

static void bury(struct loop_task *task)
{
    struct member *member = CONTAINER_OF(task, struct member, burial);
    explicit_bzero(&member->identity, sizeof(member->identity));
    memory_free(member);
}

static void answer_probes(struct member *member, bool is_alive)
{
    struct list_node *node;
    while ((node = list_pop(&member->probes)) != NULL) {
        struct member_probe *probe = CONTAINER_OF(node, struct member_probe, node);
        probe->is_alive = is_alive;
        loop_post(&probe->gateway->workers[probe->asker].loop, &probe->message);
    }
}

static void tell(const struct member *member, enum event_type type, int code, const char *reason)
{
    struct event event = {
        .type = type,
        .agent = member->name,
        .address = member->address,
        .user = member->user[0] != '\0' ? member->user : NULL,
        .dialect = member->tunnel->operations->dialect,
        .seconds = (double)(loop_now(&member->worker->loop) - member->since) / 1e6,
        .code = code,
        .reason = reason,
    };
    journal_emit(member->worker->gateway->config->journal, &event);
}

void member_end(struct member *member, int code, const char *reason)
{
    if (member->is_over)
        return;
    member->is_over = true;
    struct worker *worker = member->worker;
    tell(member, EVENT_AGENT_UNREGISTERED, code, reason);
    if (member->name[0] != '\0')
        registry_release(&worker->gateway->registry, member->name, member->id);
    if (member->link[0] != '\0')
        registry_release(&worker->gateway->links, member->link, member->id);
    map_remove(&worker->members, member->id);
    answer_probes(member, false);
    tunnel_close(member->tunnel, code, reason);
    loop_timer_close(&member->probe_timer, &member->burial);
}

/* ---- events of the tunnel ---- */

static void peer_opened(struct tunnel *tunnel, struct stream *stream,
                        const struct message_open *open)
{
    struct member *member = tunnel->holder;
    uint64_t second = loop_now(tunnel->loop) / 1000000;
    if (second != member->open_second) {
        member->open_second = second;
        member->opens = 0;
    }
    if (++member->opens > MEMBER_OPENS_PER_SECOND) {
        stream_refuse(stream, REASON_LIMIT, "too many sessions a second");
        return;
    }
    asking_begin(member, stream, open);
}

static void went_away(struct tunnel *tunnel, const struct message_goaway *goaway)
{
    struct member *member = tunnel->holder;
    log_debug("agent %s is about to stop: %.*s", member->name, (int)goaway->reason.size,
              goaway->reason.data);
}

static void ponged(struct tunnel *tunnel)
{
    struct member *member = tunnel->holder;
    if (list_is_empty(&member->probes))
        return;
    loop_timer_stop(&member->probe_timer);
    answer_probes(member, true);
}

static void lost(struct tunnel *tunnel, int error, const char *why)
{
    struct member *member = tunnel->holder;
    (void)error;
    member_end(member, REASON_LINK_LOST, why);
}

static const struct tunnel_owner tunnel_handlers = {
    .peer_opened = peer_opened,
    .went_away = went_away,
    .ponged = ponged,
    .lost = lost,
};

/* ---- life ---- */

static void probe_timed_out(struct loop_timer *timer)
{
    struct member *member = timer->holder;
    member_end(member, REASON_LINK_LOST, "it did not answer while another with its name came");
}

int member_new(struct worker *worker, const struct member_login *login, struct carrier *carrier)
{
    struct member *member = memory_allocate_zero(sizeof(*member));
    if (member == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    member->worker = worker;
    member->id = login->id;
    member->key_id = login->key_id;
    member->since = loop_now(&worker->loop);
    member->burial.run = bury;
    list_init(&member->probes);
    snprintf(member->name, sizeof(member->name), "%s", login->name);
    snprintf(member->user, sizeof(member->user), "%s", login->user);
    snprintf(member->address, sizeof(member->address), "%s", login->address);
    int error = loop_timer_init(&worker->loop, &member->probe_timer, probe_timed_out, member);
    if (error != 0) {
        memory_free(member);
        return error;
    }
    error = map_insert(&worker->members, member->id, member);
    if (error == 0)
        error = login->dialect->welcome(member, &tunnel_handlers, carrier, login->handshake);
    if (error != 0) {
        map_remove(&worker->members, member->id);
        loop_timer_close(&member->probe_timer, &member->burial);
        return error;
    }
    tell(member, EVENT_AGENT_REGISTERED, 0, NULL);
    return 0;
}

struct member *member_find(struct worker *worker, uint64_t id)
{
    return map_find(&worker->members, id);
}

/* ---- probing ---- */

static void probe_came_back(struct loop *loop, struct loop_message *message)
{
    struct member_probe *probe = CONTAINER_OF(message, struct member_probe, message);
    probe->answered(loop->holder, probe);
}

static void probe_arrived(struct loop *loop, struct loop_message *message)
{
    struct member_probe *probe = CONTAINER_OF(message, struct member_probe, message);
    struct worker *worker = loop->holder;
    struct member *member = member_find(worker, probe->member.id);
    message->run = probe_came_back;
    if (member == NULL) {
        probe->is_alive = false;
        loop_post(&probe->gateway->workers[probe->asker].loop, message);
        return;
    }
    if (list_is_empty(&member->probes)) {
        loop_timer_start(&member->probe_timer, MEMBER_PROBE_TIME);
        tunnel_ping(member->tunnel);
    }
    list_append(&member->probes, &probe->node);
}

void member_probe(struct member_probe *probe)
{
    probe->message.run = probe_arrived;
    loop_post(&probe->gateway->workers[probe->member.worker].loop, &probe->message);
}
