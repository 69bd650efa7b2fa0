#include "codec/http1.h"

#include "base/error.h"
#include "codec/guarded_page.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

typedef int parse_function(const uint8_t *data, size_t size, struct http1_head *head, size_t *used);

static struct guarded_page page;

/* Parses the whole, and every beginning as if the rest had not come yet: a beginning must need more
 * or fail like the whole, and what has failed must stay so. */
static int parse(parse_function *function, const char *input, size_t size, struct http1_head *head,
                 size_t *used)
{
    size_t whole_used = 0;
    uint8_t *data = guarded_page_put(&page, input, size);
    int whole = function(data, size, head, &whole_used);
    size_t end = whole == 0 ? whole_used : size;
    bool failed = false;
    for (size_t i = 0; i < end; i++) {
        data = guarded_page_put(&page, input, i);
        int result = function(data, i, head, used);
        if (failed || result != CULVERT_NEED_MORE) {
            assert_int_not_equal(result, 0);
            assert_int_equal(result, whole);
            failed = true;
        }
    }
    data = guarded_page_put(&page, input, end);
    assert_int_equal(function(data, end, head, used), whole);
    if (whole == 0)
        assert_int_equal(*used, end);
    return whole;
}

static void check_text(struct text text, const char *expected)
{
    if (!text_equals(text, expected))
        fail_msg("\"%.*s\" is not \"%s\"", (int)text.size, text.data, expected);
}

static int request_result(const char *input)
{
    struct http1_head head;
    size_t used;
    return parse(http1_parse_request, input, strlen(input), &head, &used);
}

static int response_result(const char *input)
{
    struct http1_head head;
    size_t used;
    return parse(http1_parse_response, input, strlen(input), &head, &used);
}

static struct http1_head parse_good(parse_function *function, const char *input)
{
    struct http1_head head;
    size_t used;
    assert_int_equal(parse(function, input, strlen(input), &head, &used), 0);
    return head;
}

static void test_upgrade_request(void **state)
{
    (void)state;
    static const char input[] = "GET /chat?x=1 HTTP/1.1\r\n"
                                "Host: server.example.com\r\n"
                                "Upgrade: websocket\r\n"
                                "Connection: keep-alive, Upgrade\r\n"
                                "Sec-WebSocket-Key:dGhlIHNhbXBsZSBub25jZQ==\r\n"
                                "Empty:\r\n"
                                "Blank: \t \r\n"
                                "Spaced: \t a b\tc \t\r\n"
                                "Sec-WebSocket-Protocol: chat, superchat\r\n\r\n\x82\x05";
    struct http1_head head;
    size_t used;
    assert_int_equal(parse(http1_parse_request, input, sizeof(input) - 1, &head, &used), 0);
    assert_int_equal(used, sizeof(input) - 3);
    check_text(head.method, "GET");
    check_text(head.target, "/chat?x=1");
    assert_int_equal(head.minor_version, 1);
    assert_int_equal(head.field_count, 8);
    check_text(head.fields[0].name, "Host");
    check_text(head.fields[0].value, "server.example.com");
    check_text(http1_find(&head, "sec-websocket-KEY")->value, "dGhlIHNhbXBsZSBub25jZQ==");
    check_text(http1_find(&head, "Empty")->value, "");
    check_text(http1_find(&head, "Blank")->value, "");
    check_text(http1_find(&head, "Spaced")->value, "a b\tc");
    assert_null(http1_find(&head, "Hos"));
    assert_null(http1_find(&head, "Host2"));
}

