#include "cli/agent_command.h"

#include "base/error.h"
#include "base/exit_code.h"
#include "base/log.h"
#include "cli/test_output.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define WORDS(...) ((char *const[]){__VA_ARGS__, NULL})
#define LOCAL      "--url=ws://localhost:8080", "--name=agent1"
#define PLAIN      "--url=ws://gateway.example", "--name=agent1"
#define SECURE     "--url=wss://gateway.example", "--name=agent1"

static struct agent_command command;

/* An environment in which one variable is set. */
static const char *variable;
static char *variable_value;

static char *environment(const char *name)
{
    return variable != NULL && strcmp(name, variable) == 0 ? variable_value : NULL;
}

static void set_environment(const char *name, const char *value)
{
    variable = name;
    free(variable_value);
    variable_value = value != NULL ? strdup(value) : NULL;
}

static void parse_with(char *const *words, const char *environment_key)
{
    char why[OPTIONS_WHY_SIZE] = "";
    set_environment("CULVERT_KEY", environment_key);
    if (agent_command_parse(words, environment, &command, why) != 0)
        fail_msg("%s", why);
}

static void parse(char *const *words)
{
    parse_with(words, NULL);
}

static void check_result(char *const *words, int result, const char *piece_of_why)
{
    char why[OPTIONS_WHY_SIZE] = "";
    assert_int_equal(agent_command_parse(words, environment, &command, why), result);
    if (strstr(why, piece_of_why) == NULL)
        fail_msg("\"%s\", without \"%s\"", why, piece_of_why);
    agent_command_deinit(&command);
}

static void check_wrong_with(char *const *words, const char *environment_key,
                             const char *piece_of_why)
{
    set_environment("CULVERT_KEY", environment_key);
    check_result(words, CULVERT_ERROR_INVALID, piece_of_why);
}

static void check_wrong(char *const *words, const char *piece_of_why)
{
    check_wrong_with(words, NULL, piece_of_why);
}

static void check_wrong_file(char *const *words, const char *piece_of_why)
{
    set_environment("CULVERT_KEY", NULL);
    check_result(words, OPTIONS_BAD_FILE, piece_of_why);
}

static void test_the_first_words(void **state)
{
    (void)state;
    parse(WORDS("-url=ws://localhost:8080", "-name=agent1", "2222:agent2:127.0.0.1:22",
                "--max-memory=64M", "[::1]:0:k@agent3:db:5432"));
    assert_string_equal(command.config.urls[0].host, "localhost");
    assert_int_equal(command.config.urls[0].port, 8080);
    assert_string_equal(command.config.name, "agent1");
    assert_string_equal(command.config.key, "");
    assert_null(command.config.ca);
    assert_false(command.config.insecure);
    assert_int_equal(command.config.max_memory, 64 * 1024 * 1024);
    assert_int_equal(command.config.dial_timeout, 0);
    assert_int_equal(command.config.dial_limits.dials, 0);
    assert_int_equal(command.common.log_level, LOG_INFO);
    assert_int_equal(command.common.log_format, LOG_TEXT);
    assert_int_equal(command.config.rule_count, 2);
    assert_int_equal(command.config.rules[0].local_port, 2222);
    assert_string_equal(command.config.rules[1].bind, "::1");
    assert_string_equal(command.config.rules[1].agent, "agent3");
    agent_command_deinit(&command);
    agent_command_deinit(&command);
}

static struct sockaddr_storage ipv4(uint32_t host, uint16_t port)
{
    struct sockaddr_storage address = {0};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
    in.sin_addr.s_addr = htonl(host);
    memcpy(&address, &in, sizeof in);
    return address;
}

static bool allows(const char *host, uint32_t address)
{
    struct sockaddr_storage storage = ipv4(address, 80);
    return whitelist_allows(&command.config.whitelist, host, &storage);
}

