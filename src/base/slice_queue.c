#include "base/slice.h"

#include "base/error.h"
#include "base/memory.h"

#include <string.h>

enum { FIRST_CAPACITY = 4 };
static const uint32_t last_capacity = UINT32_C(1) << 30;

static struct slice *slot_at(const struct slice_queue *queue, uint32_t index)
{
    return &queue->slots[(queue->head + index) & (queue->capacity - 1)];
}

void slice_queue_clear(struct slice_queue *queue)
{
    for (uint32_t i = 0; i < queue->count; i++)
        slice_drop(slot_at(queue, i));
    queue->head = 0;
    queue->count = 0;
    queue->settled = 0;
    queue->marked = 0;
    queue->bytes = 0;
}

void slice_queue_deinit(struct slice_queue *queue)
{
    slice_queue_clear(queue);
    memory_free(queue->slots);
    *queue = SLICE_QUEUE_NULL;
}

/* Makes room for `more` slices on top of those that are there. */
static int reserve(struct slice_queue *queue, uint32_t more)
{
    if (more <= queue->capacity - queue->count)
        return 0;
    if (more > last_capacity - queue->count)
        return CULVERT_ERROR_NO_MEMORY;
    uint32_t capacity = queue->capacity == 0 ? FIRST_CAPACITY : queue->capacity;
    while (capacity - queue->count < more)
        capacity *= 2;
    struct slice *slots = memory_allocate(capacity * sizeof(*slots));
    if (slots == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    for (uint32_t i = 0; i < queue->count; i++)
        slots[i] = *slot_at(queue, i);
    memory_free(queue->slots);
    queue->slots = slots;
    queue->capacity = capacity;
    queue->head = 0;
    return 0;
}

static void append_reserved(struct slice_queue *queue, struct slice slice)
{
    queue->count++;
    *slot_at(queue, queue->count - 1) = slice;
    queue->bytes += slice.size;
}

int slice_queue_push(struct slice_queue *queue, struct slice slice)
{
    if (slice.size == 0) {
        slice_drop(&slice);
        return 0;
    }
    int result = reserve(queue, 1);
    if (result != 0) {
        slice_drop(&slice);
        return result;
    }
    append_reserved(queue, slice);
    return 0;
}

int slice_queue_append(struct slice_queue *to, struct slice_queue *from)
{
    if (from->count == 0)
        return 0;
    if (to->count == 0) {
        struct slice_queue swap = *to;
        *to = *from;
        *from = swap;
        to->settled = 0;
        to->marked = 0;
        return 0;
    }
    int result = reserve(to, from->count);
    if (result != 0)
        return result;
    for (uint32_t i = 0; i < from->count; i++)
        append_reserved(to, *slot_at(from, i));
    from->head = 0;
    from->count = 0;
    from->settled = 0;
    from->marked = 0;
    from->bytes = 0;
    return 0;
}

int slice_queue_share(struct slice_queue *to, const struct slice_queue *from)
{
    int result = reserve(to, from->count);
    if (result != 0)
        return result;
    for (uint32_t i = 0; i < from->count; i++)
        append_reserved(to, slice_ref(slot_at(from, i)));
    return 0;
}

struct slice *slice_queue_first(struct slice_queue *queue)
{
    return queue->count == 0 ? NULL : slot_at(queue, 0);
}

static void forget_first(struct slice_queue *queue)
{
    queue->head = (queue->head + 1) & (queue->capacity - 1);
    queue->count--;
    queue->settled -= queue->settled > 0;
    queue->marked -= queue->marked > 0;
}

struct slice slice_queue_take(struct slice_queue *queue, size_t max)
{
    if (queue->count == 0)
        return SLICE_NULL;
    struct slice *first = slot_at(queue, 0);
    struct slice taken = slice_split(first, max);
    if (first->size == 0)
        forget_first(queue);
    queue->bytes -= taken.size;
    return taken;
}

void slice_queue_skip(struct slice_queue *queue, size_t bytes)
{
    while (bytes > 0 && queue->count > 0) {
        struct slice *first = slot_at(queue, 0);
        if (bytes < first->size) {
            first->data += bytes;
            first->size -= bytes;
            queue->bytes -= bytes;
            return;
        }
        bytes -= first->size;
        queue->bytes -= first->size;
        slice_drop(first);
        forget_first(queue);
    }
}

int slice_queue_vectors(const struct slice_queue *queue, struct iovec *vectors, int max)
{
    int count = 0;
    while (count < max && (uint32_t)count < queue->count) {
        const struct slice *slice = slot_at(queue, (uint32_t)count);
        /* struct iovec serves reading too and so has no const. */
        vectors[count].iov_base = (void *)(uintptr_t)slice->data;
        vectors[count].iov_len = slice->size;
        count++;
    }
    return count;
}

size_t slice_queue_read(const struct slice_queue *queue, struct slice_cursor *cursor, void *out,
                        size_t max)
{
    size_t copied = 0;
    while (copied < max && cursor->index < queue->count) {
        const struct slice *slice = slot_at(queue, cursor->index);
        size_t size = slice->size - cursor->offset;
        if (size > max - copied)
            size = max - copied;
        memcpy((uint8_t *)out + copied, slice->data + cursor->offset, size);
        copied += size;
        cursor->offset += size;
        if (cursor->offset < slice->size)
            break;
        cursor->index++;
        cursor->offset = 0;
    }
    return copied;
}
