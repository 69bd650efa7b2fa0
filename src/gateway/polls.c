#include "gateway/polls.h"

#include "gateway/poll_connection.h"
#include "gateway/poll_session.h"
#include "gateway/worker.h"

#include <assert.h>

enum { SWEEP = 1000 }; /* milliseconds */

static struct poll_connection *connection_at(struct list_node *node)
{
    return CONTAINER_OF(node, struct poll_connection, clock_node);
}

static void end_slow(struct list *list, uint64_t now, unsigned seconds)
{
    struct list_node *node;
    while ((node = list_first(list)) != NULL &&
           now - connection_at(node)->since >= (uint64_t)seconds * 1000000)
        poll_connection_close(connection_at(node));
}

static void sweep(struct loop_timer *timer)
{
    struct worker *worker = timer->holder;
    struct polls *polls = &worker->polls;
    uint64_t now = loop_now(&worker->loop);
    end_slow(&polls->idle, now, POLLS_IDLE_TIME);
    end_slow(&polls->busy, now, POLLS_BUSY_TIME);
    polls->is_sweeping = !list_is_empty(&polls->idle) || !list_is_empty(&polls->busy);
    if (polls->is_sweeping)
        loop_timer_start(timer, SWEEP);
}

void polls_clock(struct worker *worker, struct list *list, struct list_node *node)
{
    connection_at(node)->since = loop_now(&worker->loop);
    list_remove(node);
    list_append(list, node);
    if (!worker->polls.is_sweeping)
        loop_timer_start(&worker->polls.sweep, SWEEP);
    worker->polls.is_sweeping = true;
}

void polls_init(struct worker *worker, uint64_t seed)
{
    struct polls *polls = &worker->polls;
    map_init(&polls->sessions, seed);
    list_init(&polls->idle);
    list_init(&polls->busy);
    int error = loop_timer_init(&worker->loop, &polls->sweep, sweep, worker);
    assert(error == 0); /* a timer takes nothing from the system */
    (void)error;
}

static void close_all(struct list *list)
{
    struct list_node *node;
    while ((node = list_first(list)) != NULL)
        poll_connection_close(connection_at(node));
}

static struct poll_session *any_session(struct polls *polls)
{
    size_t cursor = 0;
    return map_next(&polls->sessions, &cursor);
}

void polls_end(struct worker *worker)
{
    struct polls *polls = &worker->polls;
    struct poll_session *session;
    polls->is_over = true;
    while ((session = any_session(polls)) != NULL)
        poll_session_end(session);
    close_all(&polls->idle);
    close_all(&polls->busy);
}

void polls_deinit(struct worker *worker)
{
    loop_timer_close(&worker->polls.sweep, NULL);
    map_deinit(&worker->polls.sessions);
}
