#include "agent/approach.h"

#include "base/error.h"
#include "base/memory.h"
#include "codec/websocket.h"
#include "net/address.h"
#include "net/test_http_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define NONCE      "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
#define NATIVE     "Sec-WebSocket-Protocol: culvert.1\r\nCulvert-Nonce: " NONCE "\r\n"
#define POLL_FIELD "Culvert-Poll: 00112233445566778899aabbccddeeff\r\n"

enum { BOUND = 60 * 1000 };

/* A server on threads of its own, and one approach at a time. */
struct fixture {
    struct test_http_server server;
    const char *text;   /* that the server writes; or NULL */
    const char *fields; /* of the 101 that it answers an upgrade with; or NULL */
    struct account account;
    struct loop loop;
    struct loop_timer bound;
    struct url url;
    struct agent_config config;
    struct gateway_denial denial;
    struct approach *approach;
    struct approach_result result;
    char why[1024];
    unsigned done;
    enum ladder_rung rung;
    bool may_speak_hubble;
};

static bool handle(struct test_http_server *server, const struct test_http_request *request)
{
    struct fixture *f = server->holder;
    char key[256];
    char accept[WEBSOCKET_ACCEPT_SIZE + 1];
    char answer[1024];
    test_http_field(request, "Sec-WebSocket-Key", key);
    if (f->fields != NULL && key[0] != '\0') {
        websocket_accept_value(key, strlen(key), accept);
        snprintf(answer, sizeof(answer),
                 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 "Sec-WebSocket-Accept: %s\r\n%s\r\n",
                 accept, f->fields);
        test_http_write(request, answer);
        return true;
    }
    if (f->text != NULL)
        test_http_write(request, f->text);
    return f->text != NULL && strstr(f->text, "Content-Length: 0") != NULL;
}

/* The server's threads look at these with its lock held. */
static void answer_with_text(struct fixture *f, const char *text)
{
    pthread_mutex_lock(&f->server.lock);
    f->text = text;
    pthread_mutex_unlock(&f->server.lock);
}

static void upgrade_with(struct fixture *f, const char *fields)
{
    pthread_mutex_lock(&f->server.lock);
    f->fields = fields;
    pthread_mutex_unlock(&f->server.lock);
}

static void out_of_time(struct loop_timer *timer)
{
    (void)timer;
    fail_msg("the approach did not end");
}

static int set_up(void **state)
{
    static struct fixture fixture;
    struct fixture *f = &fixture;
    char text[64];
    *f = (struct fixture){.rung = LADDER_WEBSOCKET};
    test_http_start(&f->server, handle, f);
    account_init(&f->account, SIZE_MAX);
    assert_int_equal(loop_init(&f->loop, 0, &f->account), 0);
    assert_int_equal(loop_timer_init(&f->loop, &f->bound, out_of_time, f), 0);
    snprintf(text, sizeof(text), "ws://127.0.0.1:%u", f->server.port);
    assert_int_equal(url_parse(text, &f->url, f->why, sizeof(f->why)), 0);
    f->config = (struct agent_config){.urls = &f->url, .url_count = 1};
    whitelist_init(&f->config.whitelist);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    gateway_denial_cancel(&f->denial);
    loop_timer_close(&f->bound, NULL);
    loop_deinit(&f->loop);
    whitelist_deinit(&f->config.whitelist);
    test_http_stop(&f->server);
    return 0;
}

static void done(void *holder, const struct approach_result *result)
{
    struct fixture *f = holder;
    f->approach = NULL;
    f->done++;
    f->result = *result;
    f->why[0] = '\0';
    if (result->why != NULL)
        snprintf(f->why, sizeof(f->why), "%s", result->why);
    if (result->carrier != NULL)
        carrier_close(result->carrier, 0, NULL);
    loop_stop(&f->loop);
}

static int begin(struct fixture *f)
{
    struct approach_request request = {
        .url = &f->url,
        .config = &f->config,
        .denial = &f->denial,
        .rung = f->rung,
        .may_speak_hubble = f->may_speak_hubble,
        .dial_time = BOUND,
        .answer_time = BOUND,
        .done = done,
        .holder = f,
    };
    return approach_start(&f->loop, &request, &f->approach, f->why, sizeof(f->why));
}

static void run(struct fixture *f)
{
    unsigned before = f->done;
    loop_timer_start(&f->bound, BOUND);
    assert_int_equal(loop_run(&f->loop), 0);
    loop_timer_stop(&f->bound);
    assert_int_equal(f->done, before + 1);
}

static void attempt(struct fixture *f)
{
    assert_int_equal(begin(f), 0);
    run(f);
}

static void expect_failure(struct fixture *f, enum approach_failure failure, const char *word)
{
    attempt(f);
    assert_null(f->result.carrier);
    assert_int_equal(f->result.failure, failure);
    assert_non_null(strstr(f->why, word));
}

static void test_native(void **state)
{
    struct fixture *f = *state;
    upgrade_with(f, NATIVE);
    attempt(f);
    assert_non_null(f->result.carrier);
    assert_true(f->result.is_native);
    assert_int_equal(f->result.nonce[0], 0x0f);
    assert_int_equal(f->result.nonce[15], 0xf0);
}

