#include "ends/farewell.h"

#include "base/memory.h"
#include "ends/lingering_reset.h"
#include "virtual_loop.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* How a connection ends when its stream is gone: in virtual time, over sockets that do what the
 * test says. */

enum { MILLISECOND = 1000, CONNS = 4 };

struct conn {
    const struct conn_events *events;
    void *holder;
    unsigned interest;
    size_t room;        /* that the peer leaves */
    size_t taken;       /* of what was written */
    ssize_t read;       /* what a read returns */
    int write_error;    /* -errno */
    int shutdown_error; /* the same */
    size_t queue;       /* what the peer has not acknowledged */
    unsigned looks;     /* at that */
    unsigned shutdowns;
    bool is_closed, is_aborted;
};

static struct {
    struct trial trial;
    struct account account;
    struct virtual_loop loop;
    struct conn conns[CONNS];
} world;

/* ---- the sockets ---- */

struct loop *conn_loop(const struct conn *conn)
{
    (void)conn;
    return &world.loop.loop;
}

void *conn_holder(const struct conn *conn)
{
    return conn->holder;
}

void conn_set_owner(struct conn *conn, const struct conn_events *events, void *holder)
{
    conn->events = events;
    conn->holder = holder;
}

void conn_want(struct conn *conn, unsigned interest)
{
    assert_false(conn->is_closed);
    conn->interest = interest;
}

ssize_t conn_read(struct conn *conn, void *buffer, size_t size)
{
    assert_non_null(buffer);
    assert_true(conn->read <= (ssize_t)size);
    return conn->read;
}

ssize_t conn_write(struct conn *conn, const struct iovec *vectors, int count)
{
    size_t size = 0;
    for (int i = 0; i < count; i++)
        size += vectors[i].iov_len;
    if (size > conn->room)
        size = conn->room;
    if (conn->write_error != 0 || size == 0)
        return conn->write_error != 0 ? conn->write_error : -EAGAIN;
    conn->room -= size;
    conn->taken += size;
    return (ssize_t)size;
}

int conn_shutdown(struct conn *conn)
{
    conn->shutdowns++;
    return conn->shutdown_error;
}

void conn_close(struct conn *conn, bool abort)
{
    assert_false(conn->is_closed);
    conn->is_closed = true;
    conn->is_aborted = abort;
    conn->interest = 0;
}

size_t conn_send_queue(const struct conn *conn)
{
    ((struct conn *)conn)->looks++;
    return conn->queue;
}

uint8_t *loop_read_space(struct loop *loop, size_t *size)
{
    static uint8_t space[64];
    assert_ptr_equal(loop, &world.loop.loop);
    *size = sizeof space;
    return space;
}

/* ---- what happens ---- */

static int set_up(void **state)
{
    (void)state;
    memset(&world, 0, sizeof world);
    world.trial.now = 1000 * MILLISECOND;
    account_init(&world.account, SIZE_MAX);
    virtual_loop_init(&world.loop, &world.trial, &world.account);
    list_init(&world.loop.loop.resets);
    world.loop.loop.reset_patience = 2000 * MILLISECOND;
    world.loop.loop.max_resets = CONNS;
    for (int i = 0; i < CONNS; i++)
        world.conns[i].read = -EAGAIN;
    return 0;
}

/* What is still under way ends with the loop. */
static int tear_down(void **state)
{
    (void)state;
    memory_fail_after(0);
    assert_int_equal(virtual_loop_deinit(&world.loop), 0);
    assert_int_equal(world.loop.loop.reset_count, 0);
    for (int i = 0; i < CONNS; i++)
        assert_true(world.conns[i].is_closed || world.conns[i].events == NULL);
    assert_int_equal(world.account.used, 0);
    return 0;
}

static void pass(uint64_t milliseconds)
{
    uint64_t end = world.trial.now + milliseconds * MILLISECOND;
    while (virtual_loop_next(&world.loop) <= end) {
        if (virtual_loop_next(&world.loop) > world.trial.now)
            world.trial.now = virtual_loop_next(&world.loop);
        virtual_loop_turn(&world.loop);
    }
    world.trial.now = end;
}

