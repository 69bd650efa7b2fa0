#include "base/slice.h"

#include "base/error.h"

#include <string.h>

/* A chunk of which less than one part in so many is in use is worth a copy. */
enum { WASTE = 4 };

/* A walk over the queue that gathers neighbouring slices which pin too much, and writes the queue
 * anew into `out`, with references of its own until all has worked. */
struct compaction {
    const struct slice_queue *queue;
    struct chunk_pool *pool;
    struct slice_queue out;
    struct slice_queue run; /* what is to be copied together */
    bool is_lone;           /* the run is one chunk only */
};

static const struct slice *slice_at(const struct slice_queue *queue, uint32_t index)
{
    return &queue->slots[(queue->head + index) & (queue->capacity - 1)];
}

static int keep_run(struct compaction *work)
{
    return slice_queue_append(&work->out, &work->run);
}

static int copy_piece(struct compaction *work)
{
    size_t small = CHUNK_SMALL_SIZE - offsetof(struct chunk, data);
    size_t bytes = work->run.bytes;
    bool large = bytes >= CHUNK_LARGE_SIZE / WASTE;
    struct chunk *chunk = chunk_pool_get(work->pool, large ? CHUNK_LARGE : CHUNK_SMALL);
    if (chunk == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    size_t room = large ? CHUNK_LARGE_SIZE : small;
    size_t used = 0;
    while (used < room && work->run.count > 0) {
        struct slice piece = slice_queue_take(&work->run, room - used);
        memcpy(chunk->data + used, piece.data, piece.size);
        used += piece.size;
        slice_drop(&piece);
    }
    return slice_queue_push(&work->out, (struct slice){chunk, chunk->data, used});
}

static int end_run(struct compaction *work)
{
    struct slice *first = slice_queue_first(&work->run);
    if (first == NULL)
        return 0;
    /* One small chunk alone cannot become less. */
    if (work->is_lone && first->chunk->class == CHUNK_SMALL)
        return keep_run(work);
    while (work->run.count > 0) {
        int result = copy_piece(work);
        if (result != 0)
            return result;
    }
    return 0;
}

/* The neighbours from `index` on that share a chunk count as one; returns how many they are. */
static int take_group(struct compaction *work, uint32_t index, uint32_t *count)
{
    const struct slice *first = slice_at(work->queue, index);
    size_t bytes = 0;
    *count = 0;
    while (index + *count < work->queue->count &&
           slice_at(work->queue, index + *count)->chunk == first->chunk) {
        bytes += slice_at(work->queue, index + *count)->size;
        (*count)++;
    }
    bool waste = first->chunk != NULL && bytes < first->chunk->size / WASTE;
    int result = 0;
    if (!waste)
        result = end_run(work);
    else
        work->is_lone = work->run.count == 0;
    struct slice_queue *target = waste ? &work->run : &work->out;
    for (uint32_t i = 0; result == 0 && i < *count; i++)
        result = slice_queue_push(target, slice_ref(slice_at(work->queue, index + i)));
    return result;
}

int slice_queue_compact(struct slice_queue *queue, struct chunk_pool *pool)
{
    struct compaction work = {queue, pool, SLICE_QUEUE_NULL, SLICE_QUEUE_NULL, false};
    int result = 0;
    for (uint32_t i = 0; result == 0 && i < queue->count;) {
        uint32_t count = 0;
        result = take_group(&work, i, &count);
        i += count;
    }
    if (result == 0)
        result = end_run(&work);
    slice_queue_deinit(&work.run);
    if (result != 0) {
        slice_queue_deinit(&work.out);
        return result;
    }
    slice_queue_deinit(queue);
    *queue = work.out;
    return 0;
}
