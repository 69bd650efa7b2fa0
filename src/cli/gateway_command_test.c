#include "cli/gateway_command.h"

#include "base/error.h"
#include "base/exit_code.h"
#include "cli/test_output.h"
#include "net/machine.h"

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

static struct gateway_command command;

static void parse(char *const *words)
{
    char why[OPTIONS_WHY_SIZE] = "";
    if (gateway_command_parse(words, &command, why) != 0)
        fail_msg("%s", why);
}

static void check_wrong(char *const *words, const char *piece_of_why)
{
    char why[OPTIONS_WHY_SIZE] = "";
    assert_int_equal(gateway_command_parse(words, &command, why), CULVERT_ERROR_INVALID);
    if (strstr(why, piece_of_why) == NULL)
        fail_msg("\"%s\", without \"%s\"", why, piece_of_why);
}

static void test_defaults(void **state)
{
    (void)state;
    parse(WORDS("--auth-grant"));
    assert_true(command.config.grant);
    assert_false(command.config.deny);
    assert_false(command.config.open);
    assert_int_equal(command.config.listen_count, 1);
    assert_string_equal(command.config.listens[0].host, "");
    assert_int_equal(command.config.listens[0].port, 8080);
    assert_null(command.config.tls_certificate);
    assert_null(command.config.tls_key);
    assert_null(command.config.data);
    assert_true(command.config.threads >= 1 && command.config.threads <= 256);
    assert_true(command.config.max_memory >= MACHINE_MEMORY_MIN);
    assert_int_equal(command.common.log_level, LOG_INFO);
    assert_int_equal(command.common.log_format, LOG_TEXT);
}

static void test_all_options(void **state)
{
    (void)state;
    parse(WORDS("-authdeny", "--open", "--tls-cert=c.pem", "--tls-key", "k.pem", "--data", "/d",
                "--threads=3", "--max-memory", "1G", "--log-level=debug", "--log-format", "json"));
    assert_true(command.config.deny);
    assert_false(command.config.grant);
    assert_true(command.config.open);
    assert_string_equal(command.config.tls_certificate, "c.pem");
    assert_string_equal(command.config.tls_key, "k.pem");
    assert_string_equal(command.config.data, "/d");
    assert_int_equal(command.config.threads, 3);
    assert_int_equal(command.config.max_memory, 1024 * 1024 * 1024);
    assert_int_equal(command.common.log_level, LOG_DEBUG);
    assert_int_equal(command.common.log_format, LOG_JSON);
}

static void test_handshakes(void **state)
{
    (void)state;
    parse(WORDS("--auth-grant"));
    assert_int_equal(command.config.handshakes, 1000);
    assert_false(command.config.limit_loopback);
    parse(WORDS("--auth-grant", "--limit-loopback"));
    assert_true(command.config.limit_loopback);
    parse(WORDS("--auth-grant", "--handshakes-per-second", "0"));
    assert_int_equal(command.config.handshakes, 0);
    parse(WORDS("--auth-grant", "--handshakes-per-second=1000000"));
    assert_int_equal(command.config.handshakes, 1000000);
}

static void test_drain(void **state)
{
    (void)state;
    parse(WORDS("--auth-grant"));
    assert_int_equal(command.config.drain, 5);
    parse(WORDS("--auth-grant", "--drain", "0"));
    assert_int_equal(command.config.drain, 0);
    parse(WORDS("--auth-grant", "--drain=2m"));
    assert_int_equal(command.config.drain, 120);
    parse(WORDS("--auth-grant", "--drain=24h"));
    assert_int_equal(command.config.drain, 86400);
}

static void test_resume_window(void **state)
{
    (void)state;
    parse(WORDS("--auth-grant"));
    assert_int_equal(command.config.resume_window, 60);
    parse(WORDS("--auth-grant", "--resume-window", "0"));
    assert_int_equal(command.config.resume_window, 0);
    parse(WORDS("--auth-grant", "--resume-window=24h"));
    assert_int_equal(command.config.resume_window, 86400);
    parse(WORDS("--auth-grant", "--resume-window=7s", "--drain=8s"));
    assert_int_equal(command.config.resume_window, 7);
    assert_int_equal(command.config.drain, 8);
}

