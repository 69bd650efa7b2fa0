#include "lua/http_text.h"

#include "base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void test_durations(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint32_t milliseconds;
    } good[] = {
        {"1s", 1000},
        {"250ms", 250},
        {"1m30.5s", 90500},
        {"1h", 3600000},
        {"0", 0},
        {".5s", 500},
        {"1.s", 1000},
        {"+2s", 2000},
        {"1500us", 1},
        {"1000000ns", 1},
        {"100h", HTTP_DURATION_MAX},
        {"2\xc2\xb5s", 0},
        {"3000\xce\xbcs", 3},
        {"99999999999999999999999999h", HTTP_DURATION_MAX},
    };
    static const char *const bad[] = {"",    "1",   "s",      "-1s", "1 s", "1s ", "1x",
                                      "..s", "1sx", "1.2.3s", "+",   "0x",  "1mm", "\xc2\xb5s"};
    uint32_t milliseconds;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(http_text_parse_duration(text_of(good[i].text), &milliseconds), 0);
        assert_int_equal(milliseconds, good[i].milliseconds);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(http_text_parse_duration(text_of(bad[i]), &milliseconds),
                         CULVERT_ERROR_INVALID);
}

static void test_names_of_fields(void **state)
{
    (void)state;
    static const char *const names[][2] = {{"content-type", "Content-Type"},
                                           {"ETAG", "Etag"},
                                           {"x-a-1b", "X-A-1b"},
                                           {"X--y", "X--Y"},
                                           {"not a name", "not a name"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char name[32];
        snprintf(name, sizeof name, "%s", names[i][0]);
        http_text_spell_name(name, strlen(name));
        assert_string_equal(name, names[i][1]);
    }
    assert_true(http_text_is_token(text_of("X-A!")));
    assert_false(http_text_is_token(text_of("")));
    assert_false(http_text_is_token(text_of("a b")));
    assert_false(http_text_is_token((struct text){"a\0", 2}));
    assert_true(http_text_is_value(text_of("a\tb \xff")));
    assert_false(http_text_is_value(text_of("a\nb")));
    assert_false(http_text_is_value((struct text){"\0", 1}));
}

static void assert_text(struct text text, const char *expected)
{
    assert_int_equal(text.size, strlen(expected));
    if (text.size > 0)
        assert_memory_equal(text.data, expected, text.size);
}

static void test_fields(void **state)
{
    (void)state;
    struct text block = text_of("HTTP/1.1 200 OK: fine\r\nA:  b c \r\nEmpty:\r\nno colon\r\n"
                                "bad name: x\r\n: y\r\n\r\nLast: z");
    struct text name;
    struct text value;
    assert_true(http_text_take_field(&block, &name, &value));
    assert_text(name, "A");
    assert_text(value, "b c");
    assert_true(http_text_take_field(&block, &name, &value));
    assert_text(name, "Empty");
    assert_text(value, "");
    assert_true(http_text_take_field(&block, &name, &value));
    assert_text(name, "Last");
    assert_text(value, "z");
    assert_false(http_text_take_field(&block, &name, &value));
    block = TEXT_NULL;
    assert_false(http_text_take_field(&block, &name, &value));
}

static void test_cookies(void **state)
{
    (void)state;
    struct text name;
    struct text value;
    char out[32];
    assert_true(http_text_parse_cookie(text_of(" id = 7 ; Path=/"), &name, &value));
    assert_text(name, "id");
    assert_text(value, "7");
    assert_true(http_text_parse_cookie(text_of("a=\"b=c\""), &name, &value));
    assert_text(value, "b=c");
    assert_true(http_text_parse_cookie(text_of("a="), &name, &value));
    assert_text(value, "");
    assert_false(http_text_parse_cookie(text_of("a"), &name, &value));
    assert_false(http_text_parse_cookie(text_of(""), &name, &value));
    assert_false(http_text_parse_cookie(text_of("=a"), &name, &value));
    assert_false(http_text_parse_cookie(text_of("; a=b"), &name, &value));
    assert_false(http_text_parse_cookie(text_of("a=\x01"), &name, &value));
    assert_false(http_text_parse_cookie(text_of("a=\""), &name, &value));
    http_text_write_cookie(text_of("plain"), out);
    assert_string_equal(out, "plain");
    http_text_write_cookie(text_of("a;b\"c\\d\r\n\xff"), out);
    assert_string_equal(out, "abcd");
    http_text_write_cookie(text_of("a b"), out);
    assert_string_equal(out, "\"a b\"");
    http_text_write_cookie(text_of(""), out);
    assert_string_equal(out, "");
}

static void test_urls(void **state)
{
    (void)state;
    static const char *const good[] = {"http://a", "HTTPS://a/b", "http://[::1]:8/", "http://u@h"};
    static const char *const bad[] = {
        "",  "http:", "http://",    "http:///a", "http://?",     "ftp://a",
        "a", "//a",   "http://a\n", "file:///a", "http://a\x7f", "https://#"};
    static const char *const logins[][2] = {{"http://u:p@h/a@b", "http://h/a@b"},
                                            {"http://u@p@h", "http://h"},
                                            {"http://h/u@p", "http://h/u@p"},
                                            {"http://h?u@p", "http://h?u@p"},
                                            {"https://u:p@h:1", "https://h:1"},
                                            {"x@y", "x@y"},
                                            {"", ""}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(http_text_is_url(text_of(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(http_text_is_url(text_of(bad[i])));
    for (size_t i = 0; i < sizeof logins / sizeof *logins; i++) {
        char url[32];
        snprintf(url, sizeof url, "%s", logins[i][0]);
        http_text_strip_login(url);
        assert_string_equal(url, logins[i][1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_durations), cmocka_unit_test(test_names_of_fields),
        cmocka_unit_test(test_fields),    cmocka_unit_test(test_cookies),
        cmocka_unit_test(test_urls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
