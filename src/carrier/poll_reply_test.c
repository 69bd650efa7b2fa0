#include "carrier/poll_reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* Words of others are shown up to 63 characters. */
#define DIGITS_60 "012345678901234567890123456789012345678901234567890123456789"
#define DIGITS_63 DIGITS_60 "012"
#define DIGITS_64 DIGITS_63 "3"
#define ID        "00112233445566778899aabbccddeeff"
#define NONCE     "0f1e2d3c4b5a69788796a5b4c3d2e1f0"

static struct poll_reply read_head(const char *head, const char *proxy)
{
    struct poll_reply reply;
    poll_reply_read((const uint8_t *)head, strlen(head), proxy, &reply);
    return reply;
}

static void test_kinds(void **state)
{
    (void)state;
    static const struct {
        const char *head;
        enum poll_reply_kind kind;
    } cases[] = {
        {"HTTP/1.1 200 OK\r\n\r\n", POLL_REPLY_OK},
        {"HTTP/1.0 204 x\r\n\r\n", POLL_REPLY_NOTHING},
        {"HTTP/1.1 413 Request Entity Too Large\r\n\r\n", POLL_REPLY_TOO_LARGE},
        {"HTTP/1.1 410 Gone\r\n\r\n", POLL_REPLY_GONE},
        {"HTTP/1.1 503 x\r\nRetry-After: 2\r\n\r\n", POLL_REPLY_BUSY},
        {"HTTP/1.1 503 x\r\nRetry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n\r\n", POLL_REPLY_BUSY},
        {"HTTP/1.1 503 x\r\nRetry-After: soon\r\n\r\n", POLL_REPLY_AGAIN},
        {"HTTP/1.1 429 x\r\nRetry-After: 2\r\n\r\n", POLL_REPLY_BUSY},
        {"HTTP/1.1 500 x\r\n\r\n", POLL_REPLY_AGAIN},
        {"HTTP/1.1 502 x\r\n\r\n", POLL_REPLY_AGAIN},
        {"HTTP/1.1 504 x\r\n\r\n", POLL_REPLY_AGAIN},
        {"HTTP/1.1 408 x\r\n\r\n", POLL_REPLY_AGAIN},
        {"HTTP/1.1 429 x\r\n\r\n", POLL_REPLY_AGAIN},
        {"HTTP/1.1 409 x\r\n\r\n", POLL_REPLY_REFUSED},
        {"HTTP/1.1 301 x\r\n\r\n", POLL_REPLY_REFUSED},
        {"HTTP/1.1 206 x\r\n\r\n", POLL_REPLY_REFUSED},
        {"HTTP/1.1 200 OK\r\n", POLL_REPLY_REFUSED}, /* cut off */
        {"hello", POLL_REPLY_REFUSED},
        {"", POLL_REPLY_REFUSED},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        assert_int_equal(read_head(cases[i].head, NULL).kind, cases[i].kind);
}

static void test_fields(void **state)
{
    (void)state;
    struct poll_reply reply = read_head(
        "HTTP/1.1 200 OK\r\nculvert-poll: " ID "\r\nCULVERT-NONCE: " NONCE "\r\n\r\n", NULL);
    assert_true(reply.is_open);
    assert_string_equal(reply.id, ID);
    assert_int_equal(reply.nonce[1], 0x1e);
    static const char *const wrong[] = {
        "HTTP/1.1 200 OK\r\nCulvert-Poll: " ID "\r\n\r\n",
        "HTTP/1.1 200 OK\r\nCulvert-Nonce: " NONCE "\r\n\r\n",
        "HTTP/1.1 200 OK\r\nCulvert-Poll: x\r\nCulvert-Nonce: " NONCE "\r\n\r\n",
        "HTTP/1.1 200 OK\r\nCulvert-Poll: 00112233445566778899AABBCCDDEEFF\r\nCulvert-Nonce: " NONCE
        "\r\n\r\n",
        "HTTP/1.1 201 OK\r\nCulvert-Poll: " ID "\r\nCulvert-Nonce: " NONCE "\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
        assert_false(read_head(wrong[i], NULL).is_open);
    assert_int_equal(read_head("HTTP/1.1 200 OK\r\nCulvert-Down: 12\r\n\r\n", NULL).down, 12);
    assert_int_equal(read_head("HTTP/1.1 200 OK\r\nCulvert-Down: -1\r\n\r\n", NULL).down, 0);
    assert_int_equal(
        read_head("HTTP/1.1 200 OK\r\nCulvert-Down: 18446744073709551617\r\n\r\n", NULL).down, 0);
    assert_int_equal(read_head("HTTP/1.1 503 x\r\nRetry-After: 86400\r\n\r\n", NULL).retry_after,
                     300);
}

static void test_words(void **state)
{
    (void)state;
    static const struct {
        const char *head;
        const char *proxy;
        const char *why;
    } cases[] = {
        {"HTTP/1.1 404\r\n\r\n", NULL,
         "the server there is no culvert gateway: it answered HTTP 404"},
        {"HTTP/1.1 404 N\xc3\xb6\r\nServer: a\tb\r\n\r\n", NULL,
         "the server there is no culvert gateway: it answered HTTP 404 N??, Server: a?b"},
        {"HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n", "the proxy P",
         "the server there is no culvert gateway, or the proxy P lets no requests to it pass: the "
         "answer was HTTP 302 Found, which points to /login"},
        {"HTTP/1.1 502 Bad\r\n\r\n", "the proxy P",
         "the gateway cannot be reached through the proxy P: the answer was HTTP 502 Bad"},
        {"HTTP/1.1 404 " DIGITS_64 "\r\nServer: ~ z" DIGITS_64 "\r\n\r\n", NULL,
         "the server there is no culvert gateway: it answered HTTP 404 " DIGITS_63
         ", Server: ~ z" DIGITS_60},
        {"SSH-2.0", NULL, "the server there is no culvert gateway: it answered no valid HTTP"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        assert_string_equal(read_head(cases[i].head, cases[i].proxy).why, cases[i].why);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
