/* A tunnel of Hubble 0.1 in virtual time. */
#include "base/error.h"
#include "base/reason.h"
#include "hubble_world.h"
#include "mux/hubble_mux.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { PATIENCE = 60 }; /* seconds */

/* ---- the handshake ---- */

static void a_gateway_says_yes_and_reads(void **state)
{
    (void)state;
    struct hubble_world world;
    hubble_world_gateway(&world);
    assert_int_equal(world.sent, 1);
    assert_int_equal(world.flushed, 1);
    assert_int_equal(world.last.type, MESSAGE_ACK);
    assert_true(world.last.is_handshake_ack && world.last.welcome.ok);
    assert_true(world.is_reading);
    hubble_world_open(&world); /* at once */
    hubble_world_turn(&world);
    assert_int_equal(world.sent, 2);
    assert_int_equal(world.flushed, 2);
    assert_int_equal(world.last.type, MESSAGE_OPEN);
    hubble_world_end(&world);
}

static void an_agent_waits_for_the_yes(void **state)
{
    (void)state;
    struct hubble_world world;
    hubble_world_agent(&world);
    assert_int_equal(world.sent, 1);
    assert_int_equal(world.last.type, MESSAGE_HANDSHAKE);
    assert_true(world.is_reading);
    hubble_world_open(&world);
    hubble_world_turn(&world);
    assert_int_equal(world.sent, 1);
    hubble_world_answer(&world, true, "");
    assert_int_equal(world.welcomes, 1);
    assert_int_equal(world.lost, 0);
    world.carrier.events->ready(&world.carrier);
    hubble_world_turn(&world);
    assert_int_equal(world.sent, 2);
    assert_int_equal(world.last.type, MESSAGE_OPEN);
    hubble_world_peer_opens(&world, "peer-one");
    assert_int_equal(world.opens, 1);
    hubble_world_end(&world);
}

static void a_refusal_loses_the_tunnel(void **state)
{
    (void)state;
    struct hubble_world world;
    hubble_world_agent(&world);
    hubble_world_answer(&world, false, "not today");
    assert_int_equal(world.welcomes, 0);
    assert_int_equal(world.lost, 1);
    assert_int_equal(world.error, CULVERT_ERROR_REFUSED);
    assert_string_equal(world.why, "not today");
    assert_false(world.is_reading);
    hubble_world_end(&world);
}

static void an_agent_takes_nothing_before_the_yes(void **state)
{
    (void)state;
    struct hubble_world world;
    hubble_world_agent(&world);
    hubble_world_peer_opens(&world, "peer-one");
    assert_int_equal(world.opens, 0);
    assert_int_equal(world.error, CULVERT_ERROR_PROTOCOL);
    assert_string_equal(world.why, "the peer broke the protocol of Hubble 0.1");
    hubble_world_end(&world);
}

/* ---- messages ---- */

static void a_session_carries_data(void **state)
{
    (void)state;
    struct hubble_world world;
    hubble_world_gateway(&world);
    hubble_world_peer_opens(&world, "peer-one");
    assert_int_equal(world.opens, 1);
    assert_int_equal(world.last.type, MESSAGE_ACK);
    hubble_world_peer_sends(&world, "peer-one", 1, 1000);
    assert_int_equal(world.got, 1000);
    hubble_world_end(&world);
    assert_int_equal(world.resets, 1);
    assert_int_equal(world.code, REASON_SHUTDOWN);
}

static void what_is_no_message_cuts_the_connection(void **state)
{
    (void)state;
    struct hubble_world world;
    hubble_world_gateway(&world);
    hubble_world_arrive(&world, (const uint8_t *)"\xc1", 1);
    assert_int_equal(world.lost, 1);
    assert_int_equal(world.error, CULVERT_ERROR_PROTOCOL);
    /* What comes behind it is dropped. */
    hubble_world_peer_opens(&world, "peer-one");
    assert_int_equal(world.opens, 0);
    assert_int_equal(world.lost, 1);
    hubble_world_end(&world);
}

static void an_oversized_message_cuts_the_connection(void **state)
{
    (void)state;
    struct hubble_world world;
    static const uint8_t bytes[64 * 1024];
    hubble_world_gateway(&world);
    for (int i = 0; i < 64 && world.lost == 0; i++) {
        struct slice slice;
        assert_int_equal(slice_copy(&world.loop.loop.pool, bytes, sizeof(bytes), &slice), 0);
        world.carrier.events->data(&world.carrier, slice);
        hubble_world_turn(&world);
    }
    assert_int_equal(world.lost, 1);
    assert_int_equal(world.error, CULVERT_ERROR_TOO_LARGE);
    assert_string_equal(world.why, "the peer sent an oversized message");
    hubble_world_end(&world);
}