static void test_the_default_whitelist(void **state)
{
    (void)state;
    parse(WORDS(LOCAL));
    assert_true(allows("127.0.0.1", 0x7f000001));
    assert_true(allows("localhost", 0x7f000001));
    assert_true(allows("127.1.2.3", 0x7f010203));
    assert_false(allows("192.0.2.1", 0xc0000201));
    assert_false(allows("0.0.0.0", 0));
    agent_command_deinit(&command);

    parse(WORDS(LOCAL, "80:a:b:1"));
    assert_false(allows("127.0.0.1", 0x7f000001));
    agent_command_deinit(&command);

    parse(WORDS(LOCAL, "--forwards=f"));
    assert_false(allows("127.0.0.1", 0x7f000001));
    agent_command_deinit(&command);

    parse(WORDS(LOCAL, "--api=unix:x", "--state=s"));
    assert_true(allows("127.0.0.1", 0x7f000001));
    agent_command_deinit(&command);
}

static void test_allow(void **state)
{
    (void)state;
    parse(WORDS(LOCAL, "--allow", "192.0.2.0/24:80", "-allow=10.0.0.1:*", "80:a:b:1"));
    assert_true(allows("192.0.2.1", 0xc0000201));
    assert_true(allows("10.0.0.1", 0x0a000001));
    assert_false(allows("127.0.0.1", 0x7f000001));
    agent_command_deinit(&command);

    parse(WORDS(LOCAL, "--allow=192.0.2.0/24:80"));
    assert_false(allows("127.0.0.1", 0x7f000001));
    agent_command_deinit(&command);

    parse(WORDS(LOCAL, "--allow=*", "80:a:b:1"));
    assert_true(allows("127.0.0.1", 0x7f000001));
    agent_command_deinit(&command);
    check_wrong(WORDS(LOCAL, "--allow", "10.0.0.1/8:80"),
                "--allow: \"10.0.0.1/8:80\": 10.0.0.1/8 has host bits set");
}

static void test_own_addresses_are_known(void **state)
{
    (void)state;
    struct sockaddr_storage listener = ipv4(0, 80);
    parse(WORDS(LOCAL, "--allow=*"));
    assert_non_null(command.config.whitelist.is_local);
    struct sockaddr_storage ours = ipv4(0x7f000001, 80);
    struct sockaddr_storage foreign = ipv4(0xc0000201, 80);
    assert_true(command.config.whitelist.is_local(&ours));
    assert_false(command.config.whitelist.is_local(&foreign));
    assert_int_equal(whitelist_deny(&command.config.whitelist, &listener), 0);
    assert_false(allows("127.0.0.1", 0x7f000001));
    assert_true(allows("192.0.2.1", 0xc0000201));
    agent_command_deinit(&command);
}

static void test_the_key_and_the_environment(void **state)
{
    (void)state;
    parse(WORDS(SECURE, "--key", "k1"));
    assert_string_equal(command.config.key, "k1");
    agent_command_deinit(&command);
    parse_with(WORDS(SECURE), "k2");
    assert_string_equal(command.config.key, "k2");
    agent_command_deinit(&command);
    parse_with(WORDS(SECURE, "--key=k1"), "k2");
    assert_string_equal(command.config.key, "k1");
    agent_command_deinit(&command);
    parse_with(WORDS(SECURE), "");
    assert_string_equal(command.config.key, "");
    agent_command_deinit(&command);
    check_wrong(WORDS(SECURE, "--key=a", "--key-file=b"), "exclude each other");
    check_wrong(WORDS(SECURE, "--key="), "--key: a key has 1 to 256");
    check_wrong(WORDS(SECURE, "--key=a b"), "--key: a key is one word");
    check_wrong_with(WORDS(SECURE), "a\nb", "$CULVERT_KEY: a key is one word");
}

static void write_key_file(const char *path, const char *text, size_t size, mode_t mode)
{
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(file >= 0);
    assert_int_equal(write(file, text, size), size);
    assert_int_equal(fchmod(file, mode), 0);
    close(file);
}

