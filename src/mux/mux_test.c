#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mux/mux_fake.h"

#include "base/error.h"
#include "base/reason.h"
#include "mux/reason_copy.h"

#include <string.h>

static struct fake_pair pair;

static int set_up(void **state)
{
    return fake_pair_init(&pair, state);
}

static void stream_is_small(void **state)
{
    (void)state;
    assert_true(sizeof(struct mux_stream) <= 350);
}

static void open_carries_its_target_and_ids_have_a_side(void **state)
{
    (void)state;
    struct message_open open = {.kind = text_of("tcp"),
                                .agent = text_of("agent2"),
                                .host = text_of("example.org"),
                                .port = 5432};
    struct mux_stream *stream;
    assert_int_equal(0, mux_open(&pair.a.mux, &open, &stream));
    assert_int_equal(1, stream->id);
    static struct fake_message pulled;
    assert_true(fake_pull(&pair.a, &pulled));
    assert_true(pulled.is_control);
    assert_int_equal(MESSAGE_OPEN, pulled.message.type);
    assert_int_equal(1, pulled.message.sid);
    assert_true(text_equals(pulled.message.open.host, "example.org"));
    assert_int_equal(5432, pulled.message.open.port);
    stream->stream.operations->close(&stream->stream);

    assert_int_equal(3, fake_open(&pair.a)->id);
    assert_int_equal(2, fake_open(&pair.b)->id);
    assert_int_equal(4, fake_open(&pair.b)->id);
}

static void open_that_is_too_large_harms_nothing(void **state)
{
    (void)state;
    static char host[MESSAGE_MAX_CONTROL + 1];
    memset(host, 'h', sizeof host - 1);
    struct message_open open = {.kind = text_of("tcp"), .host = text_of(host)};
    struct mux_stream *stream;
    assert_int_equal(CULVERT_ERROR_TOO_LARGE, mux_open(&pair.a.mux, &open, &stream));
    fake_expect_nothing(&pair.a);
    assert_int_equal(1, fake_open(&pair.a)->id);
}

static void session_runs_from_open_to_close(void **state)
{
    (void)state;
    struct fake_holder *far;
    struct fake_holder *near = fake_join(&pair.a, &pair.b, &far);
    assert_string_equal("tcp", far->kind);

    fake_write(near, 1000);
    assert_int_equal(0, near->written);
    fake_settle(&pair.a, &pair.b);
    assert_int_equal(1000, near->written);
    assert_int_equal(1000, far->received);
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal((uint8_t)i, slice_queue_first(&far->in)->data[i]);

    near->stream->operations->finish(near->stream);
    assert_int_equal(0, near->finished);
    fake_settle(&pair.a, &pair.b);
    assert_int_equal(1, near->finished);
    assert_int_equal(1, far->fins);

    /* Half-closed: the other direction goes on. */
    fake_write(far, 50000);
    fake_settle(&pair.a, &pair.b);
    assert_int_equal(50000, near->received);
    far->stream->operations->finish(far->stream);
    fake_settle(&pair.a, &pair.b);
    assert_int_equal(1, near->fins);
    assert_int_equal(1, far->finished);

    fake_close(near);
    fake_close(far);
    fake_expect_nothing(&pair.a);
    fake_expect_nothing(&pair.b);
    assert_int_equal(0, near->resets + far->resets);
    assert_int_equal(0, pair.a.mux.streams.count);
    assert_int_equal(0, pair.b.mux.streams.count);
    assert_int_equal(0, pair.b.mux.peer_streams);
}

static void fin_waits_for_what_is_queued(void **state)
{
    (void)state;
    struct fake_holder *far;
    struct fake_holder *near = fake_join(&pair.a, &pair.b, &far);
    fake_write(near, MUX_WINDOW + 1);
    near->stream->operations->finish(near->stream);
    fake_settle(&pair.a, &pair.b);
    assert_int_equal(MUX_WINDOW, far->received);
    assert_int_equal(0, far->fins);
    fake_consume(far);
    fake_settle(&pair.a, &pair.b);
    assert_int_equal(MUX_WINDOW + 1, far->received);
    assert_int_equal(1, far->fins);
    assert_int_equal(1, near->finished);
}

static void only_the_early_window_precedes_the_ack(void **state)
{
    (void)state;
    struct fake_holder *near = fake_open(&pair.a);
    fake_write(near, 100000);
    fake_deliver(&pair.a, &pair.b);
    struct fake_holder *far = fake_find(&pair.b, near->id);
    assert_int_equal(MUX_EARLY_WINDOW, far->received);
    assert_int_equal(MUX_EARLY_WINDOW, near->written);

    far->stream->operations->accept(far->stream);
    far->stream->operations->accept(far->stream);
    fake_settle(&pair.a, &pair.b);
    assert_int_equal(1, near->opened);
    assert_int_equal(100000, far->received);
}