static void be_writable(struct conn *conn)
{
    assert_true((conn->interest & CONN_WRITE) != 0);
    conn->events->writable(conn);
}

static void be_readable(struct conn *conn, ssize_t read)
{
    assert_true((conn->interest & CONN_READ) != 0);
    conn->read = read;
    conn->events->readable(conn);
}

static struct conn *say_farewell(const char *text)
{
    struct slice_queue queue = SLICE_QUEUE_NULL;
    struct slice slice;
    assert_int_equal(slice_copy(&world.loop.loop.pool, text, strlen(text), &slice), 0);
    assert_int_equal(slice_queue_push(&queue, slice), 0);
    farewell(&world.conns[0], &queue);
    assert_int_equal(queue.count, 0);
    slice_queue_deinit(&queue);
    return &world.conns[0];
}

static void assert_closed(const struct conn *conn, bool aborted)
{
    assert_true(conn->is_closed);
    assert_int_equal(conn->is_aborted, aborted);
    assert_int_equal(virtual_loop_next(&world.loop), TRIAL_NEVER);
}

/* ---- farewells ---- */

static void test_what_is_left_is_sent_and_what_comes_is_dropped(void **state)
{
    (void)state;
    struct conn *conn = say_farewell("the rest");
    conn->room = 4;
    be_writable(conn);
    assert_int_equal(conn->shutdowns, 0);
    be_readable(conn, 3);
    conn->room = 100;
    be_writable(conn);
    assert_int_equal(conn->taken, 8);
    assert_int_equal(conn->shutdowns, 1);
    assert_int_equal(conn->interest, CONN_READ);
    be_readable(conn, 3);
    be_readable(conn, -EAGAIN);
    assert_false(conn->is_closed);
    be_readable(conn, 0);
    assert_closed(conn, false);
}

static void test_a_peer_that_ends_first(void **state)
{
    (void)state;
    struct conn *conn = say_farewell("the rest");
    be_readable(conn, 0);
    assert_int_equal(conn->interest, CONN_WRITE); /* its end would be told all the time */
    conn->room = 100;
    be_writable(conn);
    assert_int_equal(conn->taken, 8);
    assert_int_equal(conn->shutdowns, 1);
    be_readable(conn, 0);
    assert_closed(conn, false);
}

static void test_a_peer_that_never_reads(void **state)
{
    (void)state;
    struct conn *conn = say_farewell("the rest");
    be_writable(conn);
    pass(FAREWELL_TIME - 1);
    be_readable(conn, 3); /* is no progress */
    assert_false(conn->is_closed);
    pass(1);
    assert_closed(conn, true);
    assert_int_equal(conn->shutdowns, 0);
}

static void test_a_peer_that_reads_slowly(void **state)
{
    (void)state;
    struct conn *conn = say_farewell("the rest");
    for (int i = 0; i < 7; i++) {
        pass(FAREWELL_TIME - 1);
        conn->room = 1;
        be_writable(conn);
    }
    assert_int_equal(conn->taken, 7);
    pass(FAREWELL_TIME - 1);
    assert_false(conn->is_closed);
    pass(1);
    assert_closed(conn, true);
}

static void test_a_peer_that_never_ends(void **state)
{
    (void)state;
    struct conn *conn = say_farewell("the rest");
    conn->room = 100;
    be_writable(conn);
    pass(FAREWELL_TIME - 1);
    assert_false(conn->is_closed);
    pass(1);
    assert_closed(conn, true);
}

static void test_a_socket_that_fails(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct conn *conn = say_farewell("the rest");
        conn->room = 100;
        if (i == 0) {
            be_readable(conn, -ECONNRESET);
        } else {
            conn->write_error = i == 1 ? -EPIPE : 0;
            conn->shutdown_error = i == 2 ? -ENOTCONN : 0;
            be_writable(conn);
        }
        virtual_loop_turn(&world.loop);
        assert_closed(conn, true);
        *conn = (struct conn){.read = -EAGAIN};
    }
}

static void test_a_loop_that_ends_before(void **state)
{
    (void)state;
    say_farewell("the rest");
    lingering_reset(&world.conns[1], false);
    world.conns[2].queue = 1;
    lingering_reset(&world.conns[2], false);
    /* tear_down asserts that they were closed. */
}

