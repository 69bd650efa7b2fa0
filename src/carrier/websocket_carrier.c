#include "carrier/websocket_carrier_inner.h"

#include "base/error.h"
#include "base/memory.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/random.h>

enum {
    VECTORS = 64,
    SMALL_FRAME = 2048, /* fits a small chunk with its header */
};

static const struct conn_events conn_handlers;

static struct websocket_carrier *from_base(const struct carrier *carrier)
{
    return CONTAINER_OF(carrier, struct websocket_carrier, base);
}

static void lost(struct websocket_carrier *self, int error, const char *why)
{
    if (self->closed || self->failed)
        return;
    self->failed = true;
    conn_want(self->conn, 0);
    self->base.events->lost(&self->base, error, why);
}

/* ---- sending ---- */

/* RFC 6455 §10.3: an unpredictable key a frame; the pool spares a system call for each. */
static void next_mask(struct websocket_carrier *self, uint8_t mask[4])
{
    if (conn_is_secure(self->conn)) {
        memset(mask, 0, 4);
        return;
    }
    if (self->random_used == 0 || (size_t)self->random_used + 4 > sizeof(self->random) - 4) {
        while (getrandom(self->random, sizeof(self->random), 0) != (ssize_t)sizeof(self->random))
            continue;
        self->random_used = 4;
    }
    memcpy(mask, self->random + self->random_used, 4);
    self->random_used = (uint8_t)(self->random_used + 4);
}

static bool is_ready(const struct carrier *carrier);

