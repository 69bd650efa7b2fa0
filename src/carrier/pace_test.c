#include "carrier/pace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { MILLISECOND = 1000, SECOND = 1000 * MILLISECOND };

/* A line of so many bytes a millisecond behind a socket that is always full: each millisecond it
 * takes as much as has left. Returns whether the line seems slow and unsettled at the end. */
static bool run_line(struct pace *pace, uint64_t *now, size_t rate, unsigned milliseconds)
{
    bool asks = false;
    for (unsigned i = 0; i < milliseconds; i++) {
        *now += MILLISECOND;
        pace_wrote(pace, rate, *now);
        asks = pace_is_full(pace, *now) || asks;
    }
    return asks;
}

static void a_batch_is_what_the_line_takes_in_a_millisecond(void **state)
{
    (void)state;
    struct pace pace;
    uint64_t now = SECOND;
    pace_init(&pace);
    assert_true(run_line(&pace, &now, 12500, 200));
    assert_in_range(pace.batch, 12400, 12700);
    /* The line is now a hundred times as fast. */
    run_line(&pace, &now, 200000, 200);
    assert_in_range(pace.batch, 198000, 201000);
}

static void a_batch_has_bounds(void **state)
{
    (void)state;
    struct pace pace;
    uint64_t now = SECOND;
    pace_init(&pace);
    run_line(&pace, &now, 10, 500);
    assert_int_equal(pace.batch, PACE_LEAST_BATCH);
    run_line(&pace, &now, 100 * 1000 * 1000, 500);
    assert_int_equal(pace.batch, PACE_MOST_BATCH);
}

static void batches_grow_while_the_socket_takes_them(void **state)
{
    (void)state;
    struct pace pace;
    uint64_t now = SECOND;
    pace_init(&pace);
    for (int i = 0; i < 10; i++)
        pace_wrote(&pace, pace.batch, now);
    assert_int_equal(pace.batch, PACE_MOST_BATCH);
}

static void small_messages_tell_nothing(void **state)
{
    (void)state;
    struct pace pace;
    pace_init(&pace);
    for (int i = 0; i < 1000; i++)
        pace_wrote(&pace, 64, SECOND + (uint64_t)i);
    assert_int_equal(pace.batch, PACE_FIRST_BATCH);
}

/* On a slow line the socket takes a whole batch whenever there is room. */
static void batches_do_not_grow_soon_after_the_socket_was_full(void **state)
{
    (void)state;
    struct pace pace;
    uint64_t now = SECOND;
    pace_init(&pace);
    run_line(&pace, &now, 12500, 200);
    size_t batch = pace.batch;
    pace_wrote(&pace, batch, now + PACE_QUIET);
    assert_int_equal(pace.batch, batch);
    pace_wrote(&pace, batch, now + PACE_QUIET + 1);
    assert_int_equal(pace.batch, 2 * batch);
}

static void an_idle_sender_tells_nothing_of_the_line(void **state)
{
    (void)state;
    struct pace pace;
    pace_init(&pace);
    assert_true(pace_is_full(&pace, SECOND));
    pace_wrote(&pace, 100, 2 * SECOND);
    (void)pace_is_full(&pace, 2 * SECOND + 1);
    assert_int_equal(pace.batch, PACE_FIRST_BATCH);
}

static void little_stays_unsent_once_a_slow_line_has_settled(void **state)
{
    (void)state;
    struct pace pace;
    uint64_t now = SECOND;
    pace_init(&pace);
    assert_int_equal(pace_unsent(&pace), PACE_START_UNSENT);
    assert_true(run_line(&pace, &now, 12500, 200));
    assert_int_equal(pace_unsent(&pace), 32 * pace.batch);
    pace_settle(&pace);
    assert_int_equal(pace_unsent(&pace), 2 * pace.batch);
    assert_false(run_line(&pace, &now, 12500, 200));
    run_line(&pace, &now, 10, 500);
    assert_int_equal(pace_unsent(&pace), 2 * PACE_LEAST_BATCH);
}

static void a_fast_line_has_not_settled(void **state)
{
    (void)state;
    struct pace pace;
    uint64_t now = SECOND;
    pace_init(&pace);
    assert_true(run_line(&pace, &now, 12500, 200));
    pace_settle(&pace);
    run_line(&pace, &now, 1000 * 1000, 200);
    assert_false(run_line(&pace, &now, 1000 * 1000, 100));
    assert_int_equal(pace_unsent(&pace), PACE_MOST_UNSENT);
    assert_true(run_line(&pace, &now, 12500, 200));
}

static void a_line_is_long_when_it_is_slow_or_the_peer_far(void **state)
{
    (void)state;
    struct pace pace;
    uint64_t now = SECOND;
    pace_init(&pace);
    assert_false(pace_is_long(&pace, 0));
    assert_false(pace_is_long(&pace, PACE_FAR - 1));
    assert_true(pace_is_long(&pace, PACE_FAR));
    run_line(&pace, &now, 12500, 200);
    pace_settle(&pace);
    assert_true(pace_is_long(&pace, 0));
    run_line(&pace, &now, 200000, 200);
    assert_false(pace_is_long(&pace, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_is_what_the_line_takes_in_a_millisecond),
        cmocka_unit_test(a_batch_has_bounds),
        cmocka_unit_test(batches_grow_while_the_socket_takes_them),
        cmocka_unit_test(small_messages_tell_nothing),
        cmocka_unit_test(batches_do_not_grow_soon_after_the_socket_was_full),
        cmocka_unit_test(an_idle_sender_tells_nothing_of_the_line),
        cmocka_unit_test(little_stays_unsent_once_a_slow_line_has_settled),
        cmocka_unit_test(a_fast_line_has_not_settled),
        cmocka_unit_test(a_line_is_long_when_it_is_slow_or_the_peer_far),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
