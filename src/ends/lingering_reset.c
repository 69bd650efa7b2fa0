#include "ends/lingering_reset.h"

#include "base/memory.h"

enum { FIRST_LOOK = 1, LONGEST_LOOK = 100 /* milliseconds */ };

struct lingering {
    struct list_node node; /* on loop->resets */
    struct conn *conn;
    struct loop_timer timer;
    struct loop_task ending; /* when the loop ends before */
    struct loop_task burial;
    uint64_t interval;   /* milliseconds until the next look */
    uint64_t progressed; /* microseconds: when the peer last took something */
    size_t unacknowledged;
};

static void bury(struct loop_task *task)
{
    memory_free(CONTAINER_OF(task, struct lingering, burial));
}

static void end(struct lingering *lingering)
{
    struct loop *loop = conn_loop(lingering->conn);
    list_remove(&lingering->node);
    loop->reset_count--;
    loop_task_cancel(&lingering->ending);
    conn_close(lingering->conn, true);
    loop_timer_close(&lingering->timer, &lingering->burial);
}

static void run_ending(struct loop_task *task)
{
    end(CONTAINER_OF(task, struct lingering, ending));
}

static void look(struct loop_timer *timer)
{
    struct lingering *lingering = timer->holder;
    struct loop *loop = conn_loop(lingering->conn);
    uint64_t now = loop_now(loop);
    size_t left = conn_send_queue(lingering->conn);
    if (left < lingering->unacknowledged)
        lingering->progressed = now;
    lingering->unacknowledged = left;
    if (left == 0 || now - lingering->progressed >= loop->reset_patience) {
        end(lingering);
        return;
    }
    loop_timer_start(timer, lingering->interval);
    lingering->interval *= 2;
    if (lingering->interval > LONGEST_LOOK)
        lingering->interval = LONGEST_LOOK;
}

static void make_room(struct loop *loop)
{
    if (loop->reset_count >= loop->max_resets)
        end(CONTAINER_OF(list_first(&loop->resets), struct lingering, node));
}

/* Events are not wanted: the timer looks. */
static const struct conn_events conn_handlers = {0};

void lingering_reset(struct conn *conn, bool finish)
{
    struct loop *loop = conn_loop(conn);
    if (finish)
        (void)conn_shutdown(conn); /* fails where there is nobody to reset either */
    size_t left = conn_send_queue(conn);
    if (left == 0) {
        conn_close(conn, true);
        return;
    }
    struct lingering *lingering = memory_allocate_zero(sizeof(*lingering));
    if (lingering == NULL || loop_timer_init(loop, &lingering->timer, look, lingering) != 0) {
        memory_free(lingering);
        conn_close(conn, true);
        return;
    }
    make_room(loop);
    lingering->conn = conn;
    lingering->interval = 2 * FIRST_LOOK;
    lingering->progressed = loop_now(loop);
    lingering->unacknowledged = left;
    lingering->burial.run = bury;
    lingering->ending.run = run_ending;
    loop_at_end(loop, &lingering->ending);
    list_append(&loop->resets, &lingering->node);
    loop->reset_count++;
    conn_set_owner(conn, &conn_handlers, lingering);
    conn_want(conn, 0);
    loop_timer_start(&lingering->timer, FIRST_LOOK);
}
