#include "net/loop.h"

#include <assert.h>

static struct loop *loop_of(const struct loop_timer *timer)
{
    return CONTAINER_OF(timer->uv.loop, struct loop, uv);
}

static void on_fired(uv_timer_t *uv)
{
    struct loop_timer *timer = uv->data;
    timer->fired(timer);
}

static void on_closed(uv_handle_t *uv)
{
    struct loop_timer *timer = uv->data;
    if (timer->closed != NULL)
        loop_bury(loop_of(timer), timer->closed);
}

int loop_timer_init(struct loop *loop, struct loop_timer *timer, void (*fired)(struct loop_timer *),
                    void *holder)
{
    int error = uv_timer_init(&loop->uv, &timer->uv);
    if (error != 0)
        return error;
    timer->uv.data = timer;
    timer->fired = fired;
    timer->holder = holder;
    timer->closed = NULL;
    timer->is_open = true;
    return 0;
}

void loop_timer_start(struct loop_timer *timer, uint64_t milliseconds)
{
    assert(timer->is_open);
    /* libuv's own clock stands still during a turn; a long turn must not make the timer early. */
    uv_update_time(timer->uv.loop);
    /* A timer that starts itself again for 0 would keep libuv among the timers for ever. */
    uv_timer_start(&timer->uv, on_fired, milliseconds > 0 ? milliseconds : 1, 0);
}

void loop_timer_stop(struct loop_timer *timer)
{
    if (timer->is_open)
        uv_timer_stop(&timer->uv);
}

void loop_timer_close(struct loop_timer *timer, struct loop_task *closed)
{
    assert(timer->is_open);
    timer->is_open = false;
    timer->closed = closed;
    uv_close((uv_handle_t *)&timer->uv, on_closed);
}
