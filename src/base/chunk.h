/*
 * A chunk is a reference-counted block of bytes from a loop's pool. References may be taken and
 * dropped on any thread; a chunk that a foreign thread drops last goes home to its pool over a
 * lock-free stack. Everything else of a pool belongs to its own thread.
 */
#ifndef BASE_CHUNK_H
#define BASE_CHUNK_H

#include "base/account.h"
#include "base/list.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CHUNK_SMALL_SIZE = 4096,       /* whole block, its header included */
    CHUNK_LARGE_SIZE = 512 * 1024, /* payload bytes, the header comes on top */
    /* Free chunks that a pool keeps. */
    CHUNK_SMALL_CACHED = 256,
    CHUNK_LARGE_CACHED = 8,
};

enum chunk_class {
    CHUNK_SMALL,
    CHUNK_LARGE,
    CHUNK_EXACT, /* of the size that was asked for; never cached */
    CHUNK_CLASSES,
};

struct chunk_pool;

struct chunk {
    struct chunk_pool *home;
    struct chunk *next; /* while it is free */
    _Atomic uint32_t references;
    uint32_t size; /* bytes in data */
    enum chunk_class class;
    uint8_t data[];
};

struct chunk_pool {
    struct account *account;
    struct chunk
        *free[CHUNK_CLASSES]; /* last in, first out: the hottest in the cache comes first */
    size_t free_count[CHUNK_CLASSES];
    size_t bytes;                     /* of these chunks */
    size_t most_bytes;                /* the most of them since chunk_pool_has_shrunk was true */
    size_t live;                      /* chunks in existence, free or not; the pool's thread only */
    _Atomic(struct chunk *) returned; /* dropped by other threads */
    const void *thread;               /* identifies the owner's thread; see chunk_pool_own */
    struct list parked;               /* see base/parking.h */
};

/* `account` is borrowed and outlives the pool. */
void chunk_pool_init(struct chunk_pool *pool, struct account *account);

/* Makes the calling thread the pool's own. Until then the thread that called init is. */
void chunk_pool_own(struct chunk_pool *pool);

/* Frees what is free. Returns the number of chunks that are still referenced (0 when all came
 * home). */
size_t chunk_pool_deinit(struct chunk_pool *pool);

/* A small or large chunk with one reference, or NULL when memory has run out. Own thread only. */
struct chunk *chunk_pool_get(struct chunk_pool *pool, enum chunk_class class);
/* A chunk that holds `size` bytes (1 to CHUNK_LARGE_SIZE) and wastes none: for what stays. */
struct chunk *chunk_pool_get_exact(struct chunk_pool *pool, size_t size);

/* Frees all cached chunks that nobody references (memory pressure). Own thread only. */
void chunk_pool_trim(struct chunk_pool *pool);

/* Whether less than half of what the pool once had is in use, and it was much. True once for each
 * such fall. Own thread only. */
bool chunk_pool_has_shrunk(struct chunk_pool *pool);

/* Any thread. */
void chunk_ref(struct chunk *chunk);
void chunk_unref(struct chunk *chunk);

/* Whether the caller's reference is the only one, so that the bytes may be written anew. */
bool chunk_is_exclusive(const struct chunk *chunk);

#endif
