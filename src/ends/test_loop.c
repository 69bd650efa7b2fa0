#include "ends/test_loop.h"

#include "net/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    TICK_MILLISECONDS = 5,
    IDLE_MILLISECONDS = 100,
    BOUND_SECONDS = 60,
    KERNEL_BUFFER = 64 * 1024,
};

/* ---- the loop ---- */

static void on_tick(uv_timer_t *timer)
{
    (void)timer;
}

void test_loop_open(struct test_loop *test)
{
    memset(test, 0, sizeof(*test));
    account_init(&test->account, SIZE_MAX);
    assert_int_equal(loop_init(&test->loop, 0, &test->account), 0);
    uv_timer_init(&test->loop.uv, &test->tick);
}

void test_loop_close(struct test_loop *test)
{
    uv_close((uv_handle_t *)&test->tick, NULL);
    loop_deinit(&test->loop);
    assert_int_equal(test->account.used, 0);
}

static void turn_until(struct test_loop *test, uv_run_mode mode, bool (*condition)(void *context),
                       void *context)
{
    uint64_t end = uv_hrtime() + (uint64_t)BOUND_SECONDS * 1000000000;
    while (!condition(context)) {
        if (uv_hrtime() > end)
            fail_msg("what was waited for did not come");
        uv_run(&test->loop.uv, mode);
    }
}

void test_loop_until(struct test_loop *test, bool (*condition)(void *context), void *context)
{
    uv_timer_start(&test->tick, on_tick, TICK_MILLISECONDS, TICK_MILLISECONDS);
    turn_until(test, UV_RUN_ONCE, condition, context);
    uv_timer_stop(&test->tick);
}

void test_loop_spin_until(struct test_loop *test, bool (*condition)(void *context), void *context)
{
    turn_until(test, UV_RUN_NOWAIT, condition, context);
}

static bool is_set(void *context)
{
    return *(const int *)context != 0;
}

void test_loop_until_set(struct test_loop *test, const int *number)
{
    test_loop_until(test, is_set, (void *)(uintptr_t)number);
}

unsigned test_loop_idle(struct test_loop *test)
{
    unsigned turns = 0;
    uv_update_time(&test->loop.uv); /* from now, not from the turn before */
    uv_timer_start(&test->tick, on_tick, IDLE_MILLISECONDS, 0);
    while (uv_is_active((uv_handle_t *)&test->tick)) {
        uv_run(&test->loop.uv, UV_RUN_ONCE);
        turns++;
    }
    return turns;
}

size_t test_loop_chunks_held(const struct test_loop *test)
{
    const struct chunk_pool *pool = &test->loop.pool;
    size_t held = pool->live - pool->free_count[CHUNK_SMALL] - pool->free_count[CHUNK_LARGE];
    return held - (test->loop.read_chunk != NULL && chunk_is_exclusive(test->loop.read_chunk));
}

/* ---- sockets ---- */

int test_tcp_listen(uint16_t *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int buffer = KERNEL_BUFFER;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer));
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    *port = ntohs(address.sin_port);
    return fd;
}

int test_tcp_connect(const char *host, uint16_t port)
{
    struct sockaddr_storage address;
    int buffer = KERNEL_BUFFER;
    assert_int_equal(address_parse(host, port, &address), 0);
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer));
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
    if (connect(fd, (struct sockaddr *)&address, address_size(&address)) != 0) {
        int error = -errno;
        close(fd);
        return error;
    }
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

void test_tcp_pair(int fds[2])
{
    uint16_t port;
    int buffer = KERNEL_BUFFER;
    int listening = test_tcp_listen(&port);
    fds[0] = test_tcp_connect("127.0.0.1", port);
    fds[1] = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(fds[0] >= 0 && fds[1] >= 0);
    setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
    close(listening);
}

void test_tcp_abort(int fd)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(fd);
}

/* ---- the holder ---- */

void test_holder_opened(struct stream *stream)
{
    struct test_holder *holder = stream->holder;
    assert_int_equal(holder->bytes, 0);
    holder->opened++;
}

static void on_data(struct stream *stream, struct slice_queue *data)
{
    struct test_holder *holder = stream->holder;
    assert_int_equal(holder->fins, 0);
    while (data->count > 0) {
        struct slice slice = slice_queue_take(data, SIZE_MAX);
        if (holder->bytes + slice.size < sizeof(holder->data))
            memcpy(holder->data + holder->bytes, slice.data, slice.size);
        holder->bytes += slice.size;
        slice_drop(&slice);
    }
}

void test_holder_fin(struct stream *stream)
{
    struct test_holder *holder = stream->holder;
    holder->fins++;
}

void test_holder_reset(struct stream *stream, int code, const char *reason)
{
    struct test_holder *holder = stream->holder;
    (void)reason;
    holder->resets++;
    holder->code = code;
    holder->stream = NULL;
    stream->operations->close(stream);
}

void test_holder_written(struct stream *stream, size_t bytes)
{
    struct test_holder *holder = stream->holder;
    holder->written += bytes;
}

void test_holder_finished(struct stream *stream)
{
    struct test_holder *holder = stream->holder;
    holder->finished++;
}

static const struct stream_events holder_events = {
    .opened = test_holder_opened,
    .data = on_data,
    .fin = test_holder_fin,
    .reset = test_holder_reset,
    .written = test_holder_written,
    .finished = test_holder_finished,
};

void test_holder_take(struct test_holder *holder, struct stream *stream)
{
    memset(holder, 0, sizeof(*holder));
    holder->stream = stream;
    stream->events = &holder_events;
    stream->holder = holder;
    stream->operations->consumed(stream, 0);
}

void test_holder_write(struct test_holder *holder, struct chunk_pool *pool, const char *text)
{
    struct slice_queue queue = SLICE_QUEUE_NULL;
    struct slice slice;
    assert_int_equal(slice_copy(pool, text, strlen(text), &slice), 0);
    assert_int_equal(slice_queue_push(&queue, slice), 0);
    holder->stream->operations->write(holder->stream, &queue);
    assert_int_equal(queue.count, 0);
    slice_queue_deinit(&queue);
}
