#include "net/test_pair.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    PATTERN_PERIOD = 65521,
    PIECE_MAX = 128 * 1024,
    VECTORS = 7,
    BOUND_MILLISECONDS = 60000,
};

/* Sizes that meet each way of making records: gathered, filled up, straight, odd. */
static const size_t piece_sizes[] = {14,    16384,  14,    65536, 3,     1,     5000,
                                     4095,  4096,   16370, 14,    16384, 16383, 100000,
                                     16385, 131072, 70000, 2,     2};

static uint8_t pattern[PATTERN_PERIOD + PIECE_MAX];

static void make_pattern(void)
{
    for (size_t i = 0; i < sizeof(pattern); i++) {
        size_t place = i % PATTERN_PERIOD;
        pattern[i] = (uint8_t)(place * 31 + (place >> 8) * 7);
    }
}

static void stop_when_done(struct test_pair *pair)
{
    for (size_t i = 0; i < 2; i++) {
        const struct test_end *end = &pair->ends[i];
        if (end->error == 0 && (end->sent < end->to_send || end->received < end->to_receive ||
                                (!end->keeps_open && !end->has_shut_down) ||
                                (!pair->ends[1 - i].keeps_open && !end->has_end)))
            return;
    }
    loop_stop(&pair->loop);
}

static void fail_end(struct test_end *end, ssize_t error)
{
    end->error = (int)error;
    conn_want(end->conn, 0);
    stop_when_done(end->pair);
}

static void on_secured(struct conn *conn, int error)
{
    struct test_end *end = conn_holder(conn);

    assert_false(end->is_secured);
    end->is_secured = true;
    end->secured_error = error;
    if (error != 0)
        fail_end(end, error);
}

static void read_once(struct test_end *end)
{
    uint8_t buffer[PIECE_MAX];
    ssize_t count = conn_read(end->conn, buffer, end->read_size);

    if (count == -EAGAIN)
        return;
    if (count < 0) {
        fail_end(end, count);
        return;
    }
    if (count == 0) {
        end->has_end = true;
        conn_want(end->conn, conn_interest(end->conn) & ~(unsigned)CONN_READ);
        if (end->waits_for_end)
            conn_want(end->conn, CONN_WRITE);
        stop_when_done(end->pair);
        return;
    }
    assert_true((size_t)count <= end->read_size);
    assert_memory_equal(buffer, pattern + end->received % PATTERN_PERIOD, (size_t)count);
    end->received += (size_t)count;
    stop_when_done(end->pair);
}

static void on_readable(struct conn *conn)
{
    struct test_end *end = conn_holder(conn);

    if (end->pauses) {
        conn_want(conn, conn_interest(conn) & ~(unsigned)CONN_READ);
        loop_defer_next(&end->pair->loop, &end->resume);
        return;
    }
    read_once(end);
}

static void resume(struct loop_task *task)
{
    struct test_end *end = CONTAINER_OF(task, struct test_end, resume);

    conn_want(end->conn, conn_interest(end->conn) | CONN_READ);
    read_once(end);
}

static int fill_vectors(const struct test_end *end, struct iovec *vectors)
{
    size_t offset = end->sent;
    size_t size = end->sent / 7;
    int count = 0;

    while (count < VECTORS && offset < end->to_send) {
        size_t length = piece_sizes[size++ % (sizeof(piece_sizes) / sizeof(piece_sizes[0]))];
        if (length > end->to_send - offset)
            length = end->to_send - offset;
        vectors[count].iov_base = pattern + offset % PATTERN_PERIOD;
        vectors[count].iov_len = length;
        offset += length;
        count++;
    }
    return count;
}

static void on_writable(struct conn *conn)
{
    struct test_end *end = conn_holder(conn);
    struct iovec vectors[VECTORS];

    while (end->sent < end->to_send) {
        int count = fill_vectors(end, vectors);
        ssize_t written = conn_write(conn, vectors, count);
        if (written == -EAGAIN)
            return;
        if (written < 0) {
            fail_end(end, written);
            return;
        }
        assert_true(written > 0);
        end->sent += (size_t)written;
    }
    if (!conn_is_drained(conn))
        return;
    conn_want(conn, conn_interest(conn) & ~(unsigned)CONN_WRITE);
    if (!end->keeps_open) {
        assert_int_equal(conn_shutdown(conn), 0);
        end->has_shut_down = true;
    }
    stop_when_done(end->pair);
}

