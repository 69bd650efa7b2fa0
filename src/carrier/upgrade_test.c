#include "carrier/upgrade.h"

#include "base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Words of others are shown up to 63 characters. */
#define DIGITS_63 "012345678901234567890123456789012345678901234567890123456789012"
#define DIGITS_64 DIGITS_63 "3"
#define KEY       "dGhlIHNhbXBsZSBub25jZQ==" /* RFC 6455 §1.3 */
#define ACCEPT    "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

static struct http1_head request(const char *text)
{
    struct http1_head head;
    size_t used = 0;
    assert_int_equal(http1_parse_request((const uint8_t *)text, strlen(text), &head, &used), 0);
    return head;
}

static struct http1_head response(const char *text)
{
    struct http1_head head;
    size_t used = 0;
    assert_int_equal(http1_parse_response((const uint8_t *)text, strlen(text), &head, &used), 0);
    return head;
}

static void both_sides_agree(void **state)
{
    (void)state;
    struct url url;
    char why[256];
    char text[UPGRADE_MAX_HEAD];
    uint8_t nonce[CARRIER_NONCE_SIZE] = {0xab};
    assert_int_equal(url_parse("ws://gate.example:8080/path", &url, why, sizeof(why)), 0);
    struct upgrade_request asked = {.url = &url, .offer = UPGRADE_OFFER_NATIVE, .key = KEY};
    assert_true(upgrade_write_request(&asked, text, sizeof(text)) > 0);
    struct http1_head head = request(text);
    assert_int_equal(upgrade_classify(&head), UPGRADE_NATIVE);
    assert_null(http1_find(&head, UPGRADE_LINK_FIELD));
    char answer[UPGRADE_MAX_HEAD];
    assert_true(upgrade_write_response(&head, nonce, answer, sizeof(answer)) > 0);
    assert_non_null(strstr(answer, "Sec-WebSocket-Accept: " ACCEPT "\r\n"));
    assert_non_null(strstr(answer, "Culvert-Nonce: ab000000000000000000000000000000\r\n"));
    struct http1_head back = response(answer);
    bool is_native = false;
    assert_int_equal(upgrade_check_response(&back, KEY, &is_native, why, sizeof(why)), 0);
    assert_true(is_native);
    assert_int_equal(upgrade_write_request(&asked, text, 40), CULVERT_ERROR_TOO_LARGE);
    asked.link = "000102030405060708090a0b0c0d0e0f";
    assert_true(upgrade_write_request(&asked, text, sizeof(text)) > 0);
    head = request(text);
    assert_int_equal(upgrade_classify(&head), UPGRADE_NATIVE);
    assert_true(text_equals(http1_find(&head, UPGRADE_LINK_FIELD)->value, asked.link));
}

static void without_a_protocol_both_sides_agree_too(void **state)
{
    (void)state;
    struct url url;
    char why[256];
    char text[UPGRADE_MAX_HEAD];
    assert_int_equal(url_parse("ws://gate.example/x?y", &url, why, sizeof(why)), 0);
    struct upgrade_request asked = {
        .url = &url, .offer = UPGRADE_OFFER_NONE, .key = KEY, .link = "not for others"};
    assert_true(upgrade_write_request(&asked, text, sizeof(text)) > 0);
    assert_null(strstr(text, UPGRADE_LINK_FIELD));
    assert_null(strstr(text, "Sec-WebSocket-Protocol"));
    struct http1_head head = request(text);
    assert_int_equal(upgrade_classify(&head), UPGRADE_UNKNOWN);
    char answer[UPGRADE_MAX_HEAD];
    assert_true(upgrade_write_plain_response(&head, answer, sizeof(answer)) > 0);
    assert_null(strstr(answer, "culvert"));
    struct http1_head back = response(answer);
    bool is_native = true;
    assert_int_equal(upgrade_check_response(&back, KEY, &is_native, why, sizeof(why)), 0);
    assert_false(is_native);
}

#define UPGRADE_START "GET / HTTP/1.1\r\nHost: a\r\n"

