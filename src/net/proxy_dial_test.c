#include "base/error.h"
#include "base/memory.h"
#include "net/address.h"
#include "net/dial.h"
#include "net/proxy_dial.h"

#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { BOUND_MILLISECONDS = 60000, REQUEST_SIZE = 2048 };

/* A proxy of one connection, on a thread of its own. */
struct fake {
    pthread_t thread;
    int listening;
    const char *answer; /* NULL: none, the connection stays open */
    int fd;             /* the connection, once the thread has ended; -1 if it was closed */
    bool closes;
    char request[REQUEST_SIZE];
};

struct fixture {
    struct account account;
    struct loop loop;
    struct loop_timer bound;
    struct loop_timer soon;
    struct fake fake;
    struct proxy proxy;
    struct dial *dial;
    unsigned done;
    int fd;
    int error;
    char why[1024];
};

static void *serve(void *argument)
{
    struct fake *fake = argument;
    size_t size = 0;
    fake->fd = accept(fake->listening, NULL, NULL);
    while (fake->fd >= 0 && size < REQUEST_SIZE - 1 && strstr(fake->request, "\r\n\r\n") == NULL) {
        ssize_t got = read(fake->fd, fake->request + size, REQUEST_SIZE - 1 - size);
        if (got <= 0)
            break;
        size += (size_t)got;
        fake->request[size] = '\0';
    }
    if (fake->answer != NULL)
        assert_true(write(fake->fd, fake->answer, strlen(fake->answer)) > 0);
    if (fake->closes) {
        close(fake->fd);
        fake->fd = -1;
    }
    return NULL;
}

static void start_fake(struct fixture *fixture, const char *answer, bool closes)
{
    fixture->fake.answer = answer;
    fixture->fake.closes = closes;
    memset(fixture->fake.request, 0, sizeof(fixture->fake.request));
    assert_int_equal(pthread_create(&fixture->fake.thread, NULL, serve, &fixture->fake), 0);
}

static void end_fake(struct fixture *fixture)
{
    assert_int_equal(pthread_join(fixture->fake.thread, NULL), 0);
    if (fixture->fake.fd >= 0)
        close(fixture->fake.fd);
    fixture->fake.fd = -1;
}

static void on_done(void *holder, int fd, int error)
{
    struct fixture *fixture = holder;
    fixture->done++;
    fixture->fd = fd;
    fixture->error = error;
    fixture->dial = NULL;
    loop_stop(&fixture->loop);
}

static int start(struct fixture *fixture, unsigned timeout)
{
    struct dial_request request = {
        .host = "gateway.example",
        .port = 443,
        .timeout = timeout,
        .done = on_done,
        .holder = fixture,
        .proxy = &fixture->proxy,
        .why = fixture->why,
        .why_size = sizeof(fixture->why),
    };
    fixture->fd = -1;
    fixture->why[0] = '\0';
    return dial_start(&fixture->loop, &request, &fixture->dial);
}

static void dial(struct fixture *fixture, unsigned timeout)
{
    unsigned before = fixture->done;
    assert_int_equal(start(fixture, timeout), 0);
    assert_int_equal(fixture->done, before);
    loop_run(&fixture->loop);
    assert_int_equal(fixture->done, before + 1);
}

static void expect_failure(struct fixture *fixture, int error, const char *words)
{
    char whole[1024];
    snprintf(whole, sizeof(whole), "the proxy http://127.0.0.1:%u %s", fixture->proxy.port, words);
    assert_int_equal(fixture->fd, -1);
    assert_int_equal(fixture->error, error);
    assert_string_equal(fixture->why, whole);
}

static void on_bound(struct loop_timer *timer)
{
    (void)timer;
    fail_msg("nothing happened for too long");
}

static void on_soon(struct loop_timer *timer)
{
    struct fixture *fixture = timer->holder;
    if (fixture->dial != NULL)
        dial_cancel(fixture->dial);
    fixture->dial = NULL;
    loop_stop(&fixture->loop);
}