static void test_a_script_and_its_options(void **state)
{
    (void)state;
    parse(WORDS("--auth-lua=p.lua"));
    assert_string_equal(command.config.script, "p.lua");
    assert_int_equal(command.config.lua_workers, 4);
    assert_int_equal(command.config.auth_timeout, 5000);
    assert_null(command.config.lua_user);
    parse(WORDS("-authlua", "p.lua", "--lua-workers=64", "--auth-timeout=10m", "--lua-user=bob"));
    assert_string_equal(command.config.script, "p.lua");
    assert_int_equal(command.config.lua_workers, 64);
    assert_int_equal(command.config.auth_timeout, 600000);
    assert_string_equal(command.config.lua_user, "bob");
    parse(WORDS("--auth-lua=p.lua", "--lua-workers=1", "--auth-timeout=1s"));
    assert_int_equal(command.config.lua_workers, 1);
    assert_int_equal(command.config.auth_timeout, 1000);
    check_wrong(WORDS("--auth-lua="), "the path is empty");
    check_wrong(WORDS("--auth-lua=p", "--lua-user="), "the path is empty");
    check_wrong(WORDS("--auth-lua=p", "--lua-workers=0"), "\"0\" is not a number from 1 to 64");
    check_wrong(WORDS("--auth-lua=p", "--lua-workers=65"), "from 1 to 64");
    check_wrong(WORDS("--auth-lua=p", "--auth-timeout=0"), "\"0\" is not a time from 1s to 600s");
    check_wrong(WORDS("--auth-lua=p", "--auth-timeout=601"), "from 1s to 600s");
    check_wrong(WORDS("--auth-lua=p", "--auth-timeout=soon"), "from 1s to 600s");
    check_wrong(WORDS("--auth-grant", "--lua-user=bob"), "need --auth-lua");
}

static void test_policies_may_be_combined(void **state)
{
    (void)state;
    parse(WORDS("--acl=rules", "--auth-lua=p.lua", "--auth-deny"));
    assert_string_equal(command.config.acl, "rules");
    assert_string_equal(command.config.script, "p.lua");
    assert_true(command.config.deny);
    assert_false(command.config.grant);
    parse(WORDS("--acl", "rules"));
    assert_false(command.config.grant);
    assert_false(command.config.deny);
    assert_null(command.config.script);
    check_wrong(WORDS("--acl="), "the path is empty");
}

static void test_events(void **state)
{
    (void)state;
    char path[] = "/tmp/culvert-secret-XXXXXX";
    char option[64];
    char why[OPTIONS_WHY_SIZE] = "";
    int descriptor = mkstemp(path);
    assert_true(descriptor >= 0);
    assert_int_equal(write(descriptor, "s3cret\n", 7), 7);
    close(descriptor);
    snprintf(option, sizeof option, "--events-webhook-secret-file=%s", path);
    parse(WORDS("--auth-grant"));
    assert_true(command.journal.log);
    assert_null(command.journal.file);
    assert_null(command.journal.webhook);
    assert_null(command.journal.webhook_secret);
    parse(WORDS("--auth-grant", "--events=f", "--events-webhook", "http://hook", option));
    assert_string_equal(command.journal.file, "f");
    assert_string_equal(command.journal.webhook, "http://hook");
    assert_string_equal(command.journal.webhook_secret, "s3cret");
    assert_string_equal(command.journal.webhook_secret_file, path);
    check_wrong(WORDS("--auth-grant", option), "needs --events-webhook as well");
    check_wrong(WORDS("--auth-grant", "--events="), "the path is empty");
    check_wrong(WORDS("--auth-grant", "--events-webhook="), "the path is empty");
    assert_int_equal(chmod(path, 0644), 0);
    assert_int_equal(
        gateway_command_parse(WORDS("--auth-grant", "--events-webhook=http://hook", option),
                              &command, why),
        OPTIONS_BAD_FILE);
    assert_non_null(strstr(why, "--events-webhook-secret-file: "));
    assert_non_null(strstr(why, path));
    unlink(path);
}

