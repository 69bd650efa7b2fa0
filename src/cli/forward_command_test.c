#include "cli/forward_command.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_add),
        cmocka_unit_test(test_list_and_remove),
        cmocka_unit_test(test_what_is_wrong_is_told),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_table_of_nonsense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
