#include "cli/forward_command.h"

#include "base/exit_code.h"
#include "cli/test_output.h"
#include "net/test_http_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define WORDS(...) ((char *const[]){__VA_ARGS__, NULL})

static struct forward_command command;

static void parse(char *const *words)
{
    char why[OPTIONS_WHY_SIZE] = "";
    if (forward_command_parse(words, &command, why) != 0)
        fail_msg("%s", why);
}

static void check_wrong(char *const *words, const char *piece_of_why)
{
    char why[OPTIONS_WHY_SIZE] = "";
    assert_true(forward_command_parse(words, &command, why) < 0);
    if (strstr(why, piece_of_why) == NULL)
        fail_msg("\"%s\", without \"%s\"", why, piece_of_why);
}

static void test_add(void **state)
{
    (void)state;
    parse(WORDS("add", "2222:agent2:127.0.0.1:22"));
    assert_string_equal(command.command->name, "forward add");
    assert_int_equal(command.rule.local_port, 2222);
    assert_string_equal(command.rule.bind, "");
    assert_string_equal(command.rule.agent, "agent2");
    assert_null(command.api);
    assert_null(command.token_file);
    assert_false(command.as_json);

    parse(WORDS("add", "--json", "-api=unix:/run/api", "*:0:k@k@agent2:db:5432", "--token-file",
                "token"));
    assert_string_equal(command.rule.bind, "*");
    assert_int_equal(command.rule.local_port, 0);
    assert_string_equal(command.rule.key, "k@k");
    assert_string_equal(command.api, "unix:/run/api");
    assert_string_equal(command.token_file, "token");
    assert_true(command.as_json);
}

static void test_list_and_remove(void **state)
{
    (void)state;
    parse(WORDS("list", "--api", "http://127.0.0.1:7070"));
    assert_string_equal(command.command->name, "forward list");
    parse(WORDS("remove", "9223372036854775807"));
    assert_string_equal(command.command->name, "forward remove");
    assert_int_equal(command.id, INT64_MAX);
    assert_false(command.as_json);
    parse(WORDS("list", "--json"));
    assert_true(command.as_json);
}

static void test_what_is_wrong_is_told(void **state)
{
    (void)state;
    check_wrong((char *const[]){NULL}, "add, list or remove");
    check_wrong(WORDS("ad"), "did you mean add?");
    check_wrong(WORDS("--json"), "unknown option");
    check_wrong(WORDS("add"), "the RULE is missing");
    check_wrong(WORDS("add", "2222:agent2"), "[BIND:]LPORT");
    check_wrong(WORDS("add", "1:a:b:1", "2:a:b:2"), "only one RULE");
    check_wrong(WORDS("add", "1:\xff@a:b:1"), "UTF-8");
    check_wrong(WORDS("add", "1:a:b:1", "--api="), "the URL is empty");
    check_wrong(WORDS("add", "1:a:b:1", "--token-file="), "the path is empty");
    check_wrong(WORDS("list", "3"), "unexpected argument");
    check_wrong(WORDS("remove"), "the ID of the forward is missing");
    check_wrong(WORDS("remove", "0"), "an ID is a number");
    check_wrong(WORDS("remove", "1x"), "an ID is a number");
    check_wrong(WORDS("remove", "9223372036854775808"), "an ID is a number");
    check_wrong(WORDS("remove", "1", "2"), "only one ID");
    check_wrong(WORDS("remove", "1", "--json"), "unknown option");
}

static void print(const char *json, char *out, size_t size)
{
    json_t *answer = json_loads(json, 0, NULL);
    FILE *file = fmemopen(out, size, "w");
    assert_true(answer != NULL && file != NULL);
    forward_command_print(answer, file);
    fclose(file);
    json_decref(answer);
}

