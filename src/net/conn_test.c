#include "base/error.h"
#include "base/memory.h"
#include "net/test_pair.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { LARGE = 16 * 1024 * 1024, BUFFER_SIZE = 64 * 1024 };

static void run_and_check(struct test_pair *pair)
{
    test_pair_run(pair);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(pair->ends[i].error, 0);
        assert_int_equal(pair->ends[i].received, pair->ends[i].to_receive);
    }
    test_pair_close(pair);
}

static void test_both_ways_at_once(void **state)
{
    (void)state;
    struct test_pair pair;
    test_pair_open(&pair, LARGE);
    run_and_check(&pair);
}

static void test_small_and_paused_reads(void **state)
{
    (void)state;
    struct test_pair pair;
    test_pair_open(&pair, 300000);
    pair.ends[0].read_size = 777;
    pair.ends[1].pauses = true;
    run_and_check(&pair);
}

static void test_half_closed_side_still_receives(void **state)
{
    (void)state;
    struct test_pair pair;
    test_pair_open(&pair, LARGE / 4);
    pair.ends[1].waits_for_end = true;
    run_and_check(&pair);
}

static void test_nothing_to_send(void **state)
{
    (void)state;
    struct test_pair pair;
    test_pair_open(&pair, 0);
    run_and_check(&pair);
}

static void test_abort_resets_the_peer(void **state)
{
    (void)state;
    struct test_pair pair;
    struct test_end *end = &pair.ends[1];

    test_pair_open(&pair, 0);
    pair.ends[0].keeps_open = true;
    end->keeps_open = true;
    end->to_receive = 1;
    conn_close(pair.ends[0].conn, true);
    pair.ends[0].conn = NULL;
    conn_want(end->conn, CONN_READ);
    loop_run(&pair.loop);
    assert_int_equal(end->error, -ECONNRESET);

    /* And writing is an error, not a signal. */
    struct iovec vector = {.iov_base = "x", .iov_len = 1};
    assert_int_equal(conn_write(end->conn, &vector, 1), -EPIPE);
    test_pair_close(&pair);
}

static void test_close_with_unread_input_is_no_reset(void **state)
{
    (void)state;
    struct test_pair pair;
    struct test_end *end = &pair.ends[1];
    struct iovec vector = {.iov_base = "\0", .iov_len = 1};

    test_pair_open(&pair, 0);
    end->to_receive = 1;
    assert_int_equal(conn_write(end->conn, &vector, 1), 1);
    assert_int_equal(conn_write(pair.ends[0].conn, &vector, 1), 1);
    conn_close(pair.ends[0].conn, false);
    pair.ends[0].conn = NULL;
    pair.ends[0].error = 1; /* has left */
    conn_want(end->conn, CONN_READ | CONN_WRITE);
    loop_run(&pair.loop);
    assert_int_equal(end->error, 0);
    assert_true(end->has_end);
    assert_int_equal(end->received, 1);
    test_pair_close(&pair);
}

static void test_nothing_spins_without_interest(void **state)
{
    (void)state;
    struct test_pair pair;
    struct iovec vector = {.iov_base = "x", .iov_len = 1};

    test_pair_open(&pair, 0);
    conn_want(pair.ends[1].conn, CONN_READ | CONN_WRITE);
    conn_want(pair.ends[1].conn, 0);
    assert_int_equal(conn_write(pair.ends[0].conn, &vector, 1), 1);
    assert_true(test_pair_idle(&pair, 30) < 10);
    conn_close(pair.ends[0].conn, true);
    pair.ends[0].conn = NULL;
    assert_true(test_pair_idle(&pair, 30) < 10);
    assert_false(pair.ends[1].has_end);
    test_pair_close(&pair);
}

static void count_readable(struct conn *conn)
{
    struct test_end *end = conn_holder(conn);
    end->received++;
}

static void test_an_error_is_told_until_it_is_read(void **state)
{
    (void)state;
    static const struct conn_events events = {NULL, count_readable, NULL};
    struct test_pair pair;
    struct test_end *end = &pair.ends[1];
    char byte;

    test_pair_open(&pair, 0);
    conn_set_owner(end->conn, &events, end);
    conn_want(end->conn, CONN_READ);
    conn_close(pair.ends[0].conn, true);
    pair.ends[0].conn = NULL;
    test_pair_idle(&pair, 5);
    assert_true(end->received > 1);
    assert_int_equal(conn_read(end->conn, &byte, 1), -ECONNRESET);
    conn_want(end->conn, 0);
    assert_true(test_pair_idle(&pair, 30) < 10);
    test_pair_close(&pair);
}

static void test_a_reset_is_told_without_reading(void **state)
{
    (void)state;
    static const struct conn_events events = {NULL, count_readable, NULL};
    struct test_pair pair;
    struct test_end *end = &pair.ends[1];
    struct iovec vector = {.iov_base = "x", .iov_len = 1};

    test_pair_open(&pair, 0);
    conn_set_owner(end->conn, &events, end);
    conn_want(end->conn, CONN_ERROR);
    assert_int_equal(conn_write(pair.ends[0].conn, &vector, 1), 1);
    assert_true(test_pair_idle(&pair, 20) < 10);
    assert_int_equal(end->received, 0);
    assert_int_equal(conn_take_error(end->conn), 0);
    conn_close(pair.ends[0].conn, true);
    pair.ends[0].conn = NULL;
    test_pair_idle(&pair, 5);
    assert_true(end->received > 0);
    assert_int_equal(conn_take_error(end->conn), -ECONNRESET);
    assert_int_equal(conn_take_error(end->conn), 0);
    test_pair_idle(&pair, 5);
    assert_true(test_pair_idle(&pair, 20) < 10);
    test_pair_close(&pair);
}

