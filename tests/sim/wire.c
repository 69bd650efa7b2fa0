#include "wire.h"

#include <stdlib.h>

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void send_batch(struct carrier *carrier, struct slice_queue *batch)
{
    require(!wire_of(carrier)->is_closed && wire_of(carrier)->is_ready && batch->bytes > 0);
    slice_queue_clear(batch);
}

static void ignore(struct carrier *carrier)
{
    (void)carrier;
}

static bool is_ready(const struct carrier *carrier)
{
    return CONTAINER_OF(carrier, const struct wire, carrier)->is_ready;
}

static bool is_long(const struct carrier *carrier, uint64_t round_trip)
{
    (void)round_trip;
    return CONTAINER_OF(carrier, const struct wire, carrier)->is_long;
}

static size_t batch_limit(const struct carrier *carrier)
{
    (void)carrier;
    return 64 * 1024;
}

static void turn_reading(struct carrier *carrier, bool on)
{
    wire_of(carrier)->is_reading = on;
}

static void close_wire(struct carrier *carrier, int error, const char *reason)
{
    (void)error;
    (void)reason;
    require(!wire_of(carrier)->is_closed);
    wire_of(carrier)->is_closed = true;
}

static const struct carrier_operations operations = {
    .send = send_batch,
    .flush = ignore,
    .is_ready = is_ready,
    .batch_limit = batch_limit,
    .is_long = is_long,
    .ping = ignore,
    .read = turn_reading,
    .close = close_wire,
};

/* Before a tunnel has taken it. */
static void drop_piece(struct carrier *carrier, struct slice piece)
{
    (void)carrier;
    slice_drop(&piece);
}

static void ignore_loss(struct carrier *carrier, int error, const char *why)
{
    (void)carrier;
    (void)error;
    (void)why;
}

static const struct carrier_events no_events = {
    .data = drop_piece,
    .message_end = ignore,
    .read_end = ignore,
    .ready = ignore,
    .lost = ignore_loss,
};

struct carrier *wire_open(struct wire *wire)
{
    *wire = (struct wire){.is_ready = true};
    wire->carrier.operations = &operations;
    wire->carrier.events = &no_events;
    return &wire->carrier;
}

void wire_deliver(struct wire *wire, struct chunk_pool *pool, const uint8_t *bytes, size_t size)
{
    struct slice piece;
    if (wire->is_closed || !wire->is_reading || size == 0)
        return;
    require(slice_copy(pool, bytes, size, &piece) == 0);
    wire->carrier.events->data(&wire->carrier, piece);
    if (!wire->is_closed)
        wire->carrier.events->read_end(&wire->carrier);
}