static void test_agents_of_hubble(void **state)
{
    (void)state;
    parse(WORDS("--auth-grant"));
    assert_false(command.config.legacy_hubble);
    assert_false(command.config.is_original);
    parse(WORDS("--auth-grant", "--legacy=hubble"));
    assert_true(command.config.legacy_hubble);
    check_wrong(WORDS("--auth-grant", "--legacy=bubble"), "unknown system \"bubble\"");
}

/* The gateway reports a wrong option, with its exit code, before it listens. */
static void test_a_gateway_that_cannot_start(void **state)
{
    (void)state;
    struct test_output output;
    test_output_begin(&output);
    int usage = gateway_command_run(WORDS("--auth-grant", "--auth-deny"));
    test_output_end(&output);
    assert_int_equal(usage, EXIT_CODE_USAGE);
    assert_memory_equal(output.err, "culvert gateway: ", 17);
    assert_non_null(strstr(output.err, "contradict each other"));
    test_output_begin(&output);
    int failure = gateway_command_run(WORDS("--auth-grant", "--events=/nowhere/events"));
    test_output_end(&output);
    assert_int_equal(failure, EXIT_CODE_FAILURE);
    assert_string_equal(output.out, "");
}

static void test_trusted_proxies(void **state)
{
    (void)state;
    parse(WORDS("--auth-grant"));
    assert_int_equal(command.config.trusted_count, 0);
    parse(WORDS("--auth-grant", "--trusted-proxy", "10.0.0.0/8", "--trusted-proxy=2001:db8::1"));
    assert_int_equal(command.config.trusted_count, 2);
    assert_int_equal(command.config.trusted[0].prefix, 104);
    assert_int_equal(command.config.trusted[1].prefix, 128);
    static char option[] = "--trusted-proxy=10.0.0.0/8";
    char *words[GATEWAY_COMMAND_TRUSTED_PROXIES + 3] = {"--auth-grant"};
    for (size_t i = 1; i <= GATEWAY_COMMAND_TRUSTED_PROXIES; i++)
        words[i] = option;
    parse(words);
    words[GATEWAY_COMMAND_TRUSTED_PROXIES + 1] = option;
    check_wrong(words, "at most 64");
}

static void check_listen(const char *value, const char *host, uint16_t port)
{
    parse(WORDS("--auth-grant", "--listen", (char *)(uintptr_t)value));
    assert_int_equal(command.config.listen_count, 1);
    assert_string_equal(command.config.listens[0].host, host);
    assert_int_equal(command.config.listens[0].port, port);
}

static void test_listen(void **state)
{
    (void)state;
    check_listen("8080", "", 8080);
    check_listen(":8080", "", 8080);
    check_listen("*:1", "", 1);
    check_listen("127.0.0.1:0", "127.0.0.1", 0);
    check_listen("localhost:65535", "localhost", 65535);
    check_listen("[::]:8080", "::", 8080);
    check_listen("[2001:db8::1]:80", "2001:db8::1", 80);
    parse(WORDS("--auth-grant", "-listen=127.0.0.1:1", "--port", "2", "-port=3"));
    assert_int_equal(command.config.listen_count, 3);
    assert_string_equal(command.config.listens[0].host, "127.0.0.1");
    assert_int_equal(command.config.listens[1].port, 2);
    assert_int_equal(command.config.listens[2].port, 3);
}

