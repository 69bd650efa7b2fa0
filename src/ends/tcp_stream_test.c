#include "base/error.h"
#include "base/memory.h"
#include "base/reason.h"
#include "ends/tcp_stream.h"
#include "ends/test_loop.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* A stream with a holder, and the peer's end of the socket. */
struct fixture {
    struct test_loop test;
    struct test_holder holder;
    int peer;
    int fd; /* of the stream, not yet given to it */
    int abandoned;
    size_t received; /* by the peer */
};

static int set_up(void **state)
{
    static struct fixture fixture;
    int fds[2];
    memset(&fixture, 0, sizeof(fixture));
    test_loop_open(&fixture.test);
    test_tcp_pair(fds);
    fixture.peer = fds[0];
    fixture.fd = fds[1];
    *state = &fixture;
    return 0;
}

static void close_stream(struct fixture *fixture)
{
    if (fixture->holder.stream != NULL)
        fixture->holder.stream->operations->close(fixture->holder.stream);
    fixture->holder.stream = NULL;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    memory_fail_after(0);
    close_stream(fixture);
    if (fixture->peer >= 0)
        close(fixture->peer);
    if (fixture->fd >= 0)
        close(fixture->fd);
    test_loop_close(&fixture->test);
    return 0;
}

static struct stream *open_stream(struct fixture *fixture)
{
    struct stream *stream;
    assert_int_equal(tcp_stream_new(&fixture->test.loop, fixture->fd, &stream), 0);
    fixture->fd = -1;
    test_holder_take(&fixture->holder, stream);
    return stream;
}

static void on_abandoned(void *context)
{
    struct fixture *fixture = context;
    fixture->abandoned++;
}

static struct tcp_stream *open_pending(struct fixture *fixture)
{
    struct tcp_stream *stream;
    assert_int_equal(tcp_stream_pending(&fixture->test.loop, &stream), 0);
    tcp_stream_on_abandon(stream, on_abandoned, fixture);
    test_holder_take(&fixture->holder, tcp_stream_base(stream));
    return stream;
}

/* What has arrived at the peer; -1 and errno as from recv. */
static ssize_t receive(struct fixture *fixture, char *out, size_t size)
{
    return recv(fixture->peer, out, size, 0);
}

static bool something_arrived(void *context)
{
    struct fixture *fixture = context;
    char byte;
    return recv(fixture->peer, &byte, 1, MSG_PEEK) >= 0 || errno != EAGAIN;
}

/* ---- reading ---- */

static void a_window_is_delivered_and_no_more(void **state)
{
    struct fixture *f = *state;
    static char bytes[64 * 1024];
    struct stream *stream = open_stream(f);
    size_t before;
    do {
        before = f->holder.bytes;
        while (send(f->peer, bytes, sizeof(bytes), MSG_NOSIGNAL) > 0)
            continue;
        test_loop_idle(&f->test);
    } while (f->holder.bytes != before);
    assert_in_range(before, TCP_STREAM_WINDOW * 3 / 4, TCP_STREAM_WINDOW);
    stream->operations->consumed(stream, 1);
    test_loop_idle(&f->test);
    assert_int_equal(f->holder.bytes, before);
    stream->operations->consumed(stream, before - 1);
    test_loop_idle(&f->test);
    assert_in_range(f->holder.bytes, before + 1, before + TCP_STREAM_WINDOW);
}

static void urgent_data_does_not_keep_the_loop_awake(void **state)
{
    struct fixture *f = *state;
    static char bytes[1024];
    open_stream(f);
    while (f->holder.bytes < TCP_STREAM_WINDOW) {
        assert_int_equal(send(f->peer, bytes, sizeof(bytes), 0), sizeof(bytes));
        while (uv_run(&f->test.loop.uv, UV_RUN_NOWAIT) != 0 && f->holder.bytes % 1024 != 0)
            continue;
        if (TCP_STREAM_WINDOW - f->holder.bytes < TCP_STREAM_WINDOW / 16)
            break;
    }
    assert_int_equal(send(f->peer, "!", 1, MSG_OOB), 1);
    test_loop_idle(&f->test);
    assert_in_range(test_loop_idle(&f->test), 0, 5);
    test_tcp_abort(f->peer);
    f->peer = -1;
    test_loop_idle(&f->test);
    assert_in_range(test_loop_idle(&f->test), 0, 5);
}

