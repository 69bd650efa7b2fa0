#include "base/error.h"
#include "base/memory.h"
#include "net/address.h"
#include "net/conn.h"
#include "net/dial.h"
#include "net/listener.h"

#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { BOUND_MILLISECONDS = 60000, FILLED_MAX = 64 };

struct fixture {
    struct account account;
    struct loop loop;
    struct loop_timer bound;
    struct loop_timer soon;
    int listening;
    uint16_t port;
    unsigned done;
    unsigned filtered;
    int fd;
    int error;
    bool is_inside_start;
    bool refuses;
    struct sockaddr_storage last_filtered;
    struct dial *dial;
};

static void on_done(void *holder, int fd, int error)
{
    struct fixture *fixture = holder;

    assert_false(fixture->is_inside_start);
    fixture->done++;
    fixture->fd = fd;
    fixture->error = error;
    loop_stop(&fixture->loop);
}

static bool filter(void *holder, const struct sockaddr_storage *address)
{
    struct fixture *fixture = holder;

    fixture->filtered++;
    fixture->last_filtered = *address;
    return !fixture->refuses;
}

static int start(struct fixture *fixture, const char *host, uint16_t port, unsigned timeout)
{
    char copy[300];
    struct dial_request request = {.host = copy,
                                   .port = port,
                                   .timeout = timeout,
                                   .filter = filter,
                                   .done = on_done,
                                   .holder = fixture};

    assert_true((size_t)snprintf(copy, sizeof(copy), "%s", host) < sizeof(copy));
    fixture->fd = -1;
    fixture->is_inside_start = true;
    int error = dial_start(&fixture->loop, &request, &fixture->dial);
    fixture->is_inside_start = false;
    memset(copy, 'x', sizeof(copy));
    return error;
}

static void expect(struct fixture *fixture, const char *host, uint16_t port, int error)
{
    unsigned before = fixture->done;

    assert_int_equal(start(fixture, host, port, 5000), 0);
    loop_run(&fixture->loop);
    assert_int_equal(fixture->done, before + 1);
    assert_int_equal(fixture->error, error);
    if (error != 0)
        assert_int_equal(fixture->fd, -1);
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
    fixture.listening = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(address_parse("127.0.0.1", 0, &address), 0);
    assert_int_equal(bind(fixture.listening, (struct sockaddr *)&address, address_size(&address)),
                     0);
    assert_int_equal(listen(fixture.listening, 0), 0);
    assert_int_equal(getsockname(fixture.listening, (struct sockaddr *)&address, &size), 0);
    fixture.port = address_port(&address);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    close(fixture->listening);
    loop_timer_close(&fixture->bound, NULL);
    loop_timer_close(&fixture->soon, NULL);
    loop_deinit(&fixture->loop);
    return 0;
}

static void check_connected(struct fixture *fixture)
{
    struct sockaddr_storage peer;
    socklen_t size = sizeof(peer);

    assert_int_equal(getpeername(fixture->fd, (struct sockaddr *)&peer, &size), 0);
    assert_int_equal(address_port(&peer), fixture->port);
    int accepted = accept(fixture->listening, NULL, NULL);
    assert_true(accepted >= 0);
    close(accepted);
    close(fixture->fd);
}

static void test_numeric_address(void **state)
{
    struct fixture *fixture = *state;
    expect(fixture, "127.0.0.1", fixture->port, 0);
    check_connected(fixture);
    assert_int_equal(fixture->filtered, 1);
}

/* localhost may be ::1 first, where nobody listens. */
static void test_name(void **state)
{
    struct fixture *fixture = *state;
    expect(fixture, "localhost", fixture->port, 0);
    check_connected(fixture);
    assert_true(address_is_loopback(&fixture->last_filtered));
}

static void test_refused(void **state)
{
    struct fixture *fixture = *state;
    close(fixture->listening);
    expect(fixture, "127.0.0.1", fixture->port, -ECONNREFUSED);
    expect(fixture, "localhost", fixture->port, -ECONNREFUSED);
    fixture->listening = -1;
}

static void test_filter(void **state)
{
    struct fixture *fixture = *state;
    fixture->refuses = true;
    expect(fixture, "127.0.0.1", fixture->port, CULVERT_ERROR_REFUSED);
    expect(fixture, "localhost", fixture->port, CULVERT_ERROR_REFUSED);
    assert_true(fixture->filtered >= 2);
    assert_int_equal(accept(fixture->listening, NULL, NULL), -1);
}

/* The kernel connects these to loopback, so that is what the filter must be shown. */
static void test_unspecified_address_is_loopback(void **state)
{
    struct fixture *fixture = *state;
    static const char *const hosts[] = {"0.0.0.0", "::", "::ffff:0.0.0.0", "0"};

    fixture->refuses = true;
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        expect(fixture, hosts[i], fixture->port, CULVERT_ERROR_REFUSED);
        assert_true(address_is_loopback(&fixture->last_filtered));
    }
}