/* Both sides have half-closed: the kernel reports that for ever, and it is no error. */
static void test_an_orderly_end_does_not_spin(void **state)
{
    (void)state;
    static const struct conn_events events = {NULL, count_readable, NULL};
    struct test_pair pair;

    test_pair_open(&pair, 0);
    test_pair_run(&pair);
    for (size_t i = 0; i < 2; i++) {
        conn_set_owner(pair.ends[i].conn, &events, &pair.ends[i]);
        conn_want(pair.ends[i].conn, CONN_ERROR);
    }
    test_pair_idle(&pair, 5);
    assert_true(test_pair_idle(&pair, 20) < 10);
    for (size_t i = 0; i < 2; i++) {
        assert_true(pair.ends[i].received <= 1);
        assert_int_equal(conn_take_error(pair.ends[i].conn), 0);
    }
    test_pair_close(&pair);
}

static void close_in_readable(struct conn *conn)
{
    struct test_end *end = conn_holder(conn);
    end->conn = NULL;
    conn_close(conn, false);
    loop_stop(&end->pair->loop);
}

static void must_not_come(struct conn *conn)
{
    (void)conn;
    fail();
}

static void test_no_event_follows_a_close(void **state)
{
    (void)state;
    static const struct conn_events events = {NULL, close_in_readable, must_not_come};
    struct test_pair pair;
    struct iovec vector = {.iov_base = "x", .iov_len = 1};

    test_pair_open(&pair, 0);
    conn_set_owner(pair.ends[1].conn, &events, &pair.ends[1]);
    assert_int_equal(conn_write(pair.ends[0].conn, &vector, 1), 1);
    conn_want(pair.ends[1].conn, CONN_READ | CONN_WRITE);
    loop_run(&pair.loop);
    assert_null(pair.ends[1].conn);
    test_pair_close(&pair);
}

static void test_write_stops_when_the_kernel_is_full(void **state)
{
    (void)state;
    struct test_pair pair;
    static char buffer[BUFFER_SIZE];
    struct iovec vector = {.iov_base = buffer, .iov_len = sizeof(buffer)};
    ssize_t written;

    test_pair_open(&pair, 0);
    do {
        written = conn_write(pair.ends[0].conn, &vector, 1);
    } while (written > 0);
    assert_int_equal(written, -EAGAIN);
    assert_true(conn_is_drained(pair.ends[0].conn));
    assert_int_equal(conn_read(pair.ends[0].conn, buffer, sizeof(buffer)), -EAGAIN);
    test_pair_close(&pair);
}

static int integer_option(int fd, int level, int option)
{
    int value = -1;
    socklen_t size = sizeof(value);
    assert_int_equal(getsockopt(fd, level, option, &value, &size), 0);
    return value;
}

static void test_descriptor_is_prepared(void **state)
{
    (void)state;
    struct test_pair pair;
    char text[64];

    test_pair_open(&pair, 0);
    int fd = conn_descriptor(pair.ends[0].conn);
    assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    assert_int_equal(integer_option(fd, IPPROTO_TCP, TCP_NODELAY), 1);
    assert_int_equal(integer_option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
    conn_limit_unsent(fd, 4711);
    assert_int_equal(integer_option(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT), 4711);
    conn_peer_text(pair.ends[0].conn, text, sizeof(text));
    assert_int_equal(strncmp(text, "127.0.0.1:", 10), 0);
    assert_false(conn_is_secure(pair.ends[0].conn));
    assert_null(conn_error_message(pair.ends[0].conn));
    test_pair_close(&pair);
}

static void test_a_descriptor_that_cannot_be_polled_is_left(void **state)
{
    (void)state;
    struct test_pair pair;
    struct conn *conn = NULL;
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

    test_pair_open(&pair, 0);
    assert_int_equal(conn_new(&pair.loop, fd, &test_pair_events, NULL, &conn), -EPERM);
    assert_null(conn);
    assert_int_equal(close(fd), 0);
    test_pair_close(&pair);
}

static void test_no_memory_leaves_the_descriptor(void **state)
{
    (void)state;
    struct test_pair pair;
    struct conn *conn = NULL;
    int fds[2];

    test_pair_open(&pair, 0);
    test_socket_pair(fds);
    memory_fail_after(1);
    assert_int_equal(conn_new(&pair.loop, fds[0], &test_pair_events, NULL, &conn),
                     CULVERT_ERROR_NO_MEMORY);
    assert_false(memory_fail_is_pending());
    assert_null(conn);
    assert_int_equal(close(fds[0]), 0);
    assert_int_equal(close(fds[1]), 0);
    test_pair_close(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_ways_at_once),
        cmocka_unit_test(test_small_and_paused_reads),
        cmocka_unit_test(test_half_closed_side_still_receives),
        cmocka_unit_test(test_nothing_to_send),
        cmocka_unit_test(test_abort_resets_the_peer),
        cmocka_unit_test(test_close_with_unread_input_is_no_reset),
        cmocka_unit_test(test_nothing_spins_without_interest),
        cmocka_unit_test(test_an_error_is_told_until_it_is_read),
        cmocka_unit_test(test_a_reset_is_told_without_reading),
        cmocka_unit_test(test_an_orderly_end_does_not_spin),
        cmocka_unit_test(test_no_event_follows_a_close),
        cmocka_unit_test(test_write_stops_when_the_kernel_is_full),
        cmocka_unit_test(test_descriptor_is_prepared),
        cmocka_unit_test(test_a_descriptor_that_cannot_be_polled_is_left),
        cmocka_unit_test(test_no_memory_leaves_the_descriptor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
