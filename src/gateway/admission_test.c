#include "gateway/address_group.h"
#include "gateway/admission.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { SECOND = 1000 * 1000, START = 12345678 };

enum { OURS = 7, THEIRS = 8 }; /* groups of addresses */

static void begin(struct admission *admission, unsigned per_second)
{
    assert_int_equal(admission_init(admission, per_second, 42), 0);
}

/* Somebody who is not limited by address. */
static unsigned ask(struct admission *admission, uint64_t now)
{
    return admission_ask(admission, ADDRESS_GROUP_NONE, false, now);
}

static void test_no_limit(void **state)
{
    (void)state;
    struct admission admission;
    begin(&admission, 0);
    for (unsigned i = 0; i < 100000; i++)
        assert_int_equal(ask(&admission, START), 0);
}

/* How many of `count` that come at once are admitted. */
static unsigned admitted(struct admission *admission, uint64_t now, unsigned count)
{
    unsigned yes = 0;
    for (unsigned i = 0; i < count; i++)
        yes += admission_ask(admission, ADDRESS_GROUP_NONE, false, now) == 0;
    return yes;
}

static void test_the_rate(void **state)
{
    (void)state;
    static const unsigned rates[] = {1, 3, 10, 1000, 1000000};
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        struct admission admission;
        unsigned rate = rates[i];
        begin(&admission, rate);
        assert_int_equal(admitted(&admission, START, 2 * rate), rate);
        assert_int_equal(admitted(&admission, START + SECOND, 2 * rate), rate);
        /* what was not used is not saved up */
        assert_int_equal(admitted(&admission, START + 1000 * (uint64_t)SECOND, 2 * rate), rate);
    }
}

static void test_the_rate_within_a_second(void **state)
{
    (void)state;
    struct admission admission;
    unsigned yes = 0;
    begin(&admission, 100);
    for (uint64_t now = START; now < START + 10 * (uint64_t)SECOND; now += 1000)
        yes += ask(&admission, now) == 0;
    assert_in_range(yes, 1098, 1100); /* those at once, then 100 a second */
}

static void test_those_turned_away_come_one_behind_the_other(void **state)
{
    (void)state;
    struct admission admission;
    unsigned told[ADMISSION_LONGEST_WAIT + 1] = {0};
    begin(&admission, 100);
    for (unsigned i = 0; i < 100 + 500; i++)
        told[ask(&admission, START)]++;
    for (unsigned seconds = 0; seconds <= 5; seconds++)
        assert_int_equal(told[seconds], 100);
}

static void test_no_wait_is_longer_than_the_longest(void **state)
{
    (void)state;
    struct admission admission;
    begin(&admission, 1);
    for (unsigned i = 0; i < 10000; i++)
        assert_in_range(ask(&admission, START), 0, ADMISSION_LONGEST_WAIT);
    assert_int_equal(ask(&admission, START), ADMISSION_LONGEST_WAIT);
    /* and it is forgotten once it has passed */
    uint64_t later = START + (ADMISSION_LONGEST_WAIT + 1) * (uint64_t)SECOND;
    assert_int_equal(ask(&admission, later), 0);
    assert_int_equal(ask(&admission, later), 1);
}

/* How many of `count` of one group are admitted at once. */
static unsigned admitted_of(struct admission *admission, uint64_t group, uint64_t now,
                            unsigned count)
{
    unsigned yes = 0;
    for (unsigned i = 0; i < count; i++)
        yes += admission_ask(admission, group, false, now) == 0;
    return yes;
}

static void test_one_group_leaves_half_of_the_rate_to_others(void **state)
{
    (void)state;
    struct admission admission;
    begin(&admission, 1000);
    assert_in_range(admitted_of(&admission, THEIRS, START, 15000), 500, 501);
    /* and another gets its share of what is left */
    assert_in_range(admitted_of(&admission, OURS, START, 1000), 124, 126);
    assert_int_equal(admitted_of(&admission, THEIRS, START, 1000), 0);
}

