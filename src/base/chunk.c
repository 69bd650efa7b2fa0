#include "base/chunk.h"

#include "base/memory.h"

#include <assert.h>

/* Freed chunks that are worth the work of giving the heap's pages back. */
enum { SHRUNK_BYTES = 1024 * 1024 };

static const size_t cached_at_most[CHUNK_CLASSES] = {
    [CHUNK_SMALL] = CHUNK_SMALL_CACHED,
    [CHUNK_LARGE] = CHUNK_LARGE_CACHED,
};

static const size_t data_size[CHUNK_CLASSES] = {
    [CHUNK_SMALL] = CHUNK_SMALL_SIZE - offsetof(struct chunk, data),
    [CHUNK_LARGE] = CHUNK_LARGE_SIZE,
};

static size_t block_size(size_t data)
{
    return offsetof(struct chunk, data) + data;
}

/* The address of a thread-local object is a name for its thread that costs no call. */
static const void *this_thread(void)
{
    static _Thread_local char mark;
    return &mark;
}

void chunk_pool_init(struct chunk_pool *pool, struct account *account)
{
    *pool = (struct chunk_pool){.account = account, .thread = this_thread()};
    atomic_init(&pool->returned, NULL);
    list_init(&pool->parked);
}

void chunk_pool_own(struct chunk_pool *pool)
{
    pool->thread = this_thread();
}

static void chunk_destroy(struct chunk_pool *pool, struct chunk *chunk)
{
    account_release(pool->account, block_size(chunk->size));
    pool->bytes -= block_size(chunk->size);
    pool->live--;
    memory_free(chunk);
}

static void chunk_recycle(struct chunk_pool *pool, struct chunk *chunk)
{
    enum chunk_class class = chunk->class;
    if (pool->free_count[class] >= cached_at_most[class]) {
        chunk_destroy(pool, chunk);
        return;
    }
    chunk->next = pool->free[class];
    pool->free[class] = chunk;
    pool->free_count[class]++;
}

static void take_returned(struct chunk_pool *pool)
{
    if (atomic_load_explicit(&pool->returned, memory_order_relaxed) == NULL)
        return;
    struct chunk *chunk = atomic_exchange_explicit(&pool->returned, NULL, memory_order_acquire);
    while (chunk != NULL) {
        struct chunk *next = chunk->next;
        chunk_recycle(pool, chunk);
        chunk = next;
    }
}

void chunk_pool_trim(struct chunk_pool *pool)
{
    take_returned(pool);
    for (int class = 0; class < CHUNK_CLASSES; class ++) {
        while (pool->free[class] != NULL) {
            struct chunk *chunk = pool->free[class];
            pool->free[class] = chunk->next;
            chunk_destroy(pool, chunk);
        }
        pool->free_count[class] = 0;
    }
}

size_t chunk_pool_deinit(struct chunk_pool *pool)
{
    chunk_pool_trim(pool);
    return pool->live;
}

static struct chunk *chunk_create(struct chunk_pool *pool, enum chunk_class class, size_t size)
{
    struct chunk *chunk = memory_allocate(block_size(size));

    if (chunk == NULL)
        return NULL;
    account_charge(pool->account, block_size(size));
    pool->bytes += block_size(size);
    if (pool->bytes > pool->most_bytes)
        pool->most_bytes = pool->bytes;
    pool->live++;
    chunk->home = pool;
    chunk->size = (uint32_t)size;
    chunk->class = class;
    chunk->next = NULL;
    atomic_init(&chunk->references, 1);
    return chunk;
}

struct chunk *chunk_pool_get(struct chunk_pool *pool, enum chunk_class class)
{
    assert(pool->thread == this_thread() && class != CHUNK_EXACT);
    take_returned(pool);

    struct chunk *chunk = pool->free[class];
    if (chunk == NULL)
        return chunk_create(pool, class, data_size[class]);
    pool->free[class] = chunk->next;
    pool->free_count[class]--;
    chunk->next = NULL;
    atomic_init(&chunk->references, 1);
    return chunk;
}

struct chunk *chunk_pool_get_exact(struct chunk_pool *pool, size_t size)
{
    assert(pool->thread == this_thread() && size > 0 && size <= CHUNK_LARGE_SIZE);
    take_returned(pool);
    return chunk_create(pool, CHUNK_EXACT, size);
}

bool chunk_pool_has_shrunk(struct chunk_pool *pool)
{
    take_returned(pool);
    size_t used = pool->bytes;
    for (int class = 0; class < CHUNK_EXACT; class ++)
        used -= pool->free_count[class] * block_size(data_size[class]);
    if (pool->most_bytes - used < SHRUNK_BYTES || used > pool->most_bytes / 2)
        return false;
    pool->most_bytes = used;
    return true;
}

void chunk_ref(struct chunk *chunk)
{
    uint32_t before = atomic_fetch_add_explicit(&chunk->references, 1, memory_order_relaxed);
    assert(before != 0 && before != UINT32_MAX);
    (void)before;
}

static void send_home(struct chunk *chunk)
{
    struct chunk_pool *home = chunk->home;
    struct chunk *top = atomic_load_explicit(&home->returned, memory_order_relaxed);
    do {
        chunk->next = top;
    } while (!atomic_compare_exchange_weak_explicit(&home->returned, &top, chunk,
                                                    memory_order_release, memory_order_relaxed));
}

void chunk_unref(struct chunk *chunk)
{
    /* The last holder needs no atomic subtraction: nobody else can take a reference from it. */
    if (!chunk_is_exclusive(chunk)) {
        uint32_t before = atomic_fetch_sub_explicit(&chunk->references, 1, memory_order_acq_rel);
        assert(before != 0);
        if (before != 1)
            return;
    }
    if (chunk->home->thread == this_thread())
        chunk_recycle(chunk->home, chunk);
    else
        send_home(chunk);
}

bool chunk_is_exclusive(const struct chunk *chunk)
{
    return atomic_load_explicit(&chunk->references, memory_order_acquire) == 1;
}
