/* Timers, pongs and windows of a gateway's side. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mux/hubble_mux_fake.h"

#include "base/reason.h"

static struct hubble_fake end;

static int set_up(void **state)
{
    hubble_fake_init(&end, HUBBLE_GATEWAY);
    *state = &end;
    return 0;
}

static int tear_down(void **state)
{
    hubble_fake_deinit(*state);
    return 0;
}

static void assert_sent(const char *expected)
{
    assert_string_equal(expected, hubble_fake_sent(&end));
}

static void assert_told(const char *expected)
{
    assert_string_equal(expected, hubble_fake_told(&end));
}

static struct hubble_fake_holder *asked(const char *guid)
{
    hubble_fake_peer_opens(&end, guid);
    struct hubble_fake_holder *holder = hubble_fake_find(&end, guid);
    hubble_fake_accept(holder);
    hubble_fake_sent(&end);
    return holder;
}

static struct hubble_fake_holder *answering(const char *guid)
{
    struct hubble_fake_holder *holder = hubble_fake_open(&end, guid);
    hubble_fake_peer_answers(&end, guid, NULL);
    hubble_mux_ponged(&end.mux);
    hubble_fake_sent(&end);
    hubble_fake_told(&end);
    return holder;
}

/* ---- lingering ---- */

static void a_finish_is_withheld_until_the_asking_peer_is_silent(void **state)
{
    (void)state;
    struct hubble_fake_holder *s1 = asked("s1");
    hubble_fake_write(s1, "answer");
    hubble_fake_finish(s1);
    assert_sent("03 s1 #1 answer; ");
    assert_told("s1 written 6; ");
    hubble_fake_wait(&end, 0.9);
    hubble_fake_peer_sends(&end, "s1", 1, "more");
    hubble_fake_wait(&end, 0.9);
    assert_told("s1 data more; ");
    assert_sent("");
    hubble_fake_wait(&end, 0.1);
    assert_told("s1 finished; s1 fin; ");
    assert_sent("04 s1; ");
    hubble_fake_peer_sends(&end, "s1", 2, "late");
    hubble_fake_peer_ends(&end, "s1");
    hubble_fake_close(s1);
    assert_sent("");
    assert_told("");
}

static void an_answering_peer_has_more_time(void **state)
{
    (void)state;
    struct hubble_fake_holder *s1 = answering("s1");
    hubble_fake_finish(s1);
    hubble_fake_sent(&end);
    hubble_fake_wait(&end, 29.9);
    assert_told("");
    hubble_fake_wait(&end, 0.1);
    assert_told("s1 reset 6; ");
    assert_sent("04 s1; ");
}

static void a_peer_that_has_answered_ends_in_order(void **state)
{
    (void)state;
    struct hubble_fake_holder *s1 = answering("s1");
    hubble_fake_write(s1, "question");
    hubble_fake_finish(s1);
    hubble_fake_sent(&end);
    hubble_fake_peer_sends(&end, "s1", 1, "answer");
    assert_told("s1 written 8; s1 data answer; ");
    hubble_fake_wait(&end, 30);
    assert_told("s1 finished; s1 fin; ");
    assert_sent("04 s1; ");
}

/* What came before the question is no answer to it, but is delivered before the reset. */
static void a_greeting_is_no_answer(void **state)
{
    (void)state;
    struct hubble_fake_holder *s1 = answering("s1");
    end.keeps = true;
    hubble_fake_peer_sends(&end, "s1", 1, "hello");
    hubble_fake_write(s1, "question");
    hubble_fake_finish(s1);
    hubble_fake_sent(&end);
    hubble_fake_told(&end);
    hubble_fake_wait(&end, 30);
    assert_told("");
    assert_sent("04 s1; ");
    hubble_fake_consume(s1);
    hubble_mux_turn_ends(&end.mux, end.now);
    assert_told("s1 reset 6; ");
}

static void silence_begins_when_all_is_sent(void **state)
{
    (void)state;
    struct hubble_fake_holder *s1 = asked("s1");
    hubble_fake_write(s1, "answer");
    hubble_fake_finish(s1);
    hubble_mux_turn_ends(&end.mux, end.now);
    assert_true(hubble_mux_deadline(&end.mux) == UINT64_MAX);
    hubble_fake_wait(&end, 10);
    assert_told("");
    assert_sent("03 s1 #1 answer; ");
    assert_true(hubble_mux_deadline(&end.mux) == end.now + 1000000);

    /* Long after the mux was called last. */
    struct hubble_fake_holder *s2 = asked("s2");
    end.now += 3600000000;
    hubble_fake_finish(s2);
    hubble_mux_turn_ends(&end.mux, end.now);
    assert_true(hubble_mux_deadline(&end.mux) < end.now + 1000000);
    hubble_mux_tick(&end.mux, end.now);
    assert_true(hubble_mux_deadline(&end.mux) == end.now + 1000000);
}

