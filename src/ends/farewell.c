#include "ends/farewell.h"

#include "base/memory.h"
#include "base/parking.h"

#include <errno.h>

enum { VECTORS = 64 };

struct farewell {
    struct conn *conn;
    struct slice_queue left;
    struct parking parking; /* of `left` */
    struct loop_timer timer;
    struct loop_task ending; /* when the loop ends before */
    struct loop_task burial;
    bool is_over;
    bool fin_sent;
};

static void bury(struct loop_task *task)
{
    memory_free(CONTAINER_OF(task, struct farewell, burial));
}

static void end(struct farewell *farewell, bool abort)
{
    if (farewell->is_over)
        return;
    farewell->is_over = true;
    slice_queue_deinit(&farewell->left);
    parking_leave(&farewell->parking);
    loop_task_cancel(&farewell->ending);
    conn_close(farewell->conn, abort);
    loop_timer_close(&farewell->timer, &farewell->burial);
}

static void run_ending(struct loop_task *task)
{
    end(CONTAINER_OF(task, struct farewell, ending), true);
}

static void timed_out(struct loop_timer *timer)
{
    end(timer->holder, true);
}

/* Without the rest of our bytes read, a close would be a RST, which may overtake them. */
static void on_readable(struct conn *conn)
{
    struct farewell *farewell = conn_holder(conn);
    size_t size = 0;
    uint8_t *space = loop_read_space(conn_loop(conn), &size);
    ssize_t count = space != NULL ? conn_read(conn, space, size) : -ENOMEM;
    if (count == -EAGAIN || (count > 0))
        return;
    if (count < 0 || farewell->fin_sent)
        end(farewell, count < 0);
    else
        conn_want(conn, CONN_WRITE); /* it sends no more; ours goes on */
}

static void on_writable(struct conn *conn)
{
    struct farewell *farewell = conn_holder(conn);
    while (farewell->left.count > 0) {
        struct iovec vectors[VECTORS];
        int count = slice_queue_vectors(&farewell->left, vectors, VECTORS);
        ssize_t taken = conn_write(conn, vectors, count);
        if (taken == -EAGAIN)
            return;
        if (taken < 0) {
            end(farewell, true);
            return;
        }
        slice_queue_skip(&farewell->left, (size_t)taken);
        loop_timer_start(&farewell->timer, FAREWELL_TIME);
    }
    if (!farewell->fin_sent && conn_shutdown(conn) != 0) {
        end(farewell, true);
        return;
    }
    farewell->fin_sent = true;
    conn_want(conn, CONN_READ);
}

static const struct conn_events conn_handlers = {.readable = on_readable, .writable = on_writable};

static bool settle(struct parking *parking, struct chunk_pool *pool)
{
    return slice_queue_settle(&CONTAINER_OF(parking, struct farewell, parking)->left, pool);
}

void farewell(struct conn *conn, struct slice_queue *left)
{
    struct loop *loop = conn_loop(conn);
    struct farewell *farewell = memory_allocate_zero(sizeof(*farewell));
    if (farewell == NULL || loop_timer_init(loop, &farewell->timer, timed_out, farewell) != 0) {
        memory_free(farewell);
        slice_queue_deinit(left);
        conn_close(conn, true);
        return;
    }
    farewell->conn = conn;
    farewell->left = *left;
    *left = SLICE_QUEUE_NULL;
    farewell->parking.settle = settle;
    parking_enter(&farewell->parking, &loop->pool);
    farewell->ending.run = run_ending;
    farewell->burial.run = bury;
    loop_at_end(loop, &farewell->ending);
    loop_timer_start(&farewell->timer, FAREWELL_TIME);
    conn_set_owner(conn, &conn_handlers, farewell);
    conn_want(conn, CONN_READ | CONN_WRITE);
}
