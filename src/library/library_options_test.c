#include "base/memory.h"
#include "library/test_handles.h"

#include <culvert/culvert.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- what cannot be ---- */

static void test_a_gateway_that_cannot_be(void **state)
{
    uint16_t port = 0;
    char taken[32];
    const char *listens[] = {"127.0.0.1:0", taken};
    (void)state;
    int holder = listen_on_loopback(&port);
    snprintf(taken, sizeof(taken), "127.0.0.1:%u", port);
    struct culvert_gateway_options options = {0};
    expect_no_gateway(NULL, CULVERT_INVALID, "size");
    expect_no_gateway(&options, CULVERT_INVALID, "size");
    options.size = sizeof(options);
    expect_no_gateway(&options, CULVERT_INVALID, "no policy");
    options.open = options.deny = true;
    options.listens = listens;
    options.listen_count = 2;
    expect_no_gateway(&options, CULVERT_NO_PORT, "in use");
    taken[0] = ':';
    expect_no_gateway(&options, CULVERT_INVALID, "listens[1]");
    options.listen_count = 1;
    options.tls_certificate = "/nowhere";
    expect_no_gateway(&options, CULVERT_INVALID, "need each other");
    options.tls_key = "/nowhere";
    expect_no_gateway(&options, CULVERT_FAILED, "/nowhere");
    options.tls_certificate = options.tls_key = NULL;
    options.events_file = "/nowhere/events";
    expect_no_gateway(&options, CULVERT_FAILED, "/nowhere/events");
    const char *trusted[65] = {"10.0.0.0/8", "10.0.0.1/8"};
    options.trusted_proxies = trusted;
    options.trusted_proxy_count = 2;
    expect_no_gateway(&options, CULVERT_INVALID, "trusted_proxies[1]: ");
    options.trusted_proxy_count = 65;
    expect_no_gateway(&options, CULVERT_INVALID, "trusted_proxies: at most 64");
    options.handshakes_per_second = 1000001;
    expect_no_gateway(&options, CULVERT_INVALID, "handshakes_per_second");
    options.lua_workers = 65;
    expect_no_gateway(&options, CULVERT_INVALID, "lua_workers");
    options.resume_window = 86401;
    expect_no_gateway(&options, CULVERT_INVALID, "resume_window");
    options.resume_window = 0;
    options.threads = 257;
    expect_no_gateway(&options, CULVERT_INVALID, "threads");
    close(holder);
}

static void test_an_agent_that_cannot_be(void **state)
{
    const char *allow[] = {"127.0.0.1:22", "everything"};
    struct culvert_agent_options options = {.size = sizeof(options)};
    (void)state;
    expect_no_agent(&options, CULVERT_INVALID, "a url and a name");
    options.name = "near";
    options.url = "http://gateway.example";
    expect_no_agent(&options, CULVERT_INVALID, "url: ");
    options.url = "wss://gateway.example";
    options.name = "a b";
    expect_no_agent(&options, CULVERT_INVALID, "name: ");
    options.name = "near";
    options.allow = allow;
    options.allow_count = 2;
    expect_no_agent(&options, CULVERT_INVALID, "allow[1]: ");
    options.allow_count = 1;
    options.ca = "/nowhere";
    expect_no_agent(&options, CULVERT_FAILED, "/nowhere");
    options.url = "ws://gateway.example";
    options.key = "cvk_secret";
    expect_no_agent(&options, CULVERT_INVALID, "in clear");
    options.dialect = (enum culvert_dialect)99;
    expect_no_agent(&options, CULVERT_UNSUPPORTED, "dialect");
}

