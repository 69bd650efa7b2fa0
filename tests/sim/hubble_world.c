#include "hubble_world.h"

#include "base/error.h"
#include "base/reason.h"
#include "mux/hubble_mux.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* ---- the carrier ---- */

static struct hubble_world *world_of(const struct carrier *carrier)
{
    return CONTAINER_OF(carrier, struct hubble_world, carrier);
}

static void send_batch(struct carrier *carrier, struct slice_queue *batch)
{
    struct hubble_world *world = world_of(carrier);
    uint8_t bytes[4096];
    size_t size = 0;
    struct hubble_payload payload;
    struct slice *slice;
    assert_true(world->is_ready);
    while ((slice = slice_queue_first(batch)) != NULL) {
        size_t part = slice->size < sizeof(bytes) - size ? slice->size : sizeof(bytes) - size;
        memcpy(bytes + size, slice->data, part);
        size += part;
        slice_queue_skip(batch, slice->size);
    }
    world->sent++;
    (void)hubble_decode(bytes, size, &world->last, &payload);
}

static void flush_batch(struct carrier *carrier)
{
    world_of(carrier)->flushed = world_of(carrier)->sent;
}

static bool is_ready(const struct carrier *carrier)
{
    return world_of(carrier)->is_ready;
}

static size_t batch_limit(const struct carrier *carrier)
{
    (void)carrier;
    return 1;
}

static void send_ping(struct carrier *carrier)
{
    world_of(carrier)->pings++;
}

static void read_on(struct carrier *carrier, bool on)
{
    world_of(carrier)->is_reading = on;
}

static void close_it(struct carrier *carrier, int error, const char *reason)
{
    (void)error;
    (void)reason;
    assert_false(world_of(carrier)->is_closed);
    world_of(carrier)->is_closed = true;
}

static const struct carrier_operations carrier_operations = {
    .send = send_batch,
    .flush = flush_batch,
    .is_ready = is_ready,
    .batch_limit = batch_limit,
    .ping = send_ping,
    .read = read_on,
    .close = close_it,
};

/* ---- the tunnel's owner, and the holder of its one stream ---- */

static void on_opened(struct stream *stream)
{
    ((struct hubble_world *)stream->holder)->is_opened = true;
}

static void on_data(struct stream *stream, struct slice_queue *data)
{
    struct hubble_world *world = stream->holder;
    size_t bytes = data->bytes;
    world->got += bytes;
    slice_queue_clear(data);
    if (world->keeps)
        world->unconsumed += bytes;
    else
        stream->operations->consumed(stream, bytes);
}

static void on_fin(struct stream *stream)
{
    (void)stream;
}

static void on_reset(struct stream *stream, int code, const char *reason)
{
    struct hubble_world *world = stream->holder;
    world->resets++;
    world->code = code;
    snprintf(world->stream_why, sizeof(world->stream_why), "%s", reason != NULL ? reason : "");
    stream->operations->close(stream);
    world->stream = NULL;
}

static void on_written(struct stream *stream, size_t bytes)
{
    (void)stream;
    (void)bytes;
}

static const struct stream_events stream_events = {
    .opened = on_opened,
    .data = on_data,
    .fin = on_fin,
    .reset = on_reset,
    .written = on_written,
    .finished = on_fin,
};

static void hold(struct hubble_world *world, struct stream *stream)
{
    stream->events = &stream_events;
    stream->holder = world;
    world->stream = stream;
}

static void peer_opened(struct tunnel *tunnel, struct stream *stream,
                        const struct message_open *open)
{
    struct hubble_world *world = tunnel->holder;
    assert_true(open->host.size > 0);
    world->opens++;
    hold(world, stream);
    stream->operations->accept(stream);
}

static void welcomed(struct tunnel *tunnel, const struct message_welcome *welcome)
{
    ((struct hubble_world *)tunnel->holder)->welcomes += welcome->ok;
}

static void ponged(struct tunnel *tunnel)
{
    ((struct hubble_world *)tunnel->holder)->pongs++;
}

static void lost(struct tunnel *tunnel, int error, const char *why)
{
    struct hubble_world *world = tunnel->holder;
    assert_true(world->is_closed);
    world->lost++;
    world->error = error;
    snprintf(world->why, sizeof(world->why), "%s", why);
}

static const struct tunnel_owner owner = {
    .peer_opened = peer_opened,
    .welcomed = welcomed,
    .ponged = ponged,
    .lost = lost,
};

/* ---- the world ---- */

void hubble_world_turn(struct hubble_world *world)
{
    virtual_loop_turn(&world->loop);
}