static void more_before_the_ack_than_allowed_resets(void **state)
{
    (void)state;
    assert_int_equal(0, fake_receive_open(&pair.b, 1));
    struct fake_holder *far = fake_find(&pair.b, 1);
    assert_int_equal(0, fake_receive_data(&pair.b, 1, MUX_EARLY_WINDOW));
    assert_int_equal(0, far->resets);
    assert_int_equal(0, fake_receive_data(&pair.b, 1, 1));
    assert_int_equal(1, far->resets);
    assert_int_equal(REASON_PROTOCOL, far->code);
}

static void writing_accepts_first(void **state)
{
    (void)state;
    assert_int_equal(0, fake_receive_open(&pair.b, 1));
    fake_write(fake_find(&pair.b, 1), 10);
    fake_expect(&pair.b, MESSAGE_ACK, 1);
    fake_expect(&pair.b, MESSAGE_DATA, 1);
}

static void refused_open_becomes_a_reset_with_its_reason(void **state)
{
    (void)state;
    pair.b.refuse_code = REASON_FORBIDDEN;
    struct fake_holder *near = fake_open(&pair.a);
    fake_write(near, 100);
    fake_deliver(&pair.a, &pair.b);
    static struct fake_message pulled;
    assert_true(fake_pull(&pair.b, &pulled));
    assert_int_equal(MESSAGE_ACK, pulled.message.type);
    assert_false(pulled.message.ack.ok);
    assert_int_equal(0, fake_receive(&pair.a, &pulled.message, NULL, 0));
    assert_int_equal(1, near->resets);
    assert_int_equal(0, near->opened);
    assert_int_equal(REASON_FORBIDDEN, near->code);
    assert_string_equal("refused here", near->reason);
    assert_int_equal(0, pair.a.mux.queued);

    /* Nothing follows, not for a late answer and not from our side. */
    fake_expect_nothing(&pair.a);
    assert_int_equal(0, fake_receive(&pair.a, &pulled.message, NULL, 0));
    assert_int_equal(1, near->resets);
    assert_int_equal(0, fake_receive_data(&pair.b, near->id, 10));
    fake_expect_nothing(&pair.b);
}

static void refusing_without_a_code_is_not_accepting(void **state)
{
    (void)state;
    assert_int_equal(0, fake_receive_open(&pair.b, 1));
    fake_reset(fake_find(&pair.b, 1), REASON_NONE, NULL);
    static struct fake_message pulled;
    assert_true(fake_pull(&pair.b, &pulled));
    assert_int_equal(MESSAGE_ACK, pulled.message.type);
    assert_false(pulled.message.ack.ok);
}

static void reset_drops_what_is_queued_and_tells_the_peer(void **state)
{
    (void)state;
    struct fake_holder *far;
    struct fake_holder *near = fake_join(&pair.a, &pair.b, &far);
    fake_write(near, 200000);
    fake_reset(near, REASON_RESET, "gone");
    assert_int_equal(0, pair.a.mux.queued);
    fake_settle(&pair.a, &pair.b);
    assert_int_equal(0, near->resets);
    assert_int_equal(0, far->received);
    assert_int_equal(1, far->resets);
    assert_int_equal(REASON_RESET, far->code);
    assert_string_equal("gone", far->reason);
    /* Operations of an ended stream have no effect. */
    fake_write(near, 10);
    near->stream->operations->finish(near->stream);
    near->stream->operations->consumed(near->stream, 0);
    fake_reset(near, REASON_RESET, NULL);
    fake_reset(far, REASON_RESET, NULL);
    fake_expect_nothing(&pair.a);
    fake_expect_nothing(&pair.b);
}

static void long_reason_is_cut(void **state)
{
    (void)state;
    struct fake_holder *far;
    struct fake_holder *near = fake_join(&pair.a, &pair.b, &far);
    static char reason[2000];
    memset(reason, 'r', sizeof reason - 1);
    memcpy(reason + REASON_SHORT - 1, "\xc3\xa9", 2); /* a character that is not cut in two */
    fake_reset(near, REASON_RESET, reason);
    fake_settle(&pair.a, &pair.b);
    assert_int_equal(1, far->resets);
    assert_int_equal(REASON_SHORT - 1, strlen(far->reason));
}

static void nothing_is_reported_after_our_reset_or_close(void **state)
{
    (void)state;
    struct fake_holder *far;
    struct fake_holder *near = fake_join(&pair.a, &pair.b, &far);
    fake_write(far, 100);
    fake_reset(near, REASON_RESET, NULL);
    fake_deliver(&pair.b, &pair.a);
    assert_int_equal(0, near->received);
    near = fake_join(&pair.a, &pair.b, &far);
    fake_write(far, 100);
    far->stream->operations->finish(far->stream);
    fake_close(near);
    fake_deliver(&pair.b, &pair.a);
    assert_int_equal(0, near->received + (size_t)near->fins);
    fake_deliver(&pair.a, &pair.b);
    assert_int_equal(1, far->resets);
}

