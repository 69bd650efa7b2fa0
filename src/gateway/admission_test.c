#include "gateway/admission.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { SECOND = 1000 * 1000, START = 12345678 };

static void test_no_limit(void **state)
{
    (void)state;
    struct admission admission;
    admission_init(&admission, 0);
    for (unsigned i = 0; i < 100000; i++)
        assert_int_equal(admission_ask(&admission, START), 0);
}

/* How many of `count` that come at once are admitted. */
static unsigned admitted(struct admission *admission, uint64_t now, unsigned count)
{
    unsigned yes = 0;
    for (unsigned i = 0; i < count; i++)
        yes += admission_ask(admission, now) == 0;
    return yes;
}

static void test_the_rate(void **state)
{
    (void)state;
    static const unsigned rates[] = {1, 3, 10, 1000, 1000000};
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        struct admission admission;
        unsigned rate = rates[i];
        admission_init(&admission, rate);
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
    admission_init(&admission, 100);
    for (uint64_t now = START; now < START + 10 * (uint64_t)SECOND; now += 1000)
        yes += admission_ask(&admission, now) == 0;
    assert_in_range(yes, 1098, 1100); /* those at once, then 100 a second */
}

static void test_those_turned_away_come_one_behind_the_other(void **state)
{
    (void)state;
    struct admission admission;
    unsigned told[ADMISSION_LONGEST_WAIT + 1] = {0};
    admission_init(&admission, 100);
    for (unsigned i = 0; i < 100 + 500; i++)
        told[admission_ask(&admission, START)]++;
    for (unsigned seconds = 0; seconds <= 5; seconds++)
        assert_int_equal(told[seconds], 100);
}

static void test_no_wait_is_longer_than_the_longest(void **state)
{
    (void)state;
    struct admission admission;
    admission_init(&admission, 1);
    for (unsigned i = 0; i < 10000; i++)
        assert_in_range(admission_ask(&admission, START), 0, ADMISSION_LONGEST_WAIT);
    assert_int_equal(admission_ask(&admission, START), ADMISSION_LONGEST_WAIT);
    /* and it is forgotten once it has passed */
    uint64_t later = START + (ADMISSION_LONGEST_WAIT + 1) * (uint64_t)SECOND;
    assert_int_equal(admission_ask(&admission, later), 0);
    assert_int_equal(admission_ask(&admission, later), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_limit),
        cmocka_unit_test(test_the_rate),
        cmocka_unit_test(test_the_rate_within_a_second),
        cmocka_unit_test(test_those_turned_away_come_one_behind_the_other),
        cmocka_unit_test(test_no_wait_is_longer_than_the_longest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