/* Lets time pass, with the turns that are due meanwhile. */
void hubble_world_pass(struct hubble_world *world, uint64_t microseconds)
{
    uint64_t end = world->trial.now + microseconds;
    uint64_t next;
    while ((next = virtual_loop_next(&world->loop)) <= end) {
        world->trial.now = next;
        hubble_world_turn(world);
    }
    world->trial.now = end;
    hubble_world_turn(world);
}

static void prepare(struct hubble_world *world)
{
    memset(world, 0, sizeof(*world));
    world->trial.now = 1000 * (uint64_t)SECOND;
    account_init(&world->account, SIZE_MAX);
    virtual_loop_init(&world->loop, &world->trial, &world->account);
    world->carrier.operations = &carrier_operations;
    world->is_ready = true;
}

void hubble_world_gateway(struct hubble_world *world)
{
    prepare(world);
    assert_int_equal(
        hubble_tunnel_welcome(&owner, world, &world->loop.loop, &world->carrier, &world->tunnel),
        0);
    hubble_world_turn(world);
}

void hubble_world_agent(struct hubble_world *world)
{
    prepare(world);
    assert_int_equal(hubble_tunnel_register(&owner, world, &world->loop.loop, &world->carrier,
                                            "one", "key", &world->tunnel),
                     0);
    hubble_world_turn(world);
}

void hubble_world_end(struct hubble_world *world)
{
    tunnel_close(world->tunnel, REASON_SHUTDOWN, "the test ends");
    hubble_world_turn(world);
    assert_null(world->stream);
    assert_true(world->is_closed);
    assert_int_equal(virtual_loop_deinit(&world->loop), 0);
    assert_int_equal(world->account.used, 0);
}

/* The peer's bytes arrive as one message. */
void hubble_world_arrive(struct hubble_world *world, const uint8_t *bytes, size_t size)
{
    struct slice slice;
    assert_int_equal(slice_copy(&world->loop.loop.pool, bytes, size, &slice), 0);
    world->carrier.events->data(&world->carrier, slice);
    world->carrier.events->message_end(&world->carrier);
    world->carrier.events->read_end(&world->carrier);
    hubble_world_turn(world);
}

void hubble_world_arrive_message(struct hubble_world *world, const struct message *message)
{
    uint8_t bytes[4096];
    int size = hubble_encode(message, bytes, sizeof(bytes));
    assert_true(size > 0);
    hubble_world_arrive(world, bytes, (size_t)size);
}

void hubble_world_answer(struct hubble_world *world, bool ok, const char *text)
{
    struct message message = {.type = MESSAGE_ACK, .is_handshake_ack = true};
    message.welcome.ok = ok;
    message.welcome.message = text_of(text);
    message.welcome.code = ok ? 0 : REASON_UNREACHABLE;
    hubble_world_arrive_message(world, &message);
}

void hubble_world_peer_opens(struct hubble_world *world, const char *guid)
{
    struct message message = {.type = MESSAGE_OPEN, .guid = text_of(guid)};
    message.open = (struct message_open){.kind = text_of("tcp"),
                                         .agent = text_of("one"),
                                         .host = text_of("db.example"),
                                         .port = 80,
                                         .guid = text_of(guid)};
    hubble_world_arrive_message(world, &message);
}

void hubble_world_peer_sends(struct hubble_world *world, const char *guid, int64_t order,
                             uint32_t size)
{
    static uint8_t bytes[HUBBLE_CHUNK + 1024];
    uint8_t head[HUBBLE_MAX_DATA_HEAD], tail[HUBBLE_MAX_DATA_TAIL];
    assert_true(size <= HUBBLE_CHUNK);
    size_t before = hubble_encode_data_head(size, head);
    size_t behind = hubble_encode_data_tail(text_of(guid), order, tail);
    memcpy(bytes, head, before);
    memset(bytes + before, 'x', size);
    memcpy(bytes + before + size, tail, behind);
    hubble_world_arrive(world, bytes, before + size + behind);
}

void hubble_world_open(struct hubble_world *world)
{
    hubble_world_open_as(world, "");
}

void hubble_world_open_as(struct hubble_world *world, const char *guid)
{
    const struct message_open open = {.guid = text_of(guid),
                                      .kind = text_of("tcp"),
                                      .agent = text_of("far"),
                                      .host = text_of("db.example"),
                                      .port = 80};
    struct stream *stream = NULL;
    assert_int_equal(tunnel_open(world->tunnel, &open, &stream), 0);
    hold(world, stream);
}