static void test_ways_that_cannot_be(void **state)
{
    const char *more[32] = {"poll+http://b.example", "wss:/c.example"};
    struct culvert_agent_options options = {
        .size = sizeof(options), .url = "wss://a.example", .name = "near", .more_urls = more};
    (void)state;
    options.more_url_count = 2;
    expect_no_agent(&options, CULVERT_INVALID, "more_urls[1]: ");
    options.more_url_count = 32;
    expect_no_agent(&options, CULVERT_INVALID, "more_urls: at most 31");
    options.more_url_count = 1;
    options.key = "cvk_secret";
    expect_no_agent(&options, CULVERT_INVALID, "b.example in clear; use a poll+https:// URL");
    options.transport = CULVERT_TRANSPORT_WEBSOCKET;
    expect_no_agent(&options, CULVERT_INVALID, "exclude each other");
    options.transport = (enum culvert_transport)99;
    expect_no_agent(&options, CULVERT_UNSUPPORTED, "transport");
    options.transport = CULVERT_TRANSPORT_POLL;
    options.dialect = CULVERT_DIALECT_HUBBLE;
    expect_no_agent(&options, CULVERT_INVALID, "no long poll");
    options.dialect = CULVERT_DIALECT_AUTO;
    options.proxy_user = "";
    expect_no_agent(&options, CULVERT_INVALID, "proxy_user: ");
    options.proxy = "ftp://proxy.example";
    expect_no_agent(&options, CULVERT_INVALID, "proxy: ");
    options = (struct culvert_agent_options){
        .size = sizeof(options), .url = "ws://127.0.0.1:1", .name = "near", .key = "cvk_secret"};
    options.proxy = "http://proxy.example";
    expect_no_agent(&options, CULVERT_INVALID, "in clear");
}

static void test_a_proxy_of_the_environment_is_wanted_first(void **state)
{
    struct culvert_agent *agent = NULL;
    struct culvert_agent_options options = {
        .size = sizeof(options), .url = "ws://127.0.0.1:1", .name = "near"};
    (void)state;
    setenv("http_proxy", "ftp://proxy.example", 1);
    assert_int_equal(culvert_agent_start(&options, &agent, NULL, 0), CULVERT_OK);
    culvert_agent_free(agent);
    options.proxy_environment = true;
    expect_no_agent(&options, CULVERT_INVALID, "proxy: ");
    options.proxy = "none";
    assert_int_equal(culvert_agent_start(&options, &agent, NULL, 0), CULVERT_OK);
    culvert_agent_free(agent);
    unsetenv("http_proxy");
}

/* Programs are built with headers older and newer than the library. */
static void test_options_may_be_shorter_and_longer(void **state)
{
    struct culvert_gateway_options known = gateway_options();
    struct {
        struct culvert_gateway_options known;
        const char *later;
    } longer = {.known = known};
    (void)state;
    known.size = offsetof(struct culvert_gateway_options, on_event);
    known.events_file = "/nowhere/is not looked at";
    culvert_gateway_free(start_gateway(&known));
    longer.known.size = sizeof(longer);
    culvert_gateway_free(start_gateway(&longer.known));
    longer.later = "something new";
    expect_no_gateway(&longer.known, CULVERT_UNSUPPORTED, culvert_version());
}

/* ---- the log ---- */

static atomic_uint infos;
static atomic_uint others;

static void count_entry(void *context, enum culvert_log_level level, const char *message)
{
    atomic_fetch_add(level == CULVERT_LOG_INFO ? &infos : &others, 1);
    assert_ptr_equal(context, &infos);
    assert_true(message[0] != '\0');
}

static void test_the_log_goes_where_it_is_wanted(void **state)
{
    struct culvert_gateway_options options = gateway_options();
    (void)state;
    culvert_log_set_callback(count_entry, &infos);
    culvert_gateway_free(start_gateway(&options));
    assert_int_equal(atomic_load(&infos), 0);
    assert_int_equal(atomic_load(&others), 1); /* that it is open */
    culvert_log_set_level(CULVERT_LOG_INFO);
    culvert_gateway_free(start_gateway(&options));
    assert_true(atomic_load(&infos) > 0);
    assert_int_equal(atomic_load(&others), 2);
    culvert_log_set_level(CULVERT_LOG_NONE);
    unsigned before = atomic_load(&infos);
    culvert_gateway_free(start_gateway(&options));
    assert_int_equal(atomic_load(&infos), before);
    assert_int_equal(atomic_load(&others), 2);
    culvert_log_set_callback(NULL, NULL);
    culvert_log_set_level(CULVERT_LOG_DEFAULT);
}

