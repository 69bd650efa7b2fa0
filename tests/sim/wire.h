/*
 * A carrier for fuzz targets: what is sent on it is dropped, and what comes on it is what the
 * target delivers.
 */
#ifndef WIRE_H
#define WIRE_H

#include "base/chunk.h"
#include "base/list.h"
#include "carrier/carrier.h"

struct wire {
    struct carrier carrier;
    bool is_ready, is_reading, is_closed, is_long;
};

/* A fresh one, open and ready; nobody takes what comes yet. */
struct carrier *wire_open(struct wire *wire);

static inline struct wire *wire_of(struct carrier *carrier)
{
    return CONTAINER_OF(carrier, struct wire, carrier);
}

/* One read's worth comes, unless nobody reads. */
void wire_deliver(struct wire *wire, struct chunk_pool *pool, const uint8_t *bytes, size_t size);

#endif
