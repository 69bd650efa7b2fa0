#include "base/utf8.h"

#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static size_t first_size(const char *text)
{
    return utf8_character_size((const uint8_t *)text, strlen(text));
}

static void sizes_of_characters(void **state)
{
    (void)state;
    assert_int_equal(first_size("a"), 1);
    assert_int_equal(first_size("\xc2\x80"), 2);
    assert_int_equal(first_size("\xe2\x82\xacx"), 3);
    assert_int_equal(first_size("\xf4\x8f\xbf\xbf"), 4);
    assert_int_equal(utf8_character_size((const uint8_t *)"", 1), 1);
}

/* RFC 3629 §3, §10 */
static void what_is_no_character(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "\x80",         "\xc0\x80",         "\xc1\xbf",         "\xc2",
        "\xc2x",        "\xe0\x9f\xbf",     "\xe2\x82",         "\xed\xa0\x80",
        "\xf0\x9f\x98", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80",
        "\xff",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(first_size(wrong[i]), 0);
}

static void repairs(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"", ""},
        {"plain \xe2\x82\xac", "plain \xe2\x82\xac"},
        {"\xff", "\xef\xbf\xbd"},
        {"a\xe2\x82", "a\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xc3(\xc3\xa4", "\xef\xbf\xbd(\xc3\xa4"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        char *copy = utf8_repair(pairs[i][0]);
        assert_non_null(copy);
        assert_string_equal(copy, pairs[i][1]);
        memory_free(copy);
    }
    memory_fail_after(1);
    assert_null(utf8_repair("a"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_of_characters),
        cmocka_unit_test(what_is_no_character),
        cmocka_unit_test(repairs),
    };
    return cmocka_run_group_tests_name("utf8", tests, NULL, NULL);
}