static void test_a_group_that_is_alone_has_the_whole_rate(void **state)
{
    (void)state;
    struct admission admission;
    unsigned yes = 0;
    begin(&admission, 1000);
    for (uint64_t now = START; now < START + 5 * (uint64_t)SECOND; now += 100)
        yes += admission_ask(&admission, OURS, false, now) == 0;
    assert_in_range(yes, 5490, 5510); /* half of a second's at once, then 1000 a second */
}

static void test_a_flood_sends_nobody_else_away(void **state)
{
    (void)state;
    struct admission admission;
    begin(&admission, 1000);
    for (unsigned i = 0; i < 15000; i++) {
        uint64_t now = START + i * UINT64_C(100);
        (void)admission_ask(&admission, THEIRS, false, now);
        if (i % 100 == 0)
            assert_int_equal(admission_ask(&admission, OURS + 2 + i, false, now), 0);
    }
}

static void test_repeats_of_one_group_do_not_push_the_queue_back(void **state)
{
    (void)state;
    struct admission admission;
    begin(&admission, 100);
    assert_int_equal(admitted(&admission, START, 200), 100);
    assert_int_equal(ask(&admission, START), 2); /* the queue has 100 now */
    unsigned told = 0;
    for (unsigned i = 0; i < 15000; i++)
        told = admission_ask(&admission, THEIRS, false, START);
    assert_int_equal(told, ADMISSION_LONGEST_WAIT);
    assert_int_equal(admission_ask(&admission, OURS, false, START), 2);
    /* a group's own repeats are one behind the other, from its first turn on */
    for (unsigned i = 0; i < 100; i++)
        told = admission_ask(&admission, OURS, false, START);
    assert_int_equal(told, 3);
    /* and are forgotten when they have passed */
    uint64_t later = START + (ADMISSION_LONGEST_WAIT + 1) * (uint64_t)SECOND;
    assert_int_equal(admission_ask(&admission, THEIRS, false, later), 0);
}

static void test_a_known_link_goes_before(void **state)
{
    (void)state;
    struct admission admission;
    begin(&admission, 100);
    assert_int_equal(admitted(&admission, START, 200), 100);
    assert_true(admission_ask(&admission, OURS, false, START) > 0);
    unsigned yes = 0;
    for (unsigned i = 0; i < 50; i++)
        yes += admission_ask(&admission, OURS, true, START) == 0;
    assert_int_equal(yes, 50);
    /* who names its link again and again has its share of that, like of all else */
    for (unsigned i = 0; i < 1000; i++)
        yes += admission_ask(&admission, THEIRS, true, START) == 0;
    assert_in_range(yes, 50, 50 + 14);
    assert_int_equal(admission_ask(&admission, OURS + 2, true, START), 0);
}

static void test_more_groups_than_are_remembered(void **state)
{
    (void)state;
    struct admission admission;
    begin(&admission, 1000000);
    for (uint64_t group = 1; group <= 100000; group++)
        assert_int_equal(admission_ask(&admission, group, false, START + group), 0);
}

static void test_a_small_rate_admits_one_of_a_group(void **state)
{
    (void)state;
    struct admission admission;
    begin(&admission, 1);
    assert_int_equal(admission_ask(&admission, OURS, false, START), 0);
    assert_int_equal(admission_ask(&admission, OURS, false, START), 1);
    assert_int_equal(admission_ask(&admission, OURS, false, START), 2);
    assert_int_equal(admission_ask(&admission, THEIRS, false, START + SECOND), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_limit),
        cmocka_unit_test(test_the_rate),
        cmocka_unit_test(test_the_rate_within_a_second),
        cmocka_unit_test(test_those_turned_away_come_one_behind_the_other),
        cmocka_unit_test(test_no_wait_is_longer_than_the_longest),
        cmocka_unit_test(test_one_group_leaves_half_of_the_rate_to_others),
        cmocka_unit_test(test_a_group_that_is_alone_has_the_whole_rate),
        cmocka_unit_test(test_a_flood_sends_nobody_else_away),
        cmocka_unit_test(test_repeats_of_one_group_do_not_push_the_queue_back),
        cmocka_unit_test(test_a_known_link_goes_before),
        cmocka_unit_test(test_more_groups_than_are_remembered),
        cmocka_unit_test(test_a_small_rate_admits_one_of_a_group),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
