#include "agent/ladder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const uint64_t SECOND = 1000 * 1000;
static const uint64_t MINUTE = 60 * 1000 * 1000;

static struct ladder ladder_of(enum agent_transport transport)
{
    struct ladder ladder;
    ladder_init(&ladder, transport, 0);
    return ladder;
}

/* A ladder that has come down to long poll, which works there, at the time 0. */
static struct ladder on_poll(void)
{
    struct ladder ladder = ladder_of(AGENT_TRANSPORT_AUTO);
    assert_true(ladder_tried(&ladder, LADDER_WEBSOCKET, LADDER_NOT_PASSED, 0));
    assert_int_equal(ladder_next(&ladder, 0), LADDER_POLL);
    assert_false(ladder_tried(&ladder, LADDER_POLL, LADDER_REGISTERED, 0));
    return ladder;
}

static void test_one_transport_is_all_that_was_wanted(void **state)
{
    (void)state;
    static const enum ladder_rung rungs[] = {
        [AGENT_TRANSPORT_WEBSOCKET] = LADDER_WEBSOCKET, [AGENT_TRANSPORT_POLL] = LADDER_POLL};
    for (int transport = AGENT_TRANSPORT_WEBSOCKET; transport <= AGENT_TRANSPORT_POLL;
         transport++) {
        struct ladder ladder = ladder_of((enum agent_transport)transport);
        enum ladder_rung rung = rungs[transport];
        for (uint64_t i = 0; i < 10; i++) {
            uint64_t now = i * MINUTE;
            assert_int_equal(ladder_next(&ladder, now), rung);
            assert_false(ladder_tried(&ladder, rung, LADDER_NOT_PASSED, now));
            assert_false(ladder_tried(&ladder, rung, LADDER_UNREACHABLE, now));
            assert_false(ladder_tried(&ladder, rung, LADDER_REGISTERED, now));
            ladder_lost(&ladder, rung, 1, now);
            assert_true(ladder_retry_at(&ladder) == UINT64_MAX);
        }
    }
}

static void test_what_says_nothing_about_the_transport_changes_nothing(void **state)
{
    (void)state;
    struct ladder ladder = ladder_of(AGENT_TRANSPORT_AUTO);
    for (uint64_t i = 0; i < 100; i++) {
        assert_int_equal(ladder_next(&ladder, i), LADDER_WEBSOCKET);
        assert_false(ladder_tried(&ladder, LADDER_WEBSOCKET, LADDER_UNREACHABLE, i));
    }
    assert_true(ladder_retry_at(&ladder) == UINT64_MAX);
}

static void test_websocket_that_does_not_pass_gives_way_at_once(void **state)
{
    (void)state;
    struct ladder ladder = on_poll();
    assert_true(ladder_retry_at(&ladder) == MINUTE);
    assert_int_equal(ladder_next(&ladder, MINUTE - 1), LADDER_POLL);
    assert_int_equal(ladder_next(&ladder, MINUTE), LADDER_WEBSOCKET);
    ladder_lost(&ladder, LADDER_POLL, 1, SECOND);
    assert_int_equal(ladder_next(&ladder, SECOND), LADDER_POLL);
    assert_false(ladder_tried(&ladder, LADDER_POLL, LADDER_UNREACHABLE, 2 * SECOND));
    assert_int_equal(ladder_next(&ladder, 2 * SECOND), LADDER_POLL);
}

static void test_tries_beside_long_poll_come_after_twice_the_time(void **state)
{
    (void)state;
    struct ladder ladder = on_poll();
    static const uint64_t minutes[] = {2, 4, 8, 16, 30, 30};
    uint64_t now = ladder_retry_at(&ladder);
    assert_true(now == MINUTE);
    for (size_t i = 0; i < sizeof minutes / sizeof *minutes; i++) {
        ladder_tried(&ladder, LADDER_WEBSOCKET, LADDER_NOT_PASSED, now);
        assert_int_equal(ladder_next(&ladder, now), LADDER_POLL);
        assert_true(ladder_retry_at(&ladder) == now + minutes[i] * MINUTE);
        now = ladder_retry_at(&ladder);
    }
}

static void test_a_try_that_reaches_nobody_is_made_again_without_doubling(void **state)
{
    (void)state;
    struct ladder ladder = on_poll();
    assert_false(ladder_tried(&ladder, LADDER_WEBSOCKET, LADDER_UNREACHABLE, MINUTE));
    assert_true(ladder_retry_at(&ladder) == 2 * MINUTE);
    assert_int_equal(ladder_next(&ladder, MINUTE), LADDER_POLL);
}

static void test_the_first_interval_can_be_chosen(void **state)
{
    (void)state;
    struct ladder ladder;
    ladder_init(&ladder, AGENT_TRANSPORT_AUTO, 2);
    ladder_tried(&ladder, LADDER_WEBSOCKET, LADDER_NOT_PASSED, 0);
    assert_true(ladder_retry_at(&ladder) == 2 * SECOND);
    ladder_tried(&ladder, LADDER_WEBSOCKET, LADDER_NOT_PASSED, 0);
    assert_true(ladder_retry_at(&ladder) == 4 * SECOND);

    ladder_init(&ladder, AGENT_TRANSPORT_AUTO, UINT32_MAX);
    for (int i = 0; i < 3; i++) {
        ladder_tried(&ladder, LADDER_WEBSOCKET, LADDER_NOT_PASSED, 0);
        assert_true(ladder_retry_at(&ladder) == UINT32_MAX * SECOND);
    }
}

