#include "gateway/member.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/reason.h"
#include "gateway/asking.h"
#include "gateway/dialect.h"
#include "gateway/payer_name.h"
#include "gateway/session.h"
#include "tunnel/native_tunnel.h"

#include <stdio.h>
#include <string.h>

static void bury(struct loop_task *task)
{
    struct member *member = CONTAINER_OF(task, struct member, burial);
    explicit_bzero(member->boot, sizeof(member->boot));
    if (member->payer != NULL)
        payers_leave(&member->worker->gateway->pressure.payers, member->payer);
    memory_free(member);
}

static void emit(const struct member *member, struct event event)
{
    event.agent = member->name;
    event.address = member->address;
    event.user = member->user[0] != '\0' ? member->user : NULL;
    event.dialect = member->tunnel->operations->dialect;
    journal_emit(member->worker->gateway->config->journal, &event);
}

static void tell_unregistered(const struct member *member, const char *reason)
{
    uint64_t lasted = loop_now(&member->worker->loop) - member->since;
    emit(member, (struct event){.type = EVENT_AGENT_UNREGISTERED,
                                .seconds = (double)lasted / 1e6,
                                .reason = reason});
}

/* Frees its name and its link's. */
static void unregister(struct member *member, const char *reason)
{
    struct gateway *gateway = member->worker->gateway;
    tell_unregistered(member, reason);
    if (member->name[0] != '\0')
        registry_release(&gateway->registry, member->name, member->id);
    if (member->link[0] != '\0')
        registry_release(&gateway->links, member->link, member->id);
}

void member_end(struct member *member, int code, const char *reason)
{
    if (member->is_over)
        return;
    member->is_over = true;
    struct worker *worker = member->worker;
    if (member_has_left(member))
        registry_release(&worker->gateway->left, member->left, member->id);
    else
        unregister(member, reason);
    map_remove(&worker->members, member->id);
    probe_answer(member, false);
    asking_leave(member);
    tunnel_close(member->tunnel, code, reason);
    loop_timer_close(&member->timer, &member->burial);
}

/* ---- left ---- */

static struct native_tunnel *native_of(const struct member *member)
{
    return CONTAINER_OF(member->tunnel, struct native_tunnel, base);
}

/* Takes one of the places that a name has for links that were left. */
static int claim_left(struct member *member)
{
    struct registry *left = &member->worker->gateway->left;
    struct member_ref holder;
    int error = CULVERT_ERROR_EXISTS;
    for (unsigned i = 0; i < MEMBER_LEFT && error == CULVERT_ERROR_EXISTS; i++) {
        /* No name has a slash. */
        snprintf(member->left, sizeof(member->left), "%s/%u", member->name, i);
        error = registry_claim(left, member->left, member_ref(member), &holder);
    }
    if (error != 0)
        member->left[0] = '\0';
    return error;
}

/* An agent ends a link that it has left when its last session ends; so a link that stays without
 * any is ended here. What its last sessions sent may still be on a slow way. */
static void look_at_left(struct member *member)
{
    uint64_t now = loop_now(&member->worker->loop);
    bool is_old = now - member->left_since > (uint64_t)MEMBER_LEFT_PATIENCE * 1000000;
    if (native_of(member)->mux.streams.count == 0 && (is_old || tunnel_is_drained(member->tunnel)))
        member_end(member, REASON_NONE, "the agent has left");
    else
        loop_timer_start(&member->timer, MEMBER_LEFT_LOOK);
}

static void leave(struct member *member, const char *reason)
{
    if (claim_left(member) != 0) {
        native_tunnel_fail(native_of(member), CULVERT_ERROR_LIMIT,
                           "the agent has left too many links that have sessions");
        return;
    }
    unregister(member, reason);
    member->link[0] = '\0'; /* it is not resumed */
    member->left_since = loop_now(&member->worker->loop);
    probe_answer(member, false);
    loop_timer_start(&member->timer, MEMBER_LEFT_LOOK);
}

void member_replace(struct member *member)
{
    leave(member, "the same agent has registered again");
    /* If the agent has lost the link without a word to us, the sessions on it are dead. */
    if (member_has_left(member))
        probe_ping(member);
}

/* ---- without a carrier ---- */

/* Starts the timer for the next thing that ends: a session's patience, or the window. */
static void look_at_patience(struct member *member)
{
    uint64_t now = loop_now(&member->worker->loop);
    unsigned window = member->worker->gateway->config->resume_window;
    uint64_t due = member->detached + (uint64_t)window * 1000000;
    if (member->worker->is_draining) {
        member_end(member, REASON_SHUTDOWN, "the gateway is stopping");
        return;
    }
    if (now >= due) {
        char why[64];
        snprintf(why, sizeof(why), "its link was lost and not resumed within %u s", window);
        member_end(member, REASON_LINK_LOST, why);
        return;
    }
    uint64_t next = session_end_waiting(&member->waiting, now);
    if (next < due)
        due = next;
    loop_timer_start(&member->timer, (due - now) / 1000 + 1);
}

void member_await(struct member *member, struct list_node *session)
{
    bool is_first = list_is_empty(&member->waiting);
    list_append(&member->waiting, session);
    if (is_first)
        look_at_patience(member);
}

static void detached(struct tunnel *tunnel, int error, const char *why)
{
    struct member *member = tunnel->holder;
    (void)error;
    /* Nobody can come back to a gateway that is stopping; and whoever wants the name is most likely
     * the agent itself, begun anew. A link that was left is not resumed. */
    if (member->worker->is_draining || !list_is_empty(&member->probes.waiting) ||
        member_has_left(member)) {
        member_end(member, REASON_LINK_LOST, why);
        return;
    }
    emit(member, (struct event){.type = EVENT_LINK_LOST, .reason = why});
    member->detached = loop_now(tunnel->loop);
    look_at_patience(member);
}

