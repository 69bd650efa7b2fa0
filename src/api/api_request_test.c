#include "api/api_request.h"
#include "api/api_test_routes.h"
#include "base/error.h"
#include "codec/guarded_page.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define CALLER "Host: localhost\r\nAuthorization: Bearer " API_TEST_TOKEN "\r\n"
#define JSON   "Content-Type: application/json\r\n"

static struct guarded_page page;

static struct api_access unix_access(void)
{
    struct sockaddr_storage address = {.ss_family = AF_UNIX};
    struct api_access access;
    api_access_init(&access, API_TEST_TOKEN, "", &address);
    return access;
}

static int read_head_at(const struct api_access *access, const char *request, struct api_call *call)
{
    size_t size = strlen(request);
    uint8_t *data = guarded_page_put(&page, request, size);
    struct http1_head head;
    size_t used = 0;
    *call = (struct api_call){0};
    int result = http1_parse_request(data, size, &head, &used);
    if (result == CULVERT_NEED_MORE)
        return result;
    if (result == 0)
        api_request_head(access, api_test_routes, API_TEST_ROUTES, &head, call);
    else
        api_request_malformed(call, result);
    return 0;
}

static int read_head(const char *request, struct api_call *call)
{
    struct api_access access = unix_access();
    return read_head_at(&access, request, call);
}

/* The status that a head is refused with, 0 if it is taken. */
static int status_of(const char *request)
{
    struct api_call call;
    assert_int_equal(read_head(request, &call), 0);
    assert_true((call.problem.status == 0) == (call.route != NULL) || call.route != NULL);
    assert_true((call.problem.status == 0) == (call.problem.detail[0] == '\0'));
    return call.problem.status;
}

static void test_a_request_is_taken(void **state)
{
    (void)state;
    struct api_call call;
    static const char REQUEST[] = "DELETE /v1/things/17 HTTP/1.1\r\n" CALLER "\r\n";
    assert_int_equal(read_head(REQUEST, &call), 0);
    assert_int_equal(call.problem.status, 0);
    assert_ptr_equal(call.route, &api_test_routes[3]);
    assert_string_equal(call.parameter, "17");
    assert_int_equal(call.body_size, 0);
    assert_true(call.keeps_open);
    assert_false(call.is_head);
}

static void test_each_beginning_needs_more(void **state)
{
    (void)state;
    static const char REQUEST[] = "GET /v1/things HTTP/1.1\r\n" CALLER "\r\n";
    struct api_call call;
    char beginning[sizeof REQUEST];
    for (size_t i = 0; i < sizeof REQUEST - 1; i++) {
        memcpy(beginning, REQUEST, i);
        beginning[i] = '\0';
        assert_int_equal(read_head(beginning, &call), CULVERT_NEED_MORE);
    }
    assert_int_equal(read_head(REQUEST, &call), 0);
}

static void test_paths(void **state)
{
    (void)state;
    assert_int_equal(status_of("GET /v1/things HTTP/1.1\r\n" CALLER "\r\n"), 0);
    assert_int_equal(status_of("GET /v1/things?x=/1 HTTP/1.1\r\n" CALLER "\r\n"), 0);
    assert_int_equal(status_of("GET /v1/thing HTTP/1.1\r\n" CALLER "\r\n"), 404);
    assert_int_equal(status_of("GET /v1/things/ HTTP/1.1\r\n" CALLER "\r\n"), 404);
    assert_int_equal(status_of("GET /v1/things/1/2 HTTP/1.1\r\n" CALLER "\r\n"), 404);
    assert_int_equal(status_of("GET //v1/things HTTP/1.1\r\n" CALLER "\r\n"), 404);
    assert_int_equal(status_of("GET / HTTP/1.1\r\n" CALLER "\r\n"), 404);
    assert_int_equal(status_of("OPTIONS * HTTP/1.1\r\n" CALLER "\r\n"), 404);
    assert_int_equal(status_of("get /v1/things HTTP/1.1\r\n" CALLER "\r\n"), 405);

    char request[512];
    char parameter[API_PARAMETER_SIZE + 1];
    memset(parameter, '1', API_PARAMETER_SIZE);
    parameter[API_PARAMETER_SIZE] = '\0';
    snprintf(request, sizeof request, "GET /v1/things/%s HTTP/1.1\r\n" CALLER "\r\n", parameter);
    assert_int_equal(status_of(request), 404);
    snprintf(request, sizeof request, "GET /v1/things/%s HTTP/1.1\r\n" CALLER "\r\n",
             parameter + 1);
    assert_int_equal(status_of(request), 0);
}