static int set_up(void **state)
{
    static struct fixture fixture;
    struct sockaddr_storage address;
    socklen_t size = sizeof(address);

    memset(&fixture, 0, sizeof(fixture));
    account_init(&fixture.account, SIZE_MAX);
    assert_int_equal(loop_init(&fixture.loop, 0, &fixture.account), 0);
    loop_timer_init(&fixture.loop, &fixture.bound, on_bound, &fixture);
    loop_timer_init(&fixture.loop, &fixture.soon, on_soon, &fixture);
    loop_timer_start(&fixture.bound, BOUND_MILLISECONDS);
    fixture.fake.fd = -1;
    fixture.fake.listening = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(address_parse("127.0.0.1", 0, &address), 0);
    assert_int_equal(
        bind(fixture.fake.listening, (struct sockaddr *)&address, address_size(&address)), 0);
    assert_int_equal(listen(fixture.fake.listening, 8), 0);
    assert_int_equal(getsockname(fixture.fake.listening, (struct sockaddr *)&address, &size), 0);
    fixture.proxy = (struct proxy){.kind = PROXY_HTTP, .port = address_port(&address)};
    snprintf(fixture.proxy.host, sizeof(fixture.proxy.host), "127.0.0.1");
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    close(fixture->fake.listening);
    loop_timer_close(&fixture->bound, NULL);
    loop_timer_close(&fixture->soon, NULL);
    loop_deinit(&fixture->loop);
    return 0;
}

static void give_login(struct fixture *fixture, const char *login)
{
    char why[256];
    assert_int_equal(proxy_parse_login(login, &fixture->proxy.login, why, sizeof(why)), 0);
}

/* The descriptor is the target's: what the proxy sends behind its head is not lost. */
static void test_a_tunnel(void **state)
{
    struct fixture *fixture = *state;
    char bytes[16] = "";
    start_fake(fixture, "HTTP/1.1 200 ok\r\nX: y\r\n\r\nhello", false);
    dial(fixture, 5000);
    assert_int_equal(fixture->error, 0);
    assert_string_equal(fixture->why, "");
    pthread_join(fixture->fake.thread, NULL);
    assert_memory_equal(fixture->fake.request, "CONNECT gateway.example:443 HTTP/1.1\r\n", 38);
    assert_null(strstr(fixture->fake.request, "Authorization"));
    assert_int_equal(read(fixture->fd, bytes, sizeof(bytes)), 5);
    assert_string_equal(bytes, "hello");
    assert_int_equal(write(fixture->fd, "there", 5), 5);
    assert_int_equal(read(fixture->fake.fd, bytes, sizeof(bytes)), 5);
    assert_string_equal(bytes, "there");
    close(fixture->fake.fd);
    assert_int_equal(read(fixture->fd, bytes, sizeof(bytes)), 0);
    close(fixture->fd);
}

static void test_refusals(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        const char *answer;
        int error;
        const char *words;
    } cases[] = {
        {"HTTP/1.1 407 x\r\nContent-Length: 0\r\n\r\n", CULVERT_ERROR_REFUSED,
         "wants a user and a password (407); give them with --proxy-user-file"},
        {"HTTP/1.1 407 x\r\nProxy-Authenticate: Basic realm=a\r\nProxy-Authenticate: Digest "
         "realm=a, nonce=b\r\nContent-Length: 0\r\n\r\n",
         CULVERT_ERROR_REFUSED,
         "wants a user and a password (407, by Basic or Digest); give them with "
         "--proxy-user-file"},
        {"HTTP/1.0 403 x\r\n\r\n", CULVERT_ERROR_UNSUPPORTED,
         "forbids connections to that host and port (403); ask who runs it to allow CONNECT there, "
         "or use a gateway on port 443"},
        {"HTTP/1.0 502 x\r\n\r\nno route", CULVERT_ERROR_CLOSED,
         "cannot reach the gateway (502); check the gateway's name and port, and that it runs"},
        {"HTTP/1.0 400 x\r\n\r\n", CULVERT_ERROR_UNSUPPORTED,
         "answered CONNECT with the status 400; check that --proxy names a proxy that allows it"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        start_fake(fixture, cases[i].answer, true);
        dial(fixture, 5000);
        expect_failure(fixture, cases[i].error, cases[i].words);
        end_fake(fixture);
    }
}

