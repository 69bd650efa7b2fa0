#include "net/http_requests.h"

#include "base/error.h"
#include "net/address.h"
#include "net/test_http_server.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { BOUND_MILLISECONDS = 60000 };

struct fixture {
    struct account account;
    struct loop loop;
    struct loop_timer bound;
    struct test_http_server server;
    unsigned served;
    unsigned refused;
    const char *first_answer; /* with 407; NULL: none */
    const char *wanted;       /* what a request must hold, or it gets the 407 */
    char last[TEST_HTTP_HEAD + 1];
    size_t last_size;
    struct proxy proxy;
    struct http_requests *requests;
    struct http_request *request;
    unsigned done;
    int error;
    int status;
    int peer_family;
    char why[1024];
    char body[64];
};

/* On the server's threads. */
static bool handle(struct test_http_server *server, const struct test_http_request *request)
{
    struct fixture *f = server->holder;
    if (f->first_answer == NULL && f->wanted != NULL) { /* it is silent */
        while (!server->is_ending)
            pthread_cond_wait(&server->changed, &server->lock);
        return false;
    }
    if (f->wanted != NULL && strstr(request->head, f->wanted) == NULL) {
        f->refused++;
        test_http_answer(request, "407 no", f->first_answer, "<html>", 6);
        return true;
    }
    f->served++;
    memcpy(f->last, request->head, sizeof(f->last));
    f->last_size = request->body_size;
    test_http_answer(request, "200 OK", "X: y\r\n", "hello", 5);
    return true;
}

static void on_done(void *holder, const struct http_answer *answer)
{
    struct fixture *f = holder;
    struct slice_cursor cursor = {0};
    f->done++;
    f->error = answer->error;
    f->status = answer->status;
    f->peer_family = answer->peer.ss_family;
    snprintf(f->why, sizeof(f->why), "%s", answer->why != NULL ? answer->why : "");
    memset(f->body, 0, sizeof(f->body));
    if (answer->error == 0)
        slice_queue_read(answer->body, &cursor, f->body, sizeof(f->body) - 1);
    loop_stop(&f->loop);
}

static void on_bound(struct loop_timer *timer)
{
    (void)timer;
    fail_msg("nothing happened for too long");
}

static int set_up(void **state)
{
    static struct fixture fixture;
    memset(&fixture, 0, sizeof(fixture));
    account_init(&fixture.account, SIZE_MAX);
    assert_int_equal(loop_init(&fixture.loop, 0, &fixture.account), 0);
    loop_timer_init(&fixture.loop, &fixture.bound, on_bound, &fixture);
    loop_timer_start(&fixture.bound, BOUND_MILLISECONDS);
    test_http_start(&fixture.server, handle, &fixture);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    if (f->requests != NULL)
        http_requests_close(f->requests);
    loop_timer_close(&f->bound, NULL);
    loop_deinit(&f->loop);
    test_http_stop(&f->server);
    return f->account.used == 0 ? 0 : -1;
}

static void make(struct fixture *f, const char *url)
{
    struct http_target target = {.url = url, .proxy = &f->proxy};
    assert_int_equal(http_requests_new(&f->loop, &target, &f->requests), 0);
    assert_int_equal(http_request_new(f->requests, &f->request), 0);
}

/* A URL behind the server, which is the proxy. */
static void make_proxied(struct fixture *f, const char *url, enum proxy_kind kind,
                         const char *login)
{
    char why[256];
    f->proxy = (struct proxy){.kind = kind, .port = f->server.port};
    snprintf(f->proxy.host, sizeof(f->proxy.host), "127.0.0.1");
    if (login != NULL)
        assert_int_equal(proxy_parse_login(login, &f->proxy.login, why, sizeof(why)), 0);
    make(f, url);
}

