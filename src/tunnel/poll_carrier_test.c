#include "tunnel/test_poll.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_messages(void **state)
{
    struct test_poll *f = *state;
    static uint8_t bytes[POLL_MAX_BODY];
    static const size_t sizes[] = {1,     100,        4000,       5000,
                                   70000, 512 * 1024, 600 * 1024, POLL_MAX_BODY};
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7 + i / 251);
    test_poll_open_carrier(f);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        test_poll_await_ready(f);
        test_poll_send(f, bytes, sizes[i]);
        test_poll_expect(f, bytes, sizes[i]);
    }
    test_poll_await_ready(f);
    assert_int_equal(f->ready, sizeof(sizes) / sizeof(*sizes));
    assert_int_equal(f->gateway.ups, sizeof(sizes) / sizeof(*sizes));
    assert_true(f->gateway.server.accepted <= 2); /* both were kept */
}

/* Each trouble happens to the first request or some, and then no more; the echo comes all the same.
 */
static void test_repeats(void **state)
{
    struct test_poll *f = *state;
    static const struct test_trouble troubles[] = {
        {"Up", TROUBLE_CUT, 1, 1, NULL, NULL, NULL, false},
        {"Up", TROUBLE_CUT, 1, 4, NULL, NULL, NULL, true},
        {"Up", TROUBLE_STATUS, 1, 2, "502 Bad Gateway", "", "<html>", false},
        {"Up", TROUBLE_STATUS, 1, 2, "504 Gateway Timeout", "", "<html>", true},
        {"Up", TROUBLE_STATUS, 1, 1, "503 Busy", "Retry-After: 1\r\n", "", false},
        {"Down", TROUBLE_CUT, 1, 3, NULL, NULL, NULL, false},
        {"Down", TROUBLE_CUT_HALFWAY, 1, 2, NULL, NULL, NULL, false},
        {"Down", TROUBLE_STATUS, 1, 2, "504 Gateway Timeout", "", "<html>", false},
        {"Down", TROUBLE_STATUS, 1, 2, "408 Request Timeout", "", "", false},
        {"Down", TROUBLE_STATUS, 1, 3, "204 No Content", "", "", false},
    };
    for (size_t i = 0; i < sizeof(troubles) / sizeof(*troubles); i++) {
        test_poll_renew(f, &troubles[i]);
        test_poll_open_carrier(f);
        test_poll_send(f, "hello", 5);
        test_poll_expect(f, "hello", 5);
        test_poll_await_ready(f);
        test_poll_send(f, "there", 5);
        test_poll_expect(f, "there", 5);
    }
}

static void test_lost(void **state)
{
    struct test_poll *f = *state;
    static const struct {
        struct test_trouble trouble;
        int error;
        const char *why;
    } cases[] = {
        {{"Up", TROUBLE_STATUS, 1, 1, "410 Gone", "", "", false},
         CULVERT_ERROR_CLOSED,
         "the gateway has ended this long poll"},
        {{"Down", TROUBLE_STATUS, 1, 1, "410 Gone", "", "", false},
         CULVERT_ERROR_CLOSED,
         "the gateway has ended this long poll"},
        {{"Up", TROUBLE_STATUS, 1, 1, "409 Conflict", "", "", false},
         CULVERT_ERROR_PROTOCOL,
         "the server there is no culvert gateway: it answered HTTP 409 Conflict"},
        {{"Up", TROUBLE_STATUS, 1, 1, "200 OK", "", "<html>", false},
         CULVERT_ERROR_PROTOCOL,
         "the server there is no culvert gateway: it answered HTTP 200 OK"},
        {{"Down", TROUBLE_STATUS, 1, 1, "200 OK", "", "<html>", false},
         CULVERT_ERROR_PROTOCOL,
         "the server there is no culvert gateway: it answered HTTP 200 OK"},
        {{"Down", TROUBLE_STATUS, 1, 1, "200 OK", "Culvert-Down: 2\r\n", "x", false},
         CULVERT_ERROR_PROTOCOL,
         "the gateway has sent another body than was asked for"},
        {{"Down", TROUBLE_STATUS, 1, 1, "200 OK", "Culvert-Down: 1\r\n", "", false},
         CULVERT_ERROR_PROTOCOL,
         "the gateway has sent another body than was asked for"},
        {{"Down", TROUBLE_STATUS, 1, TEST_EVERY, "502 Bad Gateway", "", "", false},
         CULVERT_ERROR_CLOSED,
         "the gateway cannot be reached through the server there: the answer was HTTP 502 Bad "
         "Gateway"},
        {{"Up", TROUBLE_CUT, 1, TEST_EVERY, NULL, NULL, NULL, false},
         CULVERT_ERROR_CLOSED,
         "the server closed the connection without an answer"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        test_poll_renew(f, &cases[i].trouble);
        test_poll_open_carrier(f);
        test_poll_send(f, "hello", 5);
        loop_run(&f->loop);
        assert_int_equal(f->lost, cases[i].error);
        assert_string_equal(f->why, cases[i].why);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, test_poll_set_up, test_poll_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_messages),
        TEST(test_repeats),
        TEST(test_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
