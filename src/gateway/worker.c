#include "gateway/worker.h"

#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/reason.h"
#include "gateway/member.h"
#include "gateway/session.h"
#include "gateway/visitor.h"

#include <assert.h>
#include <string.h>
#include <sys/random.h>

/* ---- visitors that are too slow ---- */

static void sweep(struct loop_timer *timer)
{
    struct worker *worker = timer->holder;
    uint64_t now = loop_now(&worker->loop);
    struct list_node *node;
    while ((node = list_first(&worker->visitors)) != NULL) {
        struct visitor *visitor = CONTAINER_OF(node, struct visitor, node);
        if (now - visitor->since < (uint64_t)WORKER_LOGIN_TIME * 1000000)
            break;
        visitor_end(visitor, CULVERT_ERROR_TIMED_OUT, "it did not log in in time");
    }
    if (!list_is_empty(&worker->visitors))
        loop_timer_start(&worker->sweep, 1000);
}

/* ---- strangers that are too many ---- */

static void evict(struct loop_task *task)
{
    struct worker *worker = CONTAINER_OF(task, struct worker, eviction);
    struct stranger *excess;
    while ((excess = strangers_excess(&worker->strangers)) != NULL)
        excess->evict(excess);
}

void worker_count_stranger(struct worker *worker, struct stranger *stranger, uint64_t group)
{
    /* Without memory for its group it counts for the total. */
    (void)strangers_add(&worker->strangers, stranger, group);
    if (strangers_excess(&worker->strangers) != NULL)
        loop_defer(&worker->loop, &worker->eviction);
}

void worker_forget_stranger(struct worker *worker, struct stranger *stranger)
{
    strangers_remove(&worker->strangers, stranger);
}

/* ---- draining ---- */

enum {
    QUIET_LOOK = 20,         /* milliseconds */
    WAKE_TIME = 1000 * 1000, /* microseconds for an agent to answer that the gateway stops */
};

/* One that does not even answer is not waited for. */
static bool may_leave(struct worker *worker, const struct member *member)
{
    bool has_time = loop_now(&worker->loop) < worker->drain_start + WAKE_TIME;
    return member->tunnel->operations->hears_stop && (member->is_awake || has_time);
}

static enum worker_calm look_at_members(struct worker *worker)
{
    enum worker_calm calm = WORKER_QUIET;
    size_t cursor = 0;
    const struct member *member;
    while ((member = map_next(&worker->members, &cursor)) != NULL) {
        if (may_leave(worker, member))
            return WORKER_BUSY;
        if (!tunnel_is_drained(member->tunnel))
            calm = WORKER_LEFT;
    }
    return calm;
}

static void close_listeners(struct worker *worker)
{
    for (size_t i = 0; i < worker->listener_count; i++)
        listener_close(worker->listeners[i]);
    worker->listener_count = 0;
}

/* Agents that poll may need a new connection for each of their requests. */
static void close_useless_listeners(struct worker *worker)
{
    if (registry_is_empty(&worker->gateway->polls))
        close_listeners(worker);
}

static void look_whether_quiet(struct loop_timer *timer)
{
    struct worker *worker = timer->holder;
    close_useless_listeners(worker);
    bool has_sessions = atomic_load(&worker->gateway->sessions) > 0;
    enum worker_calm calm = has_sessions ? WORKER_BUSY : look_at_members(worker);
    atomic_store(&worker->calm, calm);
    if (calm != WORKER_QUIET)
        loop_timer_start(timer, QUIET_LOOK);
}

/* ---- life ---- */

enum {
    STRANGERS_MEMORY = 16, /* they get this fraction of --max-memory */
    /* Bytes of a connection without TLS. Measured with 400 of them: 9.6 KiB of resident memory
     * each, most of it for the head of a request. */
    STRANGER_COST = 10 * 1024,
};

/* How many connections may be without a login: their memory stays a small part of the whole, so
 * that they end no agent's session. */
static size_t most_strangers(const struct gateway *gateway)
{
    const struct gateway_config *config = gateway->config;
    size_t cost = STRANGER_COST + (config->tls_certificate != NULL ? TLS_HANDSHAKE_COST : 0);
    return gateway->account.limit / STRANGERS_MEMORY / cost / config->threads;
}