static void test_other_methods(void **state)
{
    (void)state;
    struct api_call call;
    assert_int_equal(read_head("PUT /v1/things/1 HTTP/1.1\r\n" CALLER "\r\n", &call), 0);
    assert_int_equal(call.problem.status, 405);
    assert_string_equal(call.allow, "GET, HEAD, DELETE");
    assert_true(call.keeps_open);
    assert_int_equal(read_head("HEAD /v1/things/1 HTTP/1.1\r\n" CALLER "\r\n", &call), 0);
    assert_ptr_equal(call.route, &api_test_routes[2]);
    assert_true(call.is_head);
}

static void test_the_targets_authority_counts(void **state)
{
    (void)state;
    struct sockaddr_storage address = {.ss_family = AF_UNIX};
    struct api_access access = {.port = 7070, .host_count = 1, .hosts = {"localhost"}};
    struct api_call call;
    (void)address;
    access.token = API_TEST_TOKEN;
    static const char *const REQUESTS[] = {
        "GET http://localhost:7070/v1/things HTTP/1.1\r\nHost: localhost:7070\r\n",
        "GET http://evil:7070/v1/things HTTP/1.1\r\nHost: localhost:7070\r\n",
        "GET http://localhost:7070/v1/things HTTP/1.1\r\nHost: evil:7070\r\n",
        "GET https://localhost:7070/v1/things HTTP/1.1\r\nHost: localhost:7070\r\n",
        "GET http://localhost:7070 HTTP/1.1\r\nHost: localhost:7070\r\n",
        "GET /v1/things HTTP/1.1\r\nHost: evil:7070\r\n",
        "GET /v1/things HTTP/1.0\r\n",
    };
    static const int STATUSES[] = {0, 403, 403, 404, 404, 403, 403};
    for (size_t i = 0; i < sizeof REQUESTS / sizeof *REQUESTS; i++) {
        char request[512];
        snprintf(request, sizeof request, "%sAuthorization: Bearer " API_TEST_TOKEN "\r\n\r\n",
                 REQUESTS[i]);
        assert_int_equal(read_head_at(&access, request, &call), 0);
        assert_int_equal(call.problem.status, STATUSES[i]);
    }
}

static void test_a_stranger_learns_nothing(void **state)
{
    (void)state;
    struct api_call call;
    assert_int_equal(read_head("GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n", &call), 0);
    assert_int_equal(call.problem.status, 401);
    assert_true(call.is_unknown_caller);
    assert_null(call.route);
    assert_int_equal(
        read_head("GET /v1/things HTTP/1.1\r\nOrigin: http://evil\r\n" CALLER "\r\n", &call), 0);
    assert_int_equal(call.problem.status, 403);
    assert_false(call.is_unknown_caller);
}