static void test_responses(void **state)
{
    (void)state;
    struct http1_head head = parse_good(
        http1_parse_response, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n");
    assert_int_equal(head.status, 101);
    assert_int_equal(head.minor_version, 1);
    check_text(head.reason, "Switching Protocols");
    check_text(head.fields[0].value, "websocket");
    assert_int_equal(head.method.size, 0);

    head = parse_good(http1_parse_response, "HTTP/1.0 403 \r\n\r\n");
    assert_int_equal(head.status, 403);
    assert_int_equal(head.minor_version, 0);
    check_text(head.reason, "");
    head = parse_good(http1_parse_response, "HTTP/1.1 200\r\n\r\n");
    assert_int_equal(head.status, 200);
    check_text(head.reason, "");
    check_text(parse_good(http1_parse_response, "HTTP/1.1 200 caf\xc3\xa9\r\n\r\n").reason,
               "caf\xc3\xa9");
}

static void test_malformed_responses(void **state)
{
    (void)state;
    static const char *const malformed[] = {
        "HTTP/2.0 200 OK\r\n\r\n",     "HTTP/1.1  200 OK\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",    "HTTP/1.1 099 OK\r\n\r\n",  "HTTP/1.1 -20 OK\r\n\r\n",
        "HTTP/1.1 20x OK\r\n\r\n",     "http/1.1 200 OK\r\n\r\n",  "HTTP/1.1\r\n\r\n",
        "HTTP/1.1 200 OK\n\n",         "\r\nHTTP/1.1 200 OK\r\n",  "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 200 O\x01K\r\n\r\n", "HTTP/1.1\t200 OK\r\n\r\n", "<html>\r\n",
    };
    for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++)
        if (response_result(malformed[i]) != CULVERT_ERROR_PROTOCOL)
            fail_msg("not refused: %s", malformed[i]);
}

static void test_request_lines(void **state)
{
    (void)state;
    static const char *const good[] = {
        "GET / HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "CONNECT example.org:443 HTTP/1.1",
        "GET http://a/b HTTP/1.1",
        "M-SEARCH /~%20{} HTTP/1.0",
        "!#$%&'*+-.^_`|~ / HTTP/1.1",
        "CONNECT [::1]:443 HTTP/1.1",
    };
    static const char *const bad[] = {
        "GET  / HTTP/1.1",
        " GET / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET /  HTTP/1.1",
        "GET / x HTTP/1.1",
        "GET\t/\tHTTP/1.1",
        "GET /",
        "GET",
        "GET / http/1.1",
        "GET / HTTP/1.10",
        "GET / HTTP/1.",
        "GET / HTTP/2.0",
        "GET / HTTP/0.9",
        "PRI * HTTP/2.0",
        "GET * HTTP/1.1",
        "G(T / HTTP/1.1",
        "GET example HTTP/1.1",
        "GET /\xc3\xa9 HTTP/1.1",
        "CONNECT / HTTP/1.1",
        "CONNECT host HTTP/1.1",
        "CONNECT :1 HTTP/1.1",
        "GET :// HTTP/1.1",
        " / HTTP/1.1",
        "GET http:/a HTTP/1.1",
        "GET http:// HTTP/1.1",
        "GET x: HTTP/1.1",
        "GET / HTTP/1.x",
    };
    char input[200];
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        snprintf(input, sizeof(input), "%s\r\nHost: a\r\n\r\n", good[i]);
        if (request_result(input) != 0)
            fail_msg("refused: %s", good[i]);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        snprintf(input, sizeof(input), "%s\r\nHost: a\r\n\r\n", bad[i]);
        if (request_result(input) != CULVERT_ERROR_PROTOCOL)
            fail_msg("not refused: %s", bad[i]);
    }
}

static void test_one_empty_line_in_front(void **state)
{
    (void)state;
    assert_int_equal(request_result("\r\nGET / HTTP/1.0\r\n\r\n"), 0);
    assert_int_equal(request_result("\r\n\r\nGET / HTTP/1.0\r\n\r\n"), CULVERT_ERROR_PROTOCOL);
}

static void test_later_minor_version(void **state)
{
    (void)state;
    const char *input = "GET / HTTP/1.7\r\nHost: a\r\n\r\n";
    assert_int_equal(parse_good(http1_parse_request, input).minor_version, 1);
}

