/* What came before a reset is delivered before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mux/mux_fake.h"

#include "base/error.h"
#include "base/reason.h"

static const uint64_t second = 1000000;

static struct fake_pair pair;

static int set_up(void **state)
{
    return fake_pair_init(&pair, state);
}

static void consume_bytes(struct fake_holder *holder, size_t bytes)
{
    slice_queue_skip(&holder->in, bytes);
    holder->stream->operations->consumed(holder->stream, bytes);
}

/* `a`'s end of a stream whose peer wrote `size` bytes and has then reset it. */
static struct fake_holder *reset_behind(size_t size, int code)
{
    struct fake_holder *far;
    struct fake_holder *near = fake_join(&pair.a, &pair.b, &far);
    fake_write(far, size);
    fake_deliver(&pair.b, &pair.a);
    fake_reset(far, code, "gone");
    fake_close(far);
    fake_deliver(&pair.b, &pair.a);
    assert_int_equal(size, near->received);
    return near;
}

static void the_event_waits_until_all_is_consumed(void **state)
{
    (void)state;
    struct fake_holder *near = reset_behind(1000, REASON_RESET);
    assert_int_equal(0, near->resets);
    consume_bytes(near, 999);
    fake_expect_nothing(&pair.a);
    assert_int_equal(0, near->resets);
    pair.a.asked = 0;
    consume_bytes(near, 1);
    assert_int_equal(0, near->resets); /* not from inside the operation */
    assert_int_equal(1, pair.a.asked);
    fake_expect_nothing(&pair.a);
    assert_int_equal(1, near->resets);
    assert_int_equal(REASON_RESET, near->code);
    assert_string_equal("gone", near->reason);
    assert_true(mux_deadline(&pair.a.mux) == UINT64_MAX);
}

static void with_nothing_outstanding_it_comes_at_once(void **state)
{
    (void)state;
    struct fake_holder *near = reset_behind(0, REASON_RESET);
    assert_int_equal(1, near->resets);
}

static void an_immediate_code_drops_what_came_before(void **state)
{
    (void)state;
    struct fake_holder *near = reset_behind(1000, REASON_NOT_TAKEN);
    assert_int_equal(1, near->resets);
    assert_int_equal(REASON_NOT_TAKEN, near->code);
}

static void a_code_of_a_later_version_waits(void **state)
{
    (void)state;
    struct fake_holder *near = reset_behind(1000, 1234);
    assert_int_equal(0, near->resets);
    fake_consume(near);
    fake_expect_nothing(&pair.a);
    assert_int_equal(1234, near->code);
}

/* The holder of a stream on the other side must not be held back by what nobody takes. */
static void what_is_written_meanwhile_is_dropped_and_reported(void **state)
{
    (void)state;
    struct fake_holder *far;
    struct fake_holder *near = fake_join(&pair.a, &pair.b, &far);
    fake_write(far, 1000);
    fake_deliver(&pair.b, &pair.a);
    fake_reset(far, REASON_RESET, NULL);
    fake_write(near, 300000); /* more than there is credit for */
    fake_deliver(&pair.b, &pair.a);
    fake_expect_nothing(&pair.a);
    assert_int_equal(300000, near->written);
    assert_int_equal(0, pair.a.mux.queued);
    fake_write(near, 5000);
    near->stream->operations->finish(near->stream);
    assert_int_equal(300000, near->written);
    fake_expect_nothing(&pair.a);
    assert_int_equal(305000, near->written);
    assert_int_equal(0, near->finished);
    assert_int_equal(0, near->resets);
}

static void write_again(struct fake_holder *holder)
{
    fake_write(holder, 100);
}

static void a_holder_that_always_writes_holds_nobody_up(void **state)
{
    (void)state;
    assert_int_equal(0, fake_receive_open(&pair.a, 2));
    struct fake_holder *near = fake_find(&pair.a, 2);
    near->stream->operations->accept(near->stream);
    assert_int_equal(0, fake_receive_data(&pair.a, 2, 1000));
    struct message reset = {.type = MESSAGE_RESET, .sid = 2, .reset = {.code = REASON_RESET}};
    assert_int_equal(0, fake_receive(&pair.a, &reset, NULL, 0));
    fake_expect(&pair.a, MESSAGE_ACK, 2);
    fake_expect_nothing(&pair.a);
    near->hook = write_again;
    fake_write(near, 5000);
    fake_expect_nothing(&pair.a);
    assert_int_equal(5000, near->written);
    fake_expect_nothing(&pair.a);
    assert_int_equal(5100, near->written);
    near->hook = NULL;
}

