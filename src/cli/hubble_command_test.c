#include "cli/hubble_command.h"

#include "base/error.h"
#include "base/exit_code.h"
#include "base/log.h"
#include "cli/test_output.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

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
    assert_true(proxy.config.is_original);
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
    parse_proxy(WORDS("-authgrant=false", "-authlua="));
    assert_true(proxy.config.grant);
    assert_null(proxy.config.script);
}

static void check_wrong_proxy(char *const *words, const char *expected)
{
    char why[OPTIONS_WHY_SIZE] = "";
    assert_int_equal(hubble_proxy_parse(words, &proxy, why), CULVERT_ERROR_INVALID);
    assert_non_null(strstr(why, expected));
}

static void a_wrong_word_of_the_proxy_is_told(void **state)
{
    (void)state;
    check_wrong_proxy(WORDS("-listen", "nonsense"), "--listen: \"nonsense\" is not a port");
    check_wrong_proxy(WORDS("-listen=:1", "-listen=:2"), "given twice");
    check_wrong_proxy(WORDS("--open"), "unknown option --open");
    check_wrong_proxy(WORDS("more"), "unexpected argument \"more\"");
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

static void the_agents_options_may_be_empty(void **state)
{
    (void)state;
    struct agent_command agent;
    parse_agent(WORDS("-url=ws://proxy.example", "-name=a", "-ca=", "-key="), &agent);
    assert_null(agent.config.ca);
    assert_string_equal(agent.config.key, "");
    agent_command_deinit(&agent);
    parse_agent(WORDS("-url=ws://proxy.example", "-name=a", "-ca=ca.pem"), &agent);
    assert_string_equal(agent.config.ca, "ca.pem");
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
    char key[AGENT_KEY_SIZE + 1] = "";
    memset(key, 'k', AGENT_KEY_SIZE);
    check_wrong_agent(WORDS("-url=ws://p.example", "-name=a", "-key", key), "the key is too long");
    key[AGENT_KEY_SIZE - 1] = '\0';
    struct agent_command agent;
    parse_agent(WORDS("-url=ws://p.example", "-name=a", "-key", key), &agent);
    assert_string_equal(agent.config.key, key);
    agent_command_deinit(&agent);
    check_wrong_agent(WORDS("-url", "ws://p.example", "-name", "a", "--allow", "*"),
                      "unknown option");
}

static char warnings[1024];

static bool note_warning(enum log_level level, const char *message)
{
    size_t size = strlen(warnings);
    if (level == LOG_WARNING)
        snprintf(warnings + size, sizeof warnings - size, "%s\n", message);
    return true;
}

/* Runs a command whose port is in use. */
static void run_without_port(int (*run)(char *const *words), char *const *words)
{
    struct test_output output;
    warnings[0] = '\0';
    log_set_receiver(note_warning);
    test_output_begin(&output);
    int code = run(words);
    test_output_end(&output);
    log_set_receiver(NULL);
    assert_int_equal(code, EXIT_CODE_NO_PORT);
}

/* The original programs print nothing in this case. */
static void whoever_starts_one_is_told_how_open_it_is(void **state)
{
    (void)state;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    char listen_option[64];
    char rule[64];
    int taken = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(taken >= 0);
    assert_int_equal(bind(taken, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(taken, 1), 0);
    assert_int_equal(getsockname(taken, (struct sockaddr *)&address, &size), 0);
    snprintf(listen_option, sizeof listen_option, "-listen=127.0.0.1:%u", ntohs(address.sin_port));
    snprintf(rule, sizeof rule, "%u:west:127.0.0.1:22", ntohs(address.sin_port));
    run_without_port(hubble_proxy_run, WORDS(listen_option));
    assert_non_null(strstr(warnings, "GRANT: every agent may reach every other; "));
    run_without_port(hubble_proxy_run, WORDS(listen_option, "-authdeny"));
    assert_null(strstr(warnings, "GRANT"));
    run_without_port(hubble_agent_run, WORDS("-url=ws://127.0.0.1:1", "-name=a", rule));
    assert_non_null(strstr(warnings, "OPEN: everything that this machine can reach is dialled"));
    close(taken);
}

static void wrong_words_are_told_with_their_exit_code(void **state)
{
    (void)state;
    struct test_output output;
    warnings[0] = '\0';
    log_set_receiver(note_warning);
    test_output_begin(&output);
    int proxys = hubble_proxy_run(WORDS("more"));
    int agents = hubble_agent_run(WORDS("-name=a"));
    int help = hubble_agent_run(WORDS("-help"));
    test_output_end(&output);
    log_set_receiver(NULL);
    assert_int_equal(proxys, EXIT_CODE_USAGE);
    assert_int_equal(agents, EXIT_CODE_USAGE);
    assert_int_equal(help, EXIT_CODE_OK);
    assert_string_equal(warnings, "");
    assert_memory_equal(output.out, "culvert hubble-agent: ", 22);
    assert_non_null(strstr(output.err, "culvert hubble-proxy: unexpected argument \"more\"\n"));
    assert_non_null(strstr(output.err, "\nculvert hubble-agent: -url is missing"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_proxys_defaults_are_the_originals),
        cmocka_unit_test(the_proxys_policies_exclude_each_other),
        cmocka_unit_test(the_agent_is_as_open_as_the_original),
        cmocka_unit_test(a_wrong_word_of_the_proxy_is_told),
        cmocka_unit_test(the_agents_options_may_be_empty),
        cmocka_unit_test(what_the_original_wanted_is_wanted),
        cmocka_unit_test(whoever_starts_one_is_told_how_open_it_is),
        cmocka_unit_test(wrong_words_are_told_with_their_exit_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
