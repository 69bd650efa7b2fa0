#include "library/test_handles.h"

#include <culvert/event.h>
#include <ftw.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENCE = 60 * 1000 }; /* milliseconds */

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
    unsigned refused;
    unsigned reloaded;
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
    seen->refused += strcmp(name, "session.refused") == 0;
    seen->reloaded +=
        strcmp(name, "policy.reloaded") == 0 && culvert_event_integer(event, "ok") == 1;
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

/* With the mutex held; bounded by the test run's own time-out. */
static void wait_for(struct seen *seen, const unsigned *counter, unsigned count)
{
    while (*counter < count)
        pthread_cond_wait(&seen->changed, &seen->mutex);
    assert_int_equal(*counter, count);
    assert_true(seen->is_sound);
}

static void expect_closed(struct seen *seen, unsigned count)
{
    pthread_mutex_lock(&seen->mutex);
    wait_for(seen, &seen->closed, count);
    assert_int_equal(seen->opened, count);
    assert_int_equal(seen->sent, 5);
    pthread_mutex_unlock(&seen->mutex);
}

static void expect_refused(struct seen *seen, unsigned count)
{
    pthread_mutex_lock(&seen->mutex);
    wait_for(seen, &seen->refused, count);
    pthread_mutex_unlock(&seen->mutex);
}

