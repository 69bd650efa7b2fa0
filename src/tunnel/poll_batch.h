/*
 * How large a batch goes up or down by long poll. A request costs a round trip and what proxies
 * add, however small it is; so batches must be large, but a small message waits behind a large one.
 * A batch should stay on the line itself no longer than twice what a request costs anyway, or than
 * POLL_BATCH_STAY. What that is shows when full batches of one size are compared with those of half
 * of it. A state machine without a clock: times are microseconds.
 */
#ifndef TUNNEL_POLL_BATCH_H
#define TUNNEL_POLL_BATCH_H

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
};

void poll_batch_init(struct poll_batch *batch);

/* The bytes that the next should have at most. */
size_t poll_batch_limit(const struct poll_batch *batch);

/* One of so many bytes has been answered after `took`; one that went down, by the next request. */
void poll_batch_answered(struct poll_batch *batch, size_t bytes, uint64_t took);

#endif