static void an_open_with_a_text_that_is_too_long_is_refused_alone(void **state)
{
    (void)state;
    struct hubble_world world;
    hubble_world_gateway(&world);
    hubble_world_peer_opens(&world, "peer-one");
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
    hubble_world_arrive(&world, whole, (size_t)size + 998);
    assert_int_equal(world.opens, 1);
    assert_int_equal(world.lost, 0);
    assert_int_equal(world.sent, sent + 1);
    assert_int_equal(world.last.type, MESSAGE_ACK);
    assert_false(world.last.ack.ok);
    hubble_world_peer_sends(&world, "peer-one", 1, 10);
    assert_int_equal(world.got, 10);
    hubble_world_end(&world);
}

/* ---- signs of life ---- */

static void a_silent_peer_is_pinged_and_then_lost(void **state)
{
    (void)state;
    struct hubble_world world;
    hubble_world_gateway(&world);
    hubble_world_pass(&world, TUNNEL_KEEPALIVE * (uint64_t)SECOND - 2000);
    assert_int_equal(world.pings, 0);
    hubble_world_pass(&world, 4000);
    assert_int_equal(world.pings, 1);
    hubble_world_pass(&world, (PATIENCE - TUNNEL_KEEPALIVE) * (uint64_t)SECOND - 4000);
    assert_int_equal(world.pings, 1);
    assert_int_equal(world.lost, 0);
    hubble_world_pass(&world, 4000);
    assert_int_equal(world.lost, 1);
    assert_int_equal(world.error, CULVERT_ERROR_TIMED_OUT);
    assert_string_equal(world.why, "the peer was silent for 60 s");
    hubble_world_pass(&world, 1000 * (uint64_t)SECOND);
    assert_int_equal(world.lost, 1);
    assert_int_equal(world.pings, 1);
    hubble_world_end(&world);
}

static void a_peer_that_is_heard_lives(void **state)
{
    (void)state;
    struct hubble_world world;
    hubble_world_gateway(&world);
    for (unsigned i = 1; i <= 10; i++) {
        hubble_world_pass(&world, (TUNNEL_KEEPALIVE + 1) * (uint64_t)SECOND);
        assert_int_equal(world.pings, i);
        world.carrier.events->ponged(&world.carrier);
        world.carrier.events->read_end(&world.carrier);
        hubble_world_turn(&world);
        assert_int_equal(world.pongs, i);
    }
    assert_int_equal(world.lost, 0);
    world.carrier.events->ponged(&world.carrier); /* nobody asked */
    assert_int_equal(world.pongs, 10);
    hubble_world_end(&world);
}

static void one_ping_is_under_way(void **state)
{
    (void)state;
    struct hubble_world world;
    hubble_world_gateway(&world);
    tunnel_ping(world.tunnel);
    tunnel_ping(world.tunnel);
    assert_int_equal(world.pings, 1);
    world.carrier.events->ponged(&world.carrier);
    assert_int_equal(world.pongs, 1);
    tunnel_ping(world.tunnel);
    assert_int_equal(world.pings, 2);
    hubble_world_end(&world);
}

static void write_some(struct hubble_world *world)
{
    struct slice slice;
    struct slice_queue queue = SLICE_QUEUE_NULL;
    static const uint8_t bytes[100];
    assert_int_equal(slice_copy(&world->loop.loop.pool, bytes, sizeof(bytes), &slice), 0);
    assert_int_equal(slice_queue_push(&queue, slice), 0);
    world->stream->operations->write(world->stream, &queue);
    slice_queue_deinit(&queue);
    hubble_world_turn(world);
}

static void our_session_is_accepted(struct hubble_world *world)
{
    struct message message = {.type = MESSAGE_ACK, .guid = text_of("our-one")};
    message.ack.ok = true;
    hubble_world_arrive_message(world, &message);
}

/* An original takes no data before the pong that follows its ack. */
static void data_waits_for_a_pong_after_the_ack(void **state)
{
    (void)state;
    struct hubble_world world;
    hubble_world_gateway(&world);
    hubble_world_open_as(&world, "our-one");
    write_some(&world);
    assert_int_equal(world.sent, 2);
    our_session_is_accepted(&world);
    assert_true(world.is_opened);
    assert_int_equal(world.pings, 1);
    assert_int_equal(world.sent, 2);
    world.carrier.events->ponged(&world.carrier);
    hubble_world_turn(&world);
    assert_int_equal(world.sent, 3);
    hubble_world_end(&world);
}

/* A ping that was under way before is another's: its pong says nothing about the ack. */
static void a_pong_of_an_earlier_ping_is_not_enough(void **state)
{
    (void)state;
    struct hubble_world world;
    hubble_world_gateway(&world);
    hubble_world_open_as(&world, "our-one");
    write_some(&world);
    tunnel_ping(world.tunnel);
    our_session_is_accepted(&world);
    assert_int_equal(world.pings, 1);
    world.carrier.events->ponged(&world.carrier);
    hubble_world_turn(&world);
    assert_int_equal(world.pings, 2);
    assert_int_equal(world.sent, 2);
    world.carrier.events->ponged(&world.carrier);
    hubble_world_turn(&world);
    assert_int_equal(world.pings, 2);
    assert_int_equal(world.sent, 3);
    hubble_world_end(&world);
}

