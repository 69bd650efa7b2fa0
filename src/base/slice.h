/*
 * A slice points at bytes inside a chunk and holds one reference to it; a slice without a chunk
 * points at bytes that outlive it (static text). Slices are values: copying one without slice_ref
 * is a move. A slice queue is a first-in-first-out of slices that grows by doubling and keeps its
 * room.
 */
#ifndef BASE_SLICE_H
#define BASE_SLICE_H

#include "base/chunk.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct slice {
    struct chunk *chunk;
    const uint8_t *data;
    size_t size;
};

#define SLICE_NULL ((struct slice){NULL, NULL, 0})

/* A second slice of the same bytes; takes a reference. */
struct slice slice_ref(const struct slice *slice);

/* Gives the reference back and leaves SLICE_NULL. */
void slice_drop(struct slice *slice);

/* Cuts the first `size` bytes (at most all) off `slice` and returns them as a slice of their own.
 */
struct slice slice_split(struct slice *slice, size_t size);

/* A slice of a new chunk (small, or of the size) with a copy of `size` bytes, at most
 * CHUNK_LARGE_SIZE. Returns 0 or CULVERT_ERROR_NO_MEMORY. */
int slice_copy(struct chunk_pool *pool, const void *data, size_t size, struct slice *out);

/* Moves the bytes to a chunk of their size if they pin a much larger one. Returns 0 or
 * CULVERT_ERROR_NO_MEMORY, which leaves the slice as it was. */
int slice_settle(struct slice *slice, struct chunk_pool *pool);

struct slice_queue {
    struct slice *slots; /* ring */
    uint32_t capacity;   /* a power of two, or 0 before the first push */
    uint32_t head;
    uint32_t count;
    /* From the front: slices that slice_queue_settle has looked at, and with those that were there
     * when it last did. */
    uint32_t settled, marked;
    size_t bytes;
};

#define SLICE_QUEUE_NULL ((struct slice_queue){NULL, 0, 0, 0, 0, 0, 0})

/* Drops all slices and frees the ring; repeatable. */
void slice_queue_deinit(struct slice_queue *queue);

/* Drops all slices, keeps the ring. */
void slice_queue_clear(struct slice_queue *queue);

/* Appends; takes the slice. On CULVERT_ERROR_NO_MEMORY the slice was dropped. An empty slice is
 * dropped without effect. */
int slice_queue_push(struct slice_queue *queue, struct slice slice);

/* Moves all of `from` behind `to`. On CULVERT_ERROR_NO_MEMORY both are as they were. */
int slice_queue_append(struct slice_queue *to, struct slice_queue *from);

/* Appends references to all slices of `from` behind `to`. On CULVERT_ERROR_NO_MEMORY `to` is as it
 * was. */
int slice_queue_share(struct slice_queue *to, const struct slice_queue *from);

/* The first slice, borrowed; NULL if empty. */
struct slice *slice_queue_first(struct slice_queue *queue);

/* Takes at most `max` bytes of the first slice. SLICE_NULL if empty. */
struct slice slice_queue_take(struct slice_queue *queue, size_t max);

/* Drops the first `bytes` bytes (at most all). */
void slice_queue_skip(struct slice_queue *queue, size_t bytes);

/* Fills at most `max` vectors from the front, without taking; returns how many. */
int slice_queue_vectors(const struct slice_queue *queue, struct iovec *vectors, int max);

/* A place in a queue that stays as it is; all zero at its front. */
struct slice_cursor {
    uint32_t index; /* of the slice */
    size_t offset;  /* in it */
};

/* Copies at most `max` bytes from the cursor on and moves it behind them. Returns how many: 0 at
 * the end. */
size_t slice_queue_read(const struct slice_queue *queue, struct slice_cursor *cursor, void *out,
                        size_t max);

/* Looks at the slices that are there since the last call, and copies those together which pin much
 * larger chunks, into chunks of their size from `pool`. Each slice is looked at once, apart from
 * the last one before it. Returns whether there are slices to be looked at by the next call; so are
 * those for which memory has run out. */
bool slice_queue_settle(struct slice_queue *queue, struct chunk_pool *pool);

/* An arena writes small pieces one behind another into chunks of a pool and hands out slices. */
struct slice_arena {
    struct chunk_pool *pool;
    struct chunk *chunk;
    size_t used;
};

void slice_arena_init(struct slice_arena *arena, struct chunk_pool *pool);
void slice_arena_deinit(struct slice_arena *arena);

/* Room for `size` bytes (at most 4,000 from a small chunk, up to CHUNK_LARGE_SIZE from a large one
 * of its own); NULL when memory has run out. */
uint8_t *slice_arena_reserve(struct slice_arena *arena, size_t size);

/* Hands out the first `size` bytes of the last reservation. */
struct slice slice_arena_commit(struct slice_arena *arena, size_t size);

/* Gives the current chunk back if all slices of it are gone (an idle owner holds no memory). */
void slice_arena_rest(struct slice_arena *arena);

#endif