static void the_peers_end_ends_the_lingering(void **state)
{
    (void)state;
    struct hubble_fake_holder *s1 = answering("s1");
    hubble_fake_finish(s1);
    assert_sent("");
    hubble_fake_wait(&end, 5);
    hubble_fake_peer_ends(&end, "s1");
    assert_told("s1 fin; s1 finished; ");
    assert_sent("04 s1; ");
    hubble_fake_wait(&end, 100);
    assert_told("");
    hubble_fake_close(s1);
    assert_sent("04 s1; ");
}

static void a_reset_ends_the_lingering(void **state)
{
    (void)state;
    struct hubble_fake_holder *s1 = answering("s1");
    hubble_fake_finish(s1);
    hubble_fake_sent(&end);
    hubble_fake_reset(s1, REASON_CLOSED, NULL);
    hubble_fake_close(s1);
    assert_sent("04 s1; ");
    assert_true(hubble_mux_deadline(&end.mux) == UINT64_MAX);
}

static void nobody_is_silent_who_is_not_read(void **state)
{
    (void)state;
    struct hubble_fake_holder *s1 = asked("s1");
    struct hubble_fake_holder *s2 = asked("s2");
    hubble_fake_open(&end, "s3");
    hubble_fake_finish(s1);
    hubble_fake_sent(&end);
    hubble_fake_wait(&end, 0.5);
    end.keeps = true;
    for (int64_t order = 1; order <= 2; order++)
        hubble_fake_peer_sends_size(&end, "s2", order, HUBBLE_STREAM_WINDOW / 2);
    assert_true(end.is_stopped);
    hubble_fake_told(&end);
    assert_true(hubble_mux_deadline(&end.mux) == UINT64_MAX);
    hubble_fake_wait(&end, 1000);
    assert_told("");
    end.asked = 0;
    hubble_fake_consume(s2);
    assert_false(end.is_stopped);
    assert_int_equal(1, end.asked);
    hubble_mux_turn_ends(&end.mux, end.now);
    assert_true(hubble_mux_deadline(&end.mux) == end.now + 500000);
    hubble_fake_wait(&end, 0.5);
    assert_told("s1 finished; s1 fin; ");
    /* 120 s for the answer, of which 0.5 s are over twice. */
    assert_true(hubble_mux_deadline(&end.mux) == end.now + 119000000);
}

/* ---- answers ---- */

static void an_answer_that_does_not_come_is_given_up(void **state)
{
    (void)state;
    struct hubble_fake_holder *s1 = hubble_fake_open(&end, "s1");
    hubble_fake_wait(&end, 119.9);
    assert_told("");
    hubble_fake_wait(&end, 0.1);
    assert_told("s1 reset 6; ");
    hubble_fake_close(s1);
    assert_sent("02 s1 west h:22; 04 s1; ");
    assert_int_equal(0, end.mux.sessions.count);
}

static void an_open_that_its_owner_leaves_is_refused(void **state)
{
    (void)state;
    hubble_fake_peer_opens(&end, "s1");
    hubble_fake_wait(&end, 34.9);
    assert_told("");
    hubble_fake_wait(&end, 0.1);
    assert_told("s1 reset 6; ");
    assert_sent("ff s1 no no answer in time; ");
    struct hubble_fake_holder *s2 = asked("s2");
    hubble_fake_wait(&end, 100);
    assert_told("");
    hubble_fake_write(s2, "x");
    assert_sent("03 s2 #1 x; ");
}

/* An original that still dials does not know a session that it is told the end of. */
static void a_late_ack_is_told_of_the_end_again(void **state)
{
    (void)state;
    struct hubble_fake_holder *s1 = hubble_fake_open(&end, "s1");
    hubble_fake_reset(s1, REASON_RESET, NULL);
    hubble_fake_close(s1);
    assert_sent("02 s1 west h:22; 04 s1; ");
    assert_int_equal(1, end.mux.given_up);
    hubble_fake_peer_answers(&end, "s1", NULL);
    assert_int_equal(0, end.mux.given_up);
    assert_sent("04 s1; ");
    hubble_fake_peer_answers(&end, "s1", NULL);
    assert_sent("");

    hubble_fake_close(hubble_fake_open(&end, "s2"));
    hubble_fake_close(hubble_fake_open(&end, "s3"));
    hubble_fake_close(hubble_fake_open(&end, "s4"));
    hubble_fake_sent(&end);
    hubble_fake_peer_answers(&end, "s2", "no");
    hubble_fake_peer_ends(&end, "s3");
    assert_int_equal(1, end.mux.sessions.count);
    hubble_fake_wait(&end, 120);
    assert_int_equal(0, end.mux.sessions.count);
    assert_sent("");
    assert_told("");
}