int worker_init(struct worker *worker, struct gateway *gateway, unsigned index)
{
    uint64_t seed[5];
    if (getrandom(seed, sizeof(seed), 0) != (ssize_t)sizeof(seed))
        return CULVERT_ERROR_NO_MEMORY;
    memset(worker, 0, sizeof(*worker));
    worker->gateway = gateway;
    list_init(&worker->visitors);
    list_init(&worker->sessions);
    strangers_init(&worker->strangers, seed[3], most_strangers(gateway));
    worker->eviction.run = evict;
    asking_queue_init(&worker->asking);
    denials_init(&worker->denials, seed[4]);
    map_init(&worker->visitor_ids, seed[0]);
    map_init(&worker->members, seed[1]);
    int error = loop_init(&worker->loop, index, &gateway->account);
    if (error != 0)
        return error;
    worker->loop.holder = worker;
    worker->loop.max_resets = LOOP_MAX_RESETS / gateway->config->threads;
    /* Timers and prepare handles are memory of ours: libuv has no way to fail. */
    error = loop_timer_init(&worker->loop, &worker->sweep, sweep, worker);
    if (error == 0)
        error = loop_timer_init(&worker->loop, &worker->quiet_look, look_whether_quiet, worker);
    polls_init(worker, seed[2]);
    if (error == 0)
        error = pressure_gauge_init(worker);
    assert(error == 0);
    return error;
}

void worker_deinit(struct worker *worker)
{
    close_listeners(worker);
    pressure_gauge_deinit(worker);
    loop_timer_close(&worker->quiet_look, NULL);
    loop_timer_close(&worker->sweep, NULL);
    worker->polls.is_over = true; /* what is still on its way here finds nobody */
    polls_deinit(worker);
    asking_queue_deinit(&worker->asking);
    loop_deinit(&worker->loop);
    loop_task_cancel(&worker->eviction);
    strangers_deinit(&worker->strangers);
    map_deinit(&worker->visitor_ids);
    map_deinit(&worker->members);
    memory_free(worker->listeners);
    tls_context_unref(worker->tls);
}

static void accepted(struct listener *listener, int fd)
{
    visitor_new(listener_holder(listener), fd);
}

static const struct listener_events listener_handlers = {.accepted = accepted};

