#include "virtual_loop.h"

#include "base/parking.h"

#include <assert.h>
#include <string.h>

void virtual_loop_init(struct virtual_loop *loop, struct trial *trial, struct account *account)
{
    memset(loop, 0, sizeof *loop);
    loop->trial = trial;
    loop->loop.account = account;
    chunk_pool_init(&loop->loop.pool, account);
    list_init(&loop->loop.tasks);
    list_init(&loop->loop.burial);
    list_init(&loop->loop.endings);
}

static void run_list(struct list *list)
{
    struct list_node *node;
    while ((node = list_pop(list)) != NULL) {
        struct loop_task *task = CONTAINER_OF(node, struct loop_task, node);
        task->run(task);
    }
}

static void run_tasks(struct virtual_loop *loop)
{
    while (!list_is_empty(&loop->loop.tasks) || !list_is_empty(&loop->loop.burial)) {
        run_list(&loop->loop.tasks);
        run_list(&loop->loop.burial);
    }
}

size_t virtual_loop_deinit(struct virtual_loop *loop)
{
    run_tasks(loop);
    run_list(&loop->loop.endings);
    run_tasks(loop);
    for (int i = 0; i < VIRTUAL_LOOP_TIMERS; i++)
        assert(loop->timers[i] == NULL);
    return chunk_pool_deinit(&loop->loop.pool);
}

uint64_t virtual_loop_next(const struct virtual_loop *loop)
{
    uint64_t next = TRIAL_NEVER;
    for (int i = 0; i < VIRTUAL_LOOP_TIMERS; i++)
        if (loop->timers[i] != NULL)
            trial_earlier(&next, loop->timers[i]->uv.timeout);
    return next;
}

void virtual_loop_turn(struct virtual_loop *loop)
{
    for (int i = 0; i < VIRTUAL_LOOP_TIMERS; i++) {
        struct loop_timer *timer = loop->timers[i];
        if (timer == NULL || timer->uv.timeout > loop->trial->now)
            continue;
        loop->timers[i] = NULL;
        timer->fired(timer);
    }
    run_tasks(loop);
    parking_settle_all(&loop->loop.pool);
}

uint64_t loop_now(struct loop *loop)
{
    return CONTAINER_OF(loop, struct virtual_loop, loop)->trial->now;
}

void loop_defer(struct loop *loop, struct loop_task *task)
{
    if (!list_node_is_linked(&task->node))
        list_append(&loop->tasks, &task->node);
}

void loop_bury(struct loop *loop, struct loop_task *task)
{
    if (!list_node_is_linked(&task->node))
        list_append(&loop->burial, &task->node);
}

void loop_at_end(struct loop *loop, struct loop_task *task)
{
    if (!list_node_is_linked(&task->node))
        list_append(&loop->endings, &task->node);
}

void loop_task_cancel(struct loop_task *task)
{
    list_remove(&task->node);
}

int loop_timer_init(struct loop *loop, struct loop_timer *timer, void (*fired)(struct loop_timer *),
                    void *holder)
{
    memset(timer, 0, sizeof *timer);
    timer->fired = fired;
    timer->holder = holder;
    timer->is_open = true;
    timer->uv.data = CONTAINER_OF(loop, struct virtual_loop, loop);
    return 0;
}

void loop_timer_stop(struct loop_timer *timer)
{
    struct virtual_loop *loop = timer->uv.data;
    for (int i = 0; i < VIRTUAL_LOOP_TIMERS; i++)
        if (loop->timers[i] == timer)
            loop->timers[i] = NULL;
}

/* libuv counts from the beginning of the turn in whole milliseconds, so a timer may be early by a
 * part of one. */
void loop_timer_start(struct loop_timer *timer, uint64_t milliseconds)
{
    struct virtual_loop *loop = timer->uv.data;
    loop_timer_stop(timer);
    int slot = 0;
    while (slot < VIRTUAL_LOOP_TIMERS - 1 && loop->timers[slot] != NULL)
        slot++;
    assert(loop->timers[slot] == NULL);
    timer->uv.timeout = (loop->trial->now / 1000 + milliseconds) * 1000;
    loop->timers[slot] = timer;
}

void loop_timer_close(struct loop_timer *timer, struct loop_task *closed)
{
    struct virtual_loop *loop = timer->uv.data;
    loop_timer_stop(timer);
    timer->is_open = false;
    if (closed != NULL)
        loop_bury(&loop->loop, closed);
}
