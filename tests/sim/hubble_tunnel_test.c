/* A tunnel of Hubble 0.1 in virtual time, with a carrier that only notes what it is told. */
#include "base/error.h"
#include "base/reason.h"
#include "codec/hubble.h"
#include "mux/hubble_mux.h"
#include "tunnel/hubble_tunnel.h"
#include "virtual_loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { SECOND = 1000 * 1000, PATIENCE = 60 };

struct world {
    struct trial trial;
    struct virtual_loop loop;
    struct account account;
    struct tunnel *tunnel;
    struct carrier carrier;
    struct message last; /* that was sent; its texts are gone */
    struct stream *stream;
    size_t got, unconsumed;
    unsigned sent, flushed, pings, pongs, welcomes, lost, resets, opens;
    int error, code;
    char why[200];
    char stream_why[200];
    bool is_reading, is_ready, is_closed, keeps, is_opened;
};

/* ---- the carrier ---- */

static struct world *world_of(const struct carrier *carrier)
{
    return CONTAINER_OF(carrier, struct world, carrier);
}

static void send_batch(struct carrier *carrier, struct slice_queue *batch)
{
    struct world *world = world_of(carrier);
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
    ((struct world *)stream->holder)->is_opened = true;
}

static void on_data(struct stream *stream, struct slice_queue *data)
{
    struct world *world = stream->holder;
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
    struct world *world = stream->holder;
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

static void hold(struct world *world, struct stream *stream)
{
    stream->events = &stream_events;
    stream->holder = world;
    world->stream = stream;
}

static void peer_opened(struct tunnel *tunnel, struct stream *stream,
                        const struct message_open *open)
{
    struct world *world = tunnel->holder;
    assert_true(open->host.size > 0);
    world->opens++;
    hold(world, stream);
    stream->operations->accept(stream);
}

static void welcomed(struct tunnel *tunnel, const struct message_welcome *welcome)
{
    ((struct world *)tunnel->holder)->welcomes += welcome->ok;
}

static void ponged(struct tunnel *tunnel)
{
    ((struct world *)tunnel->holder)->pongs++;
}

static void lost(struct tunnel *tunnel, int error, const char *why)
{
    struct world *world = tunnel->holder;
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

static void turn(struct world *world)
{
    virtual_loop_turn(&world->loop);
}

/* Lets time pass, with the turns that are due meanwhile. */
static void pass(struct world *world, uint64_t microseconds)
{
    uint64_t end = world->trial.now + microseconds;
    uint64_t next;
    while ((next = virtual_loop_next(&world->loop)) <= end) {
        world->trial.now = next;
        turn(world);
    }
    world->trial.now = end;
    turn(world);
}

static void prepare(struct world *world)
{
    memset(world, 0, sizeof(*world));
    world->trial.now = 1000 * (uint64_t)SECOND;
    account_init(&world->account, SIZE_MAX);
    virtual_loop_init(&world->loop, &world->trial, &world->account);
    world->carrier.operations = &carrier_operations;
    world->is_ready = true;
}

static void begin_gateway(struct world *world)
{
    prepare(world);
    assert_int_equal(
        hubble_tunnel_welcome(&owner, world, &world->loop.loop, &world->carrier, &world->tunnel),
        0);
    turn(world);
}

static void begin_agent(struct world *world)
{
    prepare(world);
    assert_int_equal(hubble_tunnel_register(&owner, world, &world->loop.loop, &world->carrier,
                                            "one", "key", &world->tunnel),
                     0);
    turn(world);
}

static void end(struct world *world)
{
    tunnel_close(world->tunnel, REASON_SHUTDOWN, "the test ends");
    turn(world);
    assert_null(world->stream);
    assert_true(world->is_closed);
    assert_int_equal(virtual_loop_deinit(&world->loop), 0);
    assert_int_equal(world->account.used, 0);
}

/* The peer's bytes arrive as one message. */
static void arrive(struct world *world, const uint8_t *bytes, size_t size)
{
    struct slice slice;
    assert_int_equal(slice_copy(&world->loop.loop.pool, bytes, size, &slice), 0);
    world->carrier.events->data(&world->carrier, slice);
    world->carrier.events->message_end(&world->carrier);
    world->carrier.events->read_end(&world->carrier);
    turn(world);
}

static void arrive_message(struct world *world, const struct message *message)
{
    uint8_t bytes[4096];
    int size = hubble_encode(message, bytes, sizeof(bytes));
    assert_true(size > 0);
    arrive(world, bytes, (size_t)size);
}

static void answer_handshake(struct world *world, bool ok, const char *text)
{
    struct message message = {.type = MESSAGE_ACK, .is_handshake_ack = true};
    message.welcome.ok = ok;
    message.welcome.message = text_of(text);
    message.welcome.code = ok ? 0 : REASON_UNREACHABLE;
    arrive_message(world, &message);
}

static void open_towards_us(struct world *world, const char *guid)
{
    struct message message = {.type = MESSAGE_OPEN, .guid = text_of(guid)};
    message.open = (struct message_open){.kind = text_of("tcp"),
                                         .agent = text_of("one"),
                                         .host = text_of("db.example"),
                                         .port = 80,
                                         .guid = text_of(guid)};
    arrive_message(world, &message);
}

static void data_arrives(struct world *world, const char *guid, int64_t order, uint32_t size)
{
    static uint8_t bytes[HUBBLE_CHUNK + 1024];
    uint8_t head[HUBBLE_MAX_DATA_HEAD], tail[HUBBLE_MAX_DATA_TAIL];
    assert_true(size <= HUBBLE_CHUNK);
    size_t before = hubble_encode_data_head(size, head);
    size_t behind = hubble_encode_data_tail(text_of(guid), order, tail);
    memcpy(bytes, head, before);
    memset(bytes + before, 'x', size);
    memcpy(bytes + before + size, tail, behind);
    arrive(world, bytes, before + size + behind);
}

static void open_ours(struct world *world)
{
    const struct message_open open = {
        .kind = text_of("tcp"), .agent = text_of("far"), .host = text_of("db.example"), .port = 80};
    struct stream *stream = NULL;
    assert_int_equal(tunnel_open(world->tunnel, &open, &stream), 0);
    hold(world, stream);
}

/* ---- the handshake ---- */

static void a_gateway_says_yes_and_reads(void **state)
{
    (void)state;
    struct world world;
    begin_gateway(&world);
    assert_int_equal(world.sent, 1);
    assert_int_equal(world.flushed, 1);
    assert_int_equal(world.last.type, MESSAGE_ACK);
    assert_true(world.last.is_handshake_ack && world.last.welcome.ok);
    assert_true(world.is_reading);
    open_ours(&world); /* at once */
    turn(&world);
    assert_int_equal(world.sent, 2);
    assert_int_equal(world.flushed, 2);
    assert_int_equal(world.last.type, MESSAGE_OPEN);
    end(&world);
}

static void an_agent_waits_for_the_yes(void **state)
{
    (void)state;
    struct world world;
    begin_agent(&world);
    assert_int_equal(world.sent, 1);
    assert_int_equal(world.last.type, MESSAGE_HANDSHAKE);
    assert_true(world.is_reading);
    open_ours(&world);
    turn(&world);
    assert_int_equal(world.sent, 1);
    answer_handshake(&world, true, "");
    assert_int_equal(world.welcomes, 1);
    assert_int_equal(world.lost, 0);
    world.carrier.events->ready(&world.carrier);
    turn(&world);
    assert_int_equal(world.sent, 2);
    assert_int_equal(world.last.type, MESSAGE_OPEN);
    open_towards_us(&world, "peer-one");
    assert_int_equal(world.opens, 1);
    end(&world);
}

static void a_refusal_loses_the_tunnel(void **state)
{
    (void)state;
    struct world world;
    begin_agent(&world);
    answer_handshake(&world, false, "not today");
    assert_int_equal(world.welcomes, 0);
    assert_int_equal(world.lost, 1);
    assert_int_equal(world.error, CULVERT_ERROR_REFUSED);
    assert_string_equal(world.why, "not today");
    assert_false(world.is_reading);
    end(&world);
}

static void an_agent_takes_nothing_before_the_yes(void **state)
{
    (void)state;
    struct world world;
    begin_agent(&world);
    open_towards_us(&world, "peer-one");
    assert_int_equal(world.opens, 0);
    assert_int_equal(world.error, CULVERT_ERROR_PROTOCOL);
    assert_string_equal(world.why, "the peer broke the protocol of Hubble 0.1");
    end(&world);
}

/* ---- messages ---- */

static void a_session_carries_data(void **state)
{
    (void)state;
    struct world world;
    begin_gateway(&world);
    open_towards_us(&world, "peer-one");
    assert_int_equal(world.opens, 1);
    assert_int_equal(world.last.type, MESSAGE_ACK);
    data_arrives(&world, "peer-one", 1, 1000);
    assert_int_equal(world.got, 1000);
    end(&world);
    assert_int_equal(world.resets, 1);
    assert_int_equal(world.code, REASON_SHUTDOWN);
}

static void what_is_no_message_cuts_the_connection(void **state)
{
    (void)state;
    struct world world;
    begin_gateway(&world);
    arrive(&world, (const uint8_t *)"\xc1", 1);
    assert_int_equal(world.lost, 1);
    assert_int_equal(world.error, CULVERT_ERROR_PROTOCOL);
    /* What comes behind it is dropped. */
    open_towards_us(&world, "peer-one");
    assert_int_equal(world.opens, 0);
    assert_int_equal(world.lost, 1);
    end(&world);
}

static void an_oversized_message_cuts_the_connection(void **state)
{
    (void)state;
    struct world world;
    static const uint8_t bytes[64 * 1024];
    begin_gateway(&world);
    for (int i = 0; i < 64 && world.lost == 0; i++) {
        struct slice slice;
        assert_int_equal(slice_copy(&world.loop.loop.pool, bytes, sizeof(bytes), &slice), 0);
        world.carrier.events->data(&world.carrier, slice);
        turn(&world);
    }
    assert_int_equal(world.lost, 1);
    assert_int_equal(world.error, CULVERT_ERROR_TOO_LARGE);
    assert_string_equal(world.why, "the peer sent an oversized message");
    end(&world);
}

static void an_open_with_a_text_that_is_too_long_is_refused_alone(void **state)
{
    (void)state;
    struct world world;
    begin_gateway(&world);
    open_towards_us(&world, "peer-one");
    uint8_t bytes[4096];
    struct message message = {.type = MESSAGE_OPEN, .guid = text_of("longhost")};
    message.open = (struct message_open){.kind = text_of("tcp"),
                                         .agent = text_of("one"),
                                         .host = text_of("HOST"),
                                         .port = 80,
                                         .guid = text_of("longhost")};
    int size = hubble_encode(&message, bytes, sizeof(bytes));
    assert_true(size > 0);
    /* Puts a raw 16 of 1,000 bytes in place of the host's raw. */
    uint8_t *host = memmem(bytes, (size_t)size, "\xa4HOST", 5);
    assert_non_null(host);
    size_t before = (size_t)(host - bytes);
    uint8_t whole[8192];
    memcpy(whole, bytes, before);
    memcpy(whole + before, "\xda\x03\xe8", 3);
    memset(whole + before + 3, 'h', 1000);
    memcpy(whole + before + 1003, host + 5, (size_t)size - before - 5);
    unsigned sent = world.sent;
    arrive(&world, whole, (size_t)size + 998);
    assert_int_equal(world.opens, 1);
    assert_int_equal(world.lost, 0);
    assert_int_equal(world.sent, sent + 1);
    assert_int_equal(world.last.type, MESSAGE_ACK);
    assert_false(world.last.ack.ok);
    data_arrives(&world, "peer-one", 1, 10);
    assert_int_equal(world.got, 10);
    end(&world);
}

/* ---- signs of life ---- */

static void a_silent_peer_is_pinged_and_then_lost(void **state)
{
    (void)state;
    struct world world;
    begin_gateway(&world);
    pass(&world, TUNNEL_KEEPALIVE * (uint64_t)SECOND - 2000);
    assert_int_equal(world.pings, 0);
    pass(&world, 4000);
    assert_int_equal(world.pings, 1);
    pass(&world, (PATIENCE - TUNNEL_KEEPALIVE) * (uint64_t)SECOND - 4000);
    assert_int_equal(world.pings, 1);
    assert_int_equal(world.lost, 0);
    pass(&world, 4000);
    assert_int_equal(world.lost, 1);
    assert_int_equal(world.error, CULVERT_ERROR_TIMED_OUT);
    assert_string_equal(world.why, "the peer was silent for 60 s");
    pass(&world, 1000 * (uint64_t)SECOND);
    assert_int_equal(world.lost, 1);
    assert_int_equal(world.pings, 1);
    end(&world);
}

static void a_peer_that_is_heard_lives(void **state)
{
    (void)state;
    struct world world;
    begin_gateway(&world);
    for (unsigned i = 1; i <= 10; i++) {
        pass(&world, (TUNNEL_KEEPALIVE + 1) * (uint64_t)SECOND);
        assert_int_equal(world.pings, i);
        world.carrier.events->ponged(&world.carrier);
        world.carrier.events->read_end(&world.carrier);
        turn(&world);
        assert_int_equal(world.pongs, i);
    }
    assert_int_equal(world.lost, 0);
    world.carrier.events->ponged(&world.carrier); /* nobody asked */
    assert_int_equal(world.pongs, 10);
    end(&world);
}

static void one_ping_is_under_way(void **state)
{
    (void)state;
    struct world world;
    begin_gateway(&world);
    tunnel_ping(world.tunnel);
    tunnel_ping(world.tunnel);
    assert_int_equal(world.pings, 1);
    world.carrier.events->ponged(&world.carrier);
    assert_int_equal(world.pongs, 1);
    tunnel_ping(world.tunnel);
    assert_int_equal(world.pings, 2);
    end(&world);
}

static void a_peer_that_is_not_read_is_not_lost(void **state)
{
    (void)state;
    struct world world;
    begin_gateway(&world);
    open_towards_us(&world, "peer-one");
    world.keeps = true;
    int64_t order = 0;
    while (world.is_reading) {
        data_arrives(&world, "peer-one", ++order, HUBBLE_CHUNK);
        assert_true(world.got <= 2 * HUBBLE_STREAM_WINDOW);
    }
    assert_true(world.unconsumed >= HUBBLE_STREAM_WINDOW);
    pass(&world, 10 * PATIENCE * (uint64_t)SECOND);
    assert_int_equal(world.lost, 0);
    assert_int_equal(world.pings, 0);
    assert_non_null(world.stream);
    world.stream->operations->consumed(world.stream, world.unconsumed);
    turn(&world);
    assert_true(world.is_reading);
    /* From now on it has its time again. */
    pass(&world, (PATIENCE - 1) * (uint64_t)SECOND);
    assert_int_equal(world.lost, 0);
    assert_int_equal(world.pings, 1);
    pass(&world, 2 * (uint64_t)SECOND);
    assert_int_equal(world.lost, 1);
    end(&world);
}

/* ---- the end ---- */

static void a_lost_carrier_loses_the_tunnel_once(void **state)
{
    (void)state;
    struct world world;
    begin_gateway(&world);
    world.carrier.events->lost(&world.carrier, CULVERT_ERROR_CLOSED, "the line was cut");
    world.carrier.events->lost(&world.carrier, CULVERT_ERROR_TIMED_OUT, "and again");
    assert_int_equal(world.lost, 0); /* not from inside */
    assert_true(tunnel_is_drained(world.tunnel));
    turn(&world);
    assert_int_equal(world.lost, 1);
    assert_int_equal(world.error, CULVERT_ERROR_CLOSED);
    assert_string_equal(world.why, "the line was cut");
    assert_true(tunnel_is_drained(world.tunnel));
    tunnel_ping(world.tunnel); /* there is nobody */
    assert_int_equal(world.pings, 0);
    end(&world);
}

static void a_carrier_that_takes_nothing_holds_messages_back(void **state)
{
    (void)state;
    struct world world;
    begin_gateway(&world);
    assert_true(tunnel_is_drained(world.tunnel));
    world.is_ready = false;
    assert_false(tunnel_is_drained(world.tunnel));
    open_ours(&world);
    turn(&world);
    assert_int_equal(world.sent, 1);
    world.is_ready = true;
    assert_false(tunnel_is_drained(world.tunnel));
    world.carrier.events->ready(&world.carrier);
    turn(&world);
    assert_int_equal(world.sent, 2);
    assert_true(tunnel_is_drained(world.tunnel));
    end(&world);
}

static void the_largest_stream_can_be_ended(void **state)
{
    (void)state;
    struct world world;
    begin_gateway(&world);
    tunnel_end_largest(world.tunnel, REASON_NO_MEMORY, "there is none");
    turn(&world);
    assert_int_equal(world.resets, 0);
    open_towards_us(&world, "peer-one");
    world.is_ready = false;
    struct slice slice;
    struct slice_queue queue = SLICE_QUEUE_NULL;
    static const uint8_t bytes[1000];
    assert_int_equal(slice_copy(&world.loop.loop.pool, bytes, sizeof(bytes), &slice), 0);
    assert_int_equal(slice_queue_push(&queue, slice), 0);
    world.stream->operations->write(world.stream, &queue);
    slice_queue_deinit(&queue);
    struct tunnel_holding holding = {0};
    world.tunnel->operations->measure(world.tunnel, world.trial.now, &holding);
    assert_int_equal(holding.bytes, sizeof(bytes));
    assert_int_equal(tunnel_largest(world.tunnel), sizeof(bytes));
    tunnel_end_largest(world.tunnel, REASON_NO_MEMORY, "memory ran out");
    turn(&world);
    assert_int_equal(world.resets, 1);
    assert_int_equal(world.code, REASON_NO_MEMORY);
    assert_string_equal(world.stream_why, "memory ran out");
    assert_int_equal(tunnel_largest(world.tunnel), 0);
    end(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_gateway_says_yes_and_reads),
        cmocka_unit_test(an_agent_waits_for_the_yes),
        cmocka_unit_test(a_refusal_loses_the_tunnel),
        cmocka_unit_test(an_agent_takes_nothing_before_the_yes),
        cmocka_unit_test(a_session_carries_data),
        cmocka_unit_test(what_is_no_message_cuts_the_connection),
        cmocka_unit_test(an_oversized_message_cuts_the_connection),
        cmocka_unit_test(an_open_with_a_text_that_is_too_long_is_refused_alone),
        cmocka_unit_test(a_silent_peer_is_pinged_and_then_lost),
        cmocka_unit_test(a_peer_that_is_heard_lives),
        cmocka_unit_test(one_ping_is_under_way),
        cmocka_unit_test(a_peer_that_is_not_read_is_not_lost),
        cmocka_unit_test(a_lost_carrier_loses_the_tunnel_once),
        cmocka_unit_test(a_carrier_that_takes_nothing_holds_messages_back),
        cmocka_unit_test(the_largest_stream_can_be_ended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