static void the_end_is_told_once_and_behind_the_data(void **state)
{
    struct fixture *f = *state;
    open_stream(f);
    assert_int_equal(send(f->peer, "last", 4, 0), 4);
    shutdown(f->peer, SHUT_WR);
    test_loop_until_set(&f->test, &f->holder.fins);
    assert_int_equal(f->holder.bytes, 4);
    assert_memory_equal(f->holder.data, "last", 4);
    assert_in_range(test_loop_idle(&f->test), 0, 5);
    assert_int_equal(f->holder.fins, 1);
}

static void reading_without_memory_resets(void **state)
{
    struct fixture *f = *state;
    open_stream(f);
    assert_int_equal(send(f->peer, "x", 1, 0), 1);
    memory_fail_after(1);
    test_loop_until_set(&f->test, &f->holder.resets);
    assert_int_equal(f->holder.code, REASON_NO_MEMORY);
    assert_int_equal(f->holder.bytes, 0);
}

/* ---- writing ---- */

static void writes_leave_at_the_end_of_the_turn(void **state)
{
    struct fixture *f = *state;
    char text[32];
    struct stream *stream = open_stream(f);
    test_holder_write(&f->holder, &f->test.loop.pool, "one ");
    test_holder_write(&f->holder, &f->test.loop.pool, "two");
    stream->operations->finish(stream);
    assert_int_equal(f->holder.written, 0);
    test_loop_until_set(&f->test, &f->holder.finished);
    assert_int_equal(f->holder.written, 7);
    test_loop_until(&f->test, something_arrived, f);
    assert_int_equal(receive(f, text, sizeof(text)), 7);
    assert_memory_equal(text, "one two", 7);
    assert_int_equal(receive(f, text, sizeof(text)), 0);
    test_holder_write(&f->holder, &f->test.loop.pool, "too late");
    test_loop_idle(&f->test);
    assert_int_equal(f->holder.written, 7);
    assert_int_equal(f->holder.finished, 1);
}

/* Lets the stream write until the peer's and the kernel's buffers are full. */
static size_t block(struct fixture *fixture)
{
    static const char bytes[CHUNK_LARGE_SIZE / 2];
    struct stream *stream = fixture->holder.stream;
    size_t offered = 0;
    while (fixture->holder.written == offered) {
        struct slice_queue queue = SLICE_QUEUE_NULL;
        struct slice slice;
        assert_int_equal(slice_copy(&fixture->test.loop.pool, bytes, sizeof(bytes), &slice), 0);
        slice_queue_push(&queue, slice);
        offered += sizeof(bytes);
        stream->operations->write(stream, &queue);
        slice_queue_deinit(&queue);
        test_loop_idle(&fixture->test);
    }
    return offered;
}

static void write_byte_of_a_chunk(struct fixture *fixture)
{
    struct stream *stream = fixture->holder.stream;
    struct slice_queue queue = SLICE_QUEUE_NULL;
    struct chunk *chunk = chunk_pool_get(&fixture->test.loop.pool, CHUNK_LARGE);
    chunk->data[0] = 'b';
    slice_queue_push(&queue, (struct slice){chunk, chunk->data, 1});
    stream->operations->write(stream, &queue);
    slice_queue_deinit(&queue);
}

static bool all_was_written(void *context)
{
    struct fixture *fixture = context;
    char buffer[4096];
    while (recv(fixture->peer, buffer, sizeof(buffer), 0) > 0)
        continue;
    return fixture->holder.finished != 0;
}

static bool pins_little(void *context)
{
    struct fixture *fixture = context;
    return test_loop_chunks_held(&fixture->test) <= 40;
}

