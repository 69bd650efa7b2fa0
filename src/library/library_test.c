#include <culvert/agent.h>
#include <culvert/culvert.h>
#include <culvert/event.h>
#include <culvert/gateway.h>

#include "base/memory.h"

#include <arpa/inet.h>
#include <ftw.h>
#include <netinet/in.h>
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
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENCE = 20 * 1000, WHY_SIZE = 512 };

static const char *const loopback[] = {"127.0.0.1:0"};

static struct culvert_gateway_options gateway_options(void)
{
    return (struct culvert_gateway_options){
        .size = sizeof(struct culvert_gateway_options),
        .listens = loopback,
        .listen_count = 1,
        .grant = true,
        .open = true,
        .threads = 2,
    };
}

static struct culvert_gateway *start_gateway(const struct culvert_gateway_options *options)
{
    struct culvert_gateway *gateway = NULL;
    char why[WHY_SIZE] = "";
    if (culvert_gateway_start(options, &gateway, why, sizeof(why)) != CULVERT_OK)
        fail_msg("%s", why);
    return gateway;
}

static void url_of(const struct culvert_gateway *gateway, char url[static 64])
{
    snprintf(url, 64, "ws://%s", culvert_gateway_address(gateway, 0));
}

static struct culvert_agent *start_agent(const struct culvert_agent_options *options)
{
    struct culvert_agent *agent = NULL;
    char why[WHY_SIZE] = "";
    if (culvert_agent_start(options, &agent, why, sizeof(why)) != CULVERT_OK)
        fail_msg("%s", why);
    if (culvert_agent_wait_registered(agent, PATIENCE, why, sizeof(why)) != CULVERT_OK)
        fail_msg("%s", why);
    return agent;
}

/* ---- sockets ---- */

static int listen_on_loopback(uint16_t *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)(void *)&address, size), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)(void *)&address, &size), 0);
    *port = ntohs(address.sin_port);
    return fd;
}

/* -1 if nobody listens there. */
static int connect_to(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = PATIENCE / 1000};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (connect(fd, (const struct sockaddr *)(void *)&address, sizeof(address)) == 0)
        return fd;
    close(fd);
    return -1;
}

static void expect_bytes(int from, int to)
{
    char bytes[5];
    assert_int_equal(send(from, "hello", 5, MSG_NOSIGNAL), 5);
    assert_int_equal(recv(to, bytes, sizeof(bytes), MSG_WAITALL), sizeof(bytes));
    assert_memory_equal(bytes, "hello", sizeof(bytes));
}

/* ---- what callbacks saw ---- */

struct seen {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    unsigned opened;
    unsigned closed;
    int64_t last;
    int64_t sent;
    bool is_sound;
};

#define SEEN_NULL                                       \
    ((struct seen){.mutex = PTHREAD_MUTEX_INITIALIZER,  \
                   .changed = PTHREAD_COND_INITIALIZER, \
                   .is_sound = true})

static void see(void *context, const struct culvert_event *event)
{
    struct seen *seen = context;
    const char *name = culvert_event_name(event);
    pthread_mutex_lock(&seen->mutex);
    seen->opened += strcmp(name, "session.opened") == 0;
    if (strcmp(name, "session.closed") == 0) {
        seen->closed++;
        seen->sent = culvert_event_integer(event, "sent");
        seen->is_sound = seen->is_sound && culvert_event_number(event, "seconds") >= 0 &&
                         strcmp(culvert_event_text(event, "agent"), "far") == 0;
    }
    seen->is_sound =
        seen->is_sound && culvert_event_json(event)[0] == '{' &&
        culvert_event_text(event, "time") != NULL && culvert_event_text(event, "seq") == NULL &&
        culvert_event_text(event, "no such") == NULL &&
        culvert_event_integer(event, "no such") == 0 && culvert_event_number(event, "event") == 0 &&
        culvert_event_integer(event, "seq") > seen->last;
    seen->last = culvert_event_integer(event, "seq");
    pthread_cond_signal(&seen->changed);
    pthread_mutex_unlock(&seen->mutex);
}

/* ---- a whole way in one process ---- */

struct way {
    struct culvert_gateway *gateway;
    struct culvert_agent *far;
    struct culvert_agent *near;
    struct seen seen;
    int server;
    uint16_t port;
};

static void open_way(struct way *way)
{
    struct culvert_gateway_options options = gateway_options();
    char url[64];
    char allowed[32];
    way->seen = SEEN_NULL;
    way->server = listen_on_loopback(&way->port);
    way->gateway = start_gateway(&options);
    url_of(way->gateway, url);
    snprintf(allowed, sizeof(allowed), "127.0.0.1:%u", way->port);
    const char *allow[] = {allowed};
    struct culvert_agent_options far = {
        .size = sizeof(far), .url = url, .name = "far", .allow = allow, .allow_count = 1};
    struct culvert_agent_options near = {.size = sizeof(near),
                                         .url = url,
                                         .name = "near",
                                         .on_event = see,
                                         .event_context = &way->seen};
    way->far = start_agent(&far);
    way->near = start_agent(&near);
    /* The handles have copies. */
    memset(url, 'x', sizeof(url) - 1);
    memset(allowed, 'x', sizeof(allowed) - 1);
}

