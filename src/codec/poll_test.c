#include "codec/poll.h"

#include "base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ID    "0123456789abcdef0123456789abcdef"
#define START "POST /way?x=1 HTTP/1.1\r\nHost: gateway.example\r\n"

/* The status that a whole head gets. */
static int read_head(const char *text, struct poll_request *request)
{
    struct http1_head head;
    size_t used = 0;
    assert_int_equal(http1_parse_request((const uint8_t *)text, strlen(text), &head, &used), 0);
    assert_true(poll_is_request(&head));
    return poll_read_request(&head, request);
}

/* The same for fields behind START. */
static int read_fields(const char *fields, struct poll_request *request)
{
    char text[1024];
    snprintf(text, sizeof(text), START "%s\r\n", fields);
    return read_head(text, request);
}

static void test_what_is_no_poll(void **state)
{
    (void)state;
    static const char text[] = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n";
    struct http1_head head;
    size_t used = 0;
    assert_int_equal(http1_parse_request((const uint8_t *)text, strlen(text), &head, &used), 0);
    assert_false(poll_is_request(&head));
}

static void test_open(void **state)
{
    (void)state;
    struct poll_request request;
    assert_int_equal(read_fields("Culvert-Poll: open\r\n", &request), 0);
    assert_int_equal(request.kind, POLL_OPEN);
    assert_false(request.has_link);
    assert_true(request.is_kept);
    assert_int_equal(read_fields("culvert-poll: open\r\nContent-Length: 0\r\n", &request), 0);
    assert_int_equal(read_fields("Culvert-Poll: open\r\nCulvert-Link: " ID "\r\n", &request), 0);
    assert_true(request.has_link);
    assert_string_equal(request.link, ID);
}

static void test_up(void **state)
{
    (void)state;
    struct poll_request request;
    assert_int_equal(read_fields("Culvert-Poll: " ID "\r\nCulvert-Up: 17\r\nContent-Length: 5\r\n"
                                 "Expect: 100-continue\r\nConnection: close\r\n",
                                 &request),
                     0);
    assert_int_equal(request.kind, POLL_UP);
    assert_string_equal(request.id, ID);
    assert_int_equal(request.number, 17);
    assert_int_equal(request.size, 5);
    assert_true(request.asks_first);
    assert_false(request.is_kept);
    assert_int_equal(read_fields("Culvert-Poll: " ID
                                 "\r\nCulvert-Up: 1\r\nContent-Length: 1048576\r\n",
                                 &request),
                     0);
    assert_int_equal(request.size, POLL_MAX_BODY);
    assert_false(request.asks_first);
}

static void test_a_divided_message(void **state)
{
    (void)state;
    struct poll_request request;
    assert_int_equal(read_fields("Culvert-Poll: " ID "\r\nCulvert-Up: 2\r\nCulvert-More: 1\r\n"
                                 "Content-Length: 5\r\n",
                                 &request),
                     0);
    assert_true(request.has_more);
    assert_int_equal(
        read_fields("Culvert-Poll: " ID "\r\nCulvert-Up: 2\r\nContent-Length: 5\r\n", &request), 0);
    assert_false(request.has_more);
}

static void test_down(void **state)
{
    (void)state;
    struct poll_request request;
    assert_int_equal(
        read_fields("Culvert-Poll: " ID "\r\nCulvert-Down: 9223372036854775807\r\n", &request), 0);
    assert_int_equal(request.kind, POLL_DOWN);
    assert_true(request.number == POLL_MAX_NUMBER);
    assert_int_equal(request.size, 0);
}