static void what_is_parked_pins_little(void **state)
{
    enum { BYTES = 300 };
    struct fixture *f = *state;
    struct stream *stream = open_stream(f);
    size_t offered = block(f);
    for (int i = 0; i < BYTES; i++)
        write_byte_of_a_chunk(f);
    test_loop_until(&f->test, pins_little, f);
    assert_in_range(test_loop_idle(&f->test), 0, 5);
    stream->operations->finish(stream);
    assert_int_equal(f->holder.finished, 0);
    test_loop_until(&f->test, all_was_written, f);
    assert_int_equal(f->holder.written, offered + BYTES);
    assert_int_equal(test_loop_chunks_held(&f->test), 0);
}

static void a_broken_pipe_resets(void **state)
{
    struct fixture *f = *state;
    open_stream(f);
    block(f);
    test_tcp_abort(f->peer);
    f->peer = -1;
    test_loop_until_set(&f->test, &f->holder.resets);
    assert_int_equal(f->holder.code, REASON_RESET);
    assert_int_equal(test_loop_chunks_held(&f->test), 0);
}

static void a_write_without_memory_resets_in_a_later_turn(void **state)
{
    struct fixture *f = *state;
    struct stream *stream = open_stream(f);
    block(f);
    for (int i = 0; i < 100 && f->holder.resets == 0; i++) {
        struct slice_queue queue = SLICE_QUEUE_NULL;
        for (int j = 0; j < 20; j++)
            slice_queue_push(&queue, (struct slice){NULL, (const uint8_t *)"s", 1});
        memory_fail_after(1);
        stream->operations->write(stream, &queue);
        assert_int_equal(queue.count, 0);
        slice_queue_deinit(&queue);
        assert_int_equal(f->holder.resets, 0);
        if (!memory_fail_is_pending())
            break;
    }
    assert_false(memory_fail_is_pending());
    test_loop_until_set(&f->test, &f->holder.resets);
    assert_int_equal(f->holder.code, REASON_NO_MEMORY);
}

/* ---- ends ---- */

static bool was_reset(void *context)
{
    char buffer[4096];
    while (receive(context, buffer, sizeof(buffer)) > 0)
        continue;
    return errno != EAGAIN;
}

static void a_reset_sends_rst(void **state)
{
    struct fixture *f = *state;
    struct stream *stream = open_stream(f);
    block(f);
    stream->operations->reset(stream, REASON_LINK_LOST, "gone");
    assert_int_equal(test_loop_chunks_held(&f->test), 0);
    close_stream(f);
    test_loop_until(&f->test, was_reset, f);
    assert_int_equal(errno, ECONNRESET);
    test_loop_idle(&f->test);
    assert_int_equal(f->holder.resets, 0);
}

/* The peer's window is full: most of what was written still waits, and must arrive. */
static void an_orderly_end_loses_nothing(void **state)
{
    struct fixture *f = *state;
    char bytes[4096];
    struct stream *stream = open_stream(f);
    block(f);
    test_holder_write(&f->holder, &f->test.loop.pool, "the last word");
    stream->operations->reset(stream, REASON_CLOSED, NULL);
    close_stream(f);
    test_loop_idle(&f->test);
    /* What the peer still sends is no reason for a RST. */
    assert_int_equal(send(f->peer, "late", 4, MSG_NOSIGNAL), 4);
    char tail[32] = "";
    ssize_t size;
    do {
        test_loop_until(&f->test, something_arrived, f);
        size = receive(f, bytes, sizeof(bytes));
        size_t kept = size < 13 ? 0 : 13;
        memcpy(tail, bytes + (size < 0 ? 0 : (size_t)size) - kept, kept);
    } while (size > 0);
    assert_int_equal(size, 0);
    assert_string_equal(tail, "the last word");
    close(f->peer);
    f->peer = -1;
    test_loop_idle(&f->test);
    assert_int_equal(test_loop_chunks_held(&f->test), 0);
}