static int push_header(struct websocket_carrier *self, enum websocket_opcode opcode, size_t payload,
                       const uint8_t *mask)
{
    uint8_t *room = slice_arena_reserve(&self->arena, WEBSOCKET_MAX_HEADER);
    if (room == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    size_t size = websocket_encode_header(room, opcode, true, payload, mask);
    return slice_queue_push(&self->out, slice_arena_commit(&self->arena, size));
}

/* Room for at least a header and a byte, in the chunk that the frames before it are in, if it fits.
 * `size` is the whole frame's. */
static int find_masked_room(struct websocket_carrier *self, size_t size)
{
    struct chunk *chunk = self->masked;
    if (chunk != NULL && chunk->size - self->masked_used > WEBSOCKET_MAX_HEADER)
        return 0;
    if (chunk != NULL)
        chunk_unref(chunk);
    self->masked =
        chunk_pool_get(&self->loop->pool, size <= SMALL_FRAME ? CHUNK_SMALL : CHUNK_LARGE);
    self->masked_used = 0;
    return self->masked != NULL ? 0 : CULVERT_ERROR_NO_MEMORY;
}

/* Masks what fits of the batch into the chunk; `offset` is the place within the payload. */
static void mask_some(struct websocket_carrier *self, struct slice_queue *batch,
                      const uint8_t mask[4], size_t *offset)
{
    struct chunk *chunk = self->masked;
    struct slice *piece;
    while (self->masked_used < chunk->size && (piece = slice_queue_first(batch)) != NULL) {
        size_t room = chunk->size - self->masked_used;
        size_t size = piece->size < room ? piece->size : room;
        websocket_mask(chunk->data + self->masked_used, piece->data, size, mask, *offset);
        *offset += size;
        self->masked_used += size;
        slice_queue_skip(batch, size);
    }
}

/* A plain client's frame is masked into chunks of its own: the slices may be kept for replay. */
static int push_masked(struct websocket_carrier *self, enum websocket_opcode opcode,
                       struct slice_queue *batch, const uint8_t mask[4])
{
    uint8_t header[WEBSOCKET_MAX_HEADER];
    size_t header_size = websocket_encode_header(header, opcode, true, batch->bytes, mask);
    size_t offset = 0;
    int error = 0;
    do {
        error = find_masked_room(self, header_size + batch->bytes);
        if (error != 0)
            return error;
        struct chunk *chunk = self->masked;
        size_t start = self->masked_used;
        memcpy(chunk->data + start, header, header_size);
        self->masked_used += header_size;
        header_size = 0;
        mask_some(self, batch, mask, &offset);
        chunk_ref(chunk);
        error = slice_queue_push(
            &self->out, (struct slice){chunk, chunk->data + start, self->masked_used - start});
    } while (error == 0 && batch->bytes > 0);
    return error;
}

static void rest(struct websocket_carrier *self)
{
    slice_arena_rest(&self->arena);
    if (self->masked != NULL)
        chunk_unref(self->masked);
    self->masked = NULL;
}

static int push_frame(struct websocket_carrier *self, enum websocket_opcode opcode,
                      struct slice_queue *batch)
{
    if (self->role == WEBSOCKET_SERVER) {
        int error = push_header(self, opcode, batch->bytes, NULL);
        return error != 0 ? error : slice_queue_append(&self->out, batch);
    }
    uint8_t mask[4];
    next_mask(self, mask);
    if (!conn_is_secure(self->conn))
        return push_masked(self, opcode, batch, mask);
    int error = push_header(self, opcode, batch->bytes, mask);
    return error != 0 ? error : slice_queue_append(&self->out, batch);
}

static int push_control(struct websocket_carrier *self, enum websocket_opcode opcode,
                        const uint8_t *payload, size_t size)
{
    struct slice_queue frame = SLICE_QUEUE_NULL;
    struct slice slice = SLICE_NULL;
    int error = size == 0 ? 0 : slice_copy(&self->loop->pool, payload, size, &slice);
    if (error == 0)
        error = slice_queue_push(&frame, slice);
    if (error == 0)
        error = push_frame(self, opcode, &frame);
    slice_queue_deinit(&frame);
    return error;
}

static void limit_unsent(struct websocket_carrier *self)
{
    size_t limit = pace_unsent(&self->pace);
    if (limit == self->unsent_limit)
        return;
    self->unsent_limit = limit;
    conn_limit_unsent(conn_descriptor(self->conn), (int)limit);
}

/* The socket takes no more: what it took since the last time has left. */
static void keep_pace(struct websocket_carrier *self)
{
    if (pace_is_full(&self->pace, loop_now(self->loop)) && !conn_is_starting(self->conn))
        pace_settle(&self->pace);
    limit_unsent(self);
}

/* Writes until all has left or the socket takes no more. Returns 0, -EAGAIN, or an error. */
static int write_out(struct websocket_carrier *self)
{
    while (self->out.bytes > 0) {
        struct iovec vectors[VECTORS];
        int count = slice_queue_vectors(&self->out, vectors, VECTORS);
        ssize_t written = conn_write(self->conn, vectors, count);
        if (written < 0)
            return (int)written;
        slice_queue_skip(&self->out, (size_t)written);
        pace_wrote(&self->pace, (size_t)written, loop_now(self->loop));
    }
    return 0;
}

/* Pings and pongs wait until no frame is under way, so one of each bounds them. */
static int push_due(struct websocket_carrier *self)
{
    int error = 0;
    if (self->pong_due)
        error = push_control(self, WEBSOCKET_PONG, self->pong, self->pong_size);
    self->pong_due = false;
    if (error == 0 && self->ping_due)
        error = push_control(self, WEBSOCKET_PING, NULL, 0);
    self->ping_due = false;
    return error;
}

static void write_on(struct websocket_carrier *self)
{
    int error = write_out(self);
    if (error == 0 && (self->pong_due || self->ping_due)) {
        error = push_due(self);
        if (error == 0)
            error = write_out(self);
    }
    bool is_short = error == -EAGAIN;
    if (is_short || !conn_is_drained(self->conn))
        keep_pace(self);
    if (is_short != self->out_was_short) {
        self->out_was_short = is_short;
        unsigned interest = self->reading ? CONN_READ : 0;
        conn_want(self->conn, interest | (is_short ? CONN_WRITE : 0));
    }
    if (error == 0)
        rest(self);
    else if (!is_short)
        lost(self, error, "the connection was cut while writing");
}

static bool settle(struct parking *parking, struct chunk_pool *pool)
{
    struct websocket_carrier *self = CONTAINER_OF(parking, struct websocket_carrier, parking);
    bool is_unsettled = slice_queue_settle(&self->out, pool);
    return slice_settle(&self->ahead, pool) != 0 || is_unsettled;
}

static void send_batch(struct carrier *carrier, struct slice_queue *batch)
{
    struct websocket_carrier *self = from_base(carrier);
    int error = push_frame(self, WEBSOCKET_BINARY, batch);
    parking_enter(&self->parking, &self->loop->pool);
    if (error != 0)
        lost(self, error, "out of memory");
}

static void flush(struct carrier *carrier)
{
    struct websocket_carrier *self = from_base(carrier);
    if (self->failed || self->closed)
        return;
    write_on(self);
}

static void ping(struct carrier *carrier)
{
    struct websocket_carrier *self = from_base(carrier);
    self->ping_due = true;
    if (is_ready(carrier))
        write_on(self);
}

static bool is_ready(const struct carrier *carrier)
{
    const struct websocket_carrier *self = from_base(carrier);
    return self->out.bytes == 0 && !self->failed && !self->closed;
}

static size_t batch_limit(const struct carrier *carrier)
{
    return from_base(carrier)->pace.batch;
}

static bool is_long(const struct carrier *carrier, uint64_t round_trip)
{
    return pace_is_long(&from_base(carrier)->pace, round_trip);
}

static uint64_t unacknowledged(const struct carrier *carrier)
{
    return conn_unacknowledged(from_base(carrier)->conn);
}

static void on_writable(struct conn *conn)
{
    struct websocket_carrier *self = conn_holder(conn);
    write_on(self);
    if (is_ready(&self->base))
        self->base.events->ready(&self->base);
}

/* ---- receiving ---- */

static void answer_control(struct websocket_carrier *self, const struct websocket_event *event)
{
    switch (event->opcode) {
    case WEBSOCKET_PING:
        /* §5.5.3: only the most recent ping needs an answer, so one buffer bounds it. */
        memcpy(self->pong, event->data, event->size);
        self->pong_size = (uint8_t)event->size;
        self->pong_due = true;
        if (self->out.bytes == 0)
            write_on(self);
        break;
    case WEBSOCKET_PONG:
        if (self->base.events->ponged != NULL)
            self->base.events->ponged(&self->base);
        break;
    case WEBSOCKET_CLOSE: {
        char why[WEBSOCKET_MAX_CONTROL + 32] = "the peer closed the WebSocket";
        /* §5.5.1: a close is answered with one of the same code. */
        if (self->out.bytes == 0 &&
            push_control(self, WEBSOCKET_CLOSE, event->data, event->size < 2 ? 0 : 2) == 0)
            (void)write_out(self); /* the peer closes either way */
        if (event->size > 2) {
            size_t used = strlen(why);
            memcpy(why + used, ": ", 2);
            memcpy(why + used + 2, event->data + 2, event->size - 2);
            why[used + event->size] = 0;
        }
        lost(self, CULVERT_ERROR_CLOSED, why);
        break;
    }
    default:
        break;
    }
}

static void tell(struct websocket_carrier *self, const struct websocket_event *event,
                 struct slice *taken)
{
    struct carrier *carrier = &self->base;
    switch (event->type) {
    case WEBSOCKET_EVENT_PAYLOAD: {
        if (event->opcode != WEBSOCKET_BINARY) {
            lost(self, CULVERT_ERROR_PROTOCOL, "the peer sent a text frame");
            break;
        }
        struct slice header = slice_split(taken, (size_t)(event->data - taken->data));
        slice_drop(&header);
        struct slice piece = slice_split(taken, event->size);
        carrier->events->data(carrier, piece);
        break;
    }
    case WEBSOCKET_EVENT_MESSAGE_END:
        carrier->events->message_end(carrier);
        break;
    case WEBSOCKET_EVENT_CONTROL:
        answer_control(self, event);
        break;
    case WEBSOCKET_EVENT_NONE:
        break;
    }
}

/* Decodes the input until it is used up, or the holder wants no more of it: then the rest waits.
 * While the holder is told something, the rest lies where a departure finds it. */
static void take_input(struct websocket_carrier *self, struct slice input)
{
    struct websocket_event event;
    do {
        size_t used = 0;
        /* The bytes are this carrier's alone, so they are unmasked where they lie. */
        int error =
            websocket_decode(&self->decoder, (uint8_t *)input.data, input.size, &used, &event);
        if (error != 0) {
            lost(self, error,
                 error == CULVERT_ERROR_TOO_LARGE ? "the peer sent an oversized WebSocket message"
                                                  : "the peer broke the WebSocket protocol");
            break;
        }
        struct slice taken = slice_split(&input, used);
        self->ahead = input;
        self->is_behind = true;
        tell(self, &event, &taken);
        slice_drop(&taken);
        if (self->closed || (!self->reading && !self->failed)) {
            parking_enter(&self->parking, &self->loop->pool);
            return;
        }
        input = self->ahead;
        self->ahead = SLICE_NULL;
        self->is_behind = false;
    } while (!self->failed && (event.type != WEBSOCKET_EVENT_NONE || input.size > 0));
    slice_drop(&input);
}

static void tell_read_end(struct websocket_carrier *self)
{
    if (!self->closed && !self->failed)
        self->base.events->read_end(&self->base);
}

/* What was read before, and not told yet. */
static void take_ahead(struct websocket_carrier *self)
{
    struct slice ahead = self->ahead;
    self->ahead = SLICE_NULL;
    self->is_behind = false;
    take_input(self, ahead);
    tell_read_end(self);
}

static void tell_ahead(struct loop_task *task)
{
    struct websocket_carrier *self = CONTAINER_OF(task, struct websocket_carrier, task);
    if (self->is_behind && self->reading && !self->failed)
        take_ahead(self);
}

static void on_readable(struct conn *conn)
{
    struct websocket_carrier *self = conn_holder(conn);
    if (self->is_behind)
        return; /* its task is on its way */
    size_t room = 0;
    uint8_t *space = loop_read_space(self->loop, &room);
    if (space == NULL) {
        lost(self, CULVERT_ERROR_NO_MEMORY, "out of memory");
        return;
    }
    ssize_t got = conn_read(conn, space, room);
    if (got == -EAGAIN)
        return;
    if (got <= 0) {
        lost(self, got == 0 ? CULVERT_ERROR_CLOSED : (int)got,
             got == 0 ? "the peer closed the connection" : error_text((int)got));
        return;
    }
    take_input(self, loop_read_commit(self->loop, (size_t)got));
    tell_read_end(self);
}

static void read_on(struct carrier *carrier, bool on)
{
    struct websocket_carrier *self = from_base(carrier);
    self->reading = on;
    unsigned interest = self->out_was_short ? CONN_WRITE : 0;
    conn_want(self->conn, interest | (on ? CONN_READ : 0));
    if (on && self->is_behind)
        loop_defer(self->loop, &self->task);
}

/* ---- life ---- */

static void bury(struct loop_task *task)
{
    struct websocket_carrier *self = CONTAINER_OF(task, struct websocket_carrier, task);
    parking_leave(&self->parking);
    slice_queue_deinit(&self->out);
    slice_arena_deinit(&self->arena);
    if (self->masked != NULL)
        chunk_unref(self->masked);
    slice_drop(&self->ahead);
    memory_free(self);
}

void websocket_carrier_bury(struct websocket_carrier *self)
{
    self->closed = true;
    loop_task_cancel(&self->task);
    self->task.run = bury;
    loop_bury(self->loop, &self->task);
}

/* RFC 6455 §7.4.1 */
static uint16_t close_code(int error)
{
    switch (error) {
    case 0:
        return 1000;
    case CULVERT_ERROR_PROTOCOL:
        return 1002;
    case CULVERT_ERROR_TOO_LARGE:
        return 1009;
    case CULVERT_ERROR_REFUSED:
    case CULVERT_ERROR_LIMIT:
        return 1008;
    default:
        return 1011;
    }
}

static void close_carrier(struct carrier *carrier, int error, const char *reason)
{
    struct websocket_carrier *self = from_base(carrier);
    if (self->closed)
        return;
    self->closed = true;
    bool peer_is_there = error != CULVERT_ERROR_CLOSED && !error_is_system(error);
    if (peer_is_there && self->out.bytes == 0) {
        uint8_t payload[WEBSOCKET_MAX_CONTROL];
        uint16_t code = close_code(error);
        payload[0] = (uint8_t)(code >> 8);
        payload[1] = (uint8_t)code;
        size_t size = reason == NULL ? 0 : strnlen(reason, sizeof(payload) - 2);
        if (size > 0)
            memcpy(payload + 2, reason, size);
        if (push_control(self, WEBSOCKET_CLOSE, payload, size + 2) == 0)
            (void)write_out(self); /* the peer learns of the end either way */
    }
    conn_close(self->conn, false);
    websocket_carrier_bury(self);
}

static const struct carrier_operations operations = {
    .send = send_batch,
    .flush = flush,
    .is_ready = is_ready,
    .batch_limit = batch_limit,
    .is_long = is_long,
    .unacknowledged = unacknowledged,
    .ping = ping,
    .read = read_on,
    .depart = websocket_carrier_depart,
    .close = close_carrier,
};

static const struct conn_events conn_handlers = {
    .readable = on_readable,
    .writable = on_writable,
};

int websocket_carrier_new(struct conn *conn, enum websocket_role role, const uint8_t *ahead,
                          size_t ahead_size, struct carrier **carrier)
{
    struct websocket_carrier *self = memory_allocate_zero(sizeof(*self));
    if (self == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    self->base.operations = &operations;
    self->conn = conn;
    self->loop = conn_loop(conn);
    self->parking.settle = settle;
    self->role = role;
    pace_init(&self->pace);
    self->reading = true;
    self->task.run = tell_ahead;
    slice_arena_init(&self->arena, &self->loop->pool);
    websocket_decoder_init(&self->decoder, role, WEBSOCKET_CARRIER_MAX_MESSAGE);
    if (ahead_size > 0) {
        int error = slice_copy(&self->loop->pool, ahead, ahead_size, &self->ahead);
        if (error != 0) {
            memory_free(self);
            return error;
        }
        self->is_behind = true;
        loop_defer(self->loop, &self->task);
    }
    limit_unsent(self);
    conn_set_owner(conn, &conn_handlers, self);
    conn_want(conn, CONN_READ);
    *carrier = &self->base;
    return 0;
}

struct conn *websocket_carrier_conn(struct carrier *carrier)
{
    return from_base(carrier)->conn;
}