static void test_other_dialects(void **state)
{
    struct fixture *f = *state;
    upgrade_with(f, "");
    expect_failure(f, APPROACH_PROTOCOL, "speaks WebSocket but not culvert.1");
    f->may_speak_hubble = true;
    attempt(f);
    assert_non_null(f->result.carrier);
    assert_false(f->result.is_native);
}

static void test_servers_that_are_none(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *text;
        enum approach_failure failure;
        const char *word;
    } cases[] = {
        {NULL, APPROACH_NOT_PASSED, "closed"},
        {"HTTP/1.1 404 Not Found\r\nServer: nginx\r\n\r\n", APPROACH_NOT_PASSED,
         "HTTP 404 Not Found, Server: nginx"},
        {"HTTP/1.1 101 Switching Protocols\r\n\r\n", APPROACH_NOT_PASSED, "not valid"},
        {"SSH-2.0-OpenSSH_9.2\r\n\r\n", APPROACH_PROTOCOL,
         "does not answer in HTTP but with \"SSH-2.0-OpenSSH_9.2\""},
        {"\x1b[31m\"220 ready\"\r\n", APPROACH_PROTOCOL, "with \"?[31m?220 ready?\""},
        {"220 a line that is longer than what is shown of it to anybody\r\n", APPROACH_PROTOCOL,
         "with \"220 a line that is longer than what is shown of\""},
        {"\x15\x03\x01\x02\x02\x16", APPROACH_PROTOCOL,
         "the server answers in TLS; does the server expect TLS (wss://)?"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        answer_with_text(f, cases[i].text);
        expect_failure(f, cases[i].failure, cases[i].word);
    }
}

static void test_busy(void **state)
{
    struct fixture *f = *state;
    answer_with_text(f, "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n");
    for (int i = 0; i < 2; i++) {
        f->rung = i == 0 ? LADDER_WEBSOCKET : LADDER_POLL;
        expect_failure(f, APPROACH_BUSY, "wants us back after 7 s");
        assert_int_equal(f->result.retry_after, 7);
    }
}

static void test_nobody_there(void **state)
{
    struct fixture *f = *state;
    f->url.port = 1;
    for (int i = 0; i < 2; i++) {
        f->rung = i == 0 ? LADDER_WEBSOCKET : LADDER_POLL;
        expect_failure(f, APPROACH_UNREACHABLE, "Connection refused");
    }
}

static void test_long_poll(void **state)
{
    struct fixture *f = *state;
    f->rung = LADDER_POLL;
    f->text =
        "HTTP/1.1 200 OK\r\n" POLL_FIELD "Culvert-Nonce: " NONCE "\r\nContent-Length: 0\r\n\r\n";
    attempt(f);
    assert_non_null(f->result.carrier);
    assert_true(f->result.is_native);
    assert_int_equal(f->result.nonce[0], 0x0f);
    answer_with_text(f, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    expect_failure(f, APPROACH_NOT_PASSED, "HTTP 404 Not Found");
}

/* The gateway's own listener is not dialled for anyone. */
static void test_the_gateway_is_denied(void **state)
{
    struct fixture *f = *state;
    answer_with_text(f, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    struct sockaddr_storage address;
    assert_int_equal(address_parse("127.0.0.1", f->url.port, &address), 0);
    assert_int_equal(whitelist_add(&f->config.whitelist, "*", f->why, sizeof(f->why)), 0);
    assert_true(whitelist_allows(&f->config.whitelist, "127.0.0.1", &address));
    attempt(f);
    assert_false(whitelist_allows(&f->config.whitelist, "127.0.0.1", &address));
}

static void test_cancel(void **state)
{
    struct fixture *f = *state;
    upgrade_with(f, NATIVE);
    for (int i = 0; i < 2; i++) {
        f->rung = i == 0 ? LADDER_WEBSOCKET : LADDER_POLL;
        assert_int_equal(begin(f), 0);
        approach_cancel(f->approach);
    }
    approach_cancel(NULL);
    f->rung = LADDER_WEBSOCKET;
    attempt(f); /* the loop has run on, and those that were cancelled have told nothing */
}

static void test_no_memory(void **state)
{
    struct fixture *f = *state;
    upgrade_with(f, NATIVE);
    f->text =
        "HTTP/1.1 200 OK\r\n" POLL_FIELD "Culvert-Nonce: " NONCE "\r\nContent-Length: 0\r\n\r\n";
    for (int i = 0; i < 2; i++) {
        bool is_pending = false;
        unsigned failed = 0;
        f->rung = i == 0 ? LADDER_WEBSOCKET : LADDER_POLL;
        for (size_t n = 1; !is_pending; n++) {
            memory_fail_after(n);
            int error = begin(f);
            if (error == 0)
                run(f);
            else
                assert_true(f->why[0] != '\0');
            is_pending = memory_fail_is_pending();
            memory_fail_after(0);
            failed += error != 0 || f->result.carrier == NULL;
        }
        assert_in_range(failed, 4, 60);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_native),
        TEST(test_other_dialects),
        TEST(test_servers_that_are_none),
        TEST(test_busy),
        TEST(test_nobody_there),
        TEST(test_long_poll),
        TEST(test_the_gateway_is_denied),
        TEST(test_cancel),
        TEST(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
