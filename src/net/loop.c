#include "net/loop.h"

#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/parking.h"
#include "net/resolver.h"

#include <assert.h>

enum {
    READ_SPACE_MIN = 64 * 1024,
    /* Each read starts on a cache line of its own, which the kernel's copying likes. */
    READ_ALIGNMENT = 64,
    /* Milliseconds that slices may wait before they are copied out of large chunks: on a fast way
     * they have left by then. */
    SETTLE_TIME = 100,
    /* Milliseconds after a burst until its memory goes back to the system. */
    RETURN_TIME = 3000,
};

static void run_tasks(struct loop *loop)
{
    struct list_node *node;

    do {
        while ((node = list_pop(&loop->tasks)) != NULL) {
            struct loop_task *task = CONTAINER_OF(node, struct loop_task, node);
            task->run(task);
        }
        node = list_pop(&loop->burial);
        if (node != NULL) {
            struct loop_task *task = CONTAINER_OF(node, struct loop_task, node);
            task->run(task);
        }
    } while (node != NULL || !list_is_empty(&loop->tasks));
}

static void on_settle(uv_timer_t *timer)
{
    struct loop *loop = timer->data;
    parking_settle_all(&loop->pool);
}

static void settle_parked(struct loop *loop)
{
    if (!list_is_empty(&loop->pool.parked) && account_level(loop->account) != ACCOUNT_EASY)
        parking_settle_all(&loop->pool);
    if (!list_is_empty(&loop->pool.parked) && !uv_is_active((uv_handle_t *)&loop->settling))
        uv_timer_start(&loop->settling, on_settle, SETTLE_TIME, 0);
}

static void on_return(uv_timer_t *timer)
{
    struct loop *loop = timer->data;
    chunk_pool_trim(&loop->pool);
    memory_give_back();
}

static void watch_pool(struct loop *loop)
{
    if (chunk_pool_has_shrunk(&loop->pool))
        uv_timer_start(&loop->returning, on_return, RETURN_TIME, 0);
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct loop *loop = prepare->data;
    run_tasks(loop);
    settle_parked(loop);
    watch_pool(loop);
    loop->now = 0;
}

static void on_check(uv_check_t *check)
{
    run_tasks(check->data);
}

static void on_idle(uv_idle_t *idle)
{
    struct loop *loop = idle->data;
    struct list now;
    struct list_node *node;

    /* What these tasks put off again goes behind them, to the next turn. */
    list_init(&now);
    while ((node = list_pop(&loop->next)) != NULL)
        list_append(&now, node);
    while ((node = list_pop(&now)) != NULL) {
        struct loop_task *task = CONTAINER_OF(node, struct loop_task, node);
        task->run(task);
    }
    if (list_is_empty(&loop->next))
        uv_idle_stop(idle);
}

static void drain_mailbox(struct loop *loop)
{
    struct loop_message *newest =
        atomic_exchange_explicit(&loop->mailbox, NULL, memory_order_acquire);
    struct loop_message *oldest = NULL;

    while (newest != NULL) {
        struct loop_message *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest != NULL) {
        struct loop_message *next = oldest->next;
        oldest->run(loop, oldest);
        oldest = next;
    }
}

static void on_wake(uv_async_t *wake)
{
    struct loop *loop = wake->data;

    drain_mailbox(loop);
    if (atomic_load_explicit(&loop->is_stopping, memory_order_acquire))
        uv_stop(&loop->uv);
}

int loop_init(struct loop *loop, unsigned index, struct account *account)
{
    int error = uv_loop_init(&loop->uv);
    if (error != 0)
        return error;
    error = uv_async_init(&loop->uv, &loop->wake, on_wake);
    if (error != 0) {
        uv_loop_close(&loop->uv);
        return error;
    }
    loop->index = index;
    loop->holder = NULL;
    loop->account = account;
    chunk_pool_init(&loop->pool, account);
    loop->read_chunk = NULL;
    loop->read_used = 0;
    loop->now = 0;
    loop->resolver = NULL;
    atomic_init(&loop->mailbox, NULL);
    atomic_init(&loop->is_stopping, false);
    list_init(&loop->tasks);
    list_init(&loop->burial);
    list_init(&loop->next);
    list_init(&loop->endings);
    list_init(&loop->resets);
    loop->reset_count = 0;
    loop->max_resets = LOOP_MAX_RESETS;
    loop->reset_patience = (uint64_t)LOOP_RESET_PATIENCE * 1000000;

    uv_prepare_init(&loop->uv, &loop->prepare);
    uv_check_init(&loop->uv, &loop->check);
    uv_idle_init(&loop->uv, &loop->idle);
    uv_timer_init(&loop->uv, &loop->settling);
    uv_timer_init(&loop->uv, &loop->returning);
    loop->wake.data = loop;
    loop->prepare.data = loop;
    loop->check.data = loop;
    loop->idle.data = loop;
    loop->settling.data = loop;
    loop->returning.data = loop;
    uv_prepare_start(&loop->prepare, on_prepare);
    uv_check_start(&loop->check, on_check);
    return 0;
}