static void test_a_key_file(void **state)
{
    (void)state;
    char path[] = "/tmp/culvert-key-XXXXXX";
    char option[64];
    char long_key[300];
    close(mkstemp(path));
    snprintf(option, sizeof option, "--key-file=%s", path);

    write_key_file(path, "cvk_x\r\n", 7, 0600);
    parse_with(WORDS(SECURE, option), "other");
    assert_string_equal(command.config.key, "cvk_x");
    agent_command_deinit(&command);

    write_key_file(path, "cvk_x", 5, 0644);
    check_wrong_file(WORDS(SECURE, option), "0600");
    check_wrong_file(WORDS(SECURE, option), path);
    write_key_file(path, "", 0, 0600);
    check_wrong_file(WORDS(SECURE, option), "holds no key");
    write_key_file(path, "a\nb\n", 4, 0600);
    check_wrong_file(WORDS(SECURE, option), "one word");
    write_key_file(path, "a\0b", 3, 0600);
    check_wrong_file(WORDS(SECURE, option), "holds no key");
    memset(long_key, 'k', sizeof long_key);
    write_key_file(path, long_key, sizeof long_key, 0600);
    check_wrong_file(WORDS(SECURE, option), "1 to 256 characters");
    assert_int_equal(unlink(path), 0);
    check_wrong_file(WORDS(SECURE, option), path);
    check_wrong_file(WORDS(SECURE, "--key-file=/"), "--key-file: ");
}

static void test_a_key_never_crosses_in_clear(void **state)
{
    (void)state;
    check_wrong(WORDS(PLAIN, "--key=k"), "wss://");
    check_wrong(WORDS(PLAIN, "--key=k"), "--insecure");
    check_wrong_with(WORDS(PLAIN), "k", "in clear");
    check_wrong(WORDS(PLAIN, "80:k@a:b:1"), "in clear");
    check_wrong(WORDS(SECURE, "--url=ws://other.example", "--key=k"), "other.example in clear");
    check_wrong(WORDS(LOCAL, "--url=poll+http://other.example", "--key=k"), "poll+https://");
    parse(WORDS(LOCAL, "--url=poll+http://127.0.0.1", "--url=poll+https://b.example", "--key=k"));
    agent_command_deinit(&command);
    parse(WORDS(PLAIN, "--key=k", "--insecure"));
    assert_true(command.config.insecure);
    agent_command_deinit(&command);
    parse(WORDS(PLAIN, "80:a:b:1"));
    agent_command_deinit(&command);
    parse(WORDS(LOCAL, "--key=k"));
    agent_command_deinit(&command);
    parse(WORDS(SECURE, "--key=k", "--ca=ca.pem"));
    assert_string_equal(command.config.ca, "ca.pem");
    agent_command_deinit(&command);
}

static char warning[256];

static bool note_warning(enum log_level level, const char *message)
{
    if (level == LOG_WARNING && warning[0] == '\0')
        snprintf(warning, sizeof warning, "%s", message);
    return true;
}

/* Serves until the state file cannot be written. */
static void check_warning(char *const *words, const char *expected)
{
    parse(words);
    command.config.state_file = "/nonexistent/state";
    warning[0] = '\0';
    log_set_receiver(note_warning);
    assert_int_equal(agent_command_serve(&command), EXIT_CODE_FAILURE);
    log_set_receiver(NULL);
    assert_string_equal(warning, expected);
    agent_command_deinit(&command);
}

static void test_what_an_insecure_agent_is_warned_of(void **state)
{
    (void)state;
    check_warning(WORDS(SECURE), "");
    check_warning(WORDS(SECURE, "--insecure"),
                  "INSECURE: the gateway's certificate is not verified, anybody on the way can "
                  "read and change everything");
    check_warning(WORDS(PLAIN, "--insecure"),
                  "INSECURE: everything, the key as well, crosses the network in clear");
    check_warning(WORDS(SECURE, "--url=ws://b.example", "--insecure"),
                  "INSECURE: everything, the key as well, crosses the network in clear");
}