static void close_way(struct way *way)
{
    culvert_agent_free(way->near);
    culvert_agent_free(way->far);
    culvert_gateway_free(way->gateway);
    close(way->server);
}

static uint16_t add_forward(struct way *way, uint64_t *id)
{
    uint16_t port = 0;
    char rule[64];
    char why[WHY_SIZE] = "";
    snprintf(rule, sizeof(rule), "0:far:127.0.0.1:%u", way->port);
    if (culvert_agent_add_forward(way->near, rule, id, &port, why, sizeof(why)) != CULVERT_OK)
        fail_msg("%s", why);
    return port;
}

static void test_forwards_come_and_go(void **state)
{
    struct way way;
    uint64_t id = 0;
    (void)state;
    open_way(&way);
    uint16_t port = add_forward(&way, &id);
    int client = connect_to(port);
    int target = accept(way.server, NULL, NULL);
    assert_true(client >= 0 && target >= 0);
    expect_bytes(client, target);

    assert_int_equal(culvert_agent_remove_forward(way.near, id), CULVERT_OK);
    assert_int_equal(connect_to(port), -1);
    assert_int_equal(culvert_agent_remove_forward(way.near, id), CULVERT_NOT_FOUND);
    expect_bytes(target, client);

    close(client);
    close(target);
    client = connect_to(add_forward(&way, NULL));
    assert_int_not_equal(client, -1);
    close(client);
    close_way(&way);
}

static void test_a_forward_that_cannot_be(void **state)
{
    struct way way;
    char rule[64];
    char why[WHY_SIZE] = "";
    (void)state;
    open_way(&way);
    assert_int_equal(culvert_agent_add_forward(way.near, "far:22", NULL, NULL, why, sizeof(why)),
                     CULVERT_INVALID);
    assert_non_null(strstr(why, "a rule is"));
    snprintf(rule, sizeof(rule), "%u:far:127.0.0.1:22", way.port);
    assert_int_equal(culvert_agent_add_forward(way.near, rule, NULL, NULL, why, sizeof(why)),
                     CULVERT_NO_PORT);
    assert_non_null(strstr(why, "in use"));
    assert_int_equal(culvert_agent_add_forward(way.near, rule, NULL, NULL, NULL, 0),
                     CULVERT_NO_PORT);
    culvert_agent_stop(way.near, 0);
    assert_int_equal(culvert_agent_wait(way.near, PATIENCE), CULVERT_OK);
    assert_int_equal(
        culvert_agent_add_forward(way.near, "0:far:127.0.0.1:22", NULL, NULL, why, sizeof(why)),
        CULVERT_STOPPED);
    assert_int_equal(culvert_agent_remove_forward(way.near, 1), CULVERT_STOPPED);
    assert_int_equal(culvert_agent_wait_registered(way.near, 0, why, sizeof(why)), CULVERT_STOPPED);
    close_way(&way);
}

static void test_stopping_lets_sessions_finish(void **state)
{
    struct way way;
    (void)state;
    open_way(&way);
    int client = connect_to(add_forward(&way, NULL));
    int target = accept(way.server, NULL, NULL);
    expect_bytes(client, target);
    culvert_gateway_stop(way.gateway, 3600);
    culvert_agent_stop(way.near, 3600);
    assert_int_equal(culvert_gateway_wait(way.gateway, 20), CULVERT_TIMED_OUT);
    assert_int_equal(culvert_agent_wait(way.near, 20), CULVERT_TIMED_OUT);
    expect_bytes(target, client);
    close(client);
    close(target);
    assert_int_equal(culvert_agent_wait(way.near, PATIENCE), CULVERT_OK);
    assert_int_equal(culvert_gateway_wait(way.gateway, PATIENCE), CULVERT_OK);
    assert_int_equal(culvert_gateway_wait(way.gateway, 0), CULVERT_OK);
    close_way(&way);
}

static void test_two_gateways_know_nothing_of_each_other(void **state)
{
    struct way one;
    struct way other;
    (void)state;
    open_way(&one);
    open_way(&other); /* the same names */
    close_way(&one);
    int client = connect_to(add_forward(&other, NULL));
    int target = accept(other.server, NULL, NULL);
    expect_bytes(client, target);
    close(client);
    close(target);
    close_way(&other);
}

/* ---- registering ---- */