static void post(struct fixture *f, const struct slice_queue *body, unsigned timeout,
                 unsigned patience)
{
    const char *const fields[] = {"A: b", "C: d"};
    struct http_post with = {
        .fields = fields,
        .field_count = 2,
        .body = body,
        .timeout = timeout,
        .patience = patience,
        .done = on_done,
        .holder = f,
    };
    unsigned before = f->done;
    assert_int_equal(http_request_post(f->request, &with), 0);
    assert_int_equal(f->done, before);
    loop_run(&f->loop);
    assert_int_equal(f->done, before + 1);
}

static void expect_failure(struct fixture *f, int error, const char *words)
{
    char whole[1024];
    snprintf(whole, sizeof(whole), "the proxy http://127.0.0.1:%u %s", f->server.port, words);
    assert_int_equal(f->error, error);
    assert_string_equal(f->why, whole);
}

static void fill(struct fixture *f, struct slice_queue *body, size_t size)
{
    static const char bytes[10 * 1000];
    for (size_t filled = 0; filled < size; filled += sizeof(bytes)) {
        struct slice slice;
        assert_int_equal(slice_copy(&f->loop.pool, bytes, sizeof(bytes), &slice), 0);
        assert_int_equal(slice_queue_push(body, slice), 0);
    }
}

static void test_direct(void **state)
{
    struct fixture *f = *state;
    struct slice_queue body = SLICE_QUEUE_NULL;
    char url[64];
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/a/../b?c", f->server.port);
    make(f, url);
    fill(f, &body, 200 * 1000);
    for (int i = 0; i < 3; i++) {
        post(f, i == 1 ? NULL : &body, 5000, 5000);
        assert_int_equal(f->error, 0);
        assert_int_equal(f->status, 200);
        assert_string_equal(f->body, "hello");
        assert_int_equal(f->peer_family, AF_INET);
        assert_int_equal(f->last_size, i == 1 ? 0 : 200 * 1000);
        assert_memory_equal(f->last, "POST /a/../b?c HTTP/1.1\r\n", 25);
        assert_non_null(strstr(f->last, "\r\nA: b\r\nC: d\r\n"));
        assert_non_null(strstr(f->last, "\r\nUser-Agent: culvert/"));
    }
    assert_int_equal(f->server.accepted, 1);
    slice_queue_deinit(&body);
}

static void test_timeouts(void **state)
{
    struct fixture *f = *state;
    char url[64];
    f->wanted = "nothing";
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/", f->server.port);
    make(f, url);
    post(f, NULL, 50, 0);
    assert_int_equal(f->error, CULVERT_ERROR_TIMED_OUT);
    assert_string_equal(f->why, "the server did not answer in time");
    post(f, NULL, 0, 50);
    assert_int_equal(f->error, CULVERT_ERROR_TIMED_OUT);
    assert_string_equal(f->why, "the server did not answer in time");
}

/* Through a proxy a plain request names the whole URL (RFC 9112 §3.2.2). */
static void test_proxied(void **state)
{
    struct fixture *f = *state;
    make_proxied(f, "http://gateway.example/a", PROXY_HTTP, NULL);
    post(f, NULL, 5000, 0);
    assert_int_equal(f->status, 200);
    assert_memory_equal(f->last, "POST http://gateway.example/a HTTP/1.1\r\n", 40);
    assert_non_null(strstr(f->last, "\r\nHost: gateway.example\r\n"));
    assert_int_equal(f->peer_family, AF_UNSPEC);
}

static void test_login(void **state)
{
    struct fixture *f = *state;
    struct slice_queue body = SLICE_QUEUE_NULL;
    f->wanted = "Proxy-Authorization: Basic Ym9iOnNlY3JldA==\r\n";
    f->first_answer = "Proxy-Authenticate: Negotiate\r\nProxy-Authenticate: Basic realm=x\r\n";
    make_proxied(f, "http://gateway.example/", PROXY_HTTP, "bob:secret");
    fill(f, &body, 30 * 1000);
    post(f, &body, 5000, 0);
    assert_int_equal(f->error, 0);
    assert_int_equal(f->last_size, 30 * 1000);
    unsigned refused = f->refused;
    assert_true(refused > 0);
    post(f, &body, 5000, 0);
    post(f, &body, 5000, 0);
    assert_int_equal(f->served, 3);
    assert_int_equal(f->refused, refused); /* it is not asked again what it wants */
    slice_queue_deinit(&body);
}

