#include "gateway/shutdown.h"

#include "base/log.h"
#include "base/memory.h"
#include "gateway/worker.h"

#include <assert.h>
#include <limits.h>
#include <signal.h>

enum {
    LOOK_AGAIN = 20,          /* milliseconds */
    LAST_WORDS = 1000 * 1000, /* microseconds for agents of Hubble to take what sessions left */
};

/*
 * A barrier goes to every worker and comes back when each has run what was posted to it before and
 * what that deferred. Two rounds let what one worker tells another about the end arrive before the
 * loops stop.
 */
struct barrier {
    struct shutdown *shutdown;
    struct loop_message back;
    _Atomic unsigned waiting;
    unsigned rounds;
};

struct barrier_message {
    struct loop_message message;
    struct loop_task task;
    struct barrier *barrier;
};

static void start_round(struct barrier *barrier);

static void turn_has_ended(struct loop_task *task)
{
    struct barrier_message *at = CONTAINER_OF(task, struct barrier_message, task);
    struct barrier *barrier = at->barrier;
    memory_free(at);
    if (atomic_fetch_sub(&barrier->waiting, 1) == 1)
        loop_post(&barrier->shutdown->gateway->workers[0].loop, &barrier->back);
}

static void barrier_arrived(struct loop *loop, struct loop_message *message)
{
    struct barrier_message *at = CONTAINER_OF(message, struct barrier_message, message);
    loop_bury(loop, &at->task);
}

static void stop_loops(struct gateway *gateway)
{
    for (unsigned i = 0; i < gateway->worker_count; i++)
        worker_stop(&gateway->workers[i]);
}

static void round_is_over(struct loop *loop, struct loop_message *message)
{
    struct barrier *barrier = CONTAINER_OF(message, struct barrier, back);
    (void)loop;
    if (--barrier->rounds > 0) {
        start_round(barrier);
        return;
    }
    stop_loops(barrier->shutdown->gateway);
    memory_free(barrier);
}

static void start_round(struct barrier *barrier)
{
    struct gateway *gateway = barrier->shutdown->gateway;
    barrier->back.run = round_is_over;
    atomic_store(&barrier->waiting, gateway->worker_count);
    for (unsigned i = 0; i < gateway->worker_count; i++) {
        struct barrier_message *at = memory_allocate_zero(sizeof(*at));
        if (at == NULL) {
            stop_loops(gateway); /* untidy, but it ends */
            return;
        }
        at->barrier = barrier;
        at->message.run = barrier_arrived;
        at->task.run = turn_has_ended;
        loop_post(&gateway->workers[i].loop, &at->message);
    }
}

static void end_now(struct shutdown *shutdown)
{
    if (shutdown->is_ending)
        return;
    shutdown->is_ending = true;
    struct gateway *gateway = shutdown->gateway;
    for (unsigned i = 0; i < gateway->worker_count; i++)
        worker_end_links(&gateway->workers[i]);
    struct barrier *barrier = memory_allocate_zero(sizeof(*barrier));
    if (barrier == NULL) {
        stop_loops(gateway);
        return;
    }
    barrier->shutdown = shutdown;
    barrier->rounds = 2;
    start_round(barrier);
}

static void look(struct loop_timer *timer)
{
    struct shutdown *shutdown = timer->holder;
    struct gateway *gateway = shutdown->gateway;
    uint64_t now = loop_now(&gateway->workers[0].loop);
    enum worker_calm calm = WORKER_QUIET;
    for (unsigned i = 0; i < gateway->worker_count; i++) {
        enum worker_calm one = atomic_load(&gateway->workers[i].calm);
        calm = one < calm ? one : calm;
    }
    if (calm == WORKER_LEFT && now + LAST_WORDS < shutdown->deadline)
        shutdown->deadline = now + LAST_WORDS;
    if (calm == WORKER_QUIET || now >= shutdown->deadline)
        end_now(shutdown);
    else
        loop_timer_start(timer, LOOK_AGAIN);
}

