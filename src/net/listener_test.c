#include "base/error.h"
#include "net/address.h"
#include "net/conn.h"
#include "net/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { CLIENTS = 20, BOUND_MILLISECONDS = 60000 };

struct fixture {
    struct account account;
    struct loop loop;
    struct listener *listener;
    struct loop_timer timer;
    struct loop_timer bound;
    uv_prepare_t turn_counter;
    unsigned turns;
    unsigned accepted;
    unsigned stop_at;
    bool closes_at_stop;
    int fds[CLIENTS];
};

static void on_accepted(struct listener *listener, int fd)
{
    struct fixture *fixture = listener_holder(listener);

    assert_true(fixture->accepted < CLIENTS);
    fixture->fds[fixture->accepted++] = fd;
    if (fixture->accepted != fixture->stop_at)
        return;
    loop_stop(&fixture->loop);
    if (fixture->closes_at_stop) {
        listener_close(listener);
        fixture->listener = NULL;
    }
}

static const struct listener_events events = {on_accepted};

static struct sockaddr_storage address_of(const char *host, uint16_t port)
{
    struct sockaddr_storage address;
    assert_int_equal(address_parse(host, port, &address), 0);
    return address;
}

static int listen_on(struct fixture *fixture, const char *host, uint16_t port,
                     const struct listener_options *options, struct listener **listener)
{
    struct sockaddr_storage address = address_of(host, port);
    return listener_new(&fixture->loop, (struct sockaddr *)&address, address_size(&address),
                        options, &events, fixture, listener);
}

static int connect_to(const char *host, uint16_t port)
{
    struct sockaddr_storage address = address_of(host, port);
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    if (connect(fd, (struct sockaddr *)&address, address_size(&address)) != 0) {
        close(fd);
        return -errno;
    }
    return fd;
}

static void on_bound(struct loop_timer *timer)
{
    (void)timer;
    fail_msg("nothing happened for too long");
}

static void on_time(struct loop_timer *timer)
{
    struct fixture *fixture = timer->holder;
    loop_stop(&fixture->loop);
}

static void count_turn(uv_prepare_t *prepare)
{
    struct fixture *fixture = prepare->data;
    fixture->turns++;
}

static unsigned run_for(struct fixture *fixture, unsigned milliseconds)
{
    unsigned before = fixture->turns;

    loop_timer_start(&fixture->timer, milliseconds);
    loop_run(&fixture->loop);
    loop_timer_stop(&fixture->timer);
    return fixture->turns - before;
}

static int set_up(void **state)
{
    static struct fixture fixture;

    memset(&fixture, 0, sizeof(fixture));
    account_init(&fixture.account, SIZE_MAX);
    assert_int_equal(loop_init(&fixture.loop, 0, &fixture.account), 0);
    loop_timer_init(&fixture.loop, &fixture.timer, on_time, &fixture);
    loop_timer_init(&fixture.loop, &fixture.bound, on_bound, &fixture);
    loop_timer_start(&fixture.bound, BOUND_MILLISECONDS);
    uv_prepare_init(&fixture.loop.uv, &fixture.turn_counter);
    fixture.turn_counter.data = &fixture;
    uv_prepare_start(&fixture.turn_counter, count_turn);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    if (fixture->listener != NULL)
        listener_close(fixture->listener);
    for (unsigned i = 0; i < fixture->accepted; i++)
        close(fixture->fds[i]);
    loop_timer_close(&fixture->timer, NULL);
    loop_timer_close(&fixture->bound, NULL);
    uv_close((uv_handle_t *)&fixture->turn_counter, NULL);
    loop_deinit(&fixture->loop);
    return 0;
}

static void test_accepts_when_told_to(void **state)
{
    struct fixture *fixture = *state;
    int clients[CLIENTS];

    assert_int_equal(listen_on(fixture, "127.0.0.1", 0, NULL, &fixture->listener), 0);
    uint16_t port = listener_port(fixture->listener);
    for (size_t i = 0; i < CLIENTS; i++) {
        clients[i] = connect_to("127.0.0.1", port);
        assert_true(clients[i] >= 0);
    }
    assert_true(run_for(fixture, 20) < 10);
    assert_int_equal(fixture->accepted, 0);

    listener_accept(fixture->listener, true);
    fixture->stop_at = CLIENTS;
    loop_run(&fixture->loop);
    assert_int_equal(fixture->accepted, CLIENTS);
    for (size_t i = 0; i < CLIENTS; i++)
        close(clients[i]);
}