static void test_malformed_fields(void **state)
{
    (void)state;
    static const char *const malformed[] = {
        "Name : value\r\n\r\n",
        "Name\t: value\r\n\r\n",
        ": value\r\n\r\n",
        "Name\r\n\r\n",
        " Name: value\r\n\r\n",
        "A: b\r\n folded\r\n\r\n",
        "A: b\r\n\tfolded\r\n\r\n",
        "A: b\n\r\n",
        "A: b\r\n\n",
        "A: b\rc\r\n\r\n",
        "A: b\r\r\n\r\n",
        "A: \x01\r\n\r\n",
        "A: \x7f\r\n\r\n",
        "N(me: value\r\n\r\n",
        "N\xc3\xa9: value\r\n\r\n",
        "N me: value\r\n\r\n",
        "A: \x1b[2J\r\n\r\n",
        "\"A\": b\r\n\r\n",
    };
    char input[200];
    for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
        snprintf(input, sizeof(input), "GET / HTTP/1.1\r\nHost: a\r\n%s", malformed[i]);
        if (request_result(input) != CULVERT_ERROR_PROTOCOL)
            fail_msg("not refused: %s", malformed[i]);
        snprintf(input, sizeof(input), "HTTP/1.1 200 OK\r\n%s", malformed[i]);
        if (response_result(input) != CULVERT_ERROR_PROTOCOL)
            fail_msg("not refused in a response: %s", malformed[i]);
    }
}

static void test_nul_bytes(void **state)
{
    (void)state;
    static const char input[] = "GET / HTTP/1.0\r\nA: b\r\n\r\n";
    for (size_t i = 0; i < sizeof(input) - 1; i++) {
        char broken[sizeof(input)];
        struct http1_head head;
        size_t used;
        memcpy(broken, input, sizeof(input));
        broken[i] = '\0';
        assert_int_equal(parse(http1_parse_request, broken, sizeof(input) - 1, &head, &used),
                         CULVERT_ERROR_PROTOCOL);
    }
}

/* What is not HTTP at all is known before a line has come. */
static void test_other_protocols(void **state)
{
    (void)state;
    struct http1_head head;
    size_t used;
    const uint8_t client_hello[] = {0x16, 0x03, 0x01, 0x02};
    assert_int_equal(http1_parse_request(client_hello, 1, &head, &used), CULVERT_ERROR_PROTOCOL);
    assert_int_equal(request_result("SSH-2.0-OpenSSH_9.2\r\n"), CULVERT_ERROR_PROTOCOL);
    assert_int_equal(request_result("GET / HTTP/1.1\n"), CULVERT_ERROR_PROTOCOL);
}

static int host_result(const char *version, const char *fields)
{
    char input[200];
    snprintf(input, sizeof(input), "GET / HTTP/%s\r\n%s\r\n", version, fields);
    return request_result(input);
}

static void test_host(void **state)
{
    (void)state;
    assert_int_equal(host_result("1.1", "Host: a\r\n"), 0);
    assert_int_equal(host_result("1.1", "Host:\r\n"), 0); /* RFC 9112 §3.2: may be empty */
    assert_int_equal(host_result("1.1", "hOST: [::1]:8080\r\n"), 0);
    assert_int_equal(host_result("1.1", "Host: azAZ09-._~%!$&'()*+,;=:[]\r\n"), 0);
    assert_int_equal(host_result("1.0", ""), 0);
    assert_int_equal(host_result("1.1", ""), CULVERT_ERROR_PROTOCOL);
    assert_int_equal(host_result("1.1", "Host: a\r\nhost: a\r\n"), CULVERT_ERROR_PROTOCOL);
    assert_int_equal(host_result("1.0", "Host: a\r\nX: y\r\nHOST: b\r\n"), CULVERT_ERROR_PROTOCOL);
    assert_int_equal(host_result("1.1", "Host: a b\r\n"), CULVERT_ERROR_PROTOCOL);
    assert_int_equal(host_result("1.1", "Host: a/b\r\n"), CULVERT_ERROR_PROTOCOL);
    assert_int_equal(host_result("1.1", "Host: u@a\r\n"), CULVERT_ERROR_PROTOCOL);
    assert_int_equal(host_result("1.1", "Host: \xc3\xa9\r\n"), CULVERT_ERROR_PROTOCOL);
}