static void what_waits_for_an_orderly_end_pins_little(void **state)
{
    struct fixture *f = *state;
    struct stream *stream = open_stream(f);
    block(f);
    for (int i = 0; i < 300; i++)
        write_byte_of_a_chunk(f);
    stream->operations->reset(stream, REASON_CLOSED, NULL);
    close_stream(f);
    assert_false(pins_little(f));
    test_loop_until(&f->test, pins_little, f);
    assert_true(test_loop_chunks_held(&f->test) > 0);
}

static void a_loop_that_ends_first_aborts_the_farewell(void **state)
{
    struct fixture *f = *state;
    struct stream *stream = open_stream(f);
    block(f);
    stream->operations->reset(stream, REASON_CLOSED, NULL);
    close_stream(f);
    assert_true(test_loop_chunks_held(&f->test) > 0);
    /* tear_down asserts that everything was closed and came home. */
}

static void a_close_before_both_have_ended_sends_rst(void **state)
{
    struct fixture *f = *state;
    char byte;
    open_stream(f);
    close_stream(f);
    assert_int_equal(receive(f, &byte, 1), -1);
    assert_int_equal(errno, ECONNRESET);
}

static bool peer_has_failed(void *context)
{
    const struct fixture *fixture = context;
    int error = 0;
    socklen_t size = sizeof(error);
    assert_int_equal(getsockopt(fixture->peer, SOL_SOCKET, SO_ERROR, &error, &size), 0);
    return error != 0;
}

static void a_close_after_one_has_ended_sends_rst(void **state)
{
    struct fixture *f = *state;
    char byte;
    struct stream *stream = open_stream(f);
    stream->operations->finish(stream);
    test_loop_until_set(&f->test, &f->holder.finished);
    test_loop_until(&f->test, something_arrived, f);
    assert_int_equal(receive(f, &byte, 1), 0);
    close_stream(f);
    test_loop_until(&f->test, peer_has_failed, f);
    close(f->peer);
    int fds[2];
    test_tcp_pair(fds);
    f->peer = fds[0];
    f->fd = fds[1];
    open_stream(f);
    shutdown(f->peer, SHUT_WR);
    test_loop_until_set(&f->test, &f->holder.fins);
    close_stream(f);
    test_loop_until(&f->test, peer_has_failed, f);
}

static void a_close_after_both_have_ended_sends_none(void **state)
{
    struct fixture *f = *state;
    char byte;
    struct stream *stream = open_stream(f);
    shutdown(f->peer, SHUT_WR);
    stream->operations->finish(stream);
    test_loop_until_set(&f->test, &f->holder.fins);
    test_loop_until_set(&f->test, &f->holder.finished);
    assert_in_range(test_loop_idle(&f->test), 0, 5);
    close_stream(f);
    test_loop_idle(&f->test);
    assert_int_equal(receive(f, &byte, 1), 0);
}

static bool reads_a_piece_until_all_was_written(void *context)
{
    struct fixture *fixture = context;
    char piece[4096];
    ssize_t size = fixture->holder.finished == 0 ? receive(fixture, piece, sizeof(piece)) : 0;
    fixture->received += size > 0 ? (size_t)size : 0;
    return fixture->holder.finished != 0;
}

/* Much of it is still on the way, or waits in the kernel, when the stream is closed. */
static void a_close_after_both_have_ended_loses_nothing(void **state)
{
    struct fixture *f = *state;
    char bytes[4096];
    ssize_t size;
    struct stream *stream = open_stream(f);
    shutdown(f->peer, SHUT_WR);
    test_loop_until_set(&f->test, &f->holder.fins);
    size_t offered = block(f);
    stream->operations->finish(stream);
    test_loop_until(&f->test, reads_a_piece_until_all_was_written, f);
    close_stream(f);
    do {
        test_loop_until(&f->test, something_arrived, f);
        size = receive(f, bytes, sizeof(bytes));
        f->received += size > 0 ? (size_t)size : 0;
    } while (size > 0);
    assert_int_equal(size, 0);
    assert_int_equal(f->received, offered);
}