static void test_closes_while_accepting(void **state)
{
    struct fixture *fixture = *state;
    int clients[4];

    assert_int_equal(listen_on(fixture, "::1", 0, NULL, &fixture->listener), 0);
    uint16_t port = listener_port(fixture->listener);
    for (size_t i = 0; i < 4; i++)
        clients[i] = connect_to("::1", port);
    fixture->stop_at = 2;
    fixture->closes_at_stop = true;
    listener_accept(fixture->listener, true);
    loop_run(&fixture->loop);
    assert_int_equal(fixture->accepted, 2);
    assert_int_equal(connect_to("::1", port), -ECONNREFUSED);
    for (size_t i = 0; i < 4; i++)
        close(clients[i]);
}

static void test_port_in_use(void **state)
{
    struct fixture *fixture = *state;
    const struct listener_options shared = {.reuse_port = true};
    const struct listener_options probing = {.reuse_port = true, .probe = true};
    struct listener *second = NULL;

    assert_int_equal(listen_on(fixture, "127.0.0.1", 0, &probing, &fixture->listener), 0);
    uint16_t port = listener_port(fixture->listener);
    assert_true(port != 0);
    assert_int_equal(listen_on(fixture, "127.0.0.1", port, NULL, &second), -EADDRINUSE);
    assert_int_equal(listen_on(fixture, "127.0.0.1", port, &probing, &second), -EADDRINUSE);
    assert_null(second);
    /* Without the probe several share it. */
    assert_int_equal(listen_on(fixture, "127.0.0.1", port, &shared, &second), 0);
    assert_int_equal(listener_port(second), port);
    listener_close(second);
}

static void test_ipv6_is_apart_unless_dual(void **state)
{
    struct fixture *fixture = *state;
    const struct listener_options dual = {.dual = true};
    struct listener *second = NULL;
    char text[64];
    char expected[64];

    assert_int_equal(listen_on(fixture, "::", 0, &dual, &fixture->listener), 0);
    uint16_t port = listener_port(fixture->listener);
    listener_text(fixture->listener, text, sizeof(text));
    snprintf(expected, sizeof(expected), "[::]:%u", (unsigned)port);
    assert_string_equal(text, expected);
    int client = connect_to("127.0.0.1", port);
    assert_true(client >= 0);
    close(client);

    assert_int_equal(listen_on(fixture, "::", 0, NULL, &second), 0);
    assert_int_equal(connect_to("127.0.0.1", listener_port(second)), -ECONNREFUSED);
    listener_close(second);
}

static void test_port_that_may_not_be_bound(void **state)
{
    struct fixture *fixture = *state;
    /* TEST-NET-1 is nobody's. */
    assert_int_equal(listen_on(fixture, "192.0.2.1", 0, NULL, &fixture->listener), -EADDRNOTAVAIL);
    assert_null(fixture->listener);
}

/* Lowers the limit so that no further descriptor can be had. */
static struct rlimit use_up_descriptors(void)
{
    struct rlimit before;
    int highest = dup(0);

    assert_true(highest >= 0);
    close(highest);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit none = {.rlim_cur = (rlim_t)highest, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_int_equal(dup(0), -1);
    return before;
}

static void test_no_descriptors_left(void **state)
{
    struct fixture *fixture = *state;
    int clients[8];
    unsigned closed = 0;
    char byte;

    assert_int_equal(listen_on(fixture, "127.0.0.1", 0, NULL, &fixture->listener), 0);
    uint16_t port = listener_port(fixture->listener);
    for (size_t i = 0; i < 8; i++)
        clients[i] = connect_to("127.0.0.1", port);
    listener_accept(fixture->listener, true);

    struct rlimit before = use_up_descriptors();
    unsigned turns = run_for(fixture, 250);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);

    /* One at a time is answered and closed, the others wait, and nothing spins. */
    assert_true(turns < 30);
    assert_int_equal(fixture->accepted, 0);
    for (size_t i = 0; i < 8; i++) {
        if (recv(clients[i], &byte, 1, MSG_DONTWAIT) == 0 || errno == ECONNRESET)
            closed++;
    }
    assert_in_range(closed, 1, 4);

    /* When there are descriptors again, those who waited get in. */
    fixture->stop_at = 8 - closed;
    loop_run(&fixture->loop);
    assert_int_equal(fixture->accepted, 8 - closed);
    for (size_t i = 0; i < 8; i++)
        close(clients[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_accepts_when_told_to, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_closes_while_accepting, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_port_in_use, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_ipv6_is_apart_unless_dual, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_port_that_may_not_be_bound, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_descriptors_left, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
