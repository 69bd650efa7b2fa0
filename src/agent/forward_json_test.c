#include "agent/forward_json.h"

#include "base/error.h"
#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define SEED "\"local\": 2222, \"gateway\": \"agent2\", \"ip\": \"127.0.0.1\", \"remote\": 22"

static int decode(const char *text, struct rule *rule, struct forward_json_problem *problem)
{
    json_t *json = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    assert_non_null(json);
    int error = forward_json_decode(json, rule, problem);
    json_decref(json);
    return error;
}

static struct rule decoded(const char *text)
{
    struct rule rule = {.key = "what was there"};
    struct forward_json_problem problem = {.field = ""};
    if (decode(text, &rule, &problem) != 0)
        fail_msg("%s: %s", text, problem.why);
    return rule;
}

static void check_wrong(const char *text, const char *field, const char *piece_of_why)
{
    struct rule rule = {.agent = "untouched"};
    struct forward_json_problem problem = {.field = "?"};
    assert_int_equal(decode(text, &rule, &problem), CULVERT_ERROR_INVALID);
    assert_string_equal(problem.field, field);
    assert_string_equal(rule.agent, "untouched");
    if (strstr(problem.why, piece_of_why) == NULL)
        fail_msg("\"%s\", without \"%s\"", problem.why, piece_of_why);
}

static void test_the_least(void **state)
{
    (void)state;
    struct rule rule = decoded("{" SEED "}");
    assert_int_equal(rule.local_port, 2222);
    assert_int_equal(rule.port, 22);
    assert_string_equal(rule.agent, "agent2");
    assert_string_equal(rule.host, "127.0.0.1");
    assert_string_equal(rule.bind, "");
    assert_string_equal(rule.key, "");
    rule = decoded("{" SEED ", \"bind\": null, \"key\": null}");
    assert_string_equal(rule.bind, "");
    assert_string_equal(rule.key, "");
}

static void test_everything(void **state)
{
    (void)state;
    struct rule rule =
        decoded("{\"bind\": \"*\", \"key\": \"a@b:c\", \"remote\": 65535, \"local\": 0,"
                " \"ip\": \"[fd00::5]\", \"gateway\": \"agent2\"}");
    assert_string_equal(rule.bind, "*");
    assert_string_equal(rule.key, "a@b:c");
    assert_string_equal(rule.host, "fd00::5");
    assert_int_equal(rule.local_port, 0);
    assert_int_equal(rule.port, 65535);
    rule = decoded("{" SEED ", \"bind\": \"[::1]\"}");
    assert_string_equal(rule.bind, "::1");
    rule = decoded("{" SEED ", \"bind\": \"localhost\"}");
    assert_string_equal(rule.bind, "localhost");
}

