#include "agent/gateways.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const uint64_t SECOND = 1000 * 1000;

static struct gateways in_order(size_t count)
{
    struct gateways gateways;
    gateways_init(&gateways, count, false, 0, 1);
    return gateways;
}

static struct gateways at_random(size_t count, uint64_t random)
{
    struct gateways gateways;
    gateways_init(&gateways, count, true, 0, random);
    return gateways;
}

/* Registered at this one, after those before it have failed. */
static struct gateways settled_at(size_t count, size_t index)
{
    struct gateways gateways = in_order(count);
    for (size_t i = 0; i < index; i++)
        assert_false(gateways_failed(&gateways, 0));
    assert_int_equal(gateways_current(&gateways), index);
    gateways_registered(&gateways, 0);
    return gateways;
}

static void expect_round(struct gateways *gateways, const size_t *expected, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(gateways_current(gateways), expected[i]);
        assert_int_equal(gateways_failed(gateways, 0), i + 1 == count);
    }
}

static void test_rounds_go_in_the_order_given(void **state)
{
    (void)state;
    struct gateways gateways = in_order(3);
    for (int i = 0; i < 3; i++)
        expect_round(&gateways, (const size_t[]){0, 1, 2}, 3);
}

static void test_one_gateway_backs_off_after_each_try(void **state)
{
    (void)state;
    struct gateways gateways = in_order(1);
    assert_true(gateways_failed(&gateways, 0));
    gateways_registered(&gateways, 0);
    gateways_leave(&gateways);
    assert_int_equal(gateways_current(&gateways), 0);
    gateways_lost(&gateways, true, 0);
    assert_int_equal(gateways_current(&gateways), 0);
    assert_true(gateways_failed(&gateways, 0));
    assert_int_equal(gateways_current(&gateways), 0);
    assert_true(gateways_return_at(&gateways) == UINT64_MAX);
}

static void test_random_rounds_have_each_once(void **state)
{
    (void)state;
    struct gateways gateways = at_random(GATEWAYS_MAX, 7);
    for (int round = 0; round < 50; round++) {
        bool seen[GATEWAYS_MAX] = {false};
        for (size_t i = 0; i < GATEWAYS_MAX; i++) {
            assert_false(seen[gateways_current(&gateways)]);
            seen[gateways_current(&gateways)] = true;
            assert_int_equal(gateways_failed(&gateways, 0), i + 1 == GATEWAYS_MAX);
        }
    }
}

static void test_agents_at_random_spread_evenly(void **state)
{
    (void)state;
    size_t counts[4] = {0};
    for (uint64_t random = 0; random < 4000; random++) {
        struct gateways gateways = at_random(4, random);
        counts[gateways_current(&gateways)]++;
    }
    for (size_t i = 0; i < 4; i++)
        assert_in_range(counts[i], 900, 1100);
}

static void test_those_that_leave_a_random_gateway_spread_over_the_others(void **state)
{
    (void)state;
    size_t counts[4] = {0};
    for (uint64_t random = 0; random < 4000; random++) {
        struct gateways gateways = at_random(4, random);
        size_t home = gateways_current(&gateways);
        gateways_registered(&gateways, 0);
        assert_int_equal(gateways_current(&gateways), home);
        gateways_leave(&gateways);
        assert_int_not_equal(gateways_current(&gateways), home);
        counts[(gateways_current(&gateways) + 4 - home) % 4]++;
        for (size_t i = 0; i < 3; i++)
            gateways_failed(&gateways, 0);
        assert_int_equal(gateways_current(&gateways), home);
    }
    for (size_t i = 1; i < 4; i++)
        assert_in_range(counts[i], 1200, 1460);
}

static void test_a_link_to_resume_is_worth_patience(void **state)
{
    (void)state;
    struct gateways gateways = settled_at(3, 1);
    gateways_lost(&gateways, true, SECOND);
    for (uint64_t now = SECOND; now < (1 + GATEWAYS_PATIENCE) * SECOND; now += SECOND) {
        assert_int_equal(gateways_current(&gateways), 1);
        assert_true(gateways_failed(&gateways, now));
    }
    assert_int_equal(gateways_current(&gateways), 1);
    assert_false(gateways_failed(&gateways, (1 + GATEWAYS_PATIENCE) * SECOND));
    assert_int_equal(gateways_current(&gateways), 0);
    assert_false(gateways_failed(&gateways, 20 * SECOND));
    assert_int_equal(gateways_current(&gateways), 2);
    assert_true(gateways_failed(&gateways, 20 * SECOND));
    expect_round(&gateways, (const size_t[]){0, 1, 2}, 3);
}

static void test_a_link_that_is_given_up_is_not(void **state)
{
    (void)state;
    struct gateways gateways = settled_at(3, 1);
    gateways_lost(&gateways, true, SECOND);
    gateways_given_up(&gateways);
    expect_round(&gateways, (const size_t[]){1, 0, 2}, 3);
    gateways_registered(&gateways, SECOND);
    gateways_lost(&gateways, true, SECOND);
    gateways_registered(&gateways, SECOND);
    gateways_lost(&gateways, false, SECOND);
    expect_round(&gateways, (const size_t[]){1, 2, 0}, 3);
}

