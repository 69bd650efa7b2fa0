#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/reason.h"
#include "base/str.h"

#include <errno.h>
#include <string.h>

static void texts_compare(void **state)
{
    (void)state;
    assert_int_equal(text_of(NULL).size, 0);
    assert_true(text_equals(TEXT_NULL, ""));
    assert_true(text_equals(text_of("abc"), "abc"));
    assert_false(text_equals(text_of("abc"), "ab"));
    assert_false(text_equals(text_of("abc"), "abcd"));
    assert_false(text_equals((struct text){"ab\0", 3}, "ab"));
    assert_true(text_equals_ignore_case(text_of("UpGrade"), "uPgrade"));
    assert_false(text_equals_ignore_case(text_of("[abc"), "{abc"));
    assert_false(text_equals_ignore_case(text_of("upgrad"), "upgrade"));
}

static void a_copy_needs_room_for_its_zero(void **state)
{
    (void)state;
    char buffer[4] = "xyz";
    assert_int_equal(text_copy(text_of("abcd"), buffer, 4), CULVERT_ERROR_TOO_LARGE);
    assert_string_equal(buffer, "xyz");
    assert_int_equal(text_copy(text_of("abc"), buffer, 4), 0);
    assert_string_equal(buffer, "abc");
    assert_int_equal(text_copy(TEXT_NULL, buffer, 1), 0);
    assert_string_equal(buffer, "");
    assert_int_equal(text_copy(TEXT_NULL, buffer, 0), CULVERT_ERROR_TOO_LARGE);
}

static void ports(void **state)
{
    (void)state;
    static const char *const bad[] = {"",   "65536", "-1",  "+1", " 1",
                                      "1 ", "0x10",  "1.0", "a",  "99999999999999999999"};
    uint16_t port = 7;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(str_parse_port(text_of(bad[i]), &port), CULVERT_ERROR_INVALID);
    assert_int_equal(port, 7);
    assert_int_equal(str_parse_port(text_of("0"), &port), 0);
    assert_int_equal(port, 0);
    assert_int_equal(str_parse_port(text_of("65535"), &port), 0);
    assert_int_equal(port, 65535);
    assert_int_equal(str_parse_port(text_of("00080"), &port), 0);
    assert_int_equal(port, 80);
}

static void numbers(void **state)
{
    (void)state;
    uint64_t number = 7;
    assert_int_equal(str_parse_number(text_of("18446744073709551615"), UINT64_MAX, &number), 0);
    assert_true(number == UINT64_MAX);
    assert_int_equal(str_parse_number(text_of("18446744073709551616"), UINT64_MAX, &number),
                     CULVERT_ERROR_INVALID);
    assert_int_equal(str_parse_number(text_of("6"), 5, &number), CULVERT_ERROR_INVALID);
    assert_int_equal(str_parse_number(text_of("10"), 5, &number), CULVERT_ERROR_INVALID);
    assert_int_equal(str_parse_number(text_of("5"), 5, &number), 0);
    assert_int_equal(number, 5);
}

static void sizes(void **state)
{
    (void)state;
    static const char *const bad[] = {"",     "K",  "1KB",          "1T",  "-1",
                                      "1.5G", "1 ", "17179869184G", "1KK", "MM"};
    size_t bytes = 7;
    assert_int_equal(str_parse_size(NULL, &bytes), CULVERT_ERROR_INVALID);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(str_parse_size(bad[i], &bytes), CULVERT_ERROR_INVALID);
    assert_int_equal(bytes, 7);
    assert_int_equal(str_parse_size("65536", &bytes), 0);
    assert_int_equal(bytes, 65536);
    assert_int_equal(str_parse_size("3K", &bytes), 0);
    assert_int_equal(bytes, 3072);
    assert_int_equal(str_parse_size("512M", &bytes), 0);
    assert_int_equal(bytes, 512 << 20);
    assert_int_equal(str_parse_size("2G", &bytes), 0);
    assert_true(bytes == (size_t)2 << 30);
}

static void durations(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t seconds;
    } good[] = {{"90", 90}, {"90s", 90}, {"15m", 900}, {"24h", 86400}, {"7d", 604800}, {"0", 0}};
    static const char *const bad[] = {"", "s", "1w", "1m30s", "-5s", "1.5h", "99999999999999999d"};
    uint64_t seconds = 7;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(str_parse_duration(bad[i], &seconds), CULVERT_ERROR_INVALID);
    assert_int_equal(seconds, 7);
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(str_parse_duration(good[i].text, &seconds), 0);
        assert_int_equal(seconds, good[i].seconds);
    }
}