static void test_table(void **state)
{
    (void)state;
    char out[1024];
    print("{\"forwards\":[{\"id\":1,\"local\":2222,\"bind\":\"127.0.0.1\",\"gateway\":\"agent2\","
          "\"ip\":\"db\",\"remote\":22,\"source\":\"rule\",\"listening\":true,\"open\":3,"
          "\"total\":14,\"sent\":5000000000,\"received\":6},"
          "{\"id\":12,\"local\":80,\"bind\":\"::1\",\"gateway\":\"a\",\"ip\":\"fe80::1\","
          "\"remote\":443,\"source\":\"api\",\"listening\":false,\"open\":0,\"total\":0,"
          "\"sent\":0,\"received\":0}]}",
          out, sizeof out);
    assert_string_equal(
        out, "ID   LOCAL                  TARGET                           SOURCE   OPEN    TOTAL"
             "         SENT     RECEIVED\n"
             "1    127.0.0.1:2222         agent2:db:22                     rule        3       14"
             "   5000000000            6\n"
             "12   [::1]:80               a:[fe80::1]:443                  api         0        0"
             "            0            0  (the port is in use)\n");
}

/* An answer that is not what was agreed harms nobody. */
static void test_table_of_nonsense(void **state)
{
    (void)state;
    char out[1024];
    print("{\"forwards\":[7,{\"bind\":\"\\u001b[2J\\u0085\",\"gateway\":[],\"id\":\"x\"}]}", out,
          sizeof out);
    assert_null(strchr(out, '\x1b'));
    assert_non_null(strstr(out, "\n0    ?:0 "));
    print("[]", out, sizeof out);
    assert_ptr_equal(strchr(out, '\n'), out + strlen(out) - 1);
}

/* ---- requests to the API, and the output for its answers ---- */

#define FORWARD                                                                             \
    "{\"id\":3,\"local\":2222,\"bind\":\"127.0.0.1\",\"gateway\":\"agent2\",\"ip\":\"db\"," \
    "\"remote\":22}"

struct exchange {
    struct test_http_server server;
    const char *status;
    const char *answer;
    char head[TEST_HTTP_HEAD + 1];
    char body[1024];
    struct test_output output;
};

static bool answer_exchange(struct test_http_server *server,
                            const struct test_http_request *request)
{
    struct exchange *exchange = server->holder;
    snprintf(exchange->head, sizeof exchange->head, "%s", request->head);
    snprintf(exchange->body, sizeof exchange->body, "%.*s", (int)request->body_size,
             (const char *)request->body);
    test_http_answer(request, exchange->status, "", exchange->answer, strlen(exchange->answer));
    return true;
}

static int set_up(void **state)
{
    static struct exchange exchange;
    static char url[64];
    test_http_start(&exchange.server, answer_exchange, &exchange);
    snprintf(url, sizeof url, "http://127.0.0.1:%u", exchange.server.port);
    setenv("CULVERT_API", url, 1);
    setenv("CULVERT_TOKEN", "t0ken", 1);
    *state = &exchange;
    return 0;
}

static int tear_down(void **state)
{
    test_http_stop(&((struct exchange *)*state)->server);
    return 0;
}

/* Runs a command against an API that sends this answer. */
static int run(struct exchange *exchange, const char *status, const char *answer,
               char *const *words)
{
    exchange->status = status;
    exchange->answer = answer;
    exchange->head[0] = '\0';
    test_output_begin(&exchange->output);
    int result = forward_command_run(words);
    test_output_end(&exchange->output);
    return result;
}

static void check_asked(const struct exchange *exchange, const char *line, const char *type)
{
    struct test_http_request request;
    char field[256];
    assert_memory_equal(exchange->head, line, strlen(line));
    snprintf(request.head, sizeof request.head, "%s", exchange->head);
    assert_string_equal(test_http_field(&request, "Authorization", field), "Bearer t0ken");
    assert_string_equal(test_http_field(&request, "Content-Type", field), type);
    assert_memory_equal(test_http_field(&request, "User-Agent", field), "culvert/", 8);
}