/* ---- small things ---- */

static void test_signals_stay_the_programs(void **state)
{
    struct culvert_gateway_options options = gateway_options();
    struct sigaction before[NSIG];
    sigset_t mask_before;
    sigset_t mask;
    (void)state;
    pthread_sigmask(SIG_SETMASK, NULL, &mask_before);
    for (int i = 1; i < NSIG; i++)
        sigaction(i, NULL, &before[i]);
    struct culvert_gateway *gateway = start_gateway(&options);
    for (int i = 1; i < NSIG; i++) {
        struct sigaction now;
        if (sigaction(i, NULL, &now) == 0)
            assert_ptr_equal(now.sa_handler, before[i].sa_handler);
    }
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    for (int i = 1; i < NSIG; i++)
        assert_int_equal(sigismember(&mask, i), sigismember(&mask_before, i));
    culvert_gateway_free(gateway);
}

static void test_each_allocation_may_fail(void **state)
{
    struct culvert_gateway_options options = gateway_options();
    struct culvert_agent_options agent_options = {.size = sizeof(agent_options),
                                                  .url = "ws://127.0.0.1:1",
                                                  .name = "near",
                                                  .proxy_ca = "ca.pem",
                                                  .proxy_environment = true};
    bool is_done = false;
    (void)state;
    setenv("no_proxy", "127.0.0.1", 1);
    culvert_log_set_level(CULVERT_LOG_NONE);
    for (size_t n = 1; !is_done; n++) {
        struct culvert_gateway *gateway = NULL;
        struct culvert_agent *agent = NULL;
        memory_fail_after(n);
        int code = culvert_gateway_start(&options, &gateway, NULL, 0);
        if (code == CULVERT_OK)
            code = culvert_agent_start(&agent_options, &agent, NULL, 0);
        is_done = memory_fail_is_pending();
        memory_fail_after(0);
        assert_int_equal(code, is_done ? CULVERT_OK : CULVERT_NO_MEMORY);
        culvert_agent_free(agent);
        culvert_gateway_free(gateway);
    }
    culvert_log_set_level(CULVERT_LOG_DEFAULT);
    unsetenv("no_proxy");
}

static void test_codes_have_texts(void **state)
{
    (void)state;
    for (int code = CULVERT_UNSUPPORTED; code <= CULVERT_OK; code++) {
        assert_string_not_equal(culvert_error_text(code), "unknown error");
        assert_string_not_equal(culvert_error_text(code), culvert_error_text(code - 1));
    }
    assert_string_equal(culvert_error_text(1), "unknown error");
    assert_string_equal(culvert_error_text(CULVERT_UNSUPPORTED - 1), "unknown error");
    assert_string_equal(culvert_version(), CULVERT_VERSION);
    culvert_gateway_free(NULL);
    culvert_agent_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_gateway_that_cannot_be),
        cmocka_unit_test(test_an_agent_that_cannot_be),
        cmocka_unit_test(test_ways_that_cannot_be),
        cmocka_unit_test(test_a_proxy_of_the_environment_is_wanted_first),
        cmocka_unit_test(test_options_may_be_shorter_and_longer),
        cmocka_unit_test(test_the_log_goes_where_it_is_wanted),
        cmocka_unit_test(test_signals_stay_the_programs),
        cmocka_unit_test(test_each_allocation_may_fail),
        cmocka_unit_test(test_codes_have_texts),
    };
    return cmocka_run_group_tests_name("library options", tests, NULL, NULL);
}
