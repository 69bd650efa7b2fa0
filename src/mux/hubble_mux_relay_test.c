/*
 * Two agents at a gateway, whose sessions are joined by relays: the acceptance cases of the
 * specification that are about sessions, byte by byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/reason.h"
#include "codec/message_hex.h"
#include "mux/hubble_mux.h"
#include "relay/relay.h"

#include <string.h>

enum { MAX_RELAYS = 4, MAX_MESSAGE = 64 * 1024 };

struct side {
    struct hubble_mux mux;
    struct side *other;
    bool has_pinged;
};

struct gateway {
    struct account account;
    struct chunk_pool pool;
    struct side east, west;
    struct relay relays[MAX_RELAYS];
    size_t relay_count, ended;
    uint64_t now;
};

static struct gateway gateway;

static void on_ended(struct relay *relay, int code, const char *reason)
{
    (void)relay;
    (void)code;
    (void)reason;
    gateway.ended++;
}

static const struct relay_owner relay_handlers = {.ended = on_ended};

static void on_peer_opened(struct hubble_mux *mux, struct stream *stream,
                           const struct message_open *open)
{
    struct side *side = mux->holder;
    struct stream *answering;
    if (!text_equals(open->agent, side == &gateway.east ? "west" : "east")) {
        stream_refuse(stream, REASON_UNKNOWN_AGENT, NULL);
        return;
    }
    assert_true(gateway.relay_count < MAX_RELAYS);
    assert_int_equal(0, hubble_mux_open(&side->other->mux, open, gateway.now, &answering));
    relay_join(&gateway.relays[gateway.relay_count++], stream, answering, &relay_handlers);
}

static void on_wants_to_send(struct hubble_mux *mux)
{
    (void)mux;
}

static void on_wants_to_read(struct hubble_mux *mux, bool on)
{
    (void)mux;
    (void)on;
}

static void on_wants_ping(struct hubble_mux *mux)
{
    ((struct side *)mux->holder)->has_pinged = true;
}

static const struct hubble_mux_owner owner = {
    .peer_opened = on_peer_opened,
    .wants_to_send = on_wants_to_send,
    .wants_to_read = on_wants_to_read,
    .wants_ping = on_wants_ping,
};

static int set_up(void **state)
{
    static const uint64_t seed[2] = {1, 2};
    memset(&gateway, 0, sizeof gateway);
    account_init(&gateway.account, SIZE_MAX);
    chunk_pool_init(&gateway.pool, &gateway.account);
    struct side *sides[] = {&gateway.east, &gateway.west};
    for (int i = 0; i < 2; i++) {
        sides[i]->other = sides[1 - i];
        assert_int_equal(0, hubble_mux_init(&sides[i]->mux, &owner, sides[i], HUBBLE_GATEWAY, seed,
                                            &gateway.pool, &gateway.account));
    }
    *state = &gateway;
    return 0;
}

static void lose(struct side *side)
{
    hubble_mux_abort(&side->mux, REASON_SHUTDOWN, NULL, 0);
}

static int tear_down(void **state)
{
    (void)state;
    lose(&gateway.east);
    lose(&gateway.west);
    hubble_mux_turn_ends(&gateway.east.mux, gateway.now);
    hubble_mux_turn_ends(&gateway.west.mux, gateway.now);
    hubble_mux_deinit(&gateway.east.mux);
    hubble_mux_deinit(&gateway.west.mux);
    assert_int_equal(gateway.relay_count, gateway.ended);
    assert_int_equal(0, chunk_pool_deinit(&gateway.pool));
    return 0;
}

static void feed(struct side *side, const uint8_t *bytes, size_t size)
{
    struct message message;
    struct hubble_payload payload;
    struct slice_queue queue = SLICE_QUEUE_NULL;
    assert_int_equal(0, hubble_decode(bytes, size, &message, &payload));
    if (payload.size > 0) {
        struct slice slice;
        assert_int_equal(0, slice_copy(&gateway.pool, payload.data, payload.size, &slice));
        assert_int_equal(0, slice_queue_push(&queue, slice));
    }
    assert_int_equal(0, hubble_mux_receive(&side->mux, &message, &queue, gateway.now));
    slice_queue_deinit(&queue);
}

static void feed_hex(struct side *side, const char *hex)
{
    uint8_t bytes[1024];
    feed(side, bytes, message_hex(hex, bytes, sizeof bytes));
}

/* Pulls the next message; 0 if there is none. */
static size_t pull(struct side *side, uint8_t bytes[static MAX_MESSAGE])
{
    struct slice_queue queue = SLICE_QUEUE_NULL;
    size_t size = 0;
    if (side->has_pinged)
        hubble_mux_ponged(&side->mux);
    side->has_pinged = false;
    hubble_mux_turn_ends(&gateway.east.mux, gateway.now);
    hubble_mux_turn_ends(&gateway.west.mux, gateway.now);
    assert_true(hubble_mux_pull(&side->mux, &queue, gateway.now) >= 0);
    while (queue.count > 0) {
        struct slice slice = slice_queue_take(&queue, SIZE_MAX);
        assert_true(size + slice.size <= MAX_MESSAGE);
        memcpy(bytes + size, slice.data, slice.size);
        size += slice.size;
        slice_drop(&slice);
    }
    slice_queue_deinit(&queue);
    return size;
}

