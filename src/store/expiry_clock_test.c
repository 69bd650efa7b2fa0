#include "store/expiry_clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { HOUR = 3600 * 1000 };

static const int64_t START = INT64_C(1700000000000);

static void test_it_follows_the_systems_clock(void **state)
{
    (void)state;
    struct expiry_clock clock = EXPIRY_CLOCK_NULL;
    assert_int_equal(expiry_clock_take(&clock, START + 999, 5), START / 1000);
    assert_int_equal(expiry_clock_take(&clock, START + 2000, 1006), START / 1000 + 2);
    /* Set forward, as at start by a time service. */
    assert_int_equal(expiry_clock_take(&clock, START + HOUR, 1007), START / 1000 + 3600);
    assert_int_equal(clock.setback, 0);
    /* A clock from before 1970. */
    clock = EXPIRY_CLOCK_NULL;
    assert_int_equal(expiry_clock_take(&clock, -5000, 0), -5);
}

static void test_a_clock_set_back_delays_nothing(void **state)
{
    (void)state;
    struct expiry_clock clock = EXPIRY_CLOCK_NULL;
    expiry_clock_take(&clock, START, 0);
    assert_int_equal(expiry_clock_take(&clock, START - HOUR + 2000, 2000), START / 1000 + 2);
    assert_int_equal(clock.setback, HOUR);
    assert_int_equal(expiry_clock_take(&clock, START - HOUR + 5000, 5000), START / 1000 + 5);
    /* Again, and a little each time. */
    assert_int_equal(expiry_clock_take(&clock, START - 2 * HOUR, 6000), START / 1000 + 6);
    for (int i = 1; i <= 10; i++)
        assert_int_equal(expiry_clock_take(&clock, START - 2 * HOUR - i, 6000 + (int64_t)i * 1000),
                         START / 1000 + 6 + i);
    /* Right again. */
    assert_int_equal(expiry_clock_take(&clock, START + 17000, 17000), START / 1000 + 17);
    assert_int_equal(clock.setback, 0);
}

static void test_the_systems_clocks(void **state)
{
    (void)state;
    struct expiry_clock clock = EXPIRY_CLOCK_NULL;
    int64_t first = expiry_clock_now(&clock);
    assert_true(first > 1600000000);
    assert_true(expiry_clock_now(&clock) >= first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_follows_the_systems_clock),
        cmocka_unit_test(test_a_clock_set_back_delays_nothing),
        cmocka_unit_test(test_the_systems_clocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
