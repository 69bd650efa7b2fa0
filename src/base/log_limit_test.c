#include "base/log_limit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { SECOND = 1000 * 1000 };

static const uint64_t start = UINT64_C(1) << 40;

static void expect_lines(struct log_limit *limit, uint64_t now, int tries, int lines)
{
    int written = 0;
    for (int i = 0; i < tries; i++) {
        uint64_t left_out = 0;
        written += log_limit_take(limit, now, &left_out);
    }
    assert_int_equal(written, lines);
}

static void test_a_burst_and_then_one_a_second(void **state)
{
    struct log_limit limit = {0};
    uint64_t left_out = 77;
    (void)state;
    assert_true(log_limit_take(&limit, start, &left_out));
    assert_int_equal(left_out, 0);
    expect_lines(&limit, start, 100, LOG_LIMIT_BURST - 1);
    assert_false(log_limit_take(&limit, start + SECOND - 1, &left_out));
    assert_true(log_limit_take(&limit, start + SECOND, &left_out));
    assert_int_equal(left_out, 100 - (LOG_LIMIT_BURST - 1) + 1);
    expect_lines(&limit, start + SECOND, 100, 0);
    expect_lines(&limit, start + 2 * SECOND, 100, 1);
}

static void test_a_quiet_time_brings_no_more_than_the_burst(void **state)
{
    struct log_limit limit = {0};
    (void)state;
    expect_lines(&limit, start, 100, LOG_LIMIT_BURST);
    expect_lines(&limit, start + UINT64_C(3600) * SECOND, 100, LOG_LIMIT_BURST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_burst_and_then_one_a_second),
        cmocka_unit_test(test_a_quiet_time_brings_no_more_than_the_burst),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