static void test_a_link_that_was_ended_sends_elsewhere(void **state)
{
    (void)state;
    struct gateways gateways = settled_at(3, 0);
    gateways_lost(&gateways, false, 0);
    expect_round(&gateways, (const size_t[]){1, 2, 0}, 3);
    gateways = settled_at(3, 2);
    gateways_leave(&gateways);
    expect_round(&gateways, (const size_t[]){0, 1, 2}, 3);
}

static void test_losing_what_never_was_changes_nothing(void **state)
{
    (void)state;
    struct gateways gateways = in_order(2);
    gateways_lost(&gateways, true, 0);
    expect_round(&gateways, (const size_t[]){0, 1}, 2);
}

static void test_an_earlier_gateway_is_returned_to(void **state)
{
    (void)state;
    struct gateways gateways = settled_at(3, 2);
    assert_true(gateways_return_at(&gateways) == 60 * SECOND);
    assert_int_equal(gateways_better(&gateways), 0);
    gateways_stayed(&gateways, 60 * SECOND);
    assert_true(gateways_return_at(&gateways) == 120 * SECOND);
    assert_int_equal(gateways_better(&gateways), 1);
    gateways_returned(&gateways, 121 * SECOND);
    assert_int_equal(gateways_current(&gateways), 1);
    assert_true(gateways_return_at(&gateways) == 181 * SECOND);
    assert_int_equal(gateways_better(&gateways), 0);
    gateways_returned(&gateways, 200 * SECOND);
    assert_int_equal(gateways_current(&gateways), 0);
    assert_true(gateways_return_at(&gateways) == UINT64_MAX);
}

static void test_looking_for_an_earlier_one_becomes_rare(void **state)
{
    (void)state;
    struct gateways gateways = settled_at(2, 1);
    static const uint64_t minutes[] = {2, 4, 8, 16, 30, 30};
    uint64_t now = gateways_return_at(&gateways);
    for (size_t i = 0; i < sizeof minutes / sizeof *minutes; i++) {
        gateways_stayed(&gateways, now);
        assert_true(gateways_return_at(&gateways) == now + minutes[i] * 60 * SECOND);
        now = gateways_return_at(&gateways);
    }
    /* A resumed link is no new place. */
    gateways_lost(&gateways, true, now);
    gateways_registered(&gateways, now);
    assert_true(gateways_return_at(&gateways) == now);
}

static void test_the_first_interval_can_be_chosen(void **state)
{
    (void)state;
    struct gateways gateways;
    gateways_init(&gateways, 2, false, 3, 1);
    gateways_failed(&gateways, 0);
    gateways_registered(&gateways, 0);
    assert_true(gateways_return_at(&gateways) == 3 * SECOND);
    gateways_init(&gateways, 2, false, UINT32_MAX, 1);
    gateways_failed(&gateways, 0);
    gateways_registered(&gateways, 0);
    gateways_stayed(&gateways, 0);
    assert_true(gateways_return_at(&gateways) == UINT32_MAX * SECOND);
}

static void test_equals_are_not_returned_to(void **state)
{
    (void)state;
    for (uint64_t random = 0; random < 20; random++) {
        struct gateways gateways = at_random(2, random);
        assert_true(gateways_return_at(&gateways) == UINT64_MAX);
        gateways_registered(&gateways, 0);
        assert_true(gateways_return_at(&gateways) == UINT64_MAX);
    }
}

static void test_leaving_is_spread_over_what_the_gateway_says(void **state)
{
    (void)state;
    struct gateways gateways = in_order(2);
    uint64_t sum = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t delay = gateways_leave_delay(&gateways, 20);
        assert_true(delay <= 18000);
        sum += delay;
    }
    assert_in_range(sum / 1000, 8000, 10000);
    assert_true(gateways_leave_delay(&gateways, 0) == 0);
    assert_true(gateways_leave_delay(&gateways, UINT64_MAX) <= GATEWAYS_LAST_SPREAD * 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rounds_go_in_the_order_given),
        cmocka_unit_test(test_one_gateway_backs_off_after_each_try),
        cmocka_unit_test(test_random_rounds_have_each_once),
        cmocka_unit_test(test_agents_at_random_spread_evenly),
        cmocka_unit_test(test_those_that_leave_a_random_gateway_spread_over_the_others),
        cmocka_unit_test(test_a_link_to_resume_is_worth_patience),
        cmocka_unit_test(test_a_link_that_is_given_up_is_not),
        cmocka_unit_test(test_a_link_that_was_ended_sends_elsewhere),
        cmocka_unit_test(test_losing_what_never_was_changes_nothing),
        cmocka_unit_test(test_an_earlier_gateway_is_returned_to),
        cmocka_unit_test(test_looking_for_an_earlier_one_becomes_rare),
        cmocka_unit_test(test_the_first_interval_can_be_chosen),
        cmocka_unit_test(test_equals_are_not_returned_to),
        cmocka_unit_test(test_leaving_is_spread_over_what_the_gateway_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
