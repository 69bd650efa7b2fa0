#include "base/error.h"
#include "base/memory.h"
#include "ends/inlet.h"
#include "ends/test_loop.h"
#include "net/address.h"

#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    struct test_loop test;
    struct inlet *inlet;
    struct test_holder holder;
    int accepted;
    bool closes; /* the inlet is closed inside the event */
    char client[ADDRESS_TEXT_SIZE];
};

static void on_accepted(struct inlet *inlet, struct stream *stream,
                        const struct inlet_client *client)
{
    struct fixture *fixture = inlet_holder(inlet);
    if (fixture->holder.stream != NULL)
        fixture->holder.stream->operations->close(fixture->holder.stream);
    test_holder_take(&fixture->holder, stream);
    snprintf(fixture->client, sizeof(fixture->client), "%s", client->address);
    fixture->accepted++;
    if (fixture->closes) {
        inlet_close(inlet);
        fixture->inlet = NULL;
    }
}

static const struct inlet_events events = {.accepted = on_accepted};

static int set_up(void **state)
{
    static struct fixture fixture;
    memset(&fixture, 0, sizeof(fixture));
    test_loop_open(&fixture.test);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    if (fixture->holder.stream != NULL)
        fixture->holder.stream->operations->close(fixture->holder.stream);
    if (fixture->inlet != NULL)
        inlet_close(fixture->inlet);
    test_loop_close(&fixture->test);
    return 0;
}

static int open_inlet(struct fixture *fixture, const char *bind, uint16_t port,
                      struct inlet **inlet)
{
    return inlet_tcp(&fixture->test.loop, bind, port, &events, fixture, inlet);
}

static bool has_ipv6(void)
{
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    bool has = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
    if (fd >= 0)
        close(fd);
    return has;
}

static void accept_from(struct fixture *fixture, const char *host)
{
    fixture->accepted = 0;
    int fd = test_tcp_connect(host, inlet_port(fixture->inlet));
    assert_true(fd >= 0);
    test_loop_until_set(&fixture->test, &fixture->accepted);
    assert_int_equal(send(fd, "hello", 5, 0), 5);
    shutdown(fd, SHUT_WR);
    test_loop_until_set(&fixture->test, &fixture->holder.fins);
    assert_int_equal(fixture->holder.bytes, 5);
    close(fd);
}

static void loopback_of_both_families(void **state)
{
    struct fixture *f = *state;
    char text[ADDRESS_TEXT_SIZE];
    char expected[ADDRESS_TEXT_SIZE];
    assert_int_equal(open_inlet(f, NULL, 0, &f->inlet), 0);
    assert_int_not_equal(inlet_port(f->inlet), 0);
    inlet_text(f->inlet, text, sizeof(text));
    snprintf(expected, sizeof(expected), "127.0.0.1:%u", inlet_port(f->inlet));
    assert_string_equal(text, expected);
    inlet_accept(f->inlet, true);
    accept_from(f, "127.0.0.1");
    assert_memory_equal(f->client, "127.0.0.1:", 10);
    if (has_ipv6()) {
        accept_from(f, "::1");
        assert_memory_equal(f->client, "[::1]:", 6);
    }
}

static void an_address_and_no_other(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(open_inlet(f, "127.0.0.2", 0, &f->inlet), 0);
    inlet_accept(f->inlet, true);
    accept_from(f, "127.0.0.2");
    assert_int_equal(test_tcp_connect("127.0.0.1", inlet_port(f->inlet)), -ECONNREFUSED);
}

static void a_name_and_all(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(open_inlet(f, "localhost", 0, &f->inlet), 0);
    inlet_accept(f->inlet, true);
    accept_from(f, "127.0.0.1");
    inlet_close(f->inlet);
    assert_int_equal(open_inlet(f, "*", 0, &f->inlet), 0);
    inlet_accept(f->inlet, true);
    accept_from(f, "127.0.0.3");
    if (has_ipv6())
        accept_from(f, "::1");
}

static void nothing_is_accepted_before_it_is_wanted(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(open_inlet(f, NULL, 0, &f->inlet), 0);
    int fd = test_tcp_connect("127.0.0.1", inlet_port(f->inlet));
    assert_true(fd >= 0);
    assert_in_range(test_loop_idle(&f->test), 0, 5);
    assert_int_equal(f->accepted, 0);
    inlet_accept(f->inlet, true);
    test_loop_until_set(&f->test, &f->accepted);
    close(fd);
}

static void an_inlet_may_be_closed_while_it_accepts(void **state)
{
    struct fixture *f = *state;
    int fds[5];
    assert_int_equal(open_inlet(f, NULL, 0, &f->inlet), 0);
    for (int i = 0; i < 5; i++)
        fds[i] = test_tcp_connect("127.0.0.1", inlet_port(f->inlet));
    f->closes = true;
    inlet_accept(f->inlet, true);
    test_loop_until_set(&f->test, &f->accepted);
    test_loop_idle(&f->test);
    assert_int_equal(f->accepted, 1);
    for (int i = 0; i < 5; i++)
        close(fds[i]);
}

static void a_port_in_use_is_told(void **state)
{
    struct fixture *f = *state;
    struct inlet *second = NULL;
    assert_int_equal(open_inlet(f, NULL, 0, &f->inlet), 0);
    assert_int_equal(open_inlet(f, NULL, inlet_port(f->inlet), &second), -EADDRINUSE);
    assert_null(second);
}

/* Only ::1 is taken: nothing may be left open on 127.0.0.1. */
static void half_a_loopback_is_none(void **state)
{
    struct fixture *f = *state;
    struct inlet *second = NULL;
    if (!has_ipv6())
        skip();
    assert_int_equal(open_inlet(f, "::1", 0, &f->inlet), 0);
    uint16_t port = inlet_port(f->inlet);
    assert_int_equal(open_inlet(f, NULL, port, &second), -EADDRINUSE);
    assert_int_equal(test_tcp_connect("127.0.0.1", port), -ECONNREFUSED);
}

static void an_unknown_name_is_told(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(open_inlet(f, "no-such-host.invalid", 0, &f->inlet), CULVERT_ERROR_RESOLVE);
    assert_int_equal(open_inlet(f, "192.0.2.1", 0, &f->inlet), -EADDRNOTAVAIL);
}

static void every_failing_allocation_is_survived(void **state)
{
    struct fixture *f = *state;
    for (size_t n = 1;; n++) {
        memory_fail_after(n);
        int error = open_inlet(f, NULL, 0, &f->inlet);
        bool done = memory_fail_is_pending();
        memory_fail_after(0);
        assert_int_equal(error, done ? 0 : CULVERT_ERROR_NO_MEMORY);
        if (done)
            break;
        assert_in_range(n, 1, 20);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(loopback_of_both_families),
        TEST(an_address_and_no_other),
        TEST(a_name_and_all),
        TEST(nothing_is_accepted_before_it_is_wanted),
        TEST(an_inlet_may_be_closed_while_it_accepts),
        TEST(a_port_in_use_is_told),
        TEST(half_a_loopback_is_none),
        TEST(an_unknown_name_is_told),
        TEST(every_failing_allocation_is_survived),
    };
    return cmocka_run_group_tests_name("inlet", tests, NULL, NULL);
}