static void legacy_names(void **state)
{
    (void)state;
    char name[129];
    memset(name, 'n', sizeof(name));
    assert_true(str_is_legacy_name((struct text){name, 128}));
    assert_false(str_is_legacy_name((struct text){name, 129}));
    assert_true(str_is_legacy_name(text_of("")));
    assert_true(str_is_legacy_name(text_of("the office / 2")));
    assert_true(str_is_legacy_name(text_of("b\xc3\xa4r \xe2\x82\xac \xf0\x9f\x90\xbb")));
    static const char *const malformed[] = {
        "-",        "gateway",          "a\nb", "\x7f",         "\x80",
        "\xc2\x85", "\xc0\xaf",         "\xc3", "\xe0\x80\xaf", "\xed\xa0\x80",
        "\xe2\x82", "\xf4\x90\x80\x80", "\xff", "\xe2\x28\xa1", "\xf0\x9f\x90\x28",
    };
    for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++)
        assert_false(str_is_legacy_name(text_of(malformed[i])));
    assert_false(str_is_legacy_name((struct text){"a\0b", 3}));
}

static void agent_names(void **state)
{
    (void)state;
    char name[130];
    memset(name, 'a', sizeof(name));
    assert_true(str_is_agent_name((struct text){name, 128}));
    assert_false(str_is_agent_name((struct text){name, 129}));
    assert_true(str_is_agent_name(text_of("Office-2.lan_x")));
    assert_true(str_is_agent_name(text_of("gateway2")));
    assert_false(str_is_agent_name(text_of("gateway")));
    assert_false(str_is_agent_name(text_of("-")));
    assert_true(str_is_agent_name(text_of("--")));
    assert_false(str_is_agent_name(text_of("")));
    assert_false(str_is_agent_name(text_of("a b")));
    assert_false(str_is_agent_name(text_of("a:b")));
    assert_false(str_is_agent_name(text_of("b\xc3\xa4r")));
    assert_false(str_is_agent_name((struct text){"a\0b", 3}));
}

static void every_error_and_reason_has_a_text(void **state)
{
    (void)state;
    assert_string_equal(error_text(0), "no error");
    assert_string_equal(error_text(-ECONNREFUSED), "Connection refused");
    assert_string_equal(error_text(-4000), "unknown system error");
    assert_string_equal(error_text(-5), "Input/output error");
    assert_string_equal(error_text(12345), "unknown error");
    for (int e = CULVERT_ERROR_NO_MEMORY; e <= CULVERT_ERROR_UNSUPPORTED; e++) {
        assert_string_not_equal(error_text(e), "unknown error");
        assert_false(error_is_system(e));
    }
    assert_true(error_is_system(-ENOENT));
    for (int code = REASON_NONE; code <= REASON_NOT_ALLOWED; code++)
        assert_string_not_equal(reason_text(code), "unknown reason");
    assert_string_equal(reason_text(-1), "unknown reason");
    assert_string_equal(reason_text(99), "unknown reason");
}

static void unknown_and_ordinary_resets_wait(void **state)
{
    (void)state;
    static const int immediate[] = {2, 8, 9, 10, 12, 14, 15, 17, 18};
    size_t found = 0;
    for (int code = -1; code < 100; code++)
        found += reason_is_immediate(code);
    assert_int_equal(found, sizeof(immediate) / sizeof(immediate[0]));
    for (size_t i = 0; i < sizeof(immediate) / sizeof(immediate[0]); i++)
        assert_true(reason_is_immediate(immediate[i]));
}

static void check_duration(uint64_t seconds, const char *wanted)
{
    char text[STR_DURATION_SIZE];
    uint64_t back = 0;
    assert_string_equal(str_duration_text(seconds, text), wanted);
    assert_int_equal(str_parse_duration(text, &back), 0);
    assert_true(back == seconds);
}

static void test_durations_as_text(void **state)
{
    (void)state;
    check_duration(0, "0s");
    check_duration(59, "59s");
    check_duration(90, "90s");
    check_duration(900, "15m");
    check_duration(3600, "1h");
    check_duration(86400, "24h");
    check_duration(86400 + 3600, "25h");
    check_duration(2 * 86400, "2d");
    check_duration(UINT64_MAX, "18446744073709551615s");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_durations_as_text),
        cmocka_unit_test(texts_compare),
        cmocka_unit_test(a_copy_needs_room_for_its_zero),
        cmocka_unit_test(ports),
        cmocka_unit_test(numbers),
        cmocka_unit_test(sizes),
        cmocka_unit_test(durations),
        cmocka_unit_test(legacy_names),
        cmocka_unit_test(agent_names),
        cmocka_unit_test(every_error_and_reason_has_a_text),
        cmocka_unit_test(unknown_and_ordinary_resets_wait),
    };
    return cmocka_run_group_tests_name("str", tests, NULL, NULL);
}
