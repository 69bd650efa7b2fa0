#include "ends/test_user.h"

#include <errno.h>
#include <linux/sockios.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { PERIOD = 251 /* of the bytes sent, so that a wrong offset is noticed */ };

static const uint8_t *pattern(void)
{
    static uint8_t bytes[TEST_USER_PIECE + PERIOD];
    for (size_t i = 0; bytes[1] == 0 && i < sizeof(bytes); i++)
        bytes[sizeof(bytes) - 1 - i] = (uint8_t)((sizeof(bytes) - 1 - i) % PERIOD);
    return bytes;
}

/* ---- the holder ---- */

static void check_pattern(const uint8_t *data, size_t size, uint64_t offset)
{
    while (size > 0) {
        size_t part = size < TEST_USER_PIECE ? size : TEST_USER_PIECE;
        assert_memory_equal(data, pattern() + offset % PERIOD, part);
        data += part;
        offset += part;
        size -= part;
    }
}

static void on_data(struct stream *stream, struct slice_queue *data)
{
    struct test_holder *told = stream->holder;
    assert_int_equal(told->fins + told->resets, 0);
    while (data->count > 0) {
        struct slice slice = slice_queue_take(data, SIZE_MAX);
        check_pattern(slice.data, slice.size, told->bytes);
        told->bytes += slice.size;
        slice_drop(&slice);
    }
}

static void on_written(struct stream *stream, size_t bytes)
{
    struct test_user *user = stream->holder;
    test_holder_written(stream, bytes);
    assert_true(user->told.written <= user->offered);
}

static const struct stream_events user_events = {
    .opened = test_holder_opened,
    .data = on_data,
    .fin = test_holder_fin,
    .reset = test_holder_reset,
    .written = on_written,
    .finished = test_holder_finished,
};

void test_user_take(struct test_user *user, struct stream *stream)
{
    *user = (struct test_user){
        .told.stream = stream, .peer = -1, .appetite = UINT64_MAX, .peer_appetite = UINT64_MAX};
    stream->events = &user_events;
    stream->holder = user;
    stream->operations->consumed(stream, 0);
}

void test_user_let_go(struct test_user *user)
{
    if (user->told.stream != NULL)
        user->told.stream->operations->close(user->told.stream);
    user->told.stream = NULL;
    if (user->peer >= 0)
        close(user->peer);
    user->peer = -1;
}

static size_t least(uint64_t a, uint64_t b)
{
    return (size_t)(a < b ? a : b);
}

static void write_piece(struct test_user *user)
{
    size_t size = least(user->wanted - user->offered, TEST_USER_PIECE);
    struct slice_queue queue = SLICE_QUEUE_NULL;
    struct slice slice = {NULL, pattern() + user->offered % PERIOD, size};
    assert_int_equal(slice_queue_push(&queue, slice), 0);
    user->offered += size;
    user->told.stream->operations->write(user->told.stream, &queue);
    assert_int_equal(queue.count, 0);
    slice_queue_deinit(&queue);
}

void test_user_write_all(struct test_user *user)
{
    while (user->offered < user->wanted)
        write_piece(user);
}

void test_user_reset(struct test_user *user, int code)
{
    user->told.stream->operations->reset(user->told.stream, code, NULL);
    user->told.stream->operations->close(user->told.stream);
    user->told.stream = NULL;
}

/* ---- a turn of both ---- */

void test_user_turn_holder(struct test_user *user)
{
    while (user->told.stream != NULL && user->offered < user->wanted &&
           user->offered - user->told.written < TEST_USER_WINDOW)
        write_piece(user);
    size_t bytes = least(user->told.bytes - user->consumed, user->appetite);
    user->consumed += bytes;
    if (user->told.stream != NULL && bytes > 0)
        user->told.stream->operations->consumed(user->told.stream, bytes);
}

void test_user_send(struct test_user *user)
{
    while (user->peer_sent < user->peer_wanted) {
        size_t size = least(user->peer_wanted - user->peer_sent, TEST_USER_PIECE);
        ssize_t sent = send(user->peer, pattern() + user->peer_sent % PERIOD, size, MSG_NOSIGNAL);
        if (sent <= 0)
            return;
        user->peer_sent += (uint64_t)sent;
    }
}

static void peer_receives(struct test_user *user)
{
    static uint8_t buffer[TEST_USER_PIECE];
    uint64_t hungry = user->peer_appetite;
    while (hungry > 0 && !user->peer_got_end && !user->peer_got_reset) {
        ssize_t size = recv(user->peer, buffer, least(hungry, sizeof(buffer)), 0);
        if (size < 0 && errno == EAGAIN)
            return;
        user->peer_got_reset = size < 0;
        user->peer_got_end = size == 0;
        if (size <= 0)
            return;
        check_pattern(buffer, (size_t)size, user->peer_received);
        user->peer_received += (uint64_t)size;
        hungry -= (uint64_t)size;
    }
}

void test_user_turn(struct test_user *user)
{
    test_user_turn_holder(user);
    if (user->peer < 0)
        return;
    test_user_send(user);
    peer_receives(user);
}

/* Conditions for test_loop_until: each lets the user do its part first. */
bool test_user_all_has_arrived(void *context)
{
    struct test_user *user = context;
    test_user_turn(user);
    return user->peer_received == user->wanted && user->consumed == user->peer_wanted;
}

bool test_user_peer_has_sent(void *context)
{
    struct test_user *user = context;
    int unsent = 0;
    test_user_send(user);
    return user->peer_sent == user->peer_wanted && ioctl(user->peer, SIOCOUTQ, &unsent) == 0 &&
           unsent == 0;
}

bool test_user_all_was_written(void *context)
{
    struct test_user *user = context;
    test_user_turn_holder(user);
    return user->told.written == user->wanted;
}

bool test_user_peer_got_end(void *context)
{
    struct test_user *user = context;
    test_user_turn(user);
    assert_false(user->peer_got_reset);
    return user->peer_got_end;
}

bool test_user_peer_got_reset(void *context)
{
    struct test_user *user = context;
    test_user_turn(user);
    assert_false(user->peer_got_end);
    return user->peer_got_reset;
}

bool test_user_holder_got_reset(void *context)
{
    struct test_user *user = context;
    test_user_turn_holder(user);
    return user->told.resets > 0;
}