/* ---- pending ---- */

static void a_pending_stream_keeps_what_is_written(void **state)
{
    struct fixture *f = *state;
    char text[32];
    struct tcp_stream *stream = open_pending(f);
    test_holder_write(&f->holder, &f->test.loop.pool, "early");
    f->holder.stream->operations->finish(f->holder.stream);
    test_loop_idle(&f->test);
    assert_int_equal(f->holder.written, 0);
    tcp_stream_connected(stream, f->fd);
    f->fd = -1;
    assert_int_equal(f->holder.opened, 1);
    test_loop_until_set(&f->test, &f->holder.finished);
    test_loop_until(&f->test, something_arrived, f);
    assert_int_equal(receive(f, text, sizeof(text)), 5);
    assert_memory_equal(text, "early", 5);
    assert_int_equal(receive(f, text, sizeof(text)), 0);
    close_stream(f);
    assert_int_equal(f->abandoned, 0);
}

static void a_pending_stream_tells_why_it_failed(void **state)
{
    struct fixture *f = *state;
    struct tcp_stream *stream = open_pending(f);
    test_holder_write(&f->holder, &f->test.loop.pool, "early");
    tcp_stream_failed(stream, REASON_DIAL_REFUSED, NULL);
    assert_int_equal(f->holder.resets, 1);
    assert_int_equal(f->holder.code, REASON_DIAL_REFUSED);
    assert_int_equal(f->holder.opened, 0);
    assert_int_equal(f->abandoned, 0);
    assert_int_equal(test_loop_chunks_held(&f->test), 0);
}

static void a_pending_stream_is_abandoned_once(void **state)
{
    struct fixture *f = *state;
    open_pending(f);
    f->holder.stream->operations->reset(f->holder.stream, REASON_RESET, NULL);
    assert_int_equal(f->abandoned, 1);
    close_stream(f);
    test_loop_idle(&f->test);
    assert_int_equal(f->abandoned, 1);
    open_pending(f);
    close_stream(f);
    assert_int_equal(f->abandoned, 2);
}

static void every_failing_allocation_is_survived(void **state)
{
    struct fixture *f = *state;
    struct stream *stream;
    for (size_t n = 1;; n++) {
        memory_fail_after(n);
        int error = tcp_stream_new(&f->test.loop, f->fd, &stream);
        if (memory_fail_is_pending()) {
            assert_int_equal(error, 0);
            break;
        }
        assert_int_equal(error, CULVERT_ERROR_NO_MEMORY);
        assert_in_range(n, 1, 20);
    }
    memory_fail_after(0);
    f->fd = -1;
    test_holder_take(&f->holder, stream);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_window_is_delivered_and_no_more),
        TEST(urgent_data_does_not_keep_the_loop_awake),
        TEST(the_end_is_told_once_and_behind_the_data),
        TEST(reading_without_memory_resets),
        TEST(writes_leave_at_the_end_of_the_turn),
        TEST(what_is_parked_pins_little),
        TEST(what_waits_for_an_orderly_end_pins_little),
        TEST(a_broken_pipe_resets),
        TEST(a_write_without_memory_resets_in_a_later_turn),
        TEST(a_reset_sends_rst),
        TEST(an_orderly_end_loses_nothing),
        TEST(a_loop_that_ends_first_aborts_the_farewell),
        TEST(a_close_before_both_have_ended_sends_rst),
        TEST(a_close_after_one_has_ended_sends_rst),
        TEST(a_close_after_both_have_ended_sends_none),
        TEST(a_close_after_both_have_ended_loses_nothing),
        TEST(a_pending_stream_keeps_what_is_written),
        TEST(a_pending_stream_tells_why_it_failed),
        TEST(a_pending_stream_is_abandoned_once),
        TEST(every_failing_allocation_is_survived),
    };
    return cmocka_run_group_tests_name("tcp stream", tests, NULL, NULL);
}