static void expect(struct side *side, const char *hex)
{
    static uint8_t actual[MAX_MESSAGE];
    static uint8_t expected[MAX_MESSAGE];
    size_t size = message_hex(hex, expected, sizeof expected);
    assert_int_equal(size, pull(side, actual));
    assert_memory_equal(expected, actual, size);
}

static void expect_nothing(void)
{
    static uint8_t bytes[MAX_MESSAGE];
    assert_int_equal(0, pull(&gateway.east, bytes));
    assert_int_equal(0, pull(&gateway.west, bytes));
}

#define OPEN                                                                           \
    "02 85 a4 47 55 49 44 a2 73 31 a8 47 61 74 65 6e 61 6d 65 a4 77 65 73 74 a3 4b 65" \
    "79 a1 6b aa 52 65 6d 6f 74 65 48 6f 73 74 a9 31 32 37 2e 30 2e 30 2e 31 aa 52 65" \
    "6d 6f 74 65 50 6f 72 74 16"
#define YES        "ff 83 a4 47 55 49 44 a2 73 31 a7 4d 65 73 73 61 67 65 a5 3c 6e 69 6c 3e a2 4f 6b c3"
#define TERMINATED "04 81 a4 47 55 49 44 a2 73 31"
#define CLOSED     "05 81 a4 47 55 49 44 a2 73 31"

/* A session from east to west (cases 7 and 8). */
static void open_session(void)
{
    feed_hex(&gateway.east, OPEN);
    expect(&gateway.west, OPEN);
    feed_hex(&gateway.west, YES);
    expect(&gateway.east, YES);
    expect_nothing();
}

static void opens_and_acks_pass_unchanged(void **state)
{
    (void)state;
    open_session();
}

/* 9. */
static void data_keeps_its_payload(void **state)
{
    (void)state;
    open_session();
    uint8_t sent[2000] = {0x03, 0x83, 0xa4, 'D', 'a', 't', 'a', 0xda, 4, 0};
    size_t size = 10;
    for (int i = 0; i < 1024; i++)
        sent[size++] = (uint8_t)(i * 7);
    size += message_hex("a4 47 55 49 44 a2 73 31 a5 4f 72 64 65 72 01", sent + size, 100);
    feed(&gateway.east, sent, size);
    static uint8_t actual[MAX_MESSAGE];
    assert_int_equal(size, pull(&gateway.west, actual));
    assert_memory_equal(sent, actual, size);
}

/* 10. */
static void modern_data_becomes_old(void **state)
{
    (void)state;
    open_session();
    feed_hex(&gateway.east, "03 83 a447554944 d902 7331 a54f72646572 d3 0000000000000001"
                            "c404 44617461 c402 6869");
    expect(&gateway.west, "03 83 a4 44617461 a2 6869 a4 47554944 a2 7331 a5 4f72646572 01");
}