static void test_bodies(void **state)
{
    (void)state;
    struct api_call call;
    assert_int_equal(status_of("POST /v1/things HTTP/1.1\r\n" CALLER "\r\n"), 411);
    assert_int_equal(
        status_of("POST /v1/things HTTP/1.1\r\n" CALLER JSON "Transfer-Encoding: chunked\r\n\r\n"),
        411);
    assert_int_equal(
        status_of("POST /v1/things HTTP/1.1\r\n" CALLER JSON "Content-Length: 65537\r\n\r\n"), 413);
    assert_int_equal(status_of("POST /v1/things HTTP/1.1\r\n" CALLER JSON
                               "Content-Length: 99999999999999999999\r\n\r\n"),
                     400);
    assert_int_equal(
        status_of("POST /v1/things HTTP/1.1\r\n" CALLER JSON "Content-Length: -1\r\n\r\n"), 400);
    assert_int_equal(status_of("POST /v1/things HTTP/1.1\r\n" CALLER JSON
                               "Content-Length: 2\r\nContent-Length: 2\r\n\r\n"),
                     400);
    assert_int_equal(
        status_of("DELETE /v1/things/1 HTTP/1.1\r\n" CALLER "Content-Length: 2\r\n\r\n"), 400);
    assert_int_equal(
        status_of("DELETE /v1/things/1 HTTP/1.1\r\n" CALLER "Content-Length: 0\r\n\r\n"), 0);
    assert_int_equal(read_head("POST /v1/things HTTP/1.1\r\n" CALLER JSON
                               "Content-Length: 65536\r\n\r\n",
                               &call),
                     0);
    assert_int_equal(call.problem.status, 0);
    assert_int_equal(call.body_size, API_MAX_BODY);
}

static void test_media_types(void **state)
{
    (void)state;
    static const char *const TAKEN[] = {"application/json", "Application/JSON",
                                        "application/json;charset=utf-8",
                                        "application/json ; charset=utf-8"};
    static const char *const REFUSED[] = {"text/plain", "application/jsonp", "application/",
                                          "application/x-www-form-urlencoded", ";"};
    char request[512];
    static const char FORM[] =
        "POST /v1/things HTTP/1.1\r\n" CALLER "Content-Type: %s\r\nContent-Length: 2\r\n%s\r\n";
    for (size_t i = 0; i < sizeof TAKEN / sizeof *TAKEN; i++) {
        snprintf(request, sizeof request, FORM, TAKEN[i], "");
        assert_int_equal(status_of(request), 0);
    }
    for (size_t i = 0; i < sizeof REFUSED / sizeof *REFUSED; i++) {
        snprintf(request, sizeof request, FORM, REFUSED[i], "");
        assert_int_equal(status_of(request), 415);
    }
    snprintf(request, sizeof request, FORM, TAKEN[0], "Content-Encoding: gzip\r\n");
    assert_int_equal(status_of(request), 415);
    assert_int_equal(status_of("POST /v1/things HTTP/1.1\r\n" CALLER "Content-Length: 2\r\n\r\n"),
                     415);
}

static void test_expectations(void **state)
{
    (void)state;
    struct api_call call;
    assert_int_equal(read_head("POST /v1/things HTTP/1.1\r\n" CALLER JSON
                               "Content-Length: 2\r\nExpect: 100-Continue\r\n\r\n",
                               &call),
                     0);
    assert_int_equal(call.problem.status, 0);
    assert_true(call.expects_continue);
    assert_int_equal(status_of("GET /v1/things HTTP/1.1\r\n" CALLER "Expect: miracles\r\n\r\n"),
                     417);
}

/* What stays of the connection after the answer. */
static void test_keeping_open(void **state)
{
    (void)state;
    struct api_call call;
    assert_int_equal(
        read_head("GET /v1/things HTTP/1.1\r\n" CALLER "Connection: close\r\n\r\n", &call), 0);
    assert_false(call.keeps_open);
    assert_int_equal(read_head("GET /v1/things HTTP/1.0\r\n" CALLER "\r\n", &call), 0);
    assert_false(call.keeps_open);
    assert_int_equal(read_head("GET /nothing HTTP/1.1\r\n" CALLER "\r\n", &call), 0);
    assert_true(call.keeps_open);
    /* A body that is not read would be taken for the next request. */
    assert_int_equal(
        read_head("POST /nothing HTTP/1.1\r\n" CALLER JSON "Content-Length: 2\r\n\r\n", &call), 0);
    assert_false(call.keeps_open);
    assert_int_equal(
        read_head("POST /nothing HTTP/1.1\r\n" CALLER "Transfer-Encoding: chunked\r\n\r\n", &call),
        0);
    assert_int_equal(call.problem.status, 404);
    assert_false(call.keeps_open);
}