static void test_forwards_that_come_and_go(void **state)
{
    (void)state;
    parse(WORDS(LOCAL));
    assert_null(command.config.forwards_file);
    assert_null(command.config.state_file);
    assert_null(command.config.api);
    assert_null(command.config.api_token_file);
    agent_command_deinit(&command);
    parse(WORDS(LOCAL, "--api", "127.0.0.1:0", "--api-token-file=t", "--state=s", "--forwards=f"));
    assert_string_equal(command.config.api, "127.0.0.1:0");
    assert_string_equal(command.config.api_token_file, "t");
    assert_string_equal(command.config.state_file, "s");
    assert_string_equal(command.config.forwards_file, "f");
    agent_command_deinit(&command);
    check_wrong(WORDS(LOCAL, "--api=7070"), "--api: \"7070\" names no port");
    check_wrong(WORDS(LOCAL, "--api=unix:"), "unix:PATH");
    check_wrong(WORDS(LOCAL, "--api-token-file=t"), "without --api");
    check_wrong(WORDS(LOCAL, "--api=unix:x", "--api-token-file="), "the path is empty");
    check_wrong(WORDS(LOCAL, "--state="), "the path is empty");
    check_wrong(WORDS(LOCAL, "--forwards="), "the path is empty");
}

static void test_dialects(void **state)
{
    (void)state;
    static char *const names[] = {"auto", "native", "hubble"};
    static const enum agent_dialect dialects[] = {AGENT_DIALECT_AUTO, AGENT_DIALECT_NATIVE,
                                                  AGENT_DIALECT_HUBBLE};
    parse(WORDS(LOCAL));
    assert_int_equal(command.config.dialect, AGENT_DIALECT_AUTO);
    agent_command_deinit(&command);
    for (size_t i = 0; i < 3; i++) {
        parse(WORDS(LOCAL, "--dialect", names[i]));
        assert_int_equal(command.config.dialect, dialects[i]);
        agent_command_deinit(&command);
    }
    check_wrong(WORDS(LOCAL, "--dialect=klingon"), "auto, native or hubble");
}

static void test_several_gateways(void **state)
{
    (void)state;
    char *words[GATEWAYS_MAX + 3] = {"--name=agent1"};
    parse(WORDS(SECURE));
    assert_int_equal(command.config.url_count, 1);
    assert_false(command.config.url_random);
    agent_command_deinit(&command);
    parse(WORDS(SECURE, "--url", "poll+https://b.example/x", "--url-order", "random"));
    assert_int_equal(command.config.url_count, 2);
    assert_string_equal(command.config.urls[0].host, "gateway.example");
    assert_string_equal(command.config.urls[1].host, "b.example");
    assert_true(command.config.urls[1].is_poll);
    assert_true(command.config.url_random);
    agent_command_deinit(&command);
    parse(WORDS(SECURE, "--url-order=given"));
    assert_false(command.config.url_random);
    agent_command_deinit(&command);
    check_wrong(WORDS("--name=agent1"), "--url is missing");
    check_wrong(WORDS(SECURE, "--url=ws:/b"), "two slashes");
    check_wrong(WORDS(SECURE, "--url-order=best"), "\"best\" is not an order: given or random");
    for (size_t i = 0; i <= GATEWAYS_MAX; i++)
        words[i + 1] = "--url=wss://gateway.example";
    check_wrong(words, "more than 32 URLs");
    words[GATEWAYS_MAX + 1] = NULL;
    parse(words);
    assert_int_equal(command.config.url_count, GATEWAYS_MAX);
    agent_command_deinit(&command);
}