/* 11. */
static void an_end_is_told_to_both(void **state)
{
    (void)state;
    open_session();
    feed_hex(&gateway.east, "03 83 a4 44617461 a0 a4 47554944 a2 7331 a5 4f72646572 01");
    feed_hex(&gateway.east, CLOSED);
    expect(&gateway.east, TERMINATED);
    expect(&gateway.west, TERMINATED);
    feed_hex(&gateway.west, CLOSED);
    expect(&gateway.east, TERMINATED);
    expect_nothing();
    assert_int_equal(1, gateway.ended);
}

static void last_words_arrive_before_the_end(void **state)
{
    (void)state;
    open_session();
    feed_hex(&gateway.west, "03 83 a4 44617461 a2 6869 a4 47554944 a2 7331 a5 4f72646572 01");
    feed_hex(&gateway.west, CLOSED);
    expect(&gateway.west, TERMINATED);
    expect(&gateway.east, "03 83 a4 44617461 a2 6869 a4 47554944 a2 7331 a5 4f72646572 01");
    expect(&gateway.east, TERMINATED);
    expect(&gateway.west, TERMINATED);
    expect_nothing();
}

/* 12. */
static void an_agents_terminator_is_nothing(void **state)
{
    (void)state;
    open_session();
    feed_hex(&gateway.east, TERMINATED);
    expect_nothing();
    const char *data = "03 83 a4 44617461 a2 6869 a4 47554944 a2 7331 a5 4f72646572 01";
    feed_hex(&gateway.east, data);
    expect(&gateway.west, data);
}

/* 13. */
static void an_unknown_name_is_refused(void **state)
{
    (void)state;
    feed_hex(&gateway.east, "02 85 a447554944 a2 7331 a847617465 6e616d65 a4 6e6f6e65 a34b6579 a0"
                            "aa52656d6f7465486f7374 a0 aa52656d6f7465506f7274 16");
    expect(&gateway.east, "ff 83 a4 47 55 49 44 a2 73 31 a7 4d 65 73 73 61 67 65 b6 47 61 74 65 77"
                          "61 79 20 6e 6f 74 20 72 65 67 69 73 74 65 72 65 64 a2 4f 6b c2");
    expect_nothing();
}

/* 16. */
static void a_lost_connection_ends_its_sessions(void **state)
{
    (void)state;
    open_session();
    lose(&gateway.west);
    static uint8_t bytes[MAX_MESSAGE];
    assert_int_equal(1, gateway.ended);
    struct slice_queue queue = SLICE_QUEUE_NULL;
    assert_int_equal(1, hubble_mux_pull(&gateway.east.mux, &queue, gateway.now));
    assert_int_equal(message_hex(TERMINATED, bytes, sizeof bytes), queue.bytes);
    assert_memory_equal(bytes, slice_queue_first(&queue)->data, queue.bytes);
    slice_queue_deinit(&queue);
    assert_int_equal(0, hubble_mux_pull(&gateway.east.mux, &queue, gateway.now));
}

static void a_refusal_passes_on(void **state)
{
    (void)state;
    feed_hex(&gateway.east, OPEN);
    expect(&gateway.west, OPEN);
    const char *refusal = "ff 83 a4 47554944 a2 7331 a7 4d657373616765 a2 6e6f a2 4f6b c2";
    feed_hex(&gateway.west, refusal);
    expect(&gateway.east, refusal);
    expect_nothing();
    assert_int_equal(0, gateway.west.mux.sessions.count);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(opens_and_acks_pass_unchanged),
        TEST(data_keeps_its_payload),
        TEST(modern_data_becomes_old),
        TEST(an_end_is_told_to_both),
        TEST(last_words_arrive_before_the_end),
        TEST(an_agents_terminator_is_nothing),
        TEST(an_unknown_name_is_refused),
        TEST(a_lost_connection_ends_its_sessions),
        TEST(a_refusal_passes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