static void so_many_are_kept_for_a_late_ack(void **state)
{
    (void)state;
    for (int i = 0; i < HUBBLE_MAX_GIVEN_UP + 10; i++) {
        hubble_fake_close(hubble_fake_open(&end, ""));
        end.holder_count = 0;
        static uint8_t bytes[HUBBLE_MAX_ENCODED];
        while (hubble_fake_pull(&end, bytes, sizeof bytes) > 0) {
        }
        hubble_mux_turn_ends(&end.mux, end.now);
    }
    assert_int_equal(HUBBLE_MAX_GIVEN_UP, end.mux.given_up);
    assert_int_equal(HUBBLE_MAX_GIVEN_UP, end.mux.sessions.count);
}

/* ---- pongs ---- */

static void data_waits_for_a_pong_after_the_ack(void **state)
{
    (void)state;
    struct hubble_fake_holder *s1 = hubble_fake_open(&end, "s1");
    hubble_fake_write(s1, "early");
    assert_sent("02 s1 west h:22; ");
    assert_int_equal(0, end.pings);
    hubble_fake_peer_answers(&end, "s1", NULL);
    assert_told("s1 opened; ");
    assert_int_equal(1, end.pings);
    hubble_fake_write(s1, " data");
    assert_sent("");
    assert_false(hubble_mux_is_drained(&end.mux));
    /* The peer may send already. */
    hubble_fake_peer_sends(&end, "s1", 1, "banner");
    hubble_mux_ponged(&end.mux);
    assert_sent("03 s1 #1 early data; ");
    assert_told("s1 data banner; s1 written 10; ");
    hubble_fake_write(s1, "x");
    assert_sent("03 s1 #2 x; ");
    assert_int_equal(1, end.pings);
}

static void pings_are_shared_by_acks_that_came_before(void **state)
{
    (void)state;
    static const char *const guids[] = {"s1", "s2", "s3", "s4"};
    for (size_t i = 0; i < 4; i++)
        hubble_fake_write(hubble_fake_open(&end, guids[i]), "x");
    hubble_fake_sent(&end);
    for (size_t i = 0; i < 4; i++)
        hubble_fake_peer_answers(&end, guids[i], NULL);
    assert_int_equal(1, end.pings);
    /* It was asked for before the others' acks came. */
    hubble_mux_ponged(&end.mux);
    assert_sent("03 s1 #1 x; ");
    assert_int_equal(2, end.pings);
    hubble_fake_reset(hubble_fake_find(&end, "s2"), REASON_RESET, NULL);
    hubble_mux_ponged(&end.mux);
    assert_sent("04 s2; 03 s3 #1 x; 03 s4 #1 x; ");
    assert_int_equal(2, end.pings);
    /* One that was not asked for. */
    hubble_mux_ponged(&end.mux);
    assert_sent("");
}

static void a_pong_is_not_waited_for_for_ever(void **state)
{
    (void)state;
    struct hubble_fake_holder *s1 = hubble_fake_open(&end, "s1");
    hubble_fake_write(s1, "x");
    hubble_fake_finish(s1);
    hubble_fake_peer_answers(&end, "s1", NULL);
    hubble_fake_wait(&end, 4.9);
    assert_sent("02 s1 west h:22; ");
    hubble_fake_wait(&end, 0.1);
    assert_sent("03 s1 #1 x; ");
    hubble_mux_ponged(&end.mux);
    hubble_fake_wait(&end, 29.9);
    assert_sent("");
    hubble_fake_wait(&end, 0.1);
    assert_sent("04 s1; ");
}

/* Two agents that wait for one another's pongs would wait for ever. */
static void a_pong_is_not_waited_for_while_the_peer_is_not_read(void **state)
{
    (void)state;
    asked("s1");
    hubble_fake_write(hubble_fake_open(&end, "s2"), "x");
    hubble_fake_peer_answers(&end, "s2", NULL);
    hubble_fake_sent(&end);
    end.keeps = true;
    hubble_fake_peer_sends_size(&end, "s1", 1, HUBBLE_STREAM_WINDOW / 2);
    hubble_fake_peer_sends_size(&end, "s1", 2, HUBBLE_STREAM_WINDOW / 2);
    assert_true(end.is_stopped);
    hubble_fake_wait(&end, HUBBLE_PONG_TIME);
    assert_sent("03 s2 #1 x; ");
}