void member_drain(struct member *member, const char *reason, unsigned seconds)
{
    if (member_has_left(member))
        return;
    if (member->detached != 0) {
        loop_timer_start(&member->timer, 1); /* which ends it */
    } else {
        tunnel_announce_stop(member->tunnel, reason, seconds);
        member->is_awake = false;
        tunnel_ping(member->tunnel); /* which tells whether it is worth waiting for */
    }
}

struct native_tunnel *member_resumable(const struct member *member)
{
    /* No other dialect has a link with a name. */
    return member->link[0] != '\0' ? native_of(member) : NULL;
}

static int find_payer(struct member *member, const struct member_login *login)
{
    char name[PAYER_NAME_SIZE];
    payer_name(login->key_id, login->user, login->name, login->host, name);
    member->payer = payers_join(&member->worker->gateway->pressure.payers, name);
    return member->payer != NULL ? 0 : CULVERT_ERROR_NO_MEMORY;
}

/* The link goes on under another login, whose owner pays from now on. Without memory it stays with
 * the one before. */
static void change_payer(struct member *member, const struct member_login *login)
{
    struct payer *before = member->payer;
    if (find_payer(member, login) == 0)
        payers_leave(&member->worker->gateway->pressure.payers, before);
    else
        member->payer = before;
}

int member_resume(struct member *member, const struct member_login *login, struct carrier *carrier)
{
    struct native_tunnel *tunnel = member_resumable(member);
    int error = native_tunnel_resume(tunnel, carrier, login->handshake);
    if (error != 0) {
        if (error != CULVERT_ERROR_REFUSED)
            member_end(member, REASON_LINK_LOST, "it resumed its link with what cannot be");
        return error;
    }
    member->detached = 0;
    loop_timer_stop(&member->timer);
    probe_answer(member, true);
    while (list_pop(&member->waiting) != NULL)
        continue;
    snprintf(member->user, sizeof(member->user), "%s", login->user);
    snprintf(member->address, sizeof(member->address), "%s", login->address);
    emit(member, (struct event){.type = EVENT_LINK_RESUMED,
                                .seconds = (double)tunnel->gap.duration / 1e6,
                                .replayed = tunnel->gap.messages,
                                .replayed_bytes = tunnel->gap.bytes});
    if (login->key_id != member->key_id) {
        member->key_id = login->key_id;
        if (login->key_id != 0)
            change_payer(member, login);
        worker_recheck_key(member->worker, member);
    }
    return 0;
}

/* ---- events of the tunnel ---- */

static void peer_opened(struct tunnel *tunnel, struct stream *stream,
                        const struct message_open *open)
{
    struct member *member = tunnel->holder;
    uint64_t second = loop_now(tunnel->loop) / 1000000;
    if (member_has_left(member)) {
        stream_refuse(stream, REASON_SHUTDOWN, "the agent has left this link");
        return;
    }
    if (second != member->open_second) {
        member->open_second = second;
        member->opens = 0;
    }
    if (++member->opens > MEMBER_OPENS_PER_SECOND) {
        asking_turn_away(member, stream, REASON_LIMIT, "too many sessions a second");
        return;
    }
    asking_begin(member, stream, open);
}

static void went_away(struct tunnel *tunnel, const struct message_goaway *goaway)
{
    struct member *member = tunnel->holder;
    char reason[MESSAGE_MAX_REASON + 32];
    if (goaway->seconds > 0 || member_has_left(member))
        return; /* it still is who has the name */
    snprintf(reason, sizeof(reason), "it has left: %.*s", (int)goaway->reason.size,
             goaway->reason.data);
    leave(member, reason);
}

static void ponged(struct tunnel *tunnel)
{
    struct member *member = tunnel->holder;
    member->is_awake = true;
    bool was_asked = member->probes.is_out;
    probe_ponged(member);
    if (was_asked && member_has_left(member))
        loop_timer_start(&member->timer, MEMBER_LEFT_LOOK);
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
    .detached = detached,
    .lost = lost,
};

/* ---- life ---- */

static void timer_fired(struct loop_timer *timer)
{
    struct member *member = timer->holder;
    if (member->detached != 0)
        look_at_patience(member);
    else if (member_has_left(member) && !member->probes.is_out)
        look_at_left(member);
    else
        probe_timer_fired(member);
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
    probes_init(&member->probes);
    memcpy(member->boot, login->handshake->boot, sizeof(member->boot));
    memcpy(member->place, login->handshake->place, sizeof(member->place));
    list_init(&member->waiting);
    snprintf(member->name, sizeof(member->name), "%s", login->name);
    snprintf(member->user, sizeof(member->user), "%s", login->user);
    snprintf(member->address, sizeof(member->address), "%s", login->address);
    int error = loop_timer_init(&worker->loop, &member->timer, timer_fired, member);
    if (error != 0) {
        memory_free(member);
        return error;
    }
    error = find_payer(member, login);
    if (error == 0)
        error = map_insert(&worker->members, member->id, member);
    if (error == 0)
        error = login->dialect->welcome(member, &tunnel_handlers, carrier, login->handshake);
    if (error != 0) {
        map_remove(&worker->members, member->id);
        loop_timer_close(&member->timer, &member->burial);
        return error;
    }
    emit(member, (struct event){.type = EVENT_AGENT_REGISTERED});
    return 0;
}

struct member *member_find(struct worker *worker, uint64_t id)
{
    return map_find(&worker->members, id);
}