static void a_stream_that_waits_counts_and_takes_nothing_more(void **state)
{
    (void)state;
    assert_int_equal(0, fake_receive_open(&pair.a, 2));
    struct fake_holder *near = fake_find(&pair.a, 2);
    near->stream->operations->accept(near->stream);
    assert_int_equal(0, fake_receive_data(&pair.a, 2, 1000));
    struct message reset = {.type = MESSAGE_RESET, .sid = 2, .reset = {.code = REASON_RESET}};
    assert_int_equal(0, fake_receive(&pair.a, &reset, NULL, 0));
    assert_int_equal(1, pair.a.mux.peer_streams);
    size_t bytes = 0;
    assert_ptr_equal(mux_stream_from(near->stream), mux_largest(&pair.a.mux, &bytes));
    assert_int_equal(MUX_RECORD_COST + 1000, bytes);
    assert_false(mux_takes_data(&pair.a.mux, 2));
    assert_int_equal(0, fake_receive_data(&pair.a, 2, 1000));
    assert_int_equal(0, fake_receive(&pair.a, &reset, NULL, 0));
    assert_int_equal(1000, near->received);
    consume_bytes(near, 400);
    (void)mux_largest(&pair.a.mux, &bytes);
    assert_int_equal(MUX_RECORD_COST + 600, bytes);
    /* It is gone at the peer: no credit, and no answer to its reset. */
    fake_expect(&pair.a, MESSAGE_ACK, 2);
    fake_expect_nothing(&pair.a);
    fake_consume(near);
    fake_expect_nothing(&pair.a);
    assert_int_equal(1, near->resets);
    assert_int_equal(0, pair.a.mux.peer_streams);
}

/* The ack that is still to be sent must not take the reason with it. */
static void an_ack_may_leave_while_the_reset_waits(void **state)
{
    (void)state;
    assert_int_equal(0, fake_receive_open(&pair.a, 2));
    struct fake_holder *near = fake_find(&pair.a, 2);
    near->stream->operations->accept(near->stream);
    assert_int_equal(0, fake_receive_data(&pair.a, 2, 1000));
    struct message reset = {
        .type = MESSAGE_RESET, .sid = 2, .reset = {.code = 1, .reason = text_of("gone")}};
    assert_int_equal(0, fake_receive(&pair.a, &reset, NULL, 0));
    fake_expect(&pair.a, MESSAGE_ACK, 2);
    fake_consume(near);
    fake_expect_nothing(&pair.a);
    assert_string_equal("gone", near->reason);
}

static void without_progress_it_ends_in_time(void **state)
{
    (void)state;
    struct fake_holder *near = reset_behind(1000, REASON_RESET);
    struct mux *mux = &pair.a.mux;
    assert_true(mux_deadline(mux) == pair.a.now + 30 * second);
    /* What is written from the other side is no progress. */
    pair.a.now += 10 * second;
    fake_write(near, 1000);
    fake_expect_nothing(&pair.a);
    assert_true(mux_deadline(mux) == pair.a.now + 20 * second);
    consume_bytes(near, 1);
    fake_expect_nothing(&pair.a);
    assert_true(mux_deadline(mux) == pair.a.now + 30 * second);
    pair.a.now += 30 * second - 1;
    mux_tick(mux, pair.a.now);
    assert_int_equal(0, near->resets);
    mux_tick(mux, pair.a.now + 1);
    assert_int_equal(1, near->resets);
    assert_int_equal(REASON_NOT_TAKEN, near->code);
    assert_true(mux_deadline(mux) == UINT64_MAX);
}

static void it_waits_as_long_as_a_link_may_be_away(void **state)
{
    (void)state;
    mux_set_patience(&pair.a.mux, 1);
    mux_set_patience(&pair.a.mux, 90 * second);
    reset_behind(1000, REASON_RESET);
    assert_true(mux_deadline(&pair.a.mux) == pair.a.now + 90 * second);
}

static void both_ends_drop_at_once_when_both_reset(void **state)
{
    (void)state;
    struct fake_holder *near = reset_behind(1000, REASON_RESET);
    fake_reset(near, REASON_RESET, NULL);
    assert_true(mux_is_empty(&pair.a.mux));
    fake_expect_nothing(&pair.a);
    assert_int_equal(0, near->resets);
}

