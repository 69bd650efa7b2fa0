/*
 * How large a batch goes up or down by long poll. A request costs a round trip and what proxies
 * add, however small it is; so batches must be large, but a small message waits behind a large one.
 * A batch should stay on the line itself no longer than twice what a request costs anyway, or than
 * POLL_BATCH_STAY. What that is shows when full batches of one size are compared with those of half
 * of it. A state machine without a clock: times are microseconds.
 *
 * A proxy on the way may take smaller bodies only (413). Then bodies become smaller, and a size
 * that was refused is tried again after many bodies of the largest size that passes.
 */
#ifndef CARRIER_POLL_BATCH_H
#define CARRIER_POLL_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    POLL_BATCH_LEAST = 4 * 1024,
    POLL_BATCH_FIRST = 64 * 1024,
    POLL_BATCH_MOST = 512 * 1024, /* with one message more it still fits a body */
    POLL_BATCH_SIZES = 8,
    POLL_BATCH_STAY = 40 * 1000,
};

struct poll_batch {
    unsigned size;                   /* its power of two, from the least on */
    uint64_t took[POLL_BATCH_SIZES]; /* by full batches of each size, on average; 0: not known */
    uint64_t shortest;               /* that any request took lately; 0: none yet */
    unsigned most;                   /* the power of two that no body may exceed */
    bool is_limited;                 /* a body was refused, so that `most` holds */
    unsigned passed;                 /* bodies of that size since the last change of it */
    unsigned patience;               /* as many as must pass until twice the size is tried */
};

void poll_batch_init(struct poll_batch *batch);

/* The bytes that the next should have at most. */
size_t poll_batch_limit(const struct poll_batch *batch);

/* The bytes that a body must not exceed; SIZE_MAX while none was refused. A batch may exceed its
 * limit by a message, and is then sent as several bodies. */
size_t poll_batch_room(const struct poll_batch *batch);

/* A body of so many bytes was refused as too large. Returns whether a smaller one may be tried:
 * none below POLL_BATCH_LEAST is. */
bool poll_batch_refused(struct poll_batch *batch, size_t bytes);

/* One of so many bytes has been answered after `took`; one that went down, by the next request. */
void poll_batch_answered(struct poll_batch *batch, size_t bytes, uint64_t took);

#endif