static void test_wrong_words(void **state)
{
    (void)state;
    check_wrong(WORDS(NULL), "--auth-grant");
    check_wrong(WORDS("--open"), "--auth-deny");
    check_wrong(WORDS("-authgrant", "--auth-deny"), "contradict");
    check_wrong(WORDS("--auth-grant", "--lua-workers=2"), "need --auth-lua");
    check_wrong(WORDS("--auth-grant", "--auth-timeout=2"), "need --auth-lua");
    check_wrong(WORDS("--auth-grant", "--tls-cert", "x"), "--tls-key");
    check_wrong(WORDS("--auth-grant", "--tls-key", "x"), "--tls-cert");
    check_wrong(WORDS("--auth-grant", "--data="), "the path is empty");
    check_wrong(WORDS("--auth-grant", "--tls-cert="), "the path is empty");
    check_wrong(WORDS("--auth-grant", "--tls-key="), "the path is empty");
    parse(WORDS("--auth-grant", "--threads=256", "--max-memory=16M"));
    assert_int_equal(command.config.threads, 256);
    assert_int_equal(command.config.max_memory, 16 * 1024 * 1024);
    parse(WORDS("--auth-grant", "--threads=1"));
    assert_int_equal(command.config.threads, 1);
    check_wrong(WORDS("--auth-grant", "--threads", "0"), "from 1 to 256");
    check_wrong(WORDS("--auth-grant", "--threads", "257"), "from 1 to 256");
    check_wrong(WORDS("--auth-grant", "--threads", "two"), "from 1 to 256");
    check_wrong(WORDS("--auth-grant", "--max-memory", "lots"), "not a size");
    check_wrong(WORDS("--auth-grant", "--max-memory", "1M"), "16M is the least");
    check_wrong(WORDS("--auth-grant", "--log-level", "loud"), "debug, info, warning or error");
    check_wrong(WORDS("--auth-grant", "--log-format", "xml"), "text or json");
    check_wrong(WORDS("--auth-grant", "--port", ":80"), "--port: \":80\" is not a port");
    check_wrong(WORDS("--auth-grant", "--handshakes-per-second", "1000001"), "from 0 to 1000000");
    check_wrong(WORDS("--auth-grant", "--handshakes-per-second", "many"), "from 0 to 1000000");
    check_wrong(WORDS("--auth-grant", "--drain", "86401"), "from 0s to 24h");
    check_wrong(WORDS("--auth-grant", "--drain", "-1"), "from 0s to 24h");
    check_wrong(WORDS("--auth-grant", "--resume-window", "25h"), "from 0s to 24h");
    check_wrong(WORDS("--auth-grant", "--resume-window", "ever"), "from 0s to 24h");
    check_wrong(WORDS("--auth-grant", "--trusted-proxy", "10.0.0.1/8"), "10.0.0.0/8");
    check_wrong(WORDS("--auth-grant", "--trusted-proxy", "proxy"), "is not an IP address");
    check_wrong(WORDS("--auth-grant", "--trusted-proxy", "10.0.0.0/33"), "from 0 to 32");
    check_wrong(WORDS("--auth-grant", "extra"), "unexpected argument");
    check_wrong(WORDS("--auth-grant", "--lsiten", "80"), "did you mean --listen?");
}

static void test_wrong_listens(void **state)
{
    (void)state;
    check_wrong(WORDS("--auth-grant", "--listen", ""), "is not a port");
    check_wrong(WORDS("--auth-grant", "--listen", "65536"), "is not a port");
    check_wrong(WORDS("--auth-grant", "--listen", "localhost"), "is not a port");
    check_wrong(WORDS("--auth-grant", "--listen", "localhost:"), "is not a port");
    check_wrong(WORDS("--auth-grant", "--listen", "::1:80"), "too many colons");
    check_wrong(WORDS("--auth-grant", "--listen", "[]:80"), "no address in the brackets");
    check_wrong(WORDS("--auth-grant", "--listen", "[127.0.0.1]:80"), "neither a host name");
    check_wrong(WORDS("--auth-grant", "--listen", "256.0.0.1:80"), "neither a host name");
    check_wrong(WORDS("--auth-grant", "--listen", "a b:80"), "neither a host name");
}

static void test_the_listens_are_bounded(void **state)
{
    (void)state;
    static char option[] = "--listen=1";
    char *words[GATEWAY_COMMAND_LISTENS + 3] = {"--auth-grant"};
    for (size_t i = 1; i <= GATEWAY_COMMAND_LISTENS; i++)
        words[i] = option;
    parse(words);
    words[GATEWAY_COMMAND_LISTENS + 1] = option;
    check_wrong(words, "at most 64");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_all_options),
        cmocka_unit_test(test_handshakes),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_resume_window),
        cmocka_unit_test(test_a_script_and_its_options),
        cmocka_unit_test(test_policies_may_be_combined),
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_agents_of_hubble),
        cmocka_unit_test(test_a_gateway_that_cannot_start),
        cmocka_unit_test(test_trusted_proxies),
        cmocka_unit_test(test_listen),
        cmocka_unit_test(test_wrong_words),
        cmocka_unit_test(test_wrong_listens),
        cmocka_unit_test(test_the_listens_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