static void test_a_login_that_is_refused(void **state)
{
    struct fixture *fixture = *state;
    give_login(fixture, "bob:secret");
    start_fake(fixture, "HTTP/1.0 401 x\r\n\r\n", true);
    dial(fixture, 5000);
    expect_failure(fixture, CULVERT_ERROR_REFUSED,
                   "does not accept the user \"bob\" with this password (401); check "
                   "--proxy-user-file or what else names them");
    end_fake(fixture);
    give_login(fixture, ":");
    start_fake(fixture, "HTTP/1.0 401 x\r\n\r\n", true);
    dial(fixture, 5000);
    expect_failure(fixture, CULVERT_ERROR_REFUSED,
                   "does not accept who this process is logged in as (401); look at klist, or give "
                   "a user and a password with --proxy-user-file");
    end_fake(fixture);
}

static void test_no_answer(void **state)
{
    struct fixture *fixture = *state;
    start_fake(fixture, NULL, true);
    dial(fixture, 5000);
    expect_failure(fixture, CULVERT_ERROR_CLOSED,
                   "closed the connection without an answer; check --proxy: its scheme and port");
    end_fake(fixture);
    start_fake(fixture, NULL, false);
    dial(fixture, 50);
    expect_failure(fixture, CULVERT_ERROR_TIMED_OUT,
                   "did not answer in time; check --proxy, or try again later");
    end_fake(fixture);
    start_fake(fixture, "HTTP/1.0 2", false);
    dial(fixture, 50);
    assert_int_equal(fixture->error, CULVERT_ERROR_TIMED_OUT);
    end_fake(fixture);
}

static void test_cancel(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(start(fixture, 5000), 0);
    dial_cancel(fixture->dial);
    snprintf(fixture->proxy.host, sizeof(fixture->proxy.host), "no-such-name.invalid");
    assert_int_equal(start(fixture, 5000), 0);
    loop_timer_start(&fixture->soon, 5);
    loop_run(&fixture->loop);
    unsigned before = fixture->done; /* some resolvers are quick */
    snprintf(fixture->proxy.host, sizeof(fixture->proxy.host), "127.0.0.1");
    start_fake(fixture, NULL, false);
    assert_int_equal(start(fixture, 5000), 0);
    loop_timer_start(&fixture->soon, 20);
    loop_run(&fixture->loop);
    assert_null(fixture->dial);
    assert_int_equal(fixture->done, before);
    end_fake(fixture);
}

static void test_no_memory(void **state)
{
    struct fixture *fixture = *state;
    for (size_t n = 1; n <= 3; n++) {
        memory_fail_after(n);
        assert_int_equal(start(fixture, 1000), CULVERT_ERROR_NO_MEMORY);
        assert_false(memory_fail_is_pending());
    }
    memory_fail_after(4); /* of the socket that is watched */
    assert_int_equal(start(fixture, 1000), 0);
    loop_run(&fixture->loop);
    assert_false(memory_fail_is_pending());
    assert_int_equal(fixture->done, 1);
    assert_int_equal(fixture->fd, -1);
    assert_true(fixture->error != 0);
}

static void test_no_proxy_at_all(void **state)
{
    struct fixture *fixture = *state;
    struct dial_request request = {
        .host = "127.0.0.1",
        .port = fixture->proxy.port,
        .timeout = 1000,
        .done = on_done,
        .holder = fixture,
        .proxy = &fixture->proxy,
    };
    fixture->proxy.kind = PROXY_NONE;
    assert_int_equal(dial_start(&fixture->loop, &request, &fixture->dial), 0);
    loop_run(&fixture->loop);
    assert_int_equal(fixture->error, 0);
    close(fixture->fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_tunnel, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refusals, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_login_that_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_answer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cancel, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_memory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_proxy_at_all, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
