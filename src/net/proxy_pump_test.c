#include "base/error.h"
#include "base/memory.h"
#include "net/address.h"
#include "net/proxy_pump.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { BOUND_MILLISECONDS = 60000, LARGE = 64 * 1024 * 1024, PIECE = 64 * 1024 };

/* libcurl connected to a peer of ours, as it is to a proxy, but without TLS. */
struct fixture {
    struct account account;
    struct loop loop;
    struct loop_timer look;
    unsigned looks;
    const struct curl_library *curl;
    CURLM *multi;
    CURL *easy;
    int peer; /* where the proxy is */
    int fd;   /* what the pump has given */
    int from;
    int to;
    size_t sent;
    size_t received;
    size_t limit; /* of what is received */
};

static void transfer(struct fixture *fixture)
{
    static uint8_t bytes[PIECE];
    while (fixture->sent < LARGE) {
        for (size_t i = 0; i < PIECE; i++)
            bytes[i] = (uint8_t)((fixture->sent + i) * 7 >> 3);
        size_t left = LARGE - fixture->sent;
        ssize_t sent = send(fixture->from, bytes, left < PIECE ? left : PIECE, MSG_DONTWAIT);
        if (sent <= 0)
            break;
        fixture->sent += (size_t)sent;
    }
    while (fixture->received < fixture->limit) {
        ssize_t got = recv(fixture->to, bytes, PIECE, MSG_DONTWAIT);
        if (got <= 0)
            break;
        for (size_t i = 0; i < (size_t)got; i++)
            assert_int_equal(bytes[i], (uint8_t)((fixture->received + i) * 7 >> 3));
        fixture->received += (size_t)got;
    }
}

/* Every millisecond: moves what can be moved, and ends when all has come. */
static void look(struct loop_timer *timer)
{
    struct fixture *fixture = timer->holder;
    size_t before = fixture->sent + fixture->received;
    transfer(fixture);
    fixture->looks = before == fixture->sent + fixture->received ? fixture->looks + 1 : 0;
    if (fixture->received == LARGE || fixture->looks == 100)
        loop_stop(&fixture->loop);
    else
        loop_timer_start(timer, 1);
}

static void run(struct fixture *fixture)
{
    fixture->looks = 0;
    loop_timer_start(&fixture->look, 1);
    loop_run(&fixture->loop);
}

static void connect_easy(struct fixture *fixture)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof(address);
    char url[64];
    int running = 1;
    int listening = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(address_parse("127.0.0.1", 0, &address), 0);
    assert_int_equal(bind(listening, (struct sockaddr *)&address, address_size(&address)), 0);
    assert_int_equal(listen(listening, 1), 0);
    assert_int_equal(getsockname(listening, (struct sockaddr *)&address, &size), 0);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/", address_port(&address));
    fixture->multi = fixture->curl->multi_init();
    fixture->easy = fixture->curl->easy_init();
    fixture->curl->easy_setopt(fixture->easy, CURLOPT_URL, url);
    fixture->curl->easy_setopt(fixture->easy, CURLOPT_CONNECT_ONLY, 1L);
    fixture->curl->easy_setopt(fixture->easy, CURLOPT_PROXY, "");
    fixture->curl->multi_add_handle(fixture->multi, fixture->easy);
    while (running > 0) {
        assert_int_equal(fixture->curl->multi_perform(fixture->multi, &running), CURLM_OK);
        fixture->curl->multi_poll(fixture->multi, NULL, 0, running > 0 ? 100 : 0, NULL);
    }
    fixture->peer = accept(listening, NULL, NULL);
    assert_true(fixture->peer >= 0);
    close(listening);
}

static int start(struct fixture *fixture)
{
    return proxy_pump_start(&fixture->loop, fixture->curl, fixture->multi, fixture->easy,
                            &fixture->fd);
}

static int set_up(void **state)
{
    static struct fixture fixture;
    memset(&fixture, 0, sizeof(fixture));
    account_init(&fixture.account, SIZE_MAX);
    assert_int_equal(loop_init(&fixture.loop, 0, &fixture.account), 0);
    loop_timer_init(&fixture.loop, &fixture.look, look, &fixture);
    fixture.curl = curl_library();
    assert_non_null(fixture.curl);
    fixture.limit = LARGE;
    connect_easy(&fixture);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    loop_timer_close(&fixture->look, NULL);
    loop_deinit(&fixture->loop);
    if (fixture->peer >= 0)
        close(fixture->peer);
    if (fixture->fd >= 0)
        close(fixture->fd);
    return 0;
}

static void check_transfer(struct fixture *fixture, int from, int to)
{
    fixture->from = from;
    fixture->to = to;
    fixture->sent = fixture->received = 0;
    run(fixture);
    assert_int_equal(fixture->received, LARGE);
}

static void test_both_ways(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(start(fixture), 0);
    check_transfer(fixture, fixture->fd, fixture->peer);
    check_transfer(fixture, fixture->peer, fixture->fd);
}

/* Who does not read stops who writes. */
static void check_pressure(struct fixture *fixture, int from, int to)
{
    int small = 256 * 1024;
    setsockopt(from, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    setsockopt(to, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    fixture->from = from;
    fixture->to = to;
    fixture->limit = 0;
    run(fixture);
    assert_true(fixture->sent < LARGE);
    fixture->limit = LARGE;
    run(fixture);
    assert_int_equal(fixture->received, LARGE);
}

static void test_pressure_up(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(start(fixture), 0);
    check_pressure(fixture, fixture->fd, fixture->peer);
}

static void test_pressure_down(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(start(fixture), 0);
    check_pressure(fixture, fixture->peer, fixture->fd);
}

/* What came before the end arrives, then the end. */
static void check_end(struct fixture *fixture, int *from, int to)
{
    char bytes[16] = "";
    assert_int_equal(send(*from, "hello", 5, 0), 5);
    close(*from);
    *from = -1;
    fixture->from = fixture->to = -1;
    run(fixture);
    assert_int_equal(recv(to, bytes, sizeof(bytes), MSG_DONTWAIT), 5);
    assert_string_equal(bytes, "hello");
    assert_int_equal(recv(to, bytes, sizeof(bytes), MSG_DONTWAIT), 0);
}

static void test_the_near_end(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(start(fixture), 0);
    check_end(fixture, &fixture->fd, fixture->peer);
}

static void test_the_far_end(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(start(fixture), 0);
    check_end(fixture, &fixture->peer, fixture->fd);
}

static void test_a_far_reset(void **state)
{
    struct fixture *fixture = *state;
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    char byte;
    assert_int_equal(start(fixture), 0);
    setsockopt(fixture->peer, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(fixture->peer);
    fixture->peer = fixture->from = fixture->to = -1;
    run(fixture);
    assert_int_equal(recv(fixture->fd, &byte, 1, MSG_DONTWAIT), 0);
}

static void test_the_end_of_the_loop(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(start(fixture), 0); /* tear_down asserts that nothing is left */
}

static void test_no_memory(void **state)
{
    struct fixture *fixture = *state;
    memory_fail_after(1);
    assert_int_equal(start(fixture), CULVERT_ERROR_NO_MEMORY);
    assert_false(memory_fail_is_pending());
    assert_int_equal(start(fixture), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_both_ways, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pressure_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pressure_down, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_near_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_far_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_far_reset, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_end_of_the_loop, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_memory, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