static void test_old_proxies(void **state)
{
    (void)state;
    struct poll_request request;
    assert_int_equal(
        read_head("POST / HTTP/1.0\r\nConnection: close\r\nCulvert-Poll: open\r\n\r\n", &request),
        0);
    assert_false(request.is_kept);
    assert_int_equal(read_head("POST / HTTP/1.0\r\nCulvert-Poll: open\r\n\r\n", &request), 0);
    assert_false(request.is_kept);
    assert_int_equal(read_head("POST / HTTP/1.0\r\nConnection: Keep-Alive\r\nCulvert-Poll: " ID
                               "\r\n"
                               "Culvert-Up: 1\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n",
                               &request),
                     0);
    assert_true(request.is_kept);
    assert_false(request.asks_first);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *fields;
    } cases[] = {
        {400, "Culvert-Poll:\r\n"},
        {400, "Culvert-Poll: Open\r\n"},
        {400, "Culvert-Poll: open\r\nCulvert-Poll: open\r\n"},
        {400, "Culvert-Poll: open\r\nCulvert-Up: 1\r\n"},
        {400, "Culvert-Poll: open\r\nCulvert-More: 1\r\n"},
        {400, "Culvert-Poll: " ID "\r\nCulvert-Down: 2\r\nCulvert-More: 1\r\n"},
        {400, "Culvert-Poll: " ID "\r\nCulvert-Up: 1\r\nCulvert-More: 1\r\n"
              "Content-Length: 1\r\n"},
        {400, "Culvert-Poll: " ID "\r\nCulvert-Up: 2\r\nCulvert-More: 2\r\n"
              "Content-Length: 1\r\n"},
        {400, "Culvert-Poll: open\r\nCulvert-Down: 1\r\n"},
        {400, "Culvert-Poll: open\r\nContent-Length: 1\r\n"},
        {400, "Culvert-Poll: open\r\nCulvert-Link: 12\r\n"},
        {400, "Culvert-Poll: open\r\nCulvert-Link: " ID "\r\nCulvert-Link: " ID "\r\n"},
        {400, "Culvert-Poll: " ID "\r\n"},
        {400, "Culvert-Poll: " ID "\r\nCulvert-Up: 1\r\nCulvert-Down: 1\r\n"},
        {400, "Culvert-Poll: " ID "\r\nCulvert-Down: 1\r\nCulvert-Down: 1\r\n"},
        {400, "Culvert-Poll: " ID "\r\nCulvert-Down: 1\r\nCulvert-Link: " ID "\r\n"},
        {400, "Culvert-Poll: " ID "0\r\nCulvert-Down: 1\r\n"},
        {400, "Culvert-Poll: 0123456789ABCDEF0123456789abcdef\r\nCulvert-Down: 1\r\n"},
        {400, "Culvert-Poll: 0123456789abcdeg0123456789abcdef\r\nCulvert-Down: 1\r\n"},
        {400, "Culvert-Poll: " ID "\r\nCulvert-Down:\r\n"},
        {400, "Culvert-Poll: " ID "\r\nCulvert-Down: 0\r\n"},
        {400, "Culvert-Poll: " ID "\r\nCulvert-Down: 01\r\n"},
        {400, "Culvert-Poll: " ID "\r\nCulvert-Down: +1\r\n"},
        {400, "Culvert-Poll: " ID "\r\nCulvert-Down: -1\r\n"},
        {400, "Culvert-Poll: " ID "\r\nCulvert-Down: 1.0\r\n"},
        {400, "Culvert-Poll: " ID "\r\nCulvert-Down: 9223372036854775808\r\n"},
        {400, "Culvert-Poll: " ID "\r\nCulvert-Down: 18446744073709551617\r\n"},
        {400, "Culvert-Poll: " ID "\r\nCulvert-Down: 1\r\nContent-Length: 3\r\n"},
        {400, "Culvert-Poll: " ID "\r\nCulvert-Up: 1\r\nContent-Length: 0\r\n"},
        {400, "Culvert-Poll: " ID "\r\nCulvert-Up: 1\r\nContent-Length: x\r\n"},
        {400, "Culvert-Poll: " ID "\r\nCulvert-Up: 1\r\nContent-Length: 3\r\n"
              "Content-Length: 3\r\n"},
        {403, "Culvert-Poll: open\r\nOrigin: https://page.example\r\n"},
        {403, "Culvert-Poll: nonsense\r\nOrigin: null\r\n"},
        {411, "Culvert-Poll: " ID "\r\nCulvert-Up: 1\r\n"},
        {411, "Culvert-Poll: " ID "\r\nCulvert-Up: 1\r\nTransfer-Encoding: chunked\r\n"},
        {411, "Culvert-Poll: open\r\nTransfer-Encoding: chunked\r\n"},
        {413, "Culvert-Poll: " ID "\r\nCulvert-Up: 1\r\nContent-Length: 1048577\r\n"},
        {413, "Culvert-Poll: " ID "\r\nCulvert-Up: 1\r\nContent-Length: 18446744073709551615\r\n"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct poll_request request;
        int status = read_fields(cases[i].fields, &request);
        if (status != cases[i].status)
            fail_msg("%d and not %d for:\n%s", status, cases[i].status, cases[i].fields);
    }
    struct poll_request request;
    assert_int_equal(read_head("GET / HTTP/1.1\r\nHost: a\r\nCulvert-Poll: open\r\n\r\n", &request),
                     405);
}