static void test_what_is_not_http(void **state)
{
    (void)state;
    static char large[HTTP1_MAX_HEAD + 1];
    struct api_call call;
    assert_int_equal(status_of("\x16\x03\x01"), 400);
    assert_int_equal(status_of("GET /v1/things HTTP/1.1\r\n\r\n"), 400);
    memset(large, 'a', sizeof large - 1);
    memcpy(large, "GET /", 5);
    assert_int_equal(status_of(large), 431);
    assert_int_equal(read_head(large, &call), 0);
    assert_false(call.keeps_open);
}

/* ---- bodies ---- */

static json_t *read_body(const char *body, size_t size, struct api_call *call)
{
    memset(call, 0, sizeof *call);
    call->body_size = size;
    return api_request_body(call, guarded_page_put(&page, body, size));
}

static void assert_body_refused(const char *body, size_t size, const char *detail)
{
    struct api_call call;
    assert_null(read_body(body, size, &call));
    assert_int_equal(call.problem.status, 400);
    if (strstr(call.problem.detail, detail) == NULL)
        fail_msg("\"%s\" is not in: %s", detail, call.problem.detail);
}

static void test_json_is_taken(void **state)
{
    (void)state;
    struct api_call call;
    json_t *json = read_body("{\"a\": [1, \"\xc3\xa4\"]}\n", 17, &call);
    assert_non_null(json);
    assert_int_equal(call.problem.status, 0);
    assert_int_equal(json_array_size(json_object_get(json, "a")), 2);
    json_decref(json);
}

static void test_what_is_wrong_with_json_is_told(void **state)
{
    (void)state;
    static char deep[API_MAX_BODY];
    assert_body_refused("", 0, "line 1, column 0");
    assert_body_refused("{\"a\":1,\n \"b\":}", 14, "line 2, column 6: unexpected token");
    assert_body_refused("{\"a\":1,\"a\":2}", 13, "duplicate object key");
    assert_body_refused("{} {}", 5, "line 1, column 4: end of file expected");
    assert_body_refused("\"text\"", 6, "line 1, column 6");
    assert_body_refused("{\"a\":\"\xff\"}", 9, "unable to decode byte 0xff");
    assert_body_refused("{\"a\":\"\\u0000\"}", 14, "\\u0000");
    assert_body_refused("{\"a\":NaN}", 9, "invalid token");
    memset(deep, '[', sizeof deep);
    assert_body_refused(deep, sizeof deep, "maximum parsing depth reached");
}

/* What stands in the body may be a key. */
static void test_a_problem_does_not_repeat_the_body(void **state)
{
    (void)state;
    struct api_call call;
    assert_null(read_body("{\"key\": \"geheim\" \"x\"", 20, &call));
    assert_null(strstr(call.problem.detail, "geheim"));
    assert_null(read_body("{\"key\": geheim}", 15, &call));
    assert_null(strstr(call.problem.detail, "geheim"));
    assert_null(read_body("{\"geheim\":1,\"geheim\":1}", 23, &call));
    assert_null(strstr(call.problem.detail, "geheim"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_request_is_taken),
        cmocka_unit_test(test_each_beginning_needs_more),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_other_methods),
        cmocka_unit_test(test_the_targets_authority_counts),
        cmocka_unit_test(test_a_stranger_learns_nothing),
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_media_types),
        cmocka_unit_test(test_expectations),
        cmocka_unit_test(test_keeping_open),
        cmocka_unit_test(test_what_is_not_http),
        cmocka_unit_test(test_json_is_taken),
        cmocka_unit_test(test_what_is_wrong_with_json_is_told),
        cmocka_unit_test(test_a_problem_does_not_repeat_the_body),
    };
    page = guarded_page_new(128 * 1024);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
