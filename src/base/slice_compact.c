#include "base/slice.h"

#include "base/error.h"
#include "base/memory.h"

#include <string.h>

/* What a chunk and its slice cost besides the bytes. */
enum { OVERHEAD = 256, FIRST_CAPACITY = 4 };

/* A walk over some of the queue's slices that gathers neighbours which pin too much, and writes
 * what replaces them into `out`, with references of its own until all has worked. */
struct compaction {
    const struct slice_queue *queue;
    struct chunk_pool *pool;
    uint32_t end; /* index behind the last slice to be looked at */
    struct slice_queue out;
    struct slice_queue run; /* what is to be copied together */
};

static const struct slice *slice_at(const struct slice_queue *queue, uint32_t index)
{
    return &queue->slots[(queue->head + index) & (queue->capacity - 1)];
}

/* More than a quarter of `held` bytes would serve nobody. */
static bool is_waste(size_t used, size_t held)
{
    return used < held - held / 4;
}

int slice_settle(struct slice *slice, struct chunk_pool *pool)
{
    if (slice->chunk == NULL || slice->size == 0 || !is_waste(slice->size, slice->chunk->size))
        return 0;
    struct chunk *chunk = chunk_pool_get_exact(pool, slice->size);
    if (chunk == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    memcpy(chunk->data, slice->data, slice->size);
    struct slice moved = {chunk, chunk->data, slice->size};
    slice_drop(slice);
    *slice = moved;
    return 0;
}

static int copy_piece(struct compaction *work)
{
    size_t bytes = work->run.bytes;
    size_t room = bytes < CHUNK_LARGE_SIZE ? bytes : CHUNK_LARGE_SIZE;
    struct chunk *chunk = chunk_pool_get_exact(work->pool, room);
    if (chunk == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    for (size_t used = 0; used < room;) {
        struct slice piece = slice_queue_take(&work->run, room - used);
        memcpy(chunk->data + used, piece.data, piece.size);
        used += piece.size;
        slice_drop(&piece);
    }
    return slice_queue_push(&work->out, (struct slice){chunk, chunk->data, room});
}

static int end_run(struct compaction *work)
{
    const struct slice *first = slice_queue_first(&work->run);
    if (first == NULL)
        return 0;
    /* A chunk of the right size alone cannot become less. */
    if (work->run.count == 1 && !is_waste(work->run.bytes, first->chunk->size))
        return slice_queue_append(&work->out, &work->run);
    while (work->run.count > 0) {
        int result = copy_piece(work);
        if (result != 0)
            return result;
    }
    return 0;
}

/* The neighbours from `index` on that share a chunk count as one; returns how many they are. */
static uint32_t measure_group(const struct compaction *work, uint32_t index, size_t *bytes)
{
    const struct chunk *chunk = slice_at(work->queue, index)->chunk;
    uint32_t count = 0;
    *bytes = 0;
    for (; index + count < work->end; count++) {
        const struct slice *slice = slice_at(work->queue, index + count);
        if (slice->chunk != chunk)
            break;
        *bytes += slice->size;
    }
    return count;
}

static bool is_group_waste(const struct chunk *chunk, uint32_t count, size_t bytes)
{
    return chunk != NULL && is_waste(bytes, chunk->size + (size_t)count * OVERHEAD);
}

static int take_group(struct compaction *work, uint32_t index, uint32_t *count)
{
    size_t bytes = 0;
    *count = measure_group(work, index, &bytes);
    bool waste = is_group_waste(slice_at(work->queue, index)->chunk, *count, bytes);
    int result = waste ? 0 : end_run(work);
    struct slice_queue *target = waste ? &work->run : &work->out;
    for (uint32_t i = 0; result == 0 && i < *count; i++)
        result = slice_queue_push(target, slice_ref(slice_at(work->queue, index + i)));
    return result;
}

static bool has_waste(const struct compaction *work, uint32_t from)
{
    for (uint32_t i = from; i < work->end;) {
        size_t bytes = 0;
        uint32_t count = measure_group(work, i, &bytes);
        if (is_group_waste(slice_at(work->queue, i)->chunk, count, bytes))
            return true;
        i += count;
    }
    return false;
}

/* Puts `out` where the slices from `from` to `to` are. */
static int replace(struct slice_queue *queue, uint32_t from, uint32_t to, struct slice_queue *out)
{
    uint32_t count = queue->count - (to - from) + out->count;
    uint32_t capacity = FIRST_CAPACITY;
    while (capacity < count)
        capacity *= 2;
    struct slice *slots = memory_allocate(capacity * sizeof(*slots));
    if (slots == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    uint32_t filled = 0;
    for (uint32_t i = 0; i < queue->count; i++) {
        struct slice slice = *slice_at(queue, i);
        for (uint32_t j = 0; i == from && j < out->count; j++)
            slots[filled++] = slice_ref(slice_at(out, j));
        if (i < from || i >= to)
            slots[filled++] = slice;
        else
            slice_drop(&slice);
    }
    memory_free(queue->slots);
    queue->slots = slots;
    queue->capacity = capacity;
    queue->head = 0;
    queue->count = count;
    queue->settled = from + out->count;
    return 0;
}

static int compact(struct slice_queue *queue, struct chunk_pool *pool, uint32_t from, uint32_t to)
{
    struct compaction work = {queue, pool, to, SLICE_QUEUE_NULL, SLICE_QUEUE_NULL};
    int result = 0;
    if (!has_waste(&work, from)) {
        queue->settled = to;
        return 0;
    }
    for (uint32_t i = from; result == 0 && i < to;) {
        uint32_t count = 0;
        result = take_group(&work, i, &count);
        i += count;
    }
    if (result == 0)
        result = end_run(&work);
    if (result == 0)
        result = replace(queue, from, to, &work.out);
    slice_queue_deinit(&work.run);
    slice_queue_deinit(&work.out);
    return result;
}

bool slice_queue_settle(struct slice_queue *queue, struct chunk_pool *pool)
{
    /* With the last one before them, so that what comes byte by byte comes together. */
    uint32_t from = queue->settled > 0 ? queue->settled - 1 : 0;
    bool is_done = true;
    if (queue->settled < queue->marked)
        is_done = compact(queue, pool, from, queue->marked) == 0;
    queue->marked = queue->count;
    return !is_done || queue->settled < queue->count;
}