int loop_run(struct loop *loop)
{
    chunk_pool_own(&loop->pool);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    atomic_store_explicit(&loop->is_stopping, false, memory_order_release);
    return 0;
}

void loop_stop(struct loop *loop)
{
    atomic_store_explicit(&loop->is_stopping, true, memory_order_release);
    uv_async_send(&loop->wake);
}

static void assert_is_closing(uv_handle_t *handle, void *context)
{
    (void)context;
    assert(uv_is_closing(handle));
}

void loop_deinit(struct loop *loop)
{
    chunk_pool_own(&loop->pool);
    while (atomic_load_explicit(&loop->mailbox, memory_order_relaxed) != NULL)
        drain_mailbox(loop);
    run_tasks(loop);
    struct list_node *node;
    while ((node = list_pop(&loop->endings)) != NULL) {
        struct loop_task *task = CONTAINER_OF(node, struct loop_task, node);
        task->run(task);
    }
    run_tasks(loop);
    /* From here on no thread posts; what was posted meanwhile is disposed of. */
    resolver_free(loop->resolver);
    loop->resolver = NULL;
    drain_mailbox(loop);

    uv_close((uv_handle_t *)&loop->wake, NULL);
    uv_close((uv_handle_t *)&loop->prepare, NULL);
    uv_close((uv_handle_t *)&loop->check, NULL);
    uv_close((uv_handle_t *)&loop->idle, NULL);
    uv_close((uv_handle_t *)&loop->settling, NULL);
    uv_close((uv_handle_t *)&loop->returning, NULL);
    uv_walk(&loop->uv, assert_is_closing, NULL);
    while (uv_loop_alive(&loop->uv) || !list_is_empty(&loop->tasks) ||
           !list_is_empty(&loop->burial)) {
        uv_run(&loop->uv, UV_RUN_ONCE);
        run_tasks(loop);
    }
    int error = uv_loop_close(&loop->uv);
    assert(error == 0);
    (void)error;

    if (loop->read_chunk != NULL)
        chunk_unref(loop->read_chunk);
    loop->read_chunk = NULL;
    size_t referenced = chunk_pool_deinit(&loop->pool);
    if (referenced != 0)
        log_error("loop %u: %zu chunks are still referenced at its end", loop->index, referenced);
}

uint64_t loop_now(struct loop *loop)
{
    if (loop->now == 0)
        loop->now = uv_hrtime() / 1000;
    return loop->now;
}

void loop_defer(struct loop *loop, struct loop_task *task)
{
    if (!list_node_is_linked(&task->node))
        list_append(&loop->tasks, &task->node);
}

void loop_defer_next(struct loop *loop, struct loop_task *task)
{
    if (list_node_is_linked(&task->node))
        return;
    if (list_is_empty(&loop->next))
        uv_idle_start(&loop->idle, on_idle);
    list_append(&loop->next, &task->node);
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

void loop_post(struct loop *loop, struct loop_message *message)
{
    struct loop_message *head = atomic_load_explicit(&loop->mailbox, memory_order_relaxed);

    do {
        message->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&loop->mailbox, &head, message,
                                                    memory_order_release, memory_order_relaxed));
    /* Whoever found it empty wakes the loop for all who come before it looks. */
    if (head == NULL)
        uv_async_send(&loop->wake);
}

uint8_t *loop_read_space(struct loop *loop, size_t *size)
{
    struct chunk *chunk = loop->read_chunk;

    if (chunk != NULL && chunk_is_exclusive(chunk)) {
        loop->read_used = 0;
    } else if (chunk != NULL) {
        size_t used = loop->read_used + (READ_ALIGNMENT - 1);
        loop->read_used = used - used % READ_ALIGNMENT;
        if (loop->read_used + READ_SPACE_MIN > chunk->size) {
            chunk_unref(chunk);
            chunk = NULL;
        }
    }
    if (chunk == NULL) {
        chunk = chunk_pool_get(&loop->pool, CHUNK_LARGE);
        loop->read_chunk = chunk;
        loop->read_used = 0;
        if (chunk == NULL)
            return NULL;
    }
    *size = chunk->size - loop->read_used;
    return chunk->data + loop->read_used;
}

struct slice loop_read_commit(struct loop *loop, size_t size)
{
    struct chunk *chunk = loop->read_chunk;
    struct slice slice = {.chunk = chunk, .data = chunk->data + loop->read_used, .size = size};

    assert(size <= chunk->size - loop->read_used);
    chunk_ref(chunk);
    loop->read_used += size;
    return slice;
}
