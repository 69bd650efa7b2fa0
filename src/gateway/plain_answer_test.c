#include "gateway/plain_answer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct plain_answer ask(const char *line, const char *fields, bool is_original,
                               const char *objection)
{
    char text[256];
    struct http1_head head;
    size_t used = 0;
    int size = snprintf(text, sizeof text, "%s HTTP/1.1\r\nHost: a\r\n%s\r\n", line, fields);
    assert_int_equal(http1_parse_request((const uint8_t *)text, (size_t)size, &head, &used), 0);
    return plain_answer_to(&head, is_original, objection);
}

static void check(const char *line, const char *status, const char *body)
{
    struct plain_answer answer = ask(line, "", false, NULL);
    assert_string_equal(answer.status, status);
    assert_non_null(strstr(answer.body, body));
    assert_false(answer.has_no_body);
}

static void test_pages(void **state)
{
    (void)state;
    check("GET /healthz", "200 OK", "ok\n");
    check("GET /readyz", "200 OK", "ok\n");
    check("GET /readyz?verbose", "200 OK", "ok\n");
    check("GET /", "200 OK", "This is a culvert gateway");
    check("GET /?a=b", "200 OK", "This is a culvert gateway");
}

static void test_everything_else(void **state)
{
    (void)state;
    static const char *const lines[] = {"GET /healthz/", "GET /healthzz",  "GET //",
                                        "POST /",        "POST /healthz",  "OPTIONS *",
                                        "GET /x",        "DELETE /readyz", "get /healthz"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct plain_answer answer = ask(lines[i], "", false, NULL);
        assert_string_equal(answer.status, "426 Upgrade Required");
        assert_string_equal(answer.fields, "Upgrade: websocket\r\n");
    }
}

/* A proxy has taken the Upgrade field away, and no other. */
static void test_an_agent_whose_upgrade_was_removed(void **state)
{
    (void)state;
    static const char key[] = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    assert_string_equal(ask("GET /", key, false, NULL).status, "426 Upgrade Required");
    assert_string_equal(ask("GET /", key, true, NULL).status, "426 Upgrade Required");
}

static void test_a_gateway_that_cannot_serve(void **state)
{
    (void)state;
    struct plain_answer answer = ask("GET /readyz", "", false, "the gateway is stopping\n");
    assert_string_equal(answer.status, "503 Service Unavailable");
    assert_string_equal(answer.body, "the gateway is stopping\n");
    assert_string_equal(ask("GET /healthz", "", false, "it stops\n").status, "200 OK");
    assert_string_equal(ask("GET /", "", false, "it stops\n").status, "200 OK");
}

static void test_head(void **state)
{
    (void)state;
    struct plain_answer answer = ask("HEAD /healthz", "", false, NULL);
    assert_string_equal(answer.status, "200 OK");
    assert_true(answer.has_no_body);
    assert_string_equal(ask("HEAD /readyz", "", false, "no\n").status, "503 Service Unavailable");
    assert_true(ask("HEAD /x", "", false, NULL).has_no_body);
}

static void test_the_original(void **state)
{
    (void)state;
    struct plain_answer answer = ask("GET /", "", true, NULL);
    assert_string_equal(answer.status, "400 Bad Request");
    assert_string_equal(answer.body, "Bad Request\n");
    assert_string_equal(ask("GET /healthz", "", true, NULL).body, "ok\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_everything_else),
        cmocka_unit_test(test_an_agent_whose_upgrade_was_removed),
        cmocka_unit_test(test_a_gateway_that_cannot_serve),
        cmocka_unit_test(test_head),
        cmocka_unit_test(test_the_original),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