static void who_must_free_memory_does_not_wait(void **state)
{
    (void)state;
    struct fake_holder *near = reset_behind(1000, REASON_RESET);
    mux_stream_fail(mux_stream_from(near->stream), REASON_NO_MEMORY, "full");
    assert_int_equal(1, near->resets);
    assert_int_equal(REASON_NO_MEMORY, near->code);
    assert_string_equal("full", near->reason);
    fake_expect_nothing(&pair.a);
}

static void a_half_close_goes_out_before_the_reset(void **state)
{
    (void)state;
    struct fake_holder *far;
    struct fake_holder *near = fake_join(&pair.a, &pair.b, &far);
    near->stream->operations->finish(near->stream);
    fake_reset(near, REASON_RESET, NULL);
    fake_expect(&pair.a, MESSAGE_FIN, near->id);
    fake_expect(&pair.a, MESSAGE_RESET, near->id);
    fake_expect_nothing(&pair.a);
}

static void no_half_close_where_data_was_dropped(void **state)
{
    (void)state;
    struct fake_holder *far;
    struct fake_holder *near = fake_join(&pair.a, &pair.b, &far);
    fake_write(near, 10);
    near->stream->operations->finish(near->stream);
    fake_reset(near, REASON_RESET, NULL);
    fake_expect(&pair.a, MESSAGE_RESET, near->id);
    fake_expect_nothing(&pair.a);
}

static void a_lost_link_is_as_a_reset(void **state)
{
    (void)state;
    struct fake_holder *far;
    struct fake_holder *near = fake_join(&pair.a, &pair.b, &far);
    struct fake_holder *idle_far;
    struct fake_holder *idle = fake_join(&pair.a, &pair.b, &idle_far);
    fake_write(far, 1000);
    fake_write(near, 500000);
    fake_deliver(&pair.b, &pair.a);
    pair.a.asked = 0;
    mux_abort(&pair.a.mux, REASON_LINK_LOST, "lost", pair.a.now);
    assert_int_equal(1, idle->resets);
    assert_int_equal(0, near->resets);
    assert_int_equal(500000, near->written);
    assert_false(mux_is_empty(&pair.a.mux));
    assert_true(mux_deadline(&pair.a.mux) == pair.a.now + 30 * second);
    assert_int_equal(0, pair.a.asked);
    fake_consume(near);
    assert_int_equal(1, pair.a.asked);
    assert_int_equal(CULVERT_ERROR_CLOSED, mux_hold(&pair.a.mux, pair.a.now));
    assert_int_equal(1, near->resets);
    assert_int_equal(REASON_LINK_LOST, near->code);
    assert_string_equal("lost", near->reason);
    assert_true(mux_is_empty(&pair.a.mux));
}

static void a_stop_ends_what_waits(void **state)
{
    (void)state;
    struct fake_holder *near = reset_behind(1000, REASON_RESET);
    mux_abort(&pair.a.mux, REASON_SHUTDOWN, NULL, pair.a.now);
    assert_int_equal(1, near->resets);
    assert_int_equal(REASON_SHUTDOWN, near->code);
    assert_true(mux_is_empty(&pair.a.mux));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, fake_pair_deinit)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_event_waits_until_all_is_consumed),
        TEST(with_nothing_outstanding_it_comes_at_once),
        TEST(an_immediate_code_drops_what_came_before),
        TEST(a_code_of_a_later_version_waits),
        TEST(what_is_written_meanwhile_is_dropped_and_reported),
        TEST(a_holder_that_always_writes_holds_nobody_up),
        TEST(a_stream_that_waits_counts_and_takes_nothing_more),
        TEST(an_ack_may_leave_while_the_reset_waits),
        TEST(without_progress_it_ends_in_time),
        TEST(it_waits_as_long_as_a_link_may_be_away),
        TEST(both_ends_drop_at_once_when_both_reset),
        TEST(who_must_free_memory_does_not_wait),
        TEST(a_half_close_goes_out_before_the_reset),
        TEST(no_half_close_where_data_was_dropped),
        TEST(a_lost_link_is_as_a_reset),
        TEST(a_stop_ends_what_waits),
    };
    return cmocka_run_group_tests_name("mux reset", tests, NULL, NULL);
}