static void test_both_framings(void **state)
{
    (void)state;
    const char *both = "Host: a\r\nTransfer-Encoding: chunked\r\ncontent-length: 3\r\n";
    assert_int_equal(host_result("1.1", both), CULVERT_ERROR_PROTOCOL);
    assert_int_equal(response_result("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n"
                                     "Transfer-Encoding: chunked\r\n\r\n"),
                     CULVERT_ERROR_PROTOCOL);
}

static void test_number_of_fields(void **state)
{
    (void)state;
    for (int count = HTTP1_MAX_FIELDS - 1; count <= HTTP1_MAX_FIELDS + 1; count++) {
        char input[1024];
        size_t size = (size_t)snprintf(input, sizeof(input), "HTTP/1.1 200 OK\r\n");
        for (int i = 0; i < count; i++)
            size += (size_t)snprintf(input + size, sizeof(input) - size, "F%d: %d\r\n", i, i);
        snprintf(input + size, sizeof(input) - size, "\r\n");
        assert_int_equal(response_result(input),
                         count <= HTTP1_MAX_FIELDS ? 0 : CULVERT_ERROR_TOO_LARGE);
    }
}

/* A head of `size` bytes, with `more` bytes behind it. */
static int sized_result(size_t size, size_t more)
{
    static char input[HTTP1_MAX_HEAD + 100];
    static const char start[] = "GET / HTTP/1.0\r\nA: ";
    struct http1_head head;
    size_t used;
    memset(input, 'x', sizeof(input));
    memcpy(input, start, sizeof(start) - 1);
    memcpy(input + size - 4, "\r\n\r\n", 4);
    return http1_parse_request(guarded_page_put(&page, input, size + more), size + more, &head,
                               &used);
}

static void test_size_of_head(void **state)
{
    (void)state;
    static char endless[HTTP1_MAX_HEAD];
    struct http1_head head;
    size_t used;
    assert_int_equal(sized_result(HTTP1_MAX_HEAD, 0), 0);
    assert_int_equal(sized_result(HTTP1_MAX_HEAD, 10), 0);
    assert_int_equal(sized_result(HTTP1_MAX_HEAD + 1, 0), CULVERT_ERROR_TOO_LARGE);
    assert_int_equal(sized_result(HTTP1_MAX_HEAD + 1, 10), CULVERT_ERROR_TOO_LARGE);
    memset(endless, 'x', sizeof(endless));
    uint8_t *data = guarded_page_put(&page, endless, sizeof(endless));
    assert_int_equal(http1_parse_request(data, sizeof(endless) - 1, &head, &used),
                     CULVERT_NEED_MORE);
    assert_int_equal(http1_parse_request(data, sizeof(endless), &head, &used),
                     CULVERT_ERROR_TOO_LARGE);
}

static void test_list_tokens(void **state)
{
    (void)state;
    struct http1_head head = parse_good(
        http1_parse_response, "HTTP/1.1 200 OK\r\n"
                              "Connection: keep-alive , ,\tUPGRADE\r\n"
                              "X: one\r\nConnection:Last\r\n"
                              "Q: a=\"x, inside, \\\", also\", outside\r\n"
                              "Empty:\r\nCommas: ,,,\r\nTight: a,b,c\r\nOpen: x, \"a, b\\\r\n\r\n");
    assert_true(http1_has_token(&head, "connection", "upgrade"));
    assert_true(http1_has_token(&head, "Connection", "Keep-Alive"));
    assert_true(http1_has_token(&head, "Connection", "last"));
    assert_false(http1_has_token(&head, "Connection", "keep"));
    assert_false(http1_has_token(&head, "Connection", "upgrades"));
    assert_false(http1_has_token(&head, "Connection", "one"));
    assert_false(http1_has_token(&head, "Missing", "one"));
    assert_true(http1_has_token(&head, "Q", "outside"));
    assert_false(http1_has_token(&head, "Q", "inside"));
    assert_false(http1_has_token(&head, "Q", "also"));
    assert_false(http1_has_token(&head, "Empty", "x"));
    assert_false(http1_has_token(&head, "Commas", "x"));
    assert_true(http1_has_token(&head, "Tight", "b"));
    assert_true(http1_has_token(&head, "Tight", "c"));
    assert_true(http1_has_token(&head, "Open", "x"));
    assert_false(http1_has_token(&head, "Open", "b"));
}