static void test_transports(void **state)
{
    (void)state;
    static char *const names[] = {"auto", "websocket", "poll"};
    static const enum agent_transport transports[] = {
        AGENT_TRANSPORT_AUTO, AGENT_TRANSPORT_WEBSOCKET, AGENT_TRANSPORT_POLL};
    parse(WORDS(LOCAL));
    assert_int_equal(command.config.transport, AGENT_TRANSPORT_AUTO);
    assert_int_equal(command.config.retry_preferred, 0);
    agent_command_deinit(&command);
    for (size_t i = 0; i < 3; i++) {
        parse(WORDS(LOCAL, "--transport", names[i], "--retry-preferred=2m"));
        assert_int_equal(command.config.transport, transports[i]);
        assert_int_equal(command.config.retry_preferred, 120);
        agent_command_deinit(&command);
    }
    check_wrong(WORDS(LOCAL, "--transport=pigeon"), "auto, websocket or poll");
    check_wrong(WORDS(LOCAL, "--transport=websocket", "--url=poll+http://localhost"),
                "exclude each other");
    check_wrong(WORDS(LOCAL, "--dialect=hubble", "--url=poll+http://localhost"), "no long poll");
    check_wrong(WORDS(LOCAL, "--dialect=hubble", "--transport=poll"), "no long poll");
    parse(WORDS(LOCAL, "--retry-preferred=24h"));
    assert_int_equal(command.config.retry_preferred, 24 * 60 * 60);
    agent_command_deinit(&command);
    parse(WORDS(LOCAL, "--retry-preferred=1s"));
    assert_int_equal(command.config.retry_preferred, 1);
    agent_command_deinit(&command);
    check_wrong(WORDS(LOCAL, "--retry-preferred=0"), "1s to 24h");
    check_wrong(WORDS(LOCAL, "--retry-preferred=25h"), "1s to 24h");
    check_wrong(WORDS(LOCAL, "--retry-preferred=soon"), "1s to 24h");
}

static void test_proxies(void **state)
{
    char path[] = "/tmp/culvert_login_XXXXXX";
    char file_option[64];
    int descriptor = mkstemp(path);
    (void)state;
    assert_true(descriptor >= 0);
    assert_int_equal(write(descriptor, "bob:a b:c\n", 10), 10);
    close(descriptor);
    snprintf(file_option, sizeof file_option, "--proxy-user-file=%s", path);

    parse(WORDS(LOCAL, "--proxy=socks5h://proxy.example", file_option, "--proxy-ca=ca.pem"));
    assert_ptr_equal(command.config.proxies, &command.proxies);
    assert_true(command.proxies.is_given);
    assert_int_equal(command.proxies.given.kind, PROXY_SOCKS5H);
    assert_string_equal(command.proxies.given.source, "--proxy");
    assert_string_equal(command.proxies.login.user, "bob");
    assert_string_equal(command.proxies.login.password, "a b:c");
    assert_string_equal(command.proxies.ca, "ca.pem");
    agent_command_deinit(&command);
    assert_string_equal(command.proxies.login.password, "");

    parse(WORDS(LOCAL, "--proxy", "none", "--proxy-user=bob:x"));
    assert_true(command.proxies.is_given);
    assert_int_equal(command.proxies.given.kind, PROXY_NONE);
    agent_command_deinit(&command);

    check_wrong(WORDS(LOCAL, "--proxy=ftp://x"), "--proxy: ");
    check_wrong(WORDS(LOCAL, "--proxy-user="), "is empty");
    check_wrong(WORDS(LOCAL, "--proxy-user=a:b", file_option), "exclude each other");
    check_wrong(WORDS(LOCAL, file_option, "--proxy-user=a:b"), "exclude each other");
    check_wrong(WORDS(LOCAL, "--proxy-user-file="), "the path is empty");
    check_wrong(WORDS(LOCAL, "--proxy-ca="), "the path is empty");
    check_wrong_file(WORDS(LOCAL, "--proxy-user-file=/nonexistent"), "/nonexistent: ");
    assert_int_equal(chmod(path, 0644), 0);
    check_wrong_file(WORDS(LOCAL, file_option), "all users may read it");
    unlink(path);
}