static void test_a_farewell_without_memory(void **state)
{
    (void)state;
    struct slice_queue queue = SLICE_QUEUE_NULL;
    struct slice slice;
    assert_int_equal(slice_copy(&world.loop.loop.pool, "rest", 4, &slice), 0);
    assert_int_equal(slice_queue_push(&queue, slice), 0);
    memory_fail_after(1);
    farewell(&world.conns[0], &queue);
    assert_closed(&world.conns[0], true);
    assert_int_equal(queue.count, 0);
}

/* ---- resets behind what was written ---- */

static struct conn *reset(int index, size_t queue)
{
    struct conn *conn = &world.conns[index];
    conn->queue = queue;
    conn->interest = CONN_READ;
    lingering_reset(conn, false);
    return conn;
}

static void test_nothing_to_wait_for(void **state)
{
    (void)state;
    assert_closed(reset(0, 0), true);
    assert_int_equal(world.conns[0].shutdowns, 0);
}

static void test_a_reset_waits_until_all_is_acknowledged(void **state)
{
    (void)state;
    struct conn *conn = reset(0, 100);
    assert_int_equal(conn->interest, 0);
    assert_int_equal(world.loop.loop.reset_count, 1);
    /* At 1, 3, 7, 15, 31, 63, 127 milliseconds, then each 100. */
    pass(127);
    assert_int_equal(conn->looks, 1 + 7);
    pass(400);
    assert_int_equal(conn->looks, 1 + 7 + 4);
    assert_false(conn->is_closed);
    conn->queue = 0;
    pass(100);
    assert_closed(conn, true);
    assert_int_equal(conn->shutdowns, 0);
    assert_int_equal(world.loop.loop.reset_count, 0);
}

static void test_an_end_before_the_reset(void **state)
{
    (void)state;
    world.conns[0].queue = 1;
    lingering_reset(&world.conns[0], true);
    assert_int_equal(world.conns[0].shutdowns, 1);
    world.conns[0].queue = 0;
    pass(1);
    assert_closed(&world.conns[0], true);
}

static void test_a_reset_does_not_wait_for_ever(void **state)
{
    (void)state;
    struct conn *conn = reset(0, 100);
    pass(1900);
    conn->queue = 99;
    pass(200); /* looked at by then */
    pass(1700);
    assert_false(conn->is_closed);
    pass(400);
    assert_closed(conn, true);
}

static void test_resets_that_wait_are_bounded(void **state)
{
    (void)state;
    world.loop.loop.max_resets = 2;
    for (int i = 0; i < 3; i++)
        reset(i, 100);
    assert_true(world.conns[0].is_closed && world.conns[0].is_aborted);
    assert_false(world.conns[1].is_closed);
    assert_false(world.conns[2].is_closed);
    assert_int_equal(world.loop.loop.reset_count, 2);
    world.conns[1].queue = 0;
    pass(100);
    assert_true(world.conns[1].is_closed);
    reset(3, 100);
    assert_false(world.conns[2].is_closed);
}

static void test_a_reset_without_memory(void **state)
{
    (void)state;
    memory_fail_after(1);
    assert_closed(reset(0, 100), true);
    assert_int_equal(world.loop.loop.reset_count, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_is_left_is_sent_and_what_comes_is_dropped),
        TEST(test_a_peer_that_ends_first),
        TEST(test_a_peer_that_never_reads),
        TEST(test_a_peer_that_reads_slowly),
        TEST(test_a_peer_that_never_ends),
        TEST(test_a_socket_that_fails),
        TEST(test_a_loop_that_ends_before),
        TEST(test_a_farewell_without_memory),
        TEST(test_nothing_to_wait_for),
        TEST(test_a_reset_waits_until_all_is_acknowledged),
        TEST(test_an_end_before_the_reset),
        TEST(test_a_reset_does_not_wait_for_ever),
        TEST(test_resets_that_wait_are_bounded),
        TEST(test_a_reset_without_memory),
    };
    return cmocka_run_group_tests_name("farewell", tests, NULL, NULL);
}
