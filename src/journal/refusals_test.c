#include "journal/refusals.h"

#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { BEGIN = 1000000 };

static struct refusals refusals;

static int set_up(void **state)
{
    (void)state;
    return refusals_init(&refusals, 1);
}

static int tear_down(void **state)
{
    (void)state;
    refusals_deinit(&refusals);
    return 0;
}

static bool hold(const char *source, int64_t now)
{
    struct event event = {
        .type = EVENT_SESSION_REFUSED, .source = source, .host = "first", .reason = "no"};
    return refusals_hold(&refusals, &event, now);
}

/* How many of so many are shown. */
static unsigned refuse(const char *source, unsigned count, int64_t now)
{
    unsigned shown = 0;
    for (unsigned i = 0; i < count; i++)
        shown += !hold(source, now);
    return shown;
}

static struct refusals_sum take(int64_t now)
{
    struct refusals_sum sum = {NULL, 0};
    assert_true(refusals_take(&refusals, now, &sum));
    return sum;
}

static void expect_nothing(int64_t now)
{
    struct refusals_sum sum;
    assert_false(refusals_take(&refusals, now, &sum));
}

static void a_few_are_shown_and_the_others_summed_up(void **state)
{
    (void)state;
    assert_int_equal(refuse("evil", 1000, BEGIN), REFUSALS_SHOWN);
    struct event last = {.type = EVENT_SESSION_REFUSED, .source = "evil", .host = "last"};
    assert_true(refusals_hold(&refusals, &last, BEGIN + 999));
    assert_int_equal(refusals_due(&refusals), BEGIN + REFUSALS_SECOND);
    expect_nothing(BEGIN + REFUSALS_SECOND - 1);
    struct refusals_sum sum = take(BEGIN + REFUSALS_SECOND);
    assert_int_equal(sum.count, 1001 - REFUSALS_SHOWN);
    assert_int_equal(sum.record->event.repeated, sum.count);
    assert_string_equal(sum.record->event.source, "evil");
    assert_string_equal(sum.record->event.host, "first");
    memory_free(sum.record);
    expect_nothing(INT64_MAX);
    assert_int_equal(refusals_due(&refusals), 0);
    assert_int_equal(refuse("evil", 9, BEGIN + REFUSALS_SECOND), REFUSALS_SHOWN);
}

static void few_leave_no_sum(void **state)
{
    (void)state;
    assert_int_equal(refuse("good", REFUSALS_SHOWN, BEGIN), REFUSALS_SHOWN);
    assert_int_equal(refusals_due(&refusals), 0);
    struct refusals_sum sum = take(BEGIN + REFUSALS_SECOND);
    assert_int_equal(sum.count, 0);
    assert_null(sum.record);
    expect_nothing(INT64_MAX);
}

static void each_cause_and_type_has_its_own(void **state)
{
    (void)state;
    assert_int_equal(refuse("a", 50, BEGIN), REFUSALS_SHOWN);
    assert_int_equal(refuse("b", 60, BEGIN + 10), REFUSALS_SHOWN);
    struct event failure = {.type = EVENT_AUTH_FAILED, .source = "a"};
    assert_false(refusals_hold(&refusals, &failure, BEGIN + 20));
    struct refusals_sum a = take(BEGIN + REFUSALS_SECOND);
    assert_string_equal(a.record->event.source, "a");
    assert_int_equal(a.count, 50 - REFUSALS_SHOWN);
    assert_int_equal(refusals_due(&refusals), BEGIN + 10 + REFUSALS_SECOND);
    struct refusals_sum b = take(INT64_MAX);
    assert_string_equal(b.record->event.source, "b");
    assert_int_equal(b.count, 60 - REFUSALS_SHOWN);
    memory_free(a.record);
    memory_free(b.record);
}

static void too_many_causes_are_summed_up_together(void **state)
{
    (void)state;
    for (unsigned i = 0; i < REFUSALS_CAUSES; i++) {
        char source[16];
        snprintf(source, sizeof source, "s%u", i);
        assert_false(hold(source, BEGIN));
    }
    assert_int_equal(refuse("one more", 3, BEGIN), 3);
    assert_int_equal(refuse("and another", 10, BEGIN), REFUSALS_SHOWN - 3);
    assert_int_equal(refuse("s0", 1, BEGIN), 1);
    uint64_t count = 0;
    struct refusals_sum sum;
    while (refusals_take(&refusals, BEGIN + REFUSALS_SECOND, &sum)) {
        count += sum.count;
        if (sum.record == NULL)
            continue;
        assert_null(sum.record->event.source);
        assert_non_null(strstr(sum.record->event.reason, "further agents"));
        memory_free(sum.record);
    }
    assert_int_equal(count, 13 - REFUSALS_SHOWN);
    assert_int_equal(refuse("one more", 3, BEGIN + REFUSALS_SECOND), 3);
}

static void without_memory_they_are_counted(void **state)
{
    (void)state;
    refuse("evil", REFUSALS_SHOWN, BEGIN);
    memory_fail_after(1);
    assert_true(hold("evil", BEGIN));
    assert_false(memory_fail_is_pending());
    struct refusals_sum sum = take(INT64_MAX);
    assert_null(sum.record);
    assert_int_equal(sum.count, 1);
    for (size_t n = 1; n <= 3; n++) { /* a window, its key, the table */
        memory_fail_after(n);
        hold("evil", BEGIN);
        memory_fail_after(0);
        while (refusals_take(&refusals, INT64_MAX, &sum))
            assert_null(sum.record);
    }
}

static void what_is_held_back_is_freed(void **state)
{
    (void)state;
    refuse("evil", 100, BEGIN);
    refuse("more", 2, BEGIN);
    refusals_deinit(&refusals);
    refusals_deinit(&refusals);
    for (size_t n = 1; n <= 2; n++) {
        memory_fail_after(n);
        assert_true(refusals_init(&refusals, 1) < 0);
    }
    memory_fail_after(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_few_are_shown_and_the_others_summed_up, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(few_leave_no_sum, set_up, tear_down),
        cmocka_unit_test_setup_teardown(each_cause_and_type_has_its_own, set_up, tear_down),
        cmocka_unit_test_setup_teardown(too_many_causes_are_summed_up_together, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_memory_they_are_counted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_held_back_is_freed, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("refusals", tests, NULL, NULL);
}