const struct conn_events test_pair_events = {on_secured, on_readable, on_writable};

void test_socket_pair(int fds[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int listening = socket(AF_INET, SOCK_STREAM, 0);

    assert_true(listening >= 0);
    assert_int_equal(bind(listening, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(listening, 1), 0);
    assert_int_equal(getsockname(listening, (struct sockaddr *)&address, &size), 0);
    fds[0] = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fds[0], (struct sockaddr *)&address, size), 0);
    fds[1] = accept(listening, NULL, NULL);
    assert_true(fds[1] >= 0);
    close(listening);
    for (int i = 0; i < 2; i++) {
        fcntl(fds[i], F_SETFL, O_NONBLOCK);
        conn_tune_tcp(fds[i]);
    }
}

static void on_bound(struct loop_timer *timer)
{
    (void)timer;
    fail_msg("nothing happened for too long");
}

static void count_turn(uv_prepare_t *prepare)
{
    struct test_pair *pair = prepare->data;
    pair->turns++;
}

void test_pair_open(struct test_pair *pair, size_t bytes)
{
    int fds[2];

    make_pattern();
    memset(pair, 0, sizeof(*pair));
    account_init(&pair->account, SIZE_MAX);
    assert_int_equal(loop_init(&pair->loop, 0, &pair->account), 0);
    loop_timer_init(&pair->loop, &pair->bound, on_bound, NULL);
    uv_prepare_init(&pair->loop.uv, &pair->turn_counter);
    pair->turn_counter.data = pair;
    uv_prepare_start(&pair->turn_counter, count_turn);
    test_socket_pair(fds);
    for (size_t i = 0; i < 2; i++) {
        struct test_end *end = &pair->ends[i];
        end->pair = pair;
        end->to_send = bytes;
        end->to_receive = bytes;
        end->read_size = PIECE_MAX;
        end->resume.run = resume;
        assert_int_equal(conn_new(&pair->loop, fds[i], &test_pair_events, end, &end->conn), 0);
    }
}

void test_pair_start(struct test_pair *pair)
{
    for (size_t i = 0; i < 2; i++) {
        struct test_end *end = &pair->ends[i];
        conn_want(end->conn, end->waits_for_end ? CONN_READ : CONN_READ | CONN_WRITE);
    }
}

void test_pair_run(struct test_pair *pair)
{
    test_pair_start(pair);
    loop_timer_start(&pair->bound, BOUND_MILLISECONDS);
    loop_run(&pair->loop);
    loop_timer_stop(&pair->bound);
}

static void on_idle_over(struct loop_timer *timer)
{
    loop_stop(timer->holder);
}

unsigned test_pair_idle(struct test_pair *pair, unsigned milliseconds)
{
    struct loop_timer timer;
    unsigned before = pair->turns;

    loop_timer_init(&pair->loop, &timer, on_idle_over, &pair->loop);
    loop_timer_start(&timer, milliseconds);
    loop_run(&pair->loop);
    loop_timer_close(&timer, NULL);
    uv_run(&pair->loop.uv, UV_RUN_NOWAIT);
    return pair->turns - before;
}

void test_pair_close(struct test_pair *pair)
{
    for (size_t i = 0; i < 2; i++) {
        if (pair->ends[i].conn != NULL)
            conn_close(pair->ends[i].conn, false);
    }
    loop_timer_close(&pair->bound, NULL);
    uv_close((uv_handle_t *)&pair->turn_counter, NULL);
    loop_deinit(&pair->loop);
    assert_int_equal(pair->account.used, 0);
}

size_t test_pair_chunks_held(const struct test_pair *pair)
{
    return pair->loop.pool.live - pair->loop.pool.free_count[CHUNK_LARGE] -
           pair->loop.pool.free_count[CHUNK_SMALL];
}
