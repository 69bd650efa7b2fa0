#include "cli/hubble_command.h"

#include "base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define WORDS(...) ((char *const[]){__VA_ARGS__, NULL})

static struct gateway_command proxy;

static void parse_proxy(char *const *words)
{
    char why[OPTIONS_WHY_SIZE] = "";
    if (hubble_proxy_parse(words, &proxy, why) != 0)
        fail_msg("%s", why);
}

static void the_proxys_defaults_are_the_originals(void **state)
{
    (void)state;
    parse_proxy((char *const[]){NULL});
    assert_int_equal(proxy.config.listen_count, 1);
    assert_string_equal(proxy.config.listens[0].host, "");
    assert_int_equal(proxy.config.listens[0].port, 8080);
    assert_true(proxy.config.open);
    assert_true(proxy.config.grant);
    assert_false(proxy.config.deny);
    assert_true(proxy.config.legacy_hubble);
}

static void the_proxys_policies_exclude_each_other(void **state)
{
    (void)state;
    parse_proxy(WORDS("-authgrant", "-listen", "127.0.0.1:9000"));
    assert_true(proxy.config.grant);
    assert_string_equal(proxy.config.listens[0].host, "127.0.0.1");
    assert_int_equal(proxy.config.listens[0].port, 9000);
    parse_proxy(WORDS("-authgrant=true", "-authdeny=true", "-authlua=x.lua"));
    assert_true(proxy.config.deny);
    assert_false(proxy.config.grant);
    parse_proxy(WORDS("-authdeny=false", "-authlua", "x.lua"));
    assert_false(proxy.config.deny);
    assert_false(proxy.config.grant);
    assert_string_equal(proxy.config.script, "x.lua");
}

static void parse_agent(char *const *words, struct agent_command *agent)
{
    char why[OPTIONS_WHY_SIZE] = "";
    if (hubble_agent_parse(words, agent, why) != 0)
        fail_msg("%s", why);
}

static void the_agent_is_as_open_as_the_original(void **state)
{
    (void)state;
    struct agent_command agent;
    parse_agent(WORDS("-url", "ws://proxy.example:8080/x", "-name=the office", "-key", "k",
                      "2222:k2@west:127.0.0.1:22"),
                &agent);
    assert_string_equal(agent.config.name, "the office");
    assert_string_equal(agent.config.key, "k");
    assert_int_equal(agent.config.dialect, AGENT_DIALECT_HUBBLE);
    assert_false(agent.config.insecure);
    assert_int_equal(agent.config.rule_count, 1);
    assert_string_equal(agent.config.rules[0].bind, "*");
    assert_string_equal(agent.config.rules[0].key, "k2");
    assert_true(whitelist_may_resolve(&agent.config.whitelist, "db.example", 5432));
    agent_command_deinit(&agent);
}

static void check_wrong_agent(char *const *words, const char *expected)
{
    struct agent_command agent;
    char why[OPTIONS_WHY_SIZE] = "";
    assert_int_equal(hubble_agent_parse(words, &agent, why), CULVERT_ERROR_INVALID);
    assert_non_null(strstr(why, expected));
    agent_command_deinit(&agent);
}

static void what_the_original_wanted_is_wanted(void **state)
{
    (void)state;
    check_wrong_agent(WORDS("-name", "east"), "-url is missing");
    check_wrong_agent(WORDS("-url", "poll+http://p.example", "-name", "a"), "no long poll");
    check_wrong_agent(WORDS("-url", "ws://p.example"), "-name is missing");
    check_wrong_agent(WORDS("-url", "ws://p.example", "-name", ""), "-name is missing");
    check_wrong_agent(WORDS("-url", "ws://p.example", "-name", "gateway"), "not \"gateway\"");
    check_wrong_agent(WORDS("-url", "ws://p.example", "-name", "a", "22:west:22"), "too few parts");
    check_wrong_agent(WORDS("-url", "ws://p.example", "-name", "a", "--allow", "*"),
                      "unknown option");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_proxys_defaults_are_the_originals),
        cmocka_unit_test(the_proxys_policies_exclude_each_other),
        cmocka_unit_test(the_agent_is_as_open_as_the_original),
        cmocka_unit_test(what_the_original_wanted_is_wanted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