static void drain(struct shutdown *shutdown, unsigned seconds)
{
    struct gateway *gateway = shutdown->gateway;
    size_t sessions = atomic_load(&gateway->sessions);
    atomic_store(&shutdown->is_draining, true); /* accepts no login after the log's line */
    log_info("stopping; %zu session%s %u s to finish", sessions, sessions == 1 ? " has" : "s have",
             seconds);
    shutdown->deadline = loop_now(&gateway->workers[0].loop) + (uint64_t)seconds * 1000000;
    for (unsigned i = 0; i < gateway->worker_count; i++)
        worker_drain(&gateway->workers[i], seconds);
    loop_timer_start(&shutdown->timer, 1);
}

static void signalled(void *holder, int number)
{
    struct shutdown *shutdown = holder;
    if (number == SIGHUP)
        shutdown->reload(shutdown->gateway);
    else if (shutdown_has_begun(shutdown))
        end_now(shutdown);
    else
        drain(shutdown, shutdown->gateway->config->drain);
}

/* ---- orders from other threads ---- */

static void give_order(struct shutdown_order *order)
{
    if (!atomic_exchange(&order->is_posted, true))
        loop_post(&order->shutdown->gateway->workers[0].loop, &order->message);
}

static void told_to_stop(struct loop *loop, struct loop_message *message)
{
    struct shutdown_order *order = CONTAINER_OF(message, struct shutdown_order, message);
    struct shutdown *shutdown = order->shutdown;
    atomic_store(&order->is_posted, false);
    unsigned seconds = atomic_load(&shutdown->seconds);
    if (shutdown->is_over || shutdown->is_ending)
        return;
    if (!shutdown_has_begun(shutdown)) {
        drain(shutdown, seconds);
        return;
    }
    uint64_t deadline = loop_now(loop) + (uint64_t)seconds * 1000000;
    if (deadline < shutdown->deadline)
        shutdown->deadline = deadline;
}

static void told_to_reload(struct loop *loop, struct loop_message *message)
{
    struct shutdown_order *order = CONTAINER_OF(message, struct shutdown_order, message);
    (void)loop;
    atomic_store(&order->is_posted, false);
    if (!order->shutdown->is_over)
        order->shutdown->reload(order->shutdown->gateway);
}

void shutdown_stop(struct shutdown *shutdown, unsigned seconds)
{
    unsigned least = atomic_load(&shutdown->seconds);
    while (seconds < least && !atomic_compare_exchange_weak(&shutdown->seconds, &least, seconds))
        continue;
    give_order(&shutdown->stop_order);
}

void shutdown_reload(struct shutdown *shutdown)
{
    give_order(&shutdown->reload_order);
}

/* ---- life ---- */

void shutdown_init(struct shutdown *shutdown, struct gateway *gateway,
                   void (*reload)(struct gateway *))
{
    *shutdown = (struct shutdown){.gateway = gateway, .reload = reload, .seconds = UINT_MAX};
    shutdown->stop_order.message.run = told_to_stop;
    shutdown->stop_order.shutdown = shutdown;
    shutdown->reload_order.message.run = told_to_reload;
    shutdown->reload_order.shutdown = shutdown;
    int error = loop_timer_init(&gateway->workers[0].loop, &shutdown->timer, look, shutdown);
    assert(error == 0); /* a timer takes nothing from the system */
    (void)error;
}

int shutdown_take_signals(struct shutdown *shutdown)
{
    return signals_take(&shutdown->signals, &shutdown->gateway->workers[0].loop, signalled,
                        shutdown);
}

void shutdown_release_signals(struct shutdown *shutdown)
{
    signals_release(&shutdown->signals);
}

bool shutdown_has_begun(const struct shutdown *shutdown)
{
    return atomic_load(&shutdown->is_draining);
}

void shutdown_deinit(struct shutdown *shutdown)
{
    shutdown->is_over = true;
    loop_timer_close(&shutdown->timer, NULL);
    signals_release(&shutdown->signals);
}
