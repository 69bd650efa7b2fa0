#include "base/slice.h"

#include <assert.h>

/* As the header promises; a little below what a small chunk really holds. */
enum { ARENA_SMALL = 4000 };

void slice_arena_init(struct slice_arena *arena, struct chunk_pool *pool)
{
    *arena = (struct slice_arena){.pool = pool, .chunk = NULL, .used = 0};
}

static void let_go(struct slice_arena *arena)
{
    if (arena->chunk != NULL)
        chunk_unref(arena->chunk);
    arena->chunk = NULL;
    arena->used = 0;
}

void slice_arena_deinit(struct slice_arena *arena)
{
    let_go(arena);
}

uint8_t *slice_arena_reserve(struct slice_arena *arena, size_t size)
{
    enum chunk_class class = size <= ARENA_SMALL ? CHUNK_SMALL : CHUNK_LARGE;
    if (size > CHUNK_LARGE_SIZE)
        return NULL;
    /* Small pieces in the rest of a large chunk would pin all of it. */
    if (arena->chunk != NULL && arena->chunk->class == class) {
        if (chunk_is_exclusive(arena->chunk))
            arena->used = 0;
        if (arena->chunk->size - arena->used >= size)
            return arena->chunk->data + arena->used;
    }
    struct chunk *chunk = chunk_pool_get(arena->pool, class);
    if (chunk == NULL)
        return NULL;
    let_go(arena);
    arena->chunk = chunk;
    return chunk->data;
}

struct slice slice_arena_commit(struct slice_arena *arena, size_t size)
{
    if (size == 0)
        return SLICE_NULL;
    assert(arena->chunk != NULL && size <= arena->chunk->size - arena->used);
    struct slice slice = {arena->chunk, arena->chunk->data + arena->used, size};
    arena->used += size;
    if (arena->chunk->class == CHUNK_LARGE) {
        arena->chunk = NULL;
        arena->used = 0;
    } else {
        chunk_ref(slice.chunk);
    }
    return slice;
}

void slice_arena_rest(struct slice_arena *arena)
{
    if (arena->chunk != NULL && chunk_is_exclusive(arena->chunk))
        let_go(arena);
}
