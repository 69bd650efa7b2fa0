#include "cli/gateway_command.h"

#include "base/error.h"
#include "net/machine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define WORDS(...) ((char *const[]){__VA_ARGS__, NULL})

static struct gateway_command command;

static void parse(char *const *words)
{
    char why[OPTIONS_WHY_SIZE] = "";
    if (gateway_command_parse(words, &command, why) != 0)
        fail_msg("%s", why);
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
}

static void check_wrong(char *const *words, const char *piece_of_why)
{
    char why[OPTIONS_WHY_SIZE] = "";
    assert_int_equal(gateway_command_parse(words, &command, why), CULVERT_ERROR_INVALID);
    if (strstr(why, piece_of_why) == NULL)
        fail_msg("\"%s\", without \"%s\"", why, piece_of_why);
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
        cmocka_unit_test(test_defaults),      cmocka_unit_test(test_all_options),
        cmocka_unit_test(test_handshakes),    cmocka_unit_test(test_drain),
        cmocka_unit_test(test_resume_window), cmocka_unit_test(test_trusted_proxies),
        cmocka_unit_test(test_listen),        cmocka_unit_test(test_wrong_words),
        cmocka_unit_test(test_wrong_listens), cmocka_unit_test(test_the_listens_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