static void expect_reloaded(struct seen *seen, unsigned count)
{
    pthread_mutex_lock(&seen->mutex);
    wait_for(seen, &seen->reloaded, count);
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

static void open_way_with(struct way *way, const struct culvert_gateway_options *options)
{
    char url[64];
    char allowed[32];
    way->seen = SEEN_NULL;
    way->server = listen_on_loopback(&way->port);
    way->gateway = start_gateway(options);
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

static void open_way(struct way *way)
{
    struct culvert_gateway_options options = gateway_options();
    open_way_with(way, &options);
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
    expect_closed(&way.seen, 1);
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

/* ---- policy ---- */

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)status;
    (void)type;
    (void)place;
    return remove(path);
}

static void remove_directory(const char *path)
{
    assert_int_equal(nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

static void expect_refusal(struct way *way)
{
    char byte;
    int client = connect_to(add_forward(way, NULL));
    assert_int_equal(recv(client, &byte, 1, 0), -1);
    close(client);
}

static void test_a_file_of_rules_and_a_script_decide(void **state)
{
    char directory[] = "/tmp/culvert-library-XXXXXX";
    char acl[64];
    char script[64];
    struct way way;
    struct seen seen = SEEN_NULL;
    struct culvert_gateway_options options = gateway_options();
    (void)state;
    options.program = getenv("CULVERT");
    if (options.program == NULL)
        skip();
    assert_non_null(mkdtemp(directory));
    snprintf(acl, sizeof(acl), "%s/acl", directory);
    snprintf(script, sizeof(script), "%s/script.lua", directory);
    write_file(acl, "allow near -> far 127.0.0.1 1-65535\n");
    write_file(script, "function connect(request) return request:gatename() == 'far' end\n");
    options.grant = false;
    options.acl = acl;
    options.script = script;
    options.lua_workers = 1;
    options.on_event = see;
    options.event_context = &seen;
    open_way_with(&way, &options);
    int client = connect_to(add_forward(&way, NULL));
    int target = accept(way.server, NULL, NULL);
    expect_bytes(client, target);
    close(client);
    close(target);
    expect_closed(&seen, 1);

    write_file(script, "function connect(request) return false end\n");
    culvert_gateway_reload(way.gateway);
    expect_reloaded(&seen, 2); /* the rules as well */
    expect_refusal(&way);
    expect_refused(&seen, 1);
    close_way(&way);
    remove_directory(directory);
}

static void test_a_policy_that_cannot_be_read(void **state)
{
    struct culvert_gateway_options options = gateway_options();
    (void)state;
    options.acl = "/nowhere/acl";
    expect_no_gateway(&options, CULVERT_FAILED, "/nowhere/acl");
    options.acl = NULL;
    options.script = "/nowhere/script.lua";
    options.program = "/nowhere/culvert";
    expect_no_gateway(&options, CULVERT_FAILED, "/nowhere/");
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

static void test_an_agent_has_an_api_and_a_memory(void **state)
{
    char directory[] = "/tmp/culvert-library-XXXXXX";
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char api[80];
    char token[64];
    char kept[64];
    char why[WHY_SIZE] = "";
    (void)state;
    assert_non_null(mkdtemp(directory));
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/api", directory);
    snprintf(api, sizeof(api), "unix:%s/api", directory);
    snprintf(token, sizeof(token), "%s/token", directory);
    snprintf(kept, sizeof(kept), "%s/forwards.json", directory);
    write_file(token, "0123456789abcdef0123456789abcdef\n");
    assert_int_equal(chmod(token, S_IRUSR | S_IWUSR), 0);
    struct culvert_agent_options options = {.size = sizeof(options),
                                            .url = "ws://127.0.0.1:1",
                                            .name = "near",
                                            .api = api,
                                            .api_token_file = token,
                                            .state_file = kept};
    struct culvert_agent *agent = NULL;
    for (unsigned run = 0; run < 2; run++) {
        if (culvert_agent_start(&options, &agent, why, sizeof(why)) != CULVERT_OK)
            fail_msg("%s", why);
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
        close(fd);
        /* The second run finds the forward of the first. */
        assert_int_equal(culvert_agent_remove_forward(agent, 1),
                         run == 0 ? CULVERT_NOT_FOUND : CULVERT_OK);
        assert_int_equal(
            culvert_agent_add_forward(agent, "0:far:127.0.0.1:22", NULL, NULL, why, sizeof(why)),
            CULVERT_OK);
        culvert_agent_free(agent);
    }
    options.api = "nowhere";
    expect_no_agent(&options, CULVERT_FAILED, "nowhere");
    remove_directory(directory);
}

static void test_an_agent_knows_several_gateways(void **state)
{
    static const enum culvert_transport transports[] = {CULVERT_TRANSPORT_WEBSOCKET,
                                                        CULVERT_TRANSPORT_POLL};
    char url[64];
    (void)state;
    struct culvert_gateway_options options = gateway_options();
    options.handshakes_per_second = -1;
    struct culvert_gateway *gateway = start_gateway(&options);
    url_of(gateway, url);
    const char *more[] = {"poll+http://127.0.0.1:2", url};
    for (size_t i = 0; i < 2; i++) {
        struct culvert_agent_options agent_options = {.size = sizeof(agent_options),
                                                      .url = "ws://127.0.0.1:1",
                                                      .name = "near",
                                                      .more_urls = more + 1 - i,
                                                      .more_url_count = 1 + i,
                                                      .transport = transports[i]};
        culvert_agent_free(start_agent(&agent_options)); /* it has waited to be registered */
    }
    culvert_gateway_free(gateway);
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
    remove_directory(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forwards_come_and_go),
        cmocka_unit_test(test_a_forward_that_cannot_be),
        cmocka_unit_test(test_stopping_lets_sessions_finish),
        cmocka_unit_test(test_two_gateways_know_nothing_of_each_other),
        cmocka_unit_test(test_a_file_of_rules_and_a_script_decide),
        cmocka_unit_test(test_a_policy_that_cannot_be_read),
        cmocka_unit_test(test_an_agent_knows_whether_it_is_registered),
        cmocka_unit_test(test_an_agent_has_an_api_and_a_memory),
        cmocka_unit_test(test_an_agent_knows_several_gateways),
        cmocka_unit_test(test_an_agent_that_is_refused_has_ended),
    };
    return cmocka_run_group_tests_name("library", tests, NULL, NULL);
}
