#include "net/proxy.h"

#include "base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void check_parse(const char *text, enum proxy_kind kind, const char *host, uint16_t port)
{
    struct proxy proxy;
    char why[256] = "";
    if (proxy_parse(text, &proxy, why, sizeof(why)) != 0)
        fail_msg("%s: %s", text, why);
    assert_int_equal(proxy.kind, kind);
    assert_string_equal(proxy.host, host);
    assert_int_equal(proxy.port, port);
}

static void check_login(const char *text, const char *user, const char *password)
{
    struct proxy proxy;
    char why[256] = "";
    if (proxy_parse(text, &proxy, why, sizeof(why)) != 0)
        fail_msg("%s: %s", text, why);
    assert_true(proxy.login.is_given);
    assert_string_equal(proxy.login.user, user);
    assert_string_equal(proxy.login.password, password);
}

static void check_wrong(const char *text, const char *piece_of_why)
{
    struct proxy proxy = {.port = 7};
    char why[256] = "";
    assert_int_equal(proxy_parse(text, &proxy, why, sizeof(why)), CULVERT_ERROR_INVALID);
    if (strstr(why, piece_of_why) == NULL || strstr(why, "secret") != NULL)
        fail_msg("%s: \"%s\", without \"%s\"", text, why, piece_of_why);
    assert_int_equal(proxy.port, 7);
}

static void test_urls(void **state)
{
    (void)state;
    check_parse("http://proxy.example:3128", PROXY_HTTP, "proxy.example", 3128);
    check_parse("HTTP://proxy.example:3128/", PROXY_HTTP, "proxy.example", 3128);
    check_parse("proxy:3128", PROXY_HTTP, "proxy", 3128);
    check_parse("proxy", PROXY_HTTP, "proxy", 1080);
    check_parse("https://proxy", PROXY_HTTPS, "proxy", 443);
    check_parse("socks5://10.0.0.1", PROXY_SOCKS5, "10.0.0.1", 1080);
    check_parse("socks5h://u@my_proxy:9", PROXY_SOCKS5H, "my_proxy", 9);
    check_parse("http://[fd00::1]:8080", PROXY_HTTP, "fd00::1", 8080);
    check_parse("[::1]", PROXY_HTTP, "::1", 1080);
    check_parse("", PROXY_NONE, "", 0);
    check_parse("None", PROXY_NONE, "", 0);
}

static void test_logins(void **state)
{
    (void)state;
    check_login("http://bob:secret@proxy:1", "bob", "secret");
    check_login("http://bob@proxy:1", "bob", "");
    check_login("http://:@proxy:1", "", "");
    check_login("http://bob:se:cr@et@proxy:1", "bob", "se:cr@et");
    check_login("bob:%41%3a%40%2F%25@proxy", "bob", "A:@/%");
    check_login("socks5://d%6fm\\bob:x@proxy", "dom\\bob", "x");

    struct proxy_login login;
    char why[256];
    assert_int_equal(proxy_parse_login("bob:100%:x", &login, why, sizeof(why)), 0);
    assert_string_equal(login.password, "100%:x");
    assert_int_equal(proxy_parse_login("", &login, why, sizeof(why)), CULVERT_ERROR_INVALID);
    assert_int_equal(proxy_parse_login("a\n:b", &login, why, sizeof(why)), CULVERT_ERROR_INVALID);

    char word[PROXY_WORD_SIZE + 1];
    memset(word, 'x', sizeof(word));
    word[PROXY_WORD_SIZE] = '\0';
    assert_int_equal(proxy_parse_login(word, &login, why, sizeof(why)), CULVERT_ERROR_INVALID);
    word[PROXY_WORD_SIZE - 1] = '\0';
    assert_int_equal(proxy_parse_login(word, &login, why, sizeof(why)), 0);
    assert_string_equal(login.user, word);
}

static void test_what_is_no_url(void **state)
{
    (void)state;
    check_wrong("ftp://proxy", "socks5h");
    check_wrong("socks4://proxy", "socks5h");
    check_wrong("http://", "host is missing");
    check_wrong("http://bob:secret@", "host is missing");
    check_wrong("http://a b", "malformed");
    check_wrong("http://-x", "malformed");
    check_wrong("http://proxy/path", "malformed");
    check_wrong("http://proxy:", "port");
    check_wrong("http://proxy:0", "port");
    check_wrong("http://proxy:65536", "port");
    check_wrong("http://proxy:80x", "port");
    check_wrong("http://[::1", "brackets");
    check_wrong("http://[proxy]:1", "brackets");
    check_wrong("http://[::1]x", "port");
    check_wrong("http://u:secret%@proxy", "%25");
    check_wrong("http://u:secret%4@proxy", "%25");
    check_wrong("http://u:secret%4g@proxy", "%25");
    check_wrong("http://u:secret%00@proxy", "control");
    check_wrong("http://u:secret\n@proxy", "control");

    char host[PROXY_HOST_SIZE + 1];
    memset(host, 'x', sizeof(host));
    host[PROXY_HOST_SIZE] = '\0';
    check_wrong(host, "malformed");
}