/* A proxy that wants a newer nonce after the third request, and reads no more on that connection.
 */
static bool handle_digest(struct test_http_server *server, const struct test_http_request *request)
{
    struct fixture *f = server->holder;
    bool is_new = strstr(request->head, "nonce=\"two\"") != NULL;
    if (!is_new && f->served == 3) {
        f->refused++;
        test_http_answer(request, "407 no",
                         "Proxy-Authenticate: Digest realm=x, nonce=\"two\", stale=true\r\n", NULL,
                         0);
        while (!server->is_ending)
            pthread_cond_wait(&server->changed, &server->lock);
        return false;
    }
    if (!is_new && strstr(request->head, "nonce=\"one\"") == NULL) {
        test_http_answer(request, "407 no", "Proxy-Authenticate: Digest realm=x, nonce=\"one\"\r\n",
                         NULL, 0);
        return true;
    }
    f->served++;
    f->last_size = request->body_size;
    test_http_answer(request, "200 OK", "", "hello", 5);
    return true;
}

static void test_stale_login(void **state)
{
    struct fixture *f = *state;
    struct slice_queue body = SLICE_QUEUE_NULL;
    f->server.handle = handle_digest;
    make_proxied(f, "http://gateway.example/", PROXY_HTTP, "bob:secret");
    post(f, NULL, 5000, 0);
    fill(f, &body, 30 * 1000);
    for (int i = 0; i < 4; i++) {
        post(f, &body, 5000, 0);
        assert_int_equal(f->error, 0);
        assert_int_equal(f->last_size, 30 * 1000);
    }
    assert_int_equal(f->served, 5);
    assert_int_equal(f->refused, 1);
    slice_queue_deinit(&body);
}

static void test_refused_login(void **state)
{
    struct fixture *f = *state;
    f->wanted = "nothing";
    f->first_answer = "Proxy-Authenticate: Basic realm=x\r\n";
    make_proxied(f, "http://gateway.example/", PROXY_HTTP, "bob:secret");
    post(f, NULL, 5000, 0);
    expect_failure(f, CULVERT_ERROR_REFUSED,
                   "does not accept the user \"bob\" with this password (407, by Basic); check "
                   "--proxy-user-file or what else names them");
    http_requests_close(f->requests);
    make_proxied(f, "https://gateway.example/", PROXY_HTTP, NULL);
    post(f, NULL, 5000, 0);
    expect_failure(f, CULVERT_ERROR_REFUSED,
                   "wants a user and a password (407, by Basic); give them with "
                   "--proxy-user-file");
}

static void test_proxy_that_is_not_there(void **state)
{
    struct fixture *f = *state;
    f->proxy = (struct proxy){.kind = PROXY_HTTP, .port = 1};
    snprintf(f->proxy.host, sizeof(f->proxy.host), "127.0.0.1");
    make(f, "http://gateway.example/");
    post(f, NULL, 5000, 0);
    assert_int_equal(f->error, -ECONNREFUSED);
    assert_string_equal(f->why, "the proxy http://127.0.0.1:1 cannot be reached: Connection "
                                "refused; check --proxy and that it runs");
}

/* A server that speaks no TLS. */
static void test_no_tls(void **state)
{
    struct fixture *f = *state;
    char url[64];
    snprintf(url, sizeof(url), "https://127.0.0.1:%u/", f->server.port);
    make(f, url);
    post(f, NULL, 5000, 5000);
    assert_int_equal(f->error, CULVERT_ERROR_TLS);
    assert_memory_equal(f->why, "TLS failed: ", 12);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_direct),
        TEST(test_timeouts),
        TEST(test_proxied),
        TEST(test_login),
        TEST(test_stale_login),
        TEST(test_refused_login),
        TEST(test_proxy_that_is_not_there),
        TEST(test_no_tls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