static void close_before_the_end_resets_the_peer(void **state)
{
    (void)state;
    struct fake_holder *far;
    struct fake_holder *near = fake_join(&pair.a, &pair.b, &far);
    fake_close(near);
    fake_expect(&pair.a, MESSAGE_RESET, near->id);
}

static void reset_before_the_ack_follows_the_open(void **state)
{
    (void)state;
    struct fake_holder *near = fake_open(&pair.a);
    fake_write(near, 100);
    fake_expect(&pair.a, MESSAGE_OPEN, 1);
    fake_reset(near, REASON_RESET, NULL);
    fake_expect(&pair.a, MESSAGE_RESET, 1);
    fake_expect_nothing(&pair.a);
    /* The ack that crossed it. */
    struct message ack = {.type = MESSAGE_ACK, .sid = 1, .ack = {.ok = true}};
    assert_int_equal(0, fake_receive(&pair.a, &ack, NULL, 0));
    assert_int_equal(0, near->opened);
}

static void an_open_that_was_not_sent_disappears_with_its_reset(void **state)
{
    (void)state;
    struct fake_holder *first = fake_open(&pair.a);
    struct fake_holder *second = fake_open(&pair.a);
    fake_write(first, 100);
    fake_reset(first, REASON_RESET, "a reason");
    fake_close(first);
    fake_expect(&pair.a, MESSAGE_OPEN, second->id);
    fake_expect_nothing(&pair.a);
    assert_true(mux_is_drained(&pair.a.mux));
}

/* Of opens and resets nothing is held, be they as many and the reasons as long as they like. */
static void a_flood_of_opens_and_resets_holds_nothing(void **state)
{
    (void)state;
    static char reason[400];
    memset(reason, 'r', sizeof reason - 1);
    for (int i = 0; i < 20000; i++) {
        struct fake_holder *holder = fake_open(&pair.a);
        fake_reset(holder, REASON_RESET, reason);
        fake_close(holder);
        pair.a.holder_count = 0;
        mux_turn_ends(&pair.a.mux);
        assert_true(mux_is_drained(&pair.a.mux));
    }
    assert_int_equal(0, pair.a.mux.failure);
    fake_expect_nothing(&pair.a);
}

/* Resets of streams that the peer knows wait for as long as it takes nothing, and do not cut. */
static void resets_of_many_streams_wait(void **state)
{
    (void)state;
    enum { MANY = 10000 };
    pair.b.ignore_opens = true;
    for (uint64_t id = 1; id < 2 * MANY; id += 2) {
        assert_int_equal(0, fake_receive_open(&pair.b, id));
        struct mux_stream *stream = map_find(&pair.b.mux.streams, id);
        stream->stream.operations->accept(&stream->stream);
    }
    for (uint64_t id = 1; id < 2 * MANY; id += 2) {
        struct mux_stream *stream = map_find(&pair.b.mux.streams, id);
        stream->stream.operations->reset(&stream->stream, REASON_RESET, "a reason");
        stream->stream.operations->close(&stream->stream);
    }
    mux_turn_ends(&pair.b.mux);
    assert_int_equal(0, pair.b.mux.failure);
    assert_int_equal(MANY, pair.b.mux.peer_streams);
    for (uint64_t id = 1; id < 2 * MANY; id += 2) {
        fake_expect(&pair.b, MESSAGE_ACK, id);
        fake_expect(&pair.b, MESSAGE_RESET, id);
    }
    assert_int_equal(0, pair.b.mux.peer_streams);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, fake_pair_deinit)
    const struct CMUnitTest tests[] = {
        TEST(stream_is_small),
        TEST(open_carries_its_target_and_ids_have_a_side),
        TEST(open_that_is_too_large_harms_nothing),
        TEST(session_runs_from_open_to_close),
        TEST(fin_waits_for_what_is_queued),
        TEST(only_the_early_window_precedes_the_ack),
        TEST(more_before_the_ack_than_allowed_resets),
        TEST(writing_accepts_first),
        TEST(refused_open_becomes_a_reset_with_its_reason),
        TEST(refusing_without_a_code_is_not_accepting),
        TEST(reset_drops_what_is_queued_and_tells_the_peer),
        TEST(long_reason_is_cut),
        TEST(nothing_is_reported_after_our_reset_or_close),
        TEST(close_before_the_end_resets_the_peer),
        TEST(reset_before_the_ack_follows_the_open),
        TEST(an_open_that_was_not_sent_disappears_with_its_reset),
        TEST(a_flood_of_opens_and_resets_holds_nothing),
        TEST(resets_of_many_streams_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