static void test_hosts_without_a_proxy(void **state)
{
    static const struct {
        const char *list;
        const char *host;
        bool is_exempt;
    } cases[] = {
        {"", "a", false},
        {"*", "a", true},
        {"x,*", "a", true},
        {"example.com", "example.com", true},
        {"example.com", "EXAMPLE.com.", true},
        {"example.com.", "example.com", true},
        {"example.com", "www.example.com", true},
        {".example.com", "www.example.com", true},
        {".example.com", "example.com", true},
        {"*.example.com", "www.example.com", true},
        {"example.com", "badexample.com", false},
        {"www.example.com", "example.com", false},
        {"com.", "example.com", true},
        {".", "example.com", false},
        {"a, b\tc", "b", true},
        {"a, b\tc", "c", true},
        {",, ,", "c", false},
        {"gateway:443", "gateway", true},
        {"gateway:80", "gateway", false},
        {"gateway:x", "gateway", false},
        {"gateway:0", "gateway", false},
        {"10.0.0.1", "10.0.0.1", true},
        {"10.0.0.1:443", "10.0.0.1", true},
        {"10.0.0.1:80", "10.0.0.1", false},
        {"10.0.0.1", "10.0.0.10", false},
        {"0.0.1", "10.0.0.1", false},
        {"10.0.0.0/8", "10.1.2.3", true},
        {"10.0.0.0/8", "11.1.2.3", false},
        {"192.168.16.0/20", "192.168.31.255", true},
        {"192.168.16.0/20", "192.168.32.0", false},
        {"0.0.0.0/0", "1.2.3.4", true},
        {"0.0.0.0/0", "::1", false},
        {"10.0.0.0/33", "10.0.0.0", false},
        {"10.0.0.0/", "10.0.0.0", false},
        {"10.0.0.0/8x", "10.0.0.0", false},
        {"10.0.0.0/8", "ten.example", false},
        {"example/8", "example", false},
        {"::1", "::1", true},
        {"[::1]", "::1", true},
        {"[::1]:443", "::1", true},
        {"[::1]:80", "::1", false},
        {"[::1", "::1", false},
        {"[::1]x", "::1", false},
        {"fd00::/8", "fd12::1", true},
        {"[fd00::]/8", "fd12::1", true},
        {"[fd00::]/8", "fe80::1", false},
        {"fd00::/129", "fd00::", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        if (proxy_is_exempt(cases[i].list, cases[i].host, 443) != cases[i].is_exempt)
            fail_msg("\"%s\" and %s", cases[i].list, cases[i].host);
    }
}

/* NAME=VALUE, ended by NULL. */
static const char *const *variables;

static char *get(const char *name)
{
    size_t length = strlen(name);
    for (size_t i = 0; variables[i] != NULL; i++) {
        if (strncmp(variables[i], name, length) == 0 && variables[i][length] == '=')
            return (char *)(uintptr_t)variables[i] + length + 1;
    }
    return NULL;
}

#define VARIABLES(...) ((const char *const[]){__VA_ARGS__, NULL})

static void check_choice(const char *const *environment, bool is_secure, const char *label)
{
    struct proxy_settings settings = {.is_given = false};
    struct proxy proxy;
    char text[PROXY_LABEL_SIZE];
    char why[256] = "";
    variables = environment;
    proxy_read_environment(&settings, get);
    int error = proxy_choose(&settings, "gateway.example", is_secure ? 443 : 80, is_secure, &proxy,
                             why, sizeof(why));
    if (error != 0)
        fail_msg("%s", why);
    proxy_label(&proxy, text);
    assert_string_equal(text, label);
}

static void test_the_environment(void **state)
{
    (void)state;
    check_choice(VARIABLES("x=y"), true, "the proxy none");
    check_choice(VARIABLES("https_proxy=p:1"), true, "the proxy http://p:1 ($https_proxy)");
    check_choice(VARIABLES("https_proxy=p:1"), false, "the proxy none");
    check_choice(VARIABLES("HTTPS_PROXY=p:1"), true, "the proxy http://p:1 ($HTTPS_PROXY)");
    check_choice(VARIABLES("HTTPS_PROXY=q:1", "https_proxy=p:1"), true,
                 "the proxy http://p:1 ($https_proxy)");
    check_choice(VARIABLES("http_proxy=[::1]:1"), false, "the proxy http://[::1]:1 ($http_proxy)");
    check_choice(VARIABLES("http_proxy=p:1"), true, "the proxy none");
    check_choice(VARIABLES("HTTP_PROXY=p:1"), false, "the proxy none");
    check_choice(VARIABLES("all_proxy=socks5://u:secret@p:1"), false,
                 "the proxy socks5://p:1 ($all_proxy)");
    check_choice(VARIABLES("ALL_PROXY=p:1", "https_proxy="), true,
                 "the proxy http://p:1 ($ALL_PROXY)");
    check_choice(VARIABLES("all_proxy=p:1", "https_proxy=q:2"), true,
                 "the proxy http://q:2 ($https_proxy)");
    check_choice(VARIABLES("all_proxy=p:1", "no_proxy=.example"), true, "the proxy none");
    check_choice(VARIABLES("all_proxy=p:1", "NO_PROXY=.example"), true, "the proxy none");
    check_choice(VARIABLES("all_proxy=p:1", "NO_PROXY=.example", "no_proxy=other"), true,
                 "the proxy http://p:1 ($all_proxy)");
    check_choice(VARIABLES("all_proxy=p:1", "no_proxy=.example:80"), true,
                 "the proxy http://p:1 ($all_proxy)");
}

static void test_what_is_given_goes_first(void **state)
{
    struct proxy_settings settings = {.is_given = true, .ca = "ca.pem"};
    struct proxy proxy;
    char why[256];
    (void)state;
    variables = VARIABLES("all_proxy=p:1", "no_proxy=*");
    proxy_read_environment(&settings, get);
    assert_int_equal(proxy_parse("https://u:v@given:1", &settings.given, why, sizeof(why)), 0);
    assert_int_equal(proxy_parse_login("bob:secret", &settings.login, why, sizeof(why)), 0);
    assert_int_equal(proxy_choose(&settings, "h", 1, true, &proxy, why, sizeof(why)), 0);
    assert_string_equal(proxy.host, "given");
    assert_string_equal(proxy.login.user, "bob");
    assert_string_equal(proxy.login.password, "secret");
    assert_string_equal(proxy.ca, "ca.pem");
    proxy_wipe(&proxy);
    assert_string_equal(proxy.login.password, "");
    assert_string_equal(proxy.host, "given");

    proxy_settings_wipe(&settings);
    assert_string_equal(settings.login.user, "");
    assert_string_equal(settings.given.login.user, "");
    settings.given.kind = PROXY_NONE;
    settings.no_proxy = NULL;
    assert_int_equal(proxy_choose(&settings, "h", 1, true, &proxy, why, sizeof(why)), 0);
    assert_int_equal(proxy.kind, PROXY_NONE);
    assert_int_equal(proxy_choose(NULL, "h", 1, true, &proxy, why, sizeof(why)), 0);
    assert_int_equal(proxy.kind, PROXY_NONE);
}

static void test_a_variable_that_is_wrong(void **state)
{
    struct proxy_settings settings = {.is_given = false};
    struct proxy proxy;
    char why[256] = "";
    (void)state;
    variables = VARIABLES("https_proxy=ftp://u:secret@p");
    proxy_read_environment(&settings, get);
    assert_int_equal(proxy_choose(&settings, "h", 1, true, &proxy, why, sizeof(why)),
                     CULVERT_ERROR_INVALID);
    assert_memory_equal(why, "$https_proxy: ", 14);
    assert_null(strstr(why, "secret"));
    assert_int_equal(proxy.kind, PROXY_NONE);
    assert_int_equal(proxy_choose(&settings, "h", 1, false, &proxy, why, sizeof(why)), 0);
}

static void test_loopback(void **state)
{
    struct proxy proxy;
    char why[256];
    (void)state;
    assert_int_equal(proxy_parse("LocalHost", &proxy, why, sizeof(why)), 0);
    assert_true(proxy_is_loopback(&proxy));
    assert_int_equal(proxy_parse("127.0.0.2:1", &proxy, why, sizeof(why)), 0);
    assert_true(proxy_is_loopback(&proxy));
    assert_int_equal(proxy_parse("[::1]:1", &proxy, why, sizeof(why)), 0);
    assert_true(proxy_is_loopback(&proxy));
    assert_int_equal(proxy_parse("10.0.0.1", &proxy, why, sizeof(why)), 0);
    assert_false(proxy_is_loopback(&proxy));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_urls),
        cmocka_unit_test(test_logins),
        cmocka_unit_test(test_what_is_no_url),
        cmocka_unit_test(test_hosts_without_a_proxy),
        cmocka_unit_test(test_the_environment),
        cmocka_unit_test(test_what_is_given_goes_first),
        cmocka_unit_test(test_a_variable_that_is_wrong),
        cmocka_unit_test(test_loopback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