/* A wrong proxy in the environment is an error at the start if a gateway's URL needs it. */
static void test_proxies_of_the_environment(void **state)
{
    (void)state;
    set_environment("https_proxy", "http://proxy.example:8080");
    char why[OPTIONS_WHY_SIZE] = "";
    struct proxy proxy;
    assert_int_equal(agent_command_parse(WORDS(SECURE), environment, &command, why), 0);
    assert_false(command.proxies.is_given);
    assert_int_equal(
        proxy_choose(command.config.proxies, "gateway.example", 443, true, &proxy, why, sizeof why),
        0);
    assert_string_equal(proxy.host, "proxy.example");
    proxy_wipe(&proxy);
    agent_command_deinit(&command);
    set_environment("https_proxy", "ftp://proxy.example");
    check_result(WORDS("--url=ws://gateway.example", SECURE), CULVERT_ERROR_INVALID,
                 "$https_proxy");
    check_result(WORDS("--url=wss://a.example", PLAIN), CULVERT_ERROR_INVALID, "$https_proxy");
    assert_int_equal(agent_command_parse(WORDS(PLAIN), environment, &command, why), 0);
    agent_command_deinit(&command);
    assert_int_equal(agent_command_parse(WORDS(SECURE, "--proxy=none"), environment, &command, why),
                     0);
    agent_command_deinit(&command);
    set_environment(NULL, NULL);
}

static void test_what_may_be_dialled_at_a_time(void **state)
{
    (void)state;
    const struct asker_limits *limits = &command.config.dial_limits;
    parse(WORDS(LOCAL, "--max-dials=100000", "--max-dials-per-agent=3", "--max-lookups=256",
                "--max-lookups-per-agent=2", "--dial-timeout=5m"));
    assert_int_equal(limits->dials, 100000);
    assert_int_equal(limits->dials_per_asker, 3);
    assert_int_equal(limits->lookups, 256);
    assert_int_equal(limits->lookups_per_asker, 2);
    assert_int_equal(command.config.dial_timeout, 300);
    agent_command_deinit(&command);
    parse(WORDS(LOCAL, "--max-dials=1", "--max-dials-per-agent=100000", "--max-lookups=1",
                "--max-lookups-per-agent=256", "--dial-timeout=1s"));
    assert_int_equal(limits->dials, 1);
    assert_int_equal(limits->dials_per_asker, 100000);
    assert_int_equal(limits->lookups, 1);
    assert_int_equal(limits->lookups_per_asker, 256);
    assert_int_equal(command.config.dial_timeout, 1);
    agent_command_deinit(&command);
    check_wrong(WORDS(LOCAL, "--max-dials=0"), "\"0\" is not a number from 1 to 100000");
    check_wrong(WORDS(LOCAL, "--max-dials=100001"), "from 1 to 100000");
    check_wrong(WORDS(LOCAL, "--max-dials-per-agent=100001"), "from 1 to 100000");
    check_wrong(WORDS(LOCAL, "--max-lookups=257"), "from 1 to 256");
    check_wrong(WORDS(LOCAL, "--max-lookups-per-agent=many"), "from 1 to 256");
    check_wrong(WORDS(LOCAL, "--dial-timeout=0"), "\"0\" is not a time from 1s to 5m");
    check_wrong(WORDS(LOCAL, "--dial-timeout=301"), "from 1s to 5m");
    check_wrong(WORDS(LOCAL, "--dial-timeout=soon"), "from 1s to 5m");
}