static void classifies_requests(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum upgrade_kind kind;
    } cases[] = {
        {UPGRADE_START "\r\n", UPGRADE_NONE},
        {UPGRADE_START "Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n", UPGRADE_NONE},
        {UPGRADE_START "Upgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n"
                       "Sec-WebSocket-Key: " KEY "\r\nSec-WebSocket-Version: 13\r\n"
                       "Sec-WebSocket-Protocol: other, culvert.1\r\n\r\n",
         UPGRADE_NATIVE},
        {UPGRADE_START "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                       "Sec-WebSocket-Key: " KEY "\r\nSec-WebSocket-Version: 13\r\n"
                       "Sec-WebSocket-Protocol: culvert.1\r\nOrigin: https://evil.example\r\n\r\n",
         UPGRADE_PAGE},
        {UPGRADE_START "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                       "Sec-WebSocket-Key: " KEY "\r\nSec-WebSocket-Version: 13\r\n\r\n",
         UPGRADE_UNKNOWN},
        {UPGRADE_START "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                       "Sec-WebSocket-Key: " KEY "\r\nSec-WebSocket-Version: 8\r\n\r\n",
         UPGRADE_BAD},
        {UPGRADE_START "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                       "Sec-WebSocket-Key: short\r\nSec-WebSocket-Version: 13\r\n\r\n",
         UPGRADE_BAD},
        {UPGRADE_START "Upgrade: websocket\r\nConnection: close\r\n"
                       "Sec-WebSocket-Key: " KEY "\r\nSec-WebSocket-Version: 13\r\n\r\n",
         UPGRADE_BAD},
        {"POST / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
         "Sec-WebSocket-Key: " KEY "\r\nSec-WebSocket-Version: 13\r\n\r\n",
         UPGRADE_BAD},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct http1_head head = request(cases[i].text);
        assert_int_equal(upgrade_classify(&head), cases[i].kind);
    }
}

#define SWITCHING \
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"

static void names_what_the_server_is(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int error;
        const char *word;
    } cases[] = {
        {"HTTP/1.1 404 Not Found\r\nServer: nginx/1.22\r\n\r\n", CULVERT_ERROR_REFUSED, "nginx"},
        {"HTTP/1.1 200 OK\r\n\r\n", CULVERT_ERROR_REFUSED,
         "the server there is no culvert gateway: it answered HTTP 200 OK"},
        {"HTTP/1.1 404\r\nServer: a\tb\r\n\r\n", CULVERT_ERROR_REFUSED, "HTTP 404, Server: a?b"},
        {"HTTP/1.1 404\r\nServer: ~\xc3\xb6 z\r\n\r\n", CULVERT_ERROR_REFUSED, "Server: ~?? z"},
        {"HTTP/1.1 404 " DIGITS_64 "\r\nServer: " DIGITS_64 "0\r\n\r\n", CULVERT_ERROR_REFUSED,
         "HTTP 404 " DIGITS_63 ", Server: " DIGITS_63},
        {"HTTP/1.1 426 Upgrade Required\r\nServer: nginx\r\n\r\n", CULVERT_ERROR_REFUSED,
         "a proxy before it removes the Upgrade header (HTTP 426 Upgrade Required, Server: nginx)"},
        {"HTTP/1.1 502 Bad Gateway\r\n\r\n", CULVERT_ERROR_REFUSED,
         "the proxy there does not reach the gateway: it answered HTTP 502 Bad Gateway"},
        {"HTTP/1.1 503 Service Unavailable\r\n\r\n", CULVERT_ERROR_REFUSED,
         "the proxy there does not reach the gateway"},
        {"HTTP/1.1 504 Gateway Time-out\r\n\r\n", CULVERT_ERROR_REFUSED,
         "the proxy there does not reach the gateway"},
        {SWITCHING "Sec-WebSocket-Accept: wrong\r\n\r\n", CULVERT_ERROR_PROTOCOL, "not valid"},
        {SWITCHING "Sec-WebSocket-Accept: " ACCEPT "\r\nSec-WebSocket-Protocol: other\r\n\r\n",
         CULVERT_ERROR_PROTOCOL, "not offered"},
        {SWITCHING "Sec-WebSocket-Accept: " ACCEPT "\r\nSec-WebSocket-Protocol: culvert.1\r\n"
                   "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
         CULVERT_ERROR_PROTOCOL, "not valid"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char why[512] = "";
        bool is_native = false;
        struct http1_head head = response(cases[i].text);
        assert_int_equal(upgrade_check_response(&head, KEY, &is_native, why, sizeof(why)),
                         cases[i].error);
        assert_non_null(strstr(why, cases[i].word));
        assert_null(strstr(why, DIGITS_64));
    }
}

