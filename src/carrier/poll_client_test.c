#include "carrier/test_poll.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_open(void **state)
{
    struct test_poll *f = *state;
    char head[TEST_HTTP_HEAD + 1];
    static const uint8_t link[16] = {0xab, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    test_poll_open(f);
    assert_non_null(f->carrier);
    assert_int_equal(f->result.nonce[0], 0x0f);
    assert_int_equal(f->result.nonce[15], 0xf0);
    assert_int_equal(address_port(&f->result.peer), f->url.port);
    test_poll_first(f, head);
    assert_memory_equal(head, "POST /a?b=c HTTP/1.1\r\n", 22);
    assert_non_null(strstr(head, "\r\nCulvert-Poll: open\r\n"));
    assert_non_null(strstr(head, "\r\nContent-Type: application/octet-stream\r\n"));
    assert_non_null(strstr(head, "\r\nCache-Control: no-store\r\n"));
    assert_non_null(strstr(head, "\r\nContent-Length: 0\r\n"));
    assert_null(strstr(head, "Culvert-Link"));
    assert_null(strstr(head, "Expect"));
    carrier_close(f->carrier, 0, NULL);
    assert_int_equal(test_poll_begin(f, 5000, link), 0);
    loop_run(&f->loop);
    test_poll_first(f, head);
    assert_non_null(strstr(head, "\r\nCulvert-Link: ab0102030405060708090a0b0c0d0e0f\r\n"));
}

static void test_open_is_refused(void **state)
{
    struct test_poll *f = *state;
    static const struct {
        const char *status;
        const char *fields;
        const char *body;
        enum poll_client_failure failure;
        const char *why;
    } cases[] = {
        {"404 Not Found", "Server: nginx\r\n", "<html>", POLL_CLIENT_REFUSED,
         "the server there is no culvert gateway: it answered HTTP 404 Not Found, Server: nginx"},
        {"200 OK", "", "hello", POLL_CLIENT_REFUSED,
         "the server there is no culvert gateway: it answered HTTP 200 OK"},
        {"200 OK", TEST_OPENED, "hello", POLL_CLIENT_REFUSED,
         "the server there is no culvert gateway: it answered HTTP 200 OK"},
        {"302 Found", "Location: https://login.example/?a\r\n", "", POLL_CLIENT_REFUSED,
         "the server there is no culvert gateway: it answered HTTP 302 Found, which points to "
         "https://login.example/?a"},
        {"503 Service Unavailable", "Retry-After: 7\r\n", "", POLL_CLIENT_BUSY,
         "the server is busy and wants us back after 7 s"},
        {"502 Bad Gateway", "", "<html>", POLL_CLIENT_UNREACHABLE,
         "the gateway cannot be reached through the server there: the answer was HTTP 502 Bad "
         "Gateway"},
        {"200 OK", "Culvert-Poll: x\r\nCulvert-Nonce: " TEST_NONCE "\r\n", "", POLL_CLIENT_REFUSED,
         "the server there is no culvert gateway: it answered HTTP 200 OK"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        test_poll_answer_open(f, cases[i].status, cases[i].fields, cases[i].body);
        test_poll_open(f);
        assert_null(f->carrier);
        assert_int_equal(f->result.failure, cases[i].failure);
        assert_string_equal(f->why, cases[i].why);
    }
    assert_int_equal(f->result.retry_after, 0);
}

static void test_nobody_there(void **state)
{
    struct test_poll *f = *state;
    uint16_t port = f->url.port;
    f->url.port = 1;
    test_poll_open(f);
    assert_int_equal(f->result.failure, POLL_CLIENT_UNREACHABLE);
    assert_string_equal(f->why, error_text(-ECONNREFUSED));
    f->url.port = port;
    snprintf(f->url.host, sizeof(f->url.host), "no-such-name.invalid");
    test_poll_open(f);
    assert_int_equal(f->result.failure, POLL_CLIENT_UNREACHABLE);
    assert_string_equal(f->why, error_text(CULVERT_ERROR_RESOLVE));
}

static void test_cancel(void **state)
{
    struct test_poll *f = *state;
    assert_int_equal(test_poll_begin(f, 5000, NULL), 0);
    poll_client_cancel(f->client);
    snprintf(f->url.host, sizeof(f->url.host), "no-such-name.invalid");
    assert_int_equal(test_poll_begin(f, 5000, NULL), 0);
    poll_client_cancel(f->client);
    test_poll_run_for(f, 20);
    assert_int_equal(f->done, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, test_poll_set_up, test_poll_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_open),
        TEST(test_open_is_refused),
        TEST(test_nobody_there),
        TEST(test_cancel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