static void test_a_key_reaches_no_other_machine_in_clear_by_a_proxy(void **state)
{
    (void)state;
    check_wrong(WORDS(LOCAL, "--key=k", "--proxy=http://proxy.example"), "in clear");
    parse(WORDS(LOCAL, "--key=k", "--proxy=http://localhost:3128"));
    agent_command_deinit(&command);
    parse(WORDS(LOCAL, "--key=k", "--proxy=http://proxy.example", "--insecure"));
    agent_command_deinit(&command);
    parse(WORDS(SECURE, "--key=k", "--proxy=http://proxy.example"));
    agent_command_deinit(&command);
    parse(WORDS(LOCAL, "--proxy=http://proxy.example"));
    agent_command_deinit(&command);
}

static void test_wrong_words(void **state)
{
    (void)state;
    check_wrong(WORDS("--name=a"), "--url is missing");
    check_wrong(WORDS("--url=ws://localhost"), "--name is missing");
    check_wrong(WORDS("--url=ws:/host", "--name=a"), "--url: ");
    check_wrong(WORDS(LOCAL, "--ca="), "the path is empty");
    check_wrong(WORDS("--url=ws://localhost", "--name=gateway"), "cannot be a name");
    check_wrong(WORDS("--url=ws://localhost", "--name=a b"), "1 to 128 of A-Z");
    check_wrong(WORDS(LOCAL, "2222:agent2:22"), "\"2222:agent2:22\": there are too few parts");
    check_wrong(WORDS(LOCAL, "--alow=x"), "did you mean --allow?");
}

/* A wrong command line gives one line of error text, and an exit code for each kind of error. */
static void test_how_wrong_words_end(void **state)
{
    (void)state;
    struct test_output output;
    test_output_begin(&output);
    int usage = agent_command_run(WORDS("--name=a"));
    int failure = agent_command_run(WORDS(LOCAL, "--key-file=/nowhere/key"));
    int help = agent_command_run(WORDS("--help"));
    test_output_end(&output);
    assert_int_equal(usage, EXIT_CODE_USAGE);
    assert_int_equal(failure, EXIT_CODE_FAILURE);
    assert_int_equal(help, EXIT_CODE_OK);
    assert_memory_equal(output.err, "culvert agent: --url is missing", 31);
    assert_non_null(strstr(output.err, "\nculvert agent: --key-file: "));
    assert_non_null(strstr(output.err, "/nowhere/key"));
    assert_memory_equal(output.out, "culvert agent: ", 15);
}

static void test_the_rules_are_bounded(void **state)
{
    (void)state;
    static char rule[] = "0:a:b:1";
    static char *words[AGENT_COMMAND_RULES + 4] = {"--url=ws://localhost", "--name=a"};
    for (size_t i = 0; i < AGENT_COMMAND_RULES; i++)
        words[i + 2] = rule;
    parse(words);
    assert_int_equal(command.config.rule_count, AGENT_COMMAND_RULES);
    agent_command_deinit(&command);
    words[AGENT_COMMAND_RULES + 2] = rule;
    check_wrong(words, "more than 1024 rules");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_first_words),
        cmocka_unit_test(test_the_default_whitelist),
        cmocka_unit_test(test_allow),
        cmocka_unit_test(test_own_addresses_are_known),
        cmocka_unit_test(test_the_key_and_the_environment),
        cmocka_unit_test(test_a_key_file),
        cmocka_unit_test(test_a_key_never_crosses_in_clear),
        cmocka_unit_test(test_what_an_insecure_agent_is_warned_of),
        cmocka_unit_test(test_forwards_that_come_and_go),
        cmocka_unit_test(test_dialects),
        cmocka_unit_test(test_several_gateways),
        cmocka_unit_test(test_transports),
        cmocka_unit_test(test_proxies),
        cmocka_unit_test(test_a_key_reaches_no_other_machine_in_clear_by_a_proxy),
        cmocka_unit_test(test_proxies_of_the_environment),
        cmocka_unit_test(test_what_may_be_dialled_at_a_time),
        cmocka_unit_test(test_wrong_words),
        cmocka_unit_test(test_how_wrong_words_end),
        cmocka_unit_test(test_the_rules_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