static void test_an_agent_knows_whether_it_is_registered(void **state)
{
    struct culvert_gateway_options options = gateway_options();
    uint16_t port = 0;
    char url[64];
    char why[WHY_SIZE] = "";
    (void)state;
    int reserved = listen_on_loopback(&port);
    snprintf(url, sizeof(url), "ws://127.0.0.1:%u", port);
    close(reserved);
    struct culvert_agent_options agent_options = {
        .size = sizeof(agent_options), .url = url, .name = "early"};
    struct culvert_agent *agent = NULL;
    assert_int_equal(culvert_agent_start(&agent_options, &agent, NULL, 0), CULVERT_OK);
    assert_int_equal(culvert_agent_wait_registered(agent, 20, why, sizeof(why)), CULVERT_TIMED_OUT);
    assert_false(culvert_agent_is_registered(agent));

    const char *listens[] = {url + strlen("ws://")};
    options.listens = listens;
    struct culvert_gateway *gateway = start_gateway(&options);
    assert_int_equal(culvert_gateway_port(gateway, 0), port);
    assert_int_equal(culvert_agent_wait_registered(agent, -1, why, sizeof(why)), CULVERT_OK);
    assert_true(culvert_agent_is_registered(agent));
    culvert_agent_stop(agent, 0);
    assert_int_equal(culvert_agent_wait(agent, -1), CULVERT_OK);
    assert_false(culvert_agent_is_registered(agent));
    culvert_agent_free(agent);
    culvert_gateway_free(gateway);
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)status;
    (void)type;
    (void)place;
    return remove(path);
}

static void test_an_agent_that_is_refused_has_ended(void **state)
{
    char data[] = "/tmp/culvert-library-XXXXXX";
    char url[64];
    char why[WHY_SIZE] = "";
    (void)state;
    assert_non_null(mkdtemp(data));
    struct culvert_gateway_options options = gateway_options();
    options.open = false;
    options.data = data;
    struct culvert_gateway *gateway = start_gateway(&options);
    url_of(gateway, url);
    struct culvert_agent_options agent_options = {
        .size = sizeof(agent_options), .url = url, .name = "near", .key = "cvk_wrong"};
    struct culvert_agent *agent = NULL;
    assert_int_equal(culvert_agent_start(&agent_options, &agent, NULL, 0), CULVERT_OK);
    assert_int_equal(culvert_agent_wait_registered(agent, PATIENCE, why, sizeof(why)),
                     CULVERT_REFUSED);
    assert_non_null(strstr(why, "cannot register as near"));
    assert_int_equal(culvert_agent_wait(agent, PATIENCE), CULVERT_REFUSED);
    culvert_agent_free(agent);
    culvert_gateway_free(gateway);
    assert_int_equal(nftw(data, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

/* ---- what cannot be ---- */

static void expect_no_gateway(const struct culvert_gateway_options *options, int code,
                              const char *sentence)
{
    struct culvert_gateway *gateway = NULL;
    char why[WHY_SIZE] = "";
    assert_int_equal(culvert_gateway_start(options, &gateway, why, sizeof(why)), code);
    assert_null(gateway);
    if (strstr(why, sentence) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", sentence, why);
}

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
    options.lua_workers = 65;
    expect_no_gateway(&options, CULVERT_INVALID, "lua_workers");
    options.threads = 257;
    expect_no_gateway(&options, CULVERT_INVALID, "threads");
    close(holder);
}

static void expect_no_agent(const struct culvert_agent_options *options, int code,
                            const char *sentence)
{
    struct culvert_agent *agent = NULL;
    char why[WHY_SIZE] = "";
    assert_int_equal(culvert_agent_start(options, &agent, why, sizeof(why)), code);
    assert_null(agent);
    if (strstr(why, sentence) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", sentence, why);
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
    struct culvert_agent_options agent_options = {
        .size = sizeof(agent_options), .url = "ws://127.0.0.1:1", .name = "near"};
    bool is_done = false;
    (void)state;
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
        cmocka_unit_test(test_forwards_come_and_go),
        cmocka_unit_test(test_a_forward_that_cannot_be),
        cmocka_unit_test(test_stopping_lets_sessions_finish),
        cmocka_unit_test(test_two_gateways_know_nothing_of_each_other),
        cmocka_unit_test(test_an_agent_knows_whether_it_is_registered),
        cmocka_unit_test(test_an_agent_that_is_refused_has_ended),
        cmocka_unit_test(test_a_gateway_that_cannot_be),
        cmocka_unit_test(test_an_agent_that_cannot_be),
        cmocka_unit_test(test_options_may_be_shorter_and_longer),
        cmocka_unit_test(test_the_log_goes_where_it_is_wanted),
        cmocka_unit_test(test_signals_stay_the_programs),
        cmocka_unit_test(test_each_allocation_may_fail),
        cmocka_unit_test(test_codes_have_texts),
    };
    return cmocka_run_group_tests_name("library", tests, NULL, NULL);
}