static void test_three_short_lives_in_a_row_are_none(void **state)
{
    (void)state;
    struct ladder ladder = ladder_of(AGENT_TRANSPORT_AUTO);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ladder_next(&ladder, 0), LADDER_WEBSOCKET);
        ladder_tried(&ladder, LADDER_WEBSOCKET, LADDER_REGISTERED, 0);
        ladder_lost(&ladder, LADDER_WEBSOCKET, LADDER_SHORT_LIFE - 1, 0);
    }
    assert_int_equal(ladder_next(&ladder, 0), LADDER_POLL);
    assert_true(ladder_retry_at(&ladder) == MINUTE);
}

static void test_a_long_life_begins_the_count_anew(void **state)
{
    (void)state;
    struct ladder ladder = ladder_of(AGENT_TRANSPORT_AUTO);
    static const uint64_t lives[] = {1, 1, LADDER_SHORT_LIFE, 1, 1, LADDER_SHORT_LIFE, 1, 1};
    for (size_t i = 0; i < sizeof lives / sizeof *lives; i++) {
        assert_int_equal(ladder_next(&ladder, 0), LADDER_WEBSOCKET);
        ladder_tried(&ladder, LADDER_WEBSOCKET, LADDER_REGISTERED, 0);
        ladder_lost(&ladder, LADDER_WEBSOCKET, lives[i], 0);
    }
    assert_int_equal(ladder_next(&ladder, 0), LADDER_WEBSOCKET);
}

static void test_websocket_that_is_back_has_to_last(void **state)
{
    (void)state;
    struct ladder ladder = on_poll();
    assert_false(ladder_tried(&ladder, LADDER_WEBSOCKET, LADDER_REGISTERED, MINUTE));
    assert_int_equal(ladder_next(&ladder, MINUTE), LADDER_WEBSOCKET);
    assert_true(ladder_retry_at(&ladder) == UINT64_MAX);
    ladder_lost(&ladder, LADDER_WEBSOCKET, SECOND, MINUTE);
    assert_int_equal(ladder_next(&ladder, MINUTE), LADDER_POLL);
    assert_true(ladder_retry_at(&ladder) == 3 * MINUTE);

    /* It lasts this time: whatever comes later begins with the first interval. */
    ladder_tried(&ladder, LADDER_WEBSOCKET, LADDER_REGISTERED, 3 * MINUTE);
    ladder_lost(&ladder, LADDER_WEBSOCKET, LADDER_SHORT_LIFE, 4 * MINUTE);
    assert_int_equal(ladder_next(&ladder, 4 * MINUTE), LADDER_WEBSOCKET);
    ladder_tried(&ladder, LADDER_WEBSOCKET, LADDER_NOT_PASSED, 4 * MINUTE);
    assert_true(ladder_retry_at(&ladder) == 5 * MINUTE);
}

static void test_long_poll_that_never_worked_takes_turns_with_websocket(void **state)
{
    (void)state;
    static const enum ladder_outcome outcomes[] = {LADDER_UNREACHABLE, LADDER_NOT_PASSED};
    struct ladder ladder = ladder_of(AGENT_TRANSPORT_AUTO);
    for (size_t i = 0; i < 10; i++) {
        assert_int_equal(ladder_next(&ladder, 0), LADDER_WEBSOCKET);
        assert_true(ladder_tried(&ladder, LADDER_WEBSOCKET, LADDER_NOT_PASSED, 0));
        assert_int_equal(ladder_next(&ladder, 0), LADDER_POLL);
        assert_false(ladder_tried(&ladder, LADDER_POLL, outcomes[i % 2], 0));
    }
}

static void test_long_poll_that_stops_passing_lets_websocket_try(void **state)
{
    (void)state;
    struct ladder ladder = on_poll();
    ladder_lost(&ladder, LADDER_POLL, SECOND, SECOND);
    assert_false(ladder_tried(&ladder, LADDER_POLL, LADDER_NOT_PASSED, SECOND));
    assert_int_equal(ladder_next(&ladder, SECOND), LADDER_WEBSOCKET);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_transport_is_all_that_was_wanted),
        cmocka_unit_test(test_what_says_nothing_about_the_transport_changes_nothing),
        cmocka_unit_test(test_websocket_that_does_not_pass_gives_way_at_once),
        cmocka_unit_test(test_tries_beside_long_poll_come_after_twice_the_time),
        cmocka_unit_test(test_a_try_that_reaches_nobody_is_made_again_without_doubling),
        cmocka_unit_test(test_the_first_interval_can_be_chosen),
        cmocka_unit_test(test_three_short_lives_in_a_row_are_none),
        cmocka_unit_test(test_a_long_life_begins_the_count_anew),
        cmocka_unit_test(test_websocket_that_is_back_has_to_last),
        cmocka_unit_test(test_long_poll_that_never_worked_takes_turns_with_websocket),
        cmocka_unit_test(test_long_poll_that_stops_passing_lets_websocket_try),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