static void test_wrong_fields(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *field;
        const char *why;
    } wrong[] = {
        {"[]", "", "object"},
        {"{}", "local", "missing"},
        {"{\"local\": 1}", "gateway", "missing"},
        {"{\"local\": 1, \"gateway\": \"a\"}", "ip", "missing"},
        {"{\"local\": 1, \"gateway\": \"a\", \"ip\": \"b\"}", "remote", "missing"},
        {"{\"local\": \"2222\"}", "local", "whole number from 0"},
        {"{\"local\": 22.0}", "local", "whole number"},
        {"{\"local\": -1}", "local", "whole number"},
        {"{\"local\": 65536}", "local", "65535"},
        {"{\"local\": 9223372036854775807}", "local", "65535"},
        {"{\"local\": true}", "local", "whole number"},
        {"{\"local\": null}", "local", "whole number"},
        {"{\"local\": 1, \"gateway\": 7}", "gateway", "string"},
        {"{\"local\": 1, \"gateway\": null}", "gateway", "string"},
        {"{\"local\": 1, \"gateway\": \"\\u0000\"}", "gateway", "zero byte"},
        {"{\"local\": 1, \"gateway\": \"a b\", \"ip\": \"c\", \"remote\": 1}", "gateway", "a b"},
        {"{\"local\": 1, \"gateway\": \"gateway\", \"ip\": \"c\", \"remote\": 1}", "gateway",
         "name"},
        {"{\"local\": 1, \"gateway\": \"a\", \"ip\": \"\", \"remote\": 1}", "ip", "neither"},
        {"{\"local\": 1, \"gateway\": \"a\", \"ip\": \"1.2\", \"remote\": 1}", "ip", "1.2"},
        {"{\"local\": 1, \"gateway\": \"a\", \"ip\": \"[b]\", \"remote\": 1}", "ip", "brackets"},
        {"{\"local\": 1, \"gateway\": \"a\", \"ip\": \"b\", \"remote\": 0}", "remote", "from 1"},
        {"{" SEED ", \"bind\": \"some.name\"}", "bind", "some.name"},
        {"{" SEED ", \"bind\": 1}", "bind", "string"},
        {"{" SEED ", \"key\": \"a b\"}", "key", "space"},
        {"{" SEED ", \"key\": \"a\\u0000\"}", "key", "zero byte"},
        {"{" SEED ", \"port\": 1}", "port", "\"port\""},
        {"{" SEED ", \"\": 1}", "", "no field"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        check_wrong(wrong[i].text, wrong[i].field, wrong[i].why);
}

static void test_long_texts(void **state)
{
    (void)state;
    char text[1024];
    check_wrong("{" SEED
                ", \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\":1}",
                "", "so long a name");
    snprintf(text, sizeof text, "{\"local\": 1, \"gateway\": \"%0129d\"}", 0);
    check_wrong(text, "gateway", "too long");
    snprintf(text, sizeof text, "{\"local\":1,\"gateway\":\"a\",\"ip\":\"%0258d\",\"remote\":1}",
             0);
    check_wrong(text, "ip", "too long");
    snprintf(text, sizeof text, "{" SEED ", \"key\": \"%0257d\"}", 0);
    check_wrong(text, "key", "too long");
    snprintf(text, sizeof text, "{" SEED ", \"key\": \"%0256d\"}", 0);
    assert_int_equal(strlen(decoded(text).key), 256);
}

static void test_there_and_back(void **state)
{
    (void)state;
    static const char *const forwards[] = {
        "{" SEED "}",
        "{" SEED ", \"bind\": \"::\", \"key\": \"k\"}",
        "{\"local\": 0, \"gateway\": \"a\", \"ip\": \"fd00::5\", \"remote\": 1}",
    };
    for (size_t i = 0; i < sizeof forwards / sizeof *forwards; i++) {
        struct rule rule = decoded(forwards[i]);
        struct rule again;
        struct forward_json_problem problem = {.field = ""};
        json_t *json = forward_json_encode(&rule, rule.local_port);
        assert_non_null(json);
        assert_int_equal(forward_json_decode(json, &again, &problem), 0);
        assert_true(rule_equals(&rule, &again));
        json_decref(json);
    }
}

/* ---- lists ---- */

typedef int decode_list(const char *text, size_t size, struct forward_list *list, char *why,
                        size_t why_size);

static void check_list_wrong(decode_list *decode_text, const char *text, const char *piece_of_why)
{
    struct forward_list list = {.last_id = 77};
    char why[512] = "";
    assert_int_equal(decode_text(text, strlen(text), &list, why, sizeof why),
                     CULVERT_ERROR_INVALID);
    assert_int_equal(list.last_id, 77);
    if (strstr(why, piece_of_why) == NULL)
        fail_msg("\"%s\", without \"%s\"", why, piece_of_why);
}

static void test_a_list(void **state)
{
    (void)state;
    static const char text[] = "[{" SEED "},\n {" SEED ", \"key\": \"k\"}]\n";
    struct forward_list list;
    char why[512];
    assert_int_equal(forward_list_decode(text, strlen(text), &list, why, sizeof why), 0);
    assert_int_equal(list.count, 2);
    assert_string_equal(list.items[1].rule.key, "k");
    forward_list_deinit(&list);
    forward_list_deinit(&list);
    assert_int_equal(forward_list_decode("[]", 2, &list, why, sizeof why), 0);
    assert_int_equal(list.count, 0);
    forward_list_deinit(&list);
}

static void test_wrong_lists(void **state)
{
    (void)state;
    check_list_wrong(forward_list_decode, "", "line 1");
    check_list_wrong(forward_list_decode, "[\n{\"local\": }]", "line 2");
    check_list_wrong(forward_list_decode, "[] []", "line 1");
    check_list_wrong(forward_list_decode, "{}", "list");
    check_list_wrong(forward_list_decode, "[{" SEED "}, 7]", "forward 2: a forward must be");
    check_list_wrong(forward_list_decode, "[{" SEED ", \"local\": 1}]", "duplicate");
    check_list_wrong(forward_list_decode, "[{" SEED "}, {\"local\": -1}]", "forward 2: \"local\"");
    check_list_wrong(forward_list_decode, "[{\"id\": 1, " SEED "}]", "no field \"id\"");
}

static void test_a_list_that_is_too_long(void **state)
{
    (void)state;
    static char text[FORWARD_JSON_MAX * 2 + 8];
    memcpy(text, "[0", 3);
    for (size_t i = 0; i <= FORWARD_JSON_MAX; i++)
        memcpy(text + 2 + 2 * i, i < FORWARD_JSON_MAX ? ",0" : "]", i < FORWARD_JSON_MAX ? 3 : 2);
    check_list_wrong(forward_list_decode, text, "at most 1024");
}

static void test_a_state(void **state)
{
    (void)state;
    static const char text[] = "{\"last_id\": 9, \"forwards\": [{\"id\": 7, " SEED "}]}";
    struct forward_list list;
    char why[512];
    assert_int_equal(forward_list_decode_state(text, strlen(text), &list, why, sizeof why), 0);
    assert_int_equal(list.count, 1);
    assert_int_equal(list.last_id, 9);
    assert_int_equal(list.items[0].id, 7);
    assert_string_equal(list.items[0].rule.agent, "agent2");
    forward_list_deinit(&list);
}

static void test_wrong_states(void **state)
{
    (void)state;
    check_list_wrong(forward_list_decode_state, "{", "line 1");
    check_list_wrong(forward_list_decode_state, "[]", "no state");
    check_list_wrong(forward_list_decode_state, "{\"forwards\": []}", "last_id");
    check_list_wrong(forward_list_decode_state, "{\"last_id\": -1, \"forwards\": []}", "last_id");
    check_list_wrong(forward_list_decode_state,
                     "{\"last_id\": 9223372036854775807, \"forwards\": []}", "last_id");
    check_list_wrong(forward_list_decode_state, "{\"last_id\": 1}", "list");
    check_list_wrong(forward_list_decode_state, "{\"last_id\": 1, \"forwards\": [{" SEED "}]}",
                     "\"id\"");
    check_list_wrong(forward_list_decode_state,
                     "{\"last_id\": 1, \"forwards\": [{\"id\": 2, " SEED "}]}",
                     "from 1 to last_id");
    check_list_wrong(forward_list_decode_state,
                     "{\"last_id\": 1, \"forwards\": [{\"id\": 0, " SEED "}]}",
                     "from 1 to last_id");
    check_list_wrong(forward_list_decode_state,
                     "{\"last_id\": 1, \"forwards\": [{\"id\": 1, " SEED "}, {\"id\": 1, " SEED
                     "}]}",
                     "another");
}

static void test_out_of_memory(void **state)
{
    (void)state;
    static const char text[] = "[{" SEED "}]";
    struct forward_list list = {0};
    char why[512] = "";
    memory_fail_after(1);
    assert_int_equal(forward_list_decode(text, strlen(text), &list, why, sizeof why),
                     CULVERT_ERROR_NO_MEMORY);
    assert_string_not_equal(why, "");
    assert_null(list.items);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_least),      cmocka_unit_test(test_everything),
        cmocka_unit_test(test_wrong_fields),   cmocka_unit_test(test_long_texts),
        cmocka_unit_test(test_there_and_back), cmocka_unit_test(test_a_list),
        cmocka_unit_test(test_wrong_lists),    cmocka_unit_test(test_a_list_that_is_too_long),
        cmocka_unit_test(test_a_state),        cmocka_unit_test(test_wrong_states),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