static void test_names_that_have_no_address(void **state)
{
    struct fixture *fixture = *state;
    char too_long[280];

    /* A resolver that is not there takes its time to say so. */
    assert_int_equal(start(fixture, "no-such-name.invalid", 80, 5000), 0);
    loop_run(&fixture->loop);
    assert_int_equal(fixture->fd, -1);
    assert_true(fixture->error == CULVERT_ERROR_RESOLVE ||
                fixture->error == CULVERT_ERROR_TIMED_OUT);
    memset(too_long, 'a', sizeof(too_long));
    too_long[sizeof(too_long) - 1] = '\0';
    assert_int_equal(start(fixture, too_long, 80, 1000), CULVERT_ERROR_INVALID);
    assert_int_equal(start(fixture, "", 80, 1000), CULVERT_ERROR_INVALID);
}

static void test_cancel_at_once(void **state)
{
    struct fixture *fixture = *state;
    static const char *const hosts[] = {"127.0.0.1", "localhost", "no-such-name.invalid"};

    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        assert_int_equal(start(fixture, hosts[i], fixture->port, 1000), 0);
        dial_cancel(fixture->dial);
    }
    loop_timer_start(&fixture->soon, 20);
    fixture->dial = NULL;
    loop_run(&fixture->loop);
    assert_int_equal(fixture->done, 0);
}

/* What had connected by then ends with a RST, as the session does for which it was dialled. */
static void test_cancelled_connection_is_reset(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(start(fixture, "127.0.0.1", fixture->port, 1000), 0);
    int accepted = accept(fixture->listening, NULL, NULL);
    assert_true(accepted >= 0);
    dial_cancel(fixture->dial);
    fixture->dial = NULL;
    char byte;
    assert_int_equal(recv(accepted, &byte, 1, 0), -1);
    assert_int_equal(errno, ECONNRESET);
    close(accepted);
}

/* A listener whose queue is full lets further connections hang. */
static size_t fill_queue(struct fixture *fixture, int fds[static FILLED_MAX])
{
    struct sockaddr_storage address;
    size_t count = 0;

    assert_int_equal(address_parse("127.0.0.1", fixture->port, &address), 0);
    while (count < FILLED_MAX) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        fds[count++] = fd;
        int result = connect(fd, (struct sockaddr *)&address, address_size(&address));
        if (result != 0)
            result = connect(fd, (struct sockaddr *)&address, address_size(&address));
        if (result != 0 && errno == EALREADY)
            break;
    }
    assert_true(count < FILLED_MAX);
    return count;
}

static void test_time_is_over(void **state)
{
    struct fixture *fixture = *state;
    int fds[FILLED_MAX];
    size_t count = fill_queue(fixture, fds);

    assert_int_equal(start(fixture, "127.0.0.1", fixture->port, 50), 0);
    loop_run(&fixture->loop);
    assert_int_equal(fixture->done, 1);
    assert_int_equal(fixture->error, CULVERT_ERROR_TIMED_OUT);
    for (size_t i = 0; i < count; i++)
        close(fds[i]);
}

static void test_cancel_while_connecting(void **state)
{
    struct fixture *fixture = *state;
    int fds[FILLED_MAX];
    size_t count = fill_queue(fixture, fds);

    assert_int_equal(start(fixture, "127.0.0.1", fixture->port, 5000), 0);
    loop_timer_start(&fixture->soon, 10);
    loop_run(&fixture->loop);
    assert_null(fixture->dial);
    assert_int_equal(fixture->done, 0);
    for (size_t i = 0; i < count; i++)
        close(fds[i]);
}

/* The kernel sends the SYN again after a second; by then the queue has room. */
static void test_connection_that_takes_a_while(void **state)
{
    struct fixture *fixture = *state;
    int fds[FILLED_MAX];
    size_t count = fill_queue(fixture, fds);
    struct conn *conn = NULL;
    static const struct conn_events none;

    assert_int_equal(start(fixture, "127.0.0.1", fixture->port, 10000), 0);
    fixture->dial = NULL;
    loop_timer_start(&fixture->soon, 10);
    loop_run(&fixture->loop);
    assert_int_equal(fixture->done, 0);
    for (size_t i = 0; i + 1 < count; i++)
        close(accept(fixture->listening, NULL, NULL));
    loop_run(&fixture->loop);
    assert_int_equal(fixture->done, 1);
    assert_int_equal(fixture->error, 0);
    /* The descriptor is free for another owner at once. */
    assert_int_equal(conn_new(&fixture->loop, fixture->fd, &none, NULL, &conn), 0);
    conn_close(conn, false);
    for (size_t i = 0; i < count; i++)
        close(fds[i]);
}

static void test_no_memory(void **state)
{
    struct fixture *fixture = *state;

    memory_fail_after(1);
    assert_int_equal(start(fixture, "127.0.0.1", 80, 1000), CULVERT_ERROR_NO_MEMORY);
    unsigned tried = 2;
    for (;; tried++) {
        memory_fail_after(tried);
        int error = start(fixture, "no-such-name.invalid", 80, 1000);
        if (error == 0)
            dial_cancel(fixture->dial);
        if (memory_fail_is_pending())
            break;
        assert_int_equal(error, CULVERT_ERROR_NO_MEMORY);
    }
    memory_fail_after(0);
    assert_true(tried > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_numeric_address, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_name, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_filter, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_unspecified_address_is_loopback, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_names_that_have_no_address, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cancel_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cancelled_connection_is_reset, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_time_is_over, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cancel_while_connecting, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_memory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_connection_that_takes_a_while, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
