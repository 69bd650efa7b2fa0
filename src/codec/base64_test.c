#include "codec/base64.h"

#include "base/error.h"
#include "codec/guarded_page.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct guarded_page page;

static void check(const char *plain, size_t size, const char *expected)
{
    char text[64];
    uint8_t back[64];
    size_t written = 0;
    base64_encode(guarded_page_put(&page, plain, size), size, text);
    assert_string_equal(text, expected);
    assert_int_equal(strlen(text), BASE64_SIZE(size));
    assert_int_equal(base64_decode(text, strlen(text), back, size, &written), 0);
    assert_int_equal(written, size);
    assert_memory_equal(back, plain, size);
    if (size > 0)
        assert_int_equal(base64_decode(text, strlen(text), back, size - 1, &written),
                         CULVERT_ERROR_TOO_LARGE);
}

static void test_standard_vectors(void **state)
{
    (void)state;
    /* RFC 4648 §10, §9 */
    check("", 0, "");
    check("f", 1, "Zg==");
    check("fo", 2, "Zm8=");
    check("foo", 3, "Zm9v");
    check("foob", 4, "Zm9vYg==");
    check("fooba", 5, "Zm9vYmE=");
    check("foobar", 6, "Zm9vYmFy");
    check("\x14\xfb\x9c\x03\xd9\x7e", 6, "FPucA9l+");
    check("\x14\xfb\x9c\x03\xd9", 5, "FPucA9k=");
    check("\x14\xfb\x9c\x03", 4, "FPucAw==");
    check("\xff\xff\xbe\0\0\0", 6, "//++AAAA");
}

static void test_all_digits(void **state)
{
    (void)state;
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint8_t bytes[48];
    char text[65];
    size_t written;
    assert_int_equal(base64_decode(digits, 64, bytes, sizeof(bytes), &written), 0);
    assert_int_equal(written, 48);
    base64_encode(bytes, written, text);
    assert_string_equal(text, digits);
}

static int make_page(void **state)
{
    (void)state;
    page = guarded_page_new(64);
    return 0;
}

static int free_page(void **state)
{
    (void)state;
    guarded_page_free(&page);
    return 0;
}

static void test_malformed_text(void **state)
{
    (void)state;
    static const char *const malformed[] = {
        "Z",    "Zg",   "Zg=",  "Zg==Z", "====", "=",     "Z===",     "Zm9v====",   "Zg=v",
        "Z=g=", "=Zg=", "Zm9 ", "Zm9\n", "Zm-_", "Zm9v=", "Zg==Zg==", "\xc3\xa9Zg",
    };
    for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
        uint8_t out[16];
        size_t written;
        assert_int_equal(
            base64_decode(malformed[i], strlen(malformed[i]), out, sizeof(out), &written),
            CULVERT_ERROR_INVALID);
        assert_int_equal(base64_decode("Zm\0v", 4, out, sizeof(out), &written),
                         CULVERT_ERROR_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_standard_vectors),
        cmocka_unit_test(test_all_digits),
        cmocka_unit_test(test_malformed_text),
    };
    return cmocka_run_group_tests(tests, make_page, free_page);
}
