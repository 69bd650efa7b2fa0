#include "lua/answer.h"

#include "base/error.h"
#include "lua/excerpt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static int decode(const char *json, struct answer *answer)
{
    return answer_decode(json, strlen(json), answer);
}

static void test_answers(void **state)
{
    (void)state;
    struct answer answer;
    assert_int_equal(decode("{\"verdict\":\"allow\",\"reason\":\"r\"}", &answer), 0);
    assert_int_equal(answer.kind, ANSWER_VERDICT);
    assert_true(answer.verdict.allowed);
    assert_false(answer.verdict.failed);
    assert_false(answer.is_last);
    assert_string_equal(answer.verdict.reason, "r");
    assert_int_equal(decode("{\"verdict\":\"refuse\",\"reason\":\"\"}", &answer), 0);
    assert_false(answer.verdict.allowed);
    assert_false(answer.verdict.failed);
    assert_int_equal(decode("{\"verdict\":\"fail\",\"reason\":\"\",\"last\":true}", &answer), 0);
    assert_false(answer.verdict.allowed);
    assert_true(answer.verdict.failed);
    assert_true(answer.is_last);
    assert_int_equal(decode("{\"log\":\"l\"}", &answer), 0);
    assert_int_equal(answer.kind, ANSWER_LOG);
    assert_string_equal(answer.text, "l");
    assert_int_equal(decode("{\"broken\":\"b\"}", &answer), 0);
    assert_int_equal(answer.kind, ANSWER_BROKEN);
    assert_string_equal(answer.text, "b");
    assert_int_equal(decode("{\"loaded\":true,\"connect\":true,\"on_event\":false}", &answer), 0);
    assert_int_equal(answer.kind, ANSWER_LOADED);
    assert_true(answer.has_connect);
    assert_false(answer.has_register);
    assert_false(answer.has_on_event);
}

static void test_what_is_no_answer(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "1",
        "{}",
        "{\"loaded\":1}",
        "{\"log\":1}",
        "{\"verdict\":\"allow\"}",
        "{\"verdict\":\"maybe\",\"reason\":\"\"}",
        "{\"verdict\":true,\"reason\":\"\"}",
        "{\"verdict\":\"allow\",\"reason\":\"\xff\"}",
        "{\"verdict\":\"allow\",\"reason\":\"\"} x",
    };
    struct answer answer;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(decode(bad[i], &answer), CULVERT_ERROR_PROTOCOL);
}

static void test_a_long_answer_is_cut(void **state)
{
    (void)state;
    struct answer answer;
    char json[4096];
    char text[3000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    snprintf(json, sizeof json, "{\"verdict\":\"allow\",\"reason\":\"%s\"}", text);
    assert_int_equal(decode(json, &answer), 0);
    assert_int_equal(strlen(answer.verdict.reason), POLICY_REASON_SIZE - 1);
    snprintf(json, sizeof json, "{\"log\":\"%s\"}", text);
    assert_int_equal(decode(json, &answer), 0);
    assert_int_equal(strlen(answer.text), ANSWER_WHY_SIZE - 1);
}

static void check_excerpt(const char *text, const char *secret, const char *expected)
{
    char out[16];
    excerpt_make(out, sizeof out, text, strlen(text), secret);
    assert_string_equal(out, expected);
}

static void test_excerpts(void **state)
{
    (void)state;
    char out[8];
    check_excerpt("plain", NULL, "plain");
    check_excerpt("a\nb\tc\x7f"
                  "d\x1b",
                  "", "a b c d ");
    check_excerpt("\xc3\xa4\xc2\x9b\xff\xc3", NULL, "\xc3\xa4 ??");
    check_excerpt("ababab", "abab", "[key]ab");
    check_excerpt("keykey", "key", "[key][key]");
    /* Neither half a character at the end, nor a part of the secret. */
    check_excerpt("0123456789abcd\xc3\xa4z", NULL, "0123456789abcd");
    check_excerpt("0123456789sesame", "sesame", "0123456789[key]");
    check_excerpt("0123456789asesame", "sesame", "0123456789a");
    excerpt_make(out, sizeof out, "a\0b", 3, NULL);
    assert_string_equal(out, "a b");
    excerpt_make(out, sizeof out, "", 0, "x");
    assert_string_equal(out, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_what_is_no_answer),
        cmocka_unit_test(test_a_long_answer_is_cut),
        cmocka_unit_test(test_excerpts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