static void test_adding(void **state)
{
    struct exchange *exchange = *state;
    assert_int_equal(
        run(exchange, "201 Created", FORWARD, WORDS("add", "[::1]:2222:k@agent2:db:22")),
        EXIT_CODE_OK);
    check_asked(exchange, "POST /v1/forwards HTTP/1.1\r\n", "application/json");
    json_t *body = json_loads(exchange->body, 0, NULL);
    assert_int_equal(json_integer_value(json_object_get(body, "local")), 2222);
    assert_string_equal(json_string_value(json_object_get(body, "bind")), "::1");
    assert_string_equal(json_string_value(json_object_get(body, "gateway")), "agent2");
    assert_string_equal(json_string_value(json_object_get(body, "ip")), "db");
    assert_int_equal(json_integer_value(json_object_get(body, "remote")), 22);
    assert_string_equal(json_string_value(json_object_get(body, "key")), "k");
    json_decref(body);
    assert_string_equal(exchange->output.out, "forward 3: 127.0.0.1:2222 -> agent2:db:22\n");
    assert_string_equal(exchange->output.err, "");
    assert_int_equal(
        run(exchange, "201 Created", FORWARD, WORDS("add", "--json", "2222:agent2:db:22")),
        EXIT_CODE_OK);
    json_t *printed = json_loads(exchange->output.out, 0, NULL);
    json_t *answered = json_loads(FORWARD, 0, NULL);
    assert_true(json_equal(printed, answered));
    json_decref(printed);
    json_decref(answered);
    assert_int_equal(exchange->output.out[strlen(exchange->output.out) - 1], '\n');
}

static void test_listing(void **state)
{
    struct exchange *exchange = *state;
    assert_int_equal(run(exchange, "200 OK", "{\"forwards\":[" FORWARD "]}", WORDS("list")),
                     EXIT_CODE_OK);
    check_asked(exchange, "GET /v1/forwards HTTP/1.1\r\n", "");
    assert_non_null(strstr(exchange->output.out, "\n3    127.0.0.1:2222 "));
    assert_int_equal(run(exchange, "200 OK", "{\"forwards\":[]}", WORDS("list", "--json")),
                     EXIT_CODE_OK);
    assert_string_equal(exchange->output.out, "{\n  \"forwards\": []\n}\n");
}

static void test_removing(void **state)
{
    struct exchange *exchange = *state;
    assert_int_equal(run(exchange, "204 No Content", "", WORDS("remove", "3")), EXIT_CODE_OK);
    check_asked(exchange, "DELETE /v1/forwards/3 HTTP/1.1\r\n", "");
    assert_string_equal(exchange->output.out, "");
    assert_string_equal(exchange->output.err, "");
}

static void test_what_the_api_refuses_is_a_failure(void **state)
{
    struct exchange *exchange = *state;
    char *const *lines[] = {WORDS("add", "1:a:b:1"), WORDS("list"), WORDS("remove", "3")};
    static const char *const names[] = {"add", "list", "remove"};
    char wanted[64];
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(run(exchange, "404 Not Found", "{\"detail\":\"it is gone\"}", lines[i]),
                         EXIT_CODE_FAILURE);
        snprintf(wanted, sizeof wanted, "culvert forward %s: it is gone\n", names[i]);
        assert_string_equal(exchange->output.err, wanted);
        assert_string_equal(exchange->output.out, "");
    }
    assert_int_equal(run(exchange, "200 OK", "", WORDS("add")), EXIT_CODE_USAGE);
    assert_string_equal(exchange->head, "");
}

/* A command whose output cannot be written fails. */
static void test_what_cannot_be_printed_is_a_failure(void **state)
{
    struct exchange *exchange = *state;
    char *const *lines[] = {WORDS("add", "1:a:b:1"), WORDS("add", "1:a:b:1", "--json"),
                            WORDS("list"), WORDS("list", "--json")};
    exchange->status = "200 OK";
    exchange->answer = FORWARD;
    for (size_t i = 0; i < 4; i++) {
        test_output_begin_full(&exchange->output);
        int result = forward_command_run(lines[i]);
        test_output_end(&exchange->output);
        assert_int_equal(result, EXIT_CODE_FAILURE);
    }
}

#define WITH_API(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_add),
        cmocka_unit_test(test_list_and_remove),
        cmocka_unit_test(test_what_is_wrong_is_told),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_table_of_nonsense),
        WITH_API(test_adding),
        WITH_API(test_listing),
        WITH_API(test_removing),
        WITH_API(test_what_the_api_refuses_is_a_failure),
        WITH_API(test_what_cannot_be_printed_is_a_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
