/* A WebSocket carrier on its way from one loop to another. What was read ahead and what has not
 * been written goes along in memory that belongs to no loop's pool. */
#include "base/error.h"
#include "base/memory.h"
#include "carrier/websocket_carrier_inner.h"

#include <string.h>

struct websocket_cargo {
    struct carrier_cargo base;
    struct conn_cargo *conn;
    struct websocket_decoder decoder;
    enum websocket_role role;
    uint8_t pong[WEBSOCKET_MAX_CONTROL];
    uint8_t pong_size;
    bool pong_due;
    bool ping_due;
    bool is_behind;
    size_t ahead_size;
    size_t out_size;
    uint8_t bytes[]; /* what was read ahead, then what is to be written */
};

static void drop(struct carrier_cargo *base)
{
    struct websocket_cargo *cargo = CONTAINER_OF(base, struct websocket_cargo, base);
    conn_cargo_drop(cargo->conn);
    memory_free(cargo);
}

static int restore_out(struct websocket_carrier *self, const uint8_t *bytes, size_t size)
{
    int error = 0;
    while (error == 0 && size > 0) {
        size_t piece = size < CHUNK_LARGE_SIZE ? size : CHUNK_LARGE_SIZE;
        struct slice slice;
        error = slice_copy(&self->loop->pool, bytes, piece, &slice);
        if (error == 0)
            error = slice_queue_push(&self->out, slice);
        bytes += piece;
        size -= piece;
    }
    return error;
}

static int restore(struct websocket_carrier *self, const struct websocket_cargo *cargo)
{
    self->decoder = cargo->decoder;
    memcpy(self->pong, cargo->pong, cargo->pong_size);
    self->pong_size = cargo->pong_size;
    self->pong_due = cargo->pong_due;
    self->ping_due = cargo->ping_due;
    self->is_behind = cargo->is_behind;
    self->out_was_short = cargo->out_size > 0;
    self->base.operations->read(&self->base, false);
    return restore_out(self, cargo->bytes + cargo->ahead_size, cargo->out_size);
}

static int arrive(struct carrier_cargo *base, struct loop *loop, struct carrier **carrier)
{
    static const struct conn_events no_events;
    struct websocket_cargo *cargo = CONTAINER_OF(base, struct websocket_cargo, base);
    struct conn *conn = NULL;
    int error = conn_arrive(cargo->conn, loop, &no_events, NULL, &conn);
    if (error != 0)
        goto out;
    error = websocket_carrier_new(conn, cargo->role, cargo->bytes, cargo->ahead_size, carrier);
    if (error != 0) {
        conn_close(conn, false);
        goto out;
    }
    error = restore(CONTAINER_OF(*carrier, struct websocket_carrier, base), cargo);
    if (error != 0)
        carrier_close(*carrier, error, NULL);
out:
    memory_free(cargo);
    return error;
}

static const struct carrier_cargo_operations operations = {.arrive = arrive, .drop = drop};

struct carrier_cargo *websocket_carrier_depart(struct carrier *carrier)
{
    struct websocket_carrier *self = CONTAINER_OF(carrier, struct websocket_carrier, base);
    if (self->failed)
        return NULL;
    size_t ahead = self->ahead.size;
    size_t out = self->out.bytes;
    struct websocket_cargo *cargo = memory_allocate(sizeof(*cargo) + ahead + out);
    if (cargo == NULL)
        return NULL;
    *cargo = (struct websocket_cargo){
        .base.operations = &operations,
        .decoder = self->decoder,
        .role = self->role,
        .pong_size = self->pong_size,
        .pong_due = self->pong_due,
        .ping_due = self->ping_due,
        .is_behind = self->is_behind,
        .ahead_size = ahead,
        .out_size = out,
    };
    cargo->conn = conn_depart(self->conn);
    if (cargo->conn == NULL) {
        memory_free(cargo);
        return NULL;
    }
    memcpy(cargo->pong, self->pong, self->pong_size);
    if (ahead > 0)
        memcpy(cargo->bytes, self->ahead.data, ahead);
    uint8_t *to = cargo->bytes + ahead;
    const struct slice *piece;
    while ((piece = slice_queue_first(&self->out)) != NULL) {
        size_t size = piece->size;
        memcpy(to, piece->data, size);
        to += size;
        slice_queue_skip(&self->out, size);
    }
    self->conn = NULL;
    websocket_carrier_bury(self);
    return &cargo->base;
}