int worker_listen(struct worker *worker, const struct sockaddr_storage *address, bool dual,
                  bool probe)
{
    size_t size = (worker->listener_count + 1) * sizeof(*worker->listeners);
    struct listener **grown = memory_grow(worker->listeners, size);
    if (grown == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    worker->listeners = grown;
    struct listener_options options = {.reuse_port = true, .dual = dual, .probe = probe};
    struct listener *listener = NULL;
    int error = listener_new(&worker->loop, (const struct sockaddr *)address, address_size(address),
                             &options, &listener_handlers, worker, &listener);
    if (error != 0)
        return error;
    worker->listeners[worker->listener_count++] = listener;
    listener_accept(listener, true);
    return 0;
}

/* ---- words from other threads ---- */

struct order {
    struct loop_message message;
    struct tls_context *tls;
    unsigned seconds;
};

static void give_order(struct worker *worker, void (*run)(struct loop *, struct loop_message *),
                       struct tls_context *tls, unsigned seconds)
{
    struct order *order = memory_allocate(sizeof(*order));
    if (order == NULL) {
        log_error("out of memory: a worker could not be told");
        return;
    }
    *order = (struct order){.message = {.run = run}, .tls = tls, .seconds = seconds};
    loop_post(&worker->loop, &order->message);
}

static void take_tls(struct loop *loop, struct loop_message *message)
{
    struct worker *worker = loop->holder;
    struct order *order = CONTAINER_OF(message, struct order, message);
    tls_context_unref(worker->tls);
    worker->tls = order->tls;
    memory_free(order);
}

void worker_set_tls(struct worker *worker, struct tls_context *context)
{
    give_order(worker, take_tls, tls_context_ref(context), 0);
}

/* A member whose key cannot be shown to be live is not kept. */
static void end_unproven(struct member *member, int error)
{
    member_end(member, REASON_FORBIDDEN,
               error == CULVERT_ERROR_REFUSED ? "its key was revoked or has expired"
                                              : "its key could not be checked again");
}

struct recheck {
    struct store_question question;
    uint64_t member;
};

static void recheck_answered(struct loop *loop, struct store_question *question)
{
    struct recheck *recheck = CONTAINER_OF(question, struct recheck, question);
    struct member *member = member_find(loop->holder, recheck->member);
    if (member != NULL && question->error != 0)
        end_unproven(member, question->error);
    memory_free(recheck);
}

/* Returns 0, or an error; then no answer comes. */
static int recheck_member(struct worker *worker, const struct member *member)
{
    struct recheck *recheck = memory_allocate_zero(sizeof(*recheck));
    if (recheck == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    recheck->member = member->id;
    recheck->question.loop = &worker->loop;
    recheck->question.answered = recheck_answered;
    int error = store_watch_recheck(worker->gateway->watch, &recheck->question, member->key_id);
    if (error != 0)
        memory_free(recheck);
    return error;
}

void worker_recheck_key(struct worker *worker, struct member *member)
{
    int error = worker->gateway->watch != NULL ? recheck_member(worker, member) : 0;
    if (error != 0)
        end_unproven(member, error);
}

static void recheck_keys(struct loop *loop, struct loop_message *message)
{
    struct worker *worker = loop->holder;
    memory_free(CONTAINER_OF(message, struct order, message));
    struct member *unproven = NULL;
    size_t cursor = 0;
    struct member *member;
    while ((member = map_next(&worker->members, &cursor)) != NULL) {
        if (recheck_member(worker, member) != 0)
            unproven = member;
    }
    /* Out of memory: one is ended, which frees some, and then all are asked about again. */
    if (unproven != NULL) {
        end_unproven(unproven, CULVERT_ERROR_NO_MEMORY);
        worker_recheck_keys(worker);
    }
}

void worker_recheck_keys(struct worker *worker)
{
    give_order(worker, recheck_keys, NULL, 0);
}

/* All, or those who are logging in: the others may bring requests of somebody who polls. */
static void end_visitors(struct worker *worker, bool all)
{
    struct list_node *next;
    for (struct list_node *node = list_first(&worker->visitors); node != NULL; node = next) {
        struct visitor *visitor = CONTAINER_OF(node, struct visitor, node);
        next = list_next(&worker->visitors, node);
        if (all || visitor->carrier != NULL)
            visitor_end(visitor, CULVERT_ERROR_REFUSED, "the gateway is stopping");
    }
}

static void drain(struct loop *loop, struct loop_message *message)
{
    struct worker *worker = loop->holder;
    struct order *order = CONTAINER_OF(message, struct order, message);
    unsigned seconds = order->seconds;
    memory_free(order);
    worker->is_draining = true;
    worker->drain_start = loop_now(loop);
    close_useless_listeners(worker);
    end_visitors(worker, worker->listener_count == 0);
    size_t cursor = 0;
    struct member *member;
    while ((member = map_next(&worker->members, &cursor)) != NULL)
        member_drain(member, "the gateway is stopping", seconds);
    /* Not now: the goaway and the last sessions' ends are only on their way into the links. */
    loop_timer_start(&worker->quiet_look, 1);
}

void worker_drain(struct worker *worker, unsigned seconds)
{
    give_order(worker, drain, NULL, seconds);
}

static struct member *any_member(struct worker *worker)
{
    size_t cursor = 0;
    return map_next(&worker->members, &cursor);
}

static void end_links(struct loop *loop, struct loop_message *message)
{
    struct worker *worker = loop->holder;
    memory_free(CONTAINER_OF(message, struct order, message));
    struct member *member;
    close_listeners(worker);
    while ((member = any_member(worker)) != NULL)
        member_end(member, REASON_SHUTDOWN, "the gateway is stopping");
    asking_queue_deinit(&worker->asking);
    session_abort_all(worker, REASON_SHUTDOWN, "the gateway is stopping");
    end_visitors(worker, true);
    polls_end(worker);
}

void worker_end_links(struct worker *worker)
{
    give_order(worker, end_links, NULL, 0);
}

static void stop(struct loop *loop, struct loop_message *message)
{
    memory_free(CONTAINER_OF(message, struct order, message));
    loop_stop(loop);
}

void worker_stop(struct worker *worker)
{
    give_order(worker, stop, NULL, 0);
}
