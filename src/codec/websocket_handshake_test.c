#include "codec/websocket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_accept_of_the_standard(void **state)
{
    (void)state;
    char accept[WEBSOCKET_ACCEPT_SIZE + 1];
    websocket_accept_value("dGhlIHNhbXBsZSBub25jZQ==", 24, accept); /* RFC 6455 §1.3 */
    assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

static void test_key_of_the_standard(void **state)
{
    (void)state;
    char key[WEBSOCKET_KEY_SIZE + 1];
    const uint8_t counting[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
    websocket_key_value(counting, key); /* RFC 6455 §4.1 item 7 */
    assert_string_equal(key, "AQIDBAUGBwgJCgsMDQ4PEA==");
    websocket_key_value((const uint8_t *)"the sample nonce", key);
    assert_string_equal(key, "dGhlIHNhbXBsZSBub25jZQ==");
}

static bool is_valid(const char *key)
{
    return websocket_key_is_valid(key, strlen(key));
}

static void test_valid_keys(void **state)
{
    (void)state;
    assert_true(is_valid("dGhlIHNhbXBsZSBub25jZQ=="));
    assert_true(is_valid("//////////////////////=="));
    assert_false(is_valid(""));
    assert_false(is_valid("dGhlIHNhbXBsZSBub25jZQ="));
    assert_false(is_valid("dGhlIHNhbXBsZSBub25jZQ"));
    assert_false(is_valid("dGhlIHNhbXBsZSBub25jZQA=")); /* 17 bytes */
    assert_false(is_valid("dGhlIHNhbXBsZSBub25jZQAA")); /* 18 bytes */
    assert_false(is_valid("dGhlIHNhbXBsZSBub25j"));     /* 15 bytes */
    assert_false(is_valid("dGhlIHNhbXBsZSBub25jZQ==dGhlIHNh"));
    assert_false(is_valid("dGhlIHNhbXBsZSBub25j Q=="));
    assert_false(is_valid("dGhlIHNhbXBsZSBub25-ZQ=="));
    assert_false(is_valid("dGhlIHNhbXBsZSBub25jZ==="));
    assert_false(websocket_key_is_valid(NULL, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accept_of_the_standard),
        cmocka_unit_test(test_key_of_the_standard),
        cmocka_unit_test(test_valid_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