static void check_answer(const struct poll_answer *answer, const char *expected)
{
    char out[POLL_MAX_HEAD];
    int size = poll_write_answer(answer, out, sizeof(out));
    assert_string_equal(out, expected);
    assert_int_equal(size, strlen(expected));
    for (size_t room = 1; room <= (size_t)size; room++) {
        char *small = malloc(room);
        assert_non_null(small);
        assert_int_equal(poll_write_answer(answer, small, room), CULVERT_ERROR_TOO_LARGE);
        free(small);
    }
}

static void test_answers(void **state)
{
    (void)state;
    check_answer(&(struct poll_answer){.status = 200, .is_kept = true, .id = ID, .nonce = "nonce"},
                 "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 0\r\n"
                 "Culvert-Poll: " ID "\r\nCulvert-Nonce: nonce\r\nConnection: keep-alive\r\n\r\n");
    check_answer(&(struct poll_answer){.status = 200, .size = 1234, .down = POLL_MAX_NUMBER},
                 "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 1234\r\n"
                 "Content-Type: application/octet-stream\r\n"
                 "Culvert-Down: 9223372036854775807\r\nConnection: close\r\n\r\n");
    check_answer(&(struct poll_answer){.status = 204, .is_kept = true},
                 "HTTP/1.1 204 No Content\r\nCache-Control: no-store\r\n"
                 "Connection: keep-alive\r\n\r\n");
    check_answer(&(struct poll_answer){.status = 503, .retry_after = 60},
                 "HTTP/1.1 503 Service Unavailable\r\nCache-Control: no-store\r\n"
                 "Content-Length: 0\r\nRetry-After: 60\r\nConnection: close\r\n\r\n");
    check_answer(&(struct poll_answer){.status = 405},
                 "HTTP/1.1 405 Method Not Allowed\r\nCache-Control: no-store\r\n"
                 "Content-Length: 0\r\nAllow: POST\r\nConnection: close\r\n\r\n");
}

static void test_every_status_has_its_words(void **state)
{
    (void)state;
    static const unsigned statuses[] = {200, 204, 400, 403, 405, 409, 410, 411, 413, 503};
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
        assert_string_not_equal(poll_reason(statuses[i]), "Error");
    assert_string_equal(poll_reason(418), "Error");
}

static void test_ids(void **state)
{
    (void)state;
    uint8_t id[POLL_ID_SIZE];
    char text[POLL_ID_TEXT_SIZE];
    for (size_t i = 0; i < sizeof(id); i++)
        id[i] = (uint8_t)(i * 17);
    poll_write_id(id, text);
    assert_string_equal(text, "00112233445566778899aabbccddeeff");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_no_poll),
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_up),
        cmocka_unit_test(test_a_divided_message),
        cmocka_unit_test(test_down),
        cmocka_unit_test(test_old_proxies),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_every_status_has_its_words),
        cmocka_unit_test(test_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