static void a_peer_that_is_not_read_is_not_lost(void **state)
{
    (void)state;
    struct hubble_world world;
    hubble_world_gateway(&world);
    hubble_world_peer_opens(&world, "peer-one");
    world.keeps = true;
    int64_t order = 0;
    while (world.is_reading) {
        hubble_world_peer_sends(&world, "peer-one", ++order, HUBBLE_CHUNK);
        assert_true(world.got <= 2 * HUBBLE_STREAM_WINDOW);
    }
    assert_true(world.unconsumed >= HUBBLE_STREAM_WINDOW);
    hubble_world_pass(&world, 10 * PATIENCE * (uint64_t)SECOND);
    assert_int_equal(world.lost, 0);
    assert_int_equal(world.pings, 0);
    assert_non_null(world.stream);
    world.stream->operations->consumed(world.stream, world.unconsumed);
    hubble_world_turn(&world);
    assert_true(world.is_reading);
    /* From now on it has its time again. */
    hubble_world_pass(&world, (PATIENCE - 1) * (uint64_t)SECOND);
    assert_int_equal(world.lost, 0);
    assert_int_equal(world.pings, 1);
    hubble_world_pass(&world, 2 * (uint64_t)SECOND);
    assert_int_equal(world.lost, 1);
    hubble_world_end(&world);
}

/* ---- the end ---- */

static void a_lost_carrier_loses_the_tunnel_once(void **state)
{
    (void)state;
    struct hubble_world world;
    hubble_world_gateway(&world);
    world.carrier.events->lost(&world.carrier, CULVERT_ERROR_CLOSED, "the line was cut");
    world.carrier.events->lost(&world.carrier, CULVERT_ERROR_TIMED_OUT, "and again");
    assert_int_equal(world.lost, 0); /* not from inside */
    assert_true(tunnel_is_drained(world.tunnel));
    hubble_world_turn(&world);
    assert_int_equal(world.lost, 1);
    assert_int_equal(world.error, CULVERT_ERROR_CLOSED);
    assert_string_equal(world.why, "the line was cut");
    assert_true(tunnel_is_drained(world.tunnel));
    tunnel_ping(world.tunnel); /* there is nobody */
    assert_int_equal(world.pings, 0);
    hubble_world_end(&world);
}

static void a_carrier_that_takes_nothing_holds_messages_back(void **state)
{
    (void)state;
    struct hubble_world world;
    hubble_world_gateway(&world);
    assert_true(tunnel_is_drained(world.tunnel));
    world.is_ready = false;
    assert_false(tunnel_is_drained(world.tunnel));
    hubble_world_open(&world);
    hubble_world_turn(&world);
    assert_int_equal(world.sent, 1);
    world.is_ready = true;
    assert_false(tunnel_is_drained(world.tunnel));
    world.carrier.events->ready(&world.carrier);
    hubble_world_turn(&world);
    assert_int_equal(world.sent, 2);
    assert_true(tunnel_is_drained(world.tunnel));
    hubble_world_end(&world);
}

static void the_largest_stream_can_be_ended(void **state)
{
    (void)state;
    struct hubble_world world;
    hubble_world_gateway(&world);
    tunnel_end_largest(world.tunnel, REASON_NO_MEMORY, "there is none");
    hubble_world_turn(&world);
    assert_int_equal(world.resets, 0);
    hubble_world_peer_opens(&world, "peer-one");
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
    assert_int_equal(holding.bytes, MUX_RECORD_COST + sizeof(bytes));
    assert_true(holding.is_connected);
    assert_int_equal(tunnel_largest(world.tunnel), MUX_RECORD_COST + sizeof(bytes));
    tunnel_end_largest(world.tunnel, REASON_NO_MEMORY, "memory ran out");
    hubble_world_turn(&world);
    assert_int_equal(world.resets, 1);
    assert_int_equal(world.code, REASON_NO_MEMORY);
    assert_string_equal(world.stream_why, "memory ran out");
    assert_int_equal(tunnel_largest(world.tunnel), 0);
    hubble_world_end(&world);
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
        cmocka_unit_test(data_waits_for_a_pong_after_the_ack),
        cmocka_unit_test(a_pong_of_an_earlier_ping_is_not_enough),
        cmocka_unit_test(a_peer_that_is_not_read_is_not_lost),
        cmocka_unit_test(a_lost_carrier_loses_the_tunnel_once),
        cmocka_unit_test(a_carrier_that_takes_nothing_holds_messages_back),
        cmocka_unit_test(the_largest_stream_can_be_ended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
