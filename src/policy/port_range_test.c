#include "policy/port_range.h"

#include "base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void check(const char *text, uint16_t low, uint16_t high)
{
    struct port_range range = {0};
    char why[256] = "";
    if (port_range_parse(text_of(text), &range, why, sizeof why) != 0)
        fail_msg("\"%s\": %s", text, why);
    assert_int_equal(range.low, low);
    assert_int_equal(range.high, high);
}

static void check_wrong(const char *text, const char *piece_of_why)
{
    struct port_range range;
    char why[256] = "";
    assert_int_equal(port_range_parse(text_of(text), &range, why, sizeof why),
                     CULVERT_ERROR_INVALID);
    if (strstr(why, piece_of_why) == NULL)
        fail_msg("\"%s\", without \"%s\"", why, piece_of_why);
}

static void test_ranges(void **state)
{
    (void)state;
    check("80", 80, 80);
    check("1-65535", 1, 65535);
    check("80-80", 80, 80);
    check("*", 1, 65535);
}

static void test_what_is_no_range(void **state)
{
    (void)state;
    check_wrong("", "not a port");
    check_wrong("0", "not a port");
    check_wrong("65536", "not a port");
    check_wrong("0-80", "not a port");
    check_wrong("80-", "not a port");
    check_wrong("-80", "not a port");
    check_wrong("1-2-3", "not a port");
    check_wrong("http", "not a port");
    check_wrong("81-80", "runs backwards");
}

static void test_what_a_range_holds(void **state)
{
    (void)state;
    struct port_range range = {6000, 6010};
    assert_false(port_range_holds(&range, 5999));
    assert_true(port_range_holds(&range, 6000));
    assert_true(port_range_holds(&range, 6010));
    assert_false(port_range_holds(&range, 6011));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_what_is_no_range),
        cmocka_unit_test(test_what_a_range_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
