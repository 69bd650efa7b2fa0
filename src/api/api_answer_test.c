#include "api/api_answer.h"
#include "api/problem.h"
#include "base/error.h"
#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { EXAMPLE_TIME = 784111777 }; /* RFC 9110 §5.6.7 */

static void assert_answer(const struct api_call *call, struct api_response response,
                          const char *expected)
{
    struct api_answer answer = {0};
    assert_int_equal(api_answer_compose(&answer, call, &response, EXAMPLE_TIME), 0);
    assert_null(response.body);
    assert_int_equal(answer.size, strlen(expected));
    assert_memory_equal(answer.data, expected, answer.size);
    api_answer_deinit(&answer);
    assert_null(answer.data);
}

#define ALWAYS "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
#define DATE   "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"

static void test_ok(void **state)
{
    (void)state;
    struct api_call call = {.keeps_open = true};
    assert_answer(&call, (struct api_response){.body = json_pack("{s:i}", "id", 7)},
                  "HTTP/1.1 200 OK\r\n" DATE "Content-Type: application/json\r\n"
                  "Content-Length: 8\r\n" ALWAYS "\r\n{\"id\":7}");
    assert_answer(&call, (struct api_response){0},
                  "HTTP/1.1 204 No Content\r\n" DATE ALWAYS "\r\n");
    call.is_head = true;
    assert_answer(&call, (struct api_response){.body = json_pack("{s:i}", "id", 7)},
                  "HTTP/1.1 200 OK\r\n" DATE "Content-Type: application/json\r\n"
                  "Content-Length: 8\r\n" ALWAYS "\r\n");
}

static void test_created(void **state)
{
    (void)state;
    struct api_call call = {.keeps_open = false};
    assert_answer(
        &call,
        (struct api_response){.status = 201, .body = json_array(), .location = "/v1/forwards/7"},
        "HTTP/1.1 201 Created\r\n" DATE "Content-Type: application/json\r\n"
        "Content-Length: 2\r\nLocation: /v1/forwards/7\r\n" ALWAYS "Connection: close\r\n\r\n[]");
}

static void test_problems(void **state)
{
    (void)state;
    struct api_call call = {.keeps_open = true, .allow = "GET, HEAD"};
    assert_answer(&call,
                  (struct api_response){.status = 409, .detail = "no \"port\"", .field = "local"},
                  "HTTP/1.1 409 Conflict\r\n" DATE "Content-Type: application/problem+json\r\n"
                  "Content-Length: 93\r\n" ALWAYS "\r\n"
                  "{\"type\":\"about:blank\",\"title\":\"Conflict\",\"status\":409,"
                  "\"detail\":\"no \\\"port\\\"\",\"field\":\"local\"}");
    assert_answer(&call, (struct api_response){.status = 405},
                  "HTTP/1.1 405 Method Not Allowed\r\n" DATE
                  "Content-Type: application/problem+json\r\n"
                  "Content-Length: 64\r\nAllow: GET, HEAD\r\n" ALWAYS "\r\n"
                  "{\"type\":\"about:blank\",\"title\":\"Method Not Allowed\",\"status\":405}");
    assert_answer(&call, (struct api_response){.status = 401, .body = json_object()},
                  "HTTP/1.1 401 Unauthorized\r\n" DATE "Content-Type: application/problem+json\r\n"
                  "Content-Length: 58\r\nWWW-Authenticate: Bearer\r\n" ALWAYS "\r\n"
                  "{\"type\":\"about:blank\",\"title\":\"Unauthorized\",\"status\":401}");
}

static void test_a_detail_in_no_encoding(void **state)
{
    (void)state;
    json_t *problem = problem_new(400, "name \xff\xfe is bad", "");
    assert_string_equal(json_string_value(json_object_get(problem, "detail")),
                        "name \xef\xbf\xbd\xef\xbf\xbd is bad");
    json_decref(problem);
    problem = problem_new(400, "name \xc3\xa4 is bad", "");
    assert_string_equal(json_string_value(json_object_get(problem, "detail")),
                        "name \xc3\xa4 is bad");
    json_decref(problem);
}

/* Each allocation fails once, jansson's too. */
static void test_without_memory(void **state)
{
    (void)state;
    struct api_call call = {.keeps_open = true};
    int failures = 0;
    json_set_alloc_funcs(memory_allocate, memory_free);
    for (int kind = 0; kind < 2; kind++) {
        bool is_over = false;
        for (size_t n = 1; !is_over; n++) {
            struct api_answer answer = {0};
            struct api_response response = {.status = kind == 0 ? 0 : 404, .detail = "\xff"};
            response.body = kind == 0 ? json_pack("{s:[{s:i}]}", "a", "b", 1) : NULL;
            memory_fail_after(n);
            int result = api_answer_compose(&answer, &call, &response, EXAMPLE_TIME);
            is_over = memory_fail_is_pending();
            memory_fail_after(0);
            assert_int_equal(result, is_over ? 0 : CULVERT_ERROR_NO_MEMORY);
            failures += result != 0;
            assert_true((answer.data != NULL) == (result == 0));
            api_answer_deinit(&answer);
        }
    }
    json_set_alloc_funcs(malloc, free);
    assert_true(failures > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ok),
        cmocka_unit_test(test_created),
        cmocka_unit_test(test_problems),
        cmocka_unit_test(test_a_detail_in_no_encoding),
        cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