static void an_end_before_the_ack_is_not_silence(void **state)
{
    (void)state;
    struct hubble_fake_holder *s1 = hubble_fake_open(&end, "s1");
    hubble_fake_finish(s1);
    assert_sent("02 s1 west h:22; ");
    hubble_fake_wait(&end, 100);
    assert_sent("");
    assert_told("");
    hubble_fake_peer_answers(&end, "s1", NULL);
    assert_told("s1 opened; ");
}

static void an_end_waits_for_the_pong_too(void **state)
{
    (void)state;
    struct hubble_fake_holder *s1 = hubble_fake_open(&end, "s1");
    hubble_fake_write(s1, "x");
    hubble_fake_reset(s1, REASON_CLOSED, NULL);
    hubble_fake_close(s1);
    struct hubble_fake_holder *s2 = hubble_fake_open(&end, "s2");
    hubble_fake_finish(s2);
    hubble_fake_peer_answers(&end, "s1", NULL);
    assert_sent("02 s1 west h:22; 02 s2 west h:22; ");
    hubble_fake_peer_answers(&end, "s2", NULL);
    hubble_mux_ponged(&end.mux);
    assert_sent("03 s1 #1 x; 04 s1; ");
    assert_true(hubble_mux_deadline(&end.mux) == end.now + HUBBLE_PONG_TIME * 1000000);
    hubble_fake_wait(&end, 2);
    hubble_mux_ponged(&end.mux);
    hubble_mux_turn_ends(&end.mux, end.now);
    assert_true(hubble_mux_deadline(&end.mux) == end.now + 30000000);
}

/* ---- windows ---- */

static void a_full_stream_stops_the_reading(void **state)
{
    (void)state;
    end.keeps = true;
    struct hubble_fake_holder *s1 = asked("s1");
    struct hubble_fake_holder *s2 = asked("s2");
    hubble_fake_peer_sends_size(&end, "s1", 1, HUBBLE_STREAM_WINDOW / 2);
    hubble_fake_peer_sends_size(&end, "s1", 2, HUBBLE_STREAM_WINDOW / 2 - 1);
    assert_false(end.is_stopped);
    hubble_fake_peer_sends_size(&end, "s1", 3, 1);
    assert_true(end.is_stopped);
    /* What was read before still comes. */
    hubble_fake_peer_sends_size(&end, "s2", 1, HUBBLE_STREAM_WINDOW / 2);
    hubble_fake_peer_sends_size(&end, "s2", 2, HUBBLE_STREAM_WINDOW / 2);

    struct stream *stream = s1->stream;
    stream->operations->consumed(stream, HUBBLE_STREAM_WINDOW / 2);
    stream = s2->stream;
    stream->operations->consumed(stream, HUBBLE_STREAM_WINDOW / 2 - 1);
    assert_true(end.is_stopped);
    stream->operations->consumed(stream, 1);
    assert_false(end.is_stopped);
    hubble_fake_peer_sends_size(&end, "s1", 4, HUBBLE_STREAM_WINDOW / 2);
    assert_true(end.is_stopped);
    /* A closed stream gives back what it had. */
    hubble_fake_close(s1);
    assert_false(end.is_stopped);
    assert_int_equal(HUBBLE_STREAM_WINDOW / 2, end.mux.outstanding);
}

static void all_streams_together_stop_the_reading(void **state)
{
    (void)state;
    enum {
        COUNT = HUBBLE_LINK_WINDOW / (HUBBLE_STREAM_WINDOW / 2),
        SIZE = HUBBLE_STREAM_WINDOW / 2
    };
    end.keeps = true;
    char guid[] = "sa";
    for (int i = 0; i < COUNT; i++, guid[1]++) {
        asked(guid);
        assert_false(end.is_stopped);
        hubble_fake_peer_sends_size(&end, guid, 1, SIZE);
    }
    assert_true(end.is_stopped);
    guid[1] = 'a';
    for (int i = 0; i < COUNT / 2; i++, guid[1]++) {
        assert_true(end.is_stopped);
        hubble_fake_consume(hubble_fake_find(&end, guid));
    }
    assert_false(end.is_stopped);
}

