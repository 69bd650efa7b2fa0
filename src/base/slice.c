#include "base/slice.h"

#include "base/error.h"

#include <string.h>

struct slice slice_ref(const struct slice *slice)
{
    if (slice->chunk != NULL)
        chunk_ref(slice->chunk);
    return *slice;
}

void slice_drop(struct slice *slice)
{
    if (slice->chunk != NULL)
        chunk_unref(slice->chunk);
    *slice = SLICE_NULL;
}

struct slice slice_split(struct slice *slice, size_t size)
{
    struct slice front;
    if (size >= slice->size) {
        front = *slice;
        *slice = SLICE_NULL;
        return front;
    }
    if (size == 0)
        return SLICE_NULL;
    front = slice_ref(slice);
    front.size = size;
    slice->data += size;
    slice->size -= size;
    return front;
}

int slice_copy(struct chunk_pool *pool, const void *data, size_t size, struct slice *out)
{
    size_t small = CHUNK_SMALL_SIZE - offsetof(struct chunk, data);
    if (size > CHUNK_LARGE_SIZE)
        return CULVERT_ERROR_NO_MEMORY;
    struct chunk *chunk =
        size <= small ? chunk_pool_get(pool, CHUNK_SMALL) : chunk_pool_get_exact(pool, size);
    if (chunk == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    if (size > 0)
        memcpy(chunk->data, data, size);
    *out = (struct slice){chunk, chunk->data, size};
    return 0;
}