static int length_result(const char *fields, uint64_t *length)
{
    char input[200];
    snprintf(input, sizeof(input), "POST / HTTP/1.1\r\nHost: a\r\n%s\r\n", fields);
    struct http1_head head = parse_good(http1_parse_request, input);
    return http1_content_length(&head, length);
}

static void test_content_length(void **state)
{
    (void)state;
    uint64_t length = 1;
    assert_int_equal(length_result("", &length), 0);
    assert_true(length == 0);
    assert_int_equal(length_result("Content-Length: 42\r\n", &length), 0);
    assert_true(length == 42);
    assert_int_equal(length_result("Content-Length: 18446744073709551615\r\n", &length), 0);
    assert_true(length == UINT64_MAX);

    static const char *const malformed[] = {
        "",
        "-1",
        "+1",
        "1 2",
        "0x10",
        "18446744073709551616",
        "99999999999999999999999",
        "1,",
        "1;",
        "4,4",
        "4, 4",
        "1.0",
        "\xd9\xa1",
    };
    for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
        char field[100];
        snprintf(field, sizeof(field), "Content-Length: %s\r\n", malformed[i]);
        if (length_result(field, &length) != CULVERT_ERROR_PROTOCOL)
            fail_msg("not refused: %s", malformed[i]);
    }
    assert_int_equal(length_result("Content-Length: 4\r\ncontent-length: 5\r\n", &length),
                     CULVERT_ERROR_PROTOCOL);
    assert_int_equal(length_result("Content-Length: 4\r\ncontent-length: 4\r\n", &length),
                     CULVERT_ERROR_PROTOCOL);
    assert_int_equal(length_result("Transfer-Encoding: chunked\r\n", &length),
                     CULVERT_ERROR_UNSUPPORTED);
    assert_int_equal(length_result("Transfer-Encoding:\r\n", &length), CULVERT_ERROR_UNSUPPORTED);
    assert_true(length == UINT64_MAX); /* as it was */
}

static void test_responses_without_body(void **state)
{
    (void)state;
    static const struct {
        const char *status;
        uint64_t length;
    } cases[] = {{"100", 0}, {"101", 0}, {"199", 0}, {"200", 7},
                 {"204", 0}, {"304", 0}, {"404", 7}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char input[100];
        uint64_t length = 99;
        snprintf(input, sizeof(input), "HTTP/1.1 %s x\r\nContent-Length: 7\r\n\r\n",
                 cases[i].status);
        struct http1_head head = parse_good(http1_parse_response, input);
        assert_int_equal(http1_content_length(&head, &length), 0);
        assert_true(length == cases[i].length);
    }
}

static int make_page(void **state)
{
    (void)state;
    page = guarded_page_new(2 * HTTP1_MAX_HEAD);
    return 0;
}

static int free_page(void **state)
{
    (void)state;
    guarded_page_free(&page);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_upgrade_request),
        cmocka_unit_test(test_responses),
        cmocka_unit_test(test_malformed_responses),
        cmocka_unit_test(test_request_lines),
        cmocka_unit_test(test_one_empty_line_in_front),
        cmocka_unit_test(test_later_minor_version),
        cmocka_unit_test(test_malformed_fields),
        cmocka_unit_test(test_nul_bytes),
        cmocka_unit_test(test_other_protocols),
        cmocka_unit_test(test_host),
        cmocka_unit_test(test_both_framings),
        cmocka_unit_test(test_number_of_fields),
        cmocka_unit_test(test_size_of_head),
        cmocka_unit_test(test_list_tokens),
        cmocka_unit_test(test_content_length),
        cmocka_unit_test(test_responses_without_body),
    };
    return cmocka_run_group_tests(tests, make_page, free_page);
}