static void check_nonce(const char *field, uint8_t first, uint8_t last)
{
    uint8_t nonce[CARRIER_NONCE_SIZE];
    char text[256];
    snprintf(text, sizeof(text), "HTTP/1.1 101 Switching Protocols\r\n%s\r\n", field);
    struct http1_head head = response(text);
    upgrade_read_nonce(&head, nonce);
    assert_int_equal(nonce[0], first);
    assert_int_equal(nonce[CARRIER_NONCE_SIZE - 1], last);
}

static void reads_the_nonce(void **state)
{
    (void)state;
    check_nonce("Culvert-Nonce: 0123456789abcdef0123456789abcdef\r\n", 0x01, 0xef);
    check_nonce("culvert-nonce: fe000000000000000000000000000001\r\n", 0xfe, 0x01);
    check_nonce("", 0, 0);
    check_nonce("Culvert-Nonce: \r\n", 0, 0);
    check_nonce("Culvert-Nonce: 0123456789abcdef0123456789abcde\r\n", 0, 0);
    check_nonce("Culvert-Nonce: 0123456789abcdef0123456789abcdef0\r\n", 0, 0);
    check_nonce("Culvert-Nonce: 0123456789abcdef0123456789abcdeg\r\n", 0, 0);
    check_nonce("Culvert-Nonce: 0123456789ABCDEF0123456789ABCDEF\r\n", 0, 0);
}

enum { NOW = 784111777 }; /* Sun, 06 Nov 1994 08:49:37 GMT */

static void check_retry_after(const char *start, const char *field, unsigned seconds)
{
    char text[256];
    snprintf(text, sizeof(text), "HTTP/1.1 %s\r\nContent-Length: 0\r\n%s\r\n", start, field);
    struct http1_head head = response(text);
    assert_int_equal(upgrade_retry_after(&head, NOW), seconds);
}

static void tells_when_to_come_back(void **state)
{
    (void)state;
    check_retry_after("503 Busy", "Retry-After: 7\r\n", 7);
    check_retry_after("503 Busy", "retry-after:300 \r\n", 300);
    check_retry_after("503 Busy", "Retry-After: 0\r\n", 1);
    check_retry_after("503 Busy", "Retry-After: 301\r\n", UPGRADE_LONGEST_WAIT);
    check_retry_after("503 Busy", "Retry-After: 4294967296\r\n", UPGRADE_LONGEST_WAIT);
    check_retry_after("503 Busy", "", 0);
    check_retry_after("503 Busy", "Retry-After: -1\r\n", 0);
    check_retry_after("503 Busy", "Retry-After: 1s\r\n", 0);
    check_retry_after("503 Busy", "Retry-After: 99999999999999999999999\r\n", UPGRADE_LONGEST_WAIT);
    check_retry_after("429 Too Many Requests", "Retry-After: 7\r\n", 7);
    check_retry_after("429 Too Many Requests", "", 0);
    check_retry_after("500 Error", "Retry-After: 7\r\n", 0);
    check_retry_after("403 Forbidden", "Retry-After: 7\r\n", 0);
    check_retry_after("101 Switching Protocols", "Retry-After: 7\r\n", 0);
}

static void tells_the_date_to_come_back(void **state)
{
    (void)state;
    check_retry_after("503 Busy", "Retry-After: Sun, 06 Nov 1994 08:49:57 GMT\r\n", 20);
    check_retry_after("429 Busy", "Retry-After: Sunday, 06-Nov-94 08:50:07 GMT\r\n", 30);
    check_retry_after("503 Busy", "Retry-After: Sun, 06 Nov 1994 09:49:57 GMT\r\n",
                      UPGRADE_LONGEST_WAIT);
    check_retry_after("503 Busy", "Retry-After: Sun, 06 Nov 1994 08:49:00 GMT\r\n", 1);
    check_retry_after("503 Busy", "Retry-After: Sun, 06 Nov 1994 08:49 GMT\r\n", 0);
    /* The server's clock is not ours. */
    check_retry_after("503 Busy",
                      "Date: Fri, 31 Dec 1999 23:59:50 GMT\r\n"
                      "Retry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n",
                      9);
    check_retry_after("503 Busy",
                      "Date: yesterday\r\nRetry-After: Sun, 06 Nov 1994 08:49:39 GMT\r\n", 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_sides_agree),
        cmocka_unit_test(without_a_protocol_both_sides_agree_too),
        cmocka_unit_test(classifies_requests),
        cmocka_unit_test(names_what_the_server_is),
        cmocka_unit_test(reads_the_nonce),
        cmocka_unit_test(tells_when_to_come_back),
        cmocka_unit_test(tells_the_date_to_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