static void what_is_not_accepted_counts_too(void **state)
{
    (void)state;
    end.keeps = true;
    hubble_fake_peer_opens(&end, "s1");
    hubble_fake_peer_sends_size(&end, "s1", 1, HUBBLE_STREAM_WINDOW / 2);
    hubble_fake_peer_sends_size(&end, "s1", 2, HUBBLE_STREAM_WINDOW / 2);
    assert_true(end.is_stopped);
    hubble_fake_wait(&end, HUBBLE_ACCEPT_TIME);
    assert_int_equal(1, hubble_fake_find(&end, "s1")->resets);
    hubble_fake_close(hubble_fake_find(&end, "s1"));
    assert_false(end.is_stopped);
}

/* ---- turns ---- */

static void the_owner_is_asked_once(void **state)
{
    (void)state;
    struct hubble_fake_holder *s1 = asked("s1");
    struct hubble_fake_holder *s2 = asked("s2");
    end.asked = 0;
    hubble_fake_write(s1, "x");
    hubble_fake_write(s2, "x");
    hubble_fake_finish(s1);
    assert_int_equal(1, end.asked);
    /* The carrier takes nothing in this turn: the end of the next must come. */
    hubble_mux_turn_ends(&end.mux, end.now);
    hubble_fake_finish(s2);
    assert_int_equal(2, end.asked);
    assert_sent("03 s1 #1 x; 03 s2 #1 x; ");
}

static void streams_take_turns_and_control_goes_first(void **state)
{
    (void)state;
    struct hubble_fake_holder *s1 = asked("s1");
    struct hubble_fake_holder *s2 = asked("s2");
    hubble_fake_write_size(s1, 3 * HUBBLE_CHUNK, CHUNK_LARGE_SIZE);
    hubble_fake_write(s2, "small");
    hubble_fake_peer_opens(&end, "s3");
    hubble_fake_accept(hubble_fake_find(&end, "s3"));
    hubble_fake_open(&end, "s4");
    assert_sent("02 s4 west h:22; ff s3 yes; 03 s1 #1 32768; 03 s2 #1 small; 03 s1 #2 32768; "
                "03 s1 #3 32768; ");
}

static void the_largest_is_found_and_failed(void **state)
{
    (void)state;
    struct hubble_stream *largest;
    assert_int_equal(0, hubble_mux_largest(&end.mux, &largest));
    assert_null(largest);
    end.keeps = true;
    struct hubble_fake_holder *s1 = asked("s1");
    asked("s2");
    hubble_fake_write_size(s1, 1000, 1000);
    hubble_fake_peer_sends_size(&end, "s2", 1, 1500);
    hubble_fake_peer_sends_size(&end, "s1", 1, 600);
    assert_int_equal(MUX_RECORD_COST + 1600, hubble_mux_largest(&end.mux, &largest));
    hubble_fake_told(&end);
    hubble_stream_fail(largest, REASON_NO_MEMORY, "full");
    assert_told("s1 reset 9; ");
    assert_string_equal("full", s1->reason);
    hubble_fake_close(s1);
    assert_int_equal(MUX_RECORD_COST + 1500, hubble_mux_largest(&end.mux, &largest));
    assert_sent("04 s1; ");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_finish_is_withheld_until_the_asking_peer_is_silent),
        TEST(an_answering_peer_has_more_time),
        TEST(a_peer_that_has_answered_ends_in_order),
        TEST(a_greeting_is_no_answer),
        TEST(silence_begins_when_all_is_sent),
        TEST(the_peers_end_ends_the_lingering),
        TEST(a_reset_ends_the_lingering),
        TEST(nobody_is_silent_who_is_not_read),
        TEST(an_answer_that_does_not_come_is_given_up),
        TEST(an_open_that_its_owner_leaves_is_refused),
        TEST(a_late_ack_is_told_of_the_end_again),
        TEST(so_many_are_kept_for_a_late_ack),
        TEST(data_waits_for_a_pong_after_the_ack),
        TEST(pings_are_shared_by_acks_that_came_before),
        TEST(a_pong_is_not_waited_for_for_ever),
        TEST(a_pong_is_not_waited_for_while_the_peer_is_not_read),
        TEST(an_end_before_the_ack_is_not_silence),
        TEST(an_end_waits_for_the_pong_too),
        TEST(a_full_stream_stops_the_reading),
        TEST(all_streams_together_stop_the_reading),
        TEST(what_is_not_accepted_counts_too),
        TEST(the_owner_is_asked_once),
        TEST(streams_take_turns_and_control_goes_first),
        TEST(the_largest_is_found_and_failed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
