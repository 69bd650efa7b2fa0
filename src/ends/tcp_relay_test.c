#include "base/reason.h"
#include "ends/tcp_stream.h"
#include "ends/test_loop.h"
#include "relay/relay.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { PERIOD = 65521, PIECE = 32 * 1024 };

/* A program at either end of the session. */
struct program {
    int fd;
    size_t to_send, sent, received;
    int has_end;
    int error;
};

/* client <-> asking stream, relay, answering stream <-> target */
struct fixture {
    struct test_loop test;
    struct relay relay;
    struct stream *asking, *answering;
    struct program client, target;
    int ended;
    int code;
};

static uint8_t pattern[PERIOD + PIECE];

static void on_ended(struct relay *relay, int code, const char *reason)
{
    struct fixture *fixture = CONTAINER_OF(relay, struct fixture, relay);
    (void)reason;
    fixture->ended++;
    fixture->code = code;
}

static const struct relay_owner owner = {.ended = on_ended};

static int set_up(void **state)
{
    static struct fixture fixture;
    int fds[2];
    memset(&fixture, 0, sizeof(fixture));
    for (size_t i = 0; i < sizeof(pattern); i++)
        pattern[i] = (uint8_t)(i % PERIOD * 31 + (i % PERIOD >> 8));
    test_loop_open(&fixture.test);
    test_tcp_pair(fds);
    fixture.client.fd = fds[0];
    assert_int_equal(tcp_stream_new(&fixture.test.loop, fds[1], &fixture.asking), 0);
    test_tcp_pair(fds);
    fixture.target.fd = fds[1];
    assert_int_equal(tcp_stream_new(&fixture.test.loop, fds[0], &fixture.answering), 0);
    *state = &fixture;
    return 0;
}

static void join(struct fixture *fixture)
{
    relay_join(&fixture->relay, fixture->asking, fixture->answering, &owner);
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    if (fixture->client.fd >= 0)
        close(fixture->client.fd);
    if (fixture->target.fd >= 0)
        close(fixture->target.fd);
    assert_int_equal(fixture->ended, 1);
    test_loop_close(&fixture->test);
    return 0;
}

/* ---- the programs ---- */

static void send_on(struct program *program)
{
    while (program->sent < program->to_send) {
        size_t size = program->to_send - program->sent;
        ssize_t count = send(program->fd, pattern + program->sent % PERIOD,
                             size < PIECE ? size : PIECE, MSG_NOSIGNAL);
        if (count < 0) {
            if (errno != EAGAIN)
                program->error = errno;
            return;
        }
        program->sent += (size_t)count;
        if (program->sent == program->to_send)
            shutdown(program->fd, SHUT_WR);
    }
}

static void receive_on(struct program *program)
{
    uint8_t buffer[PIECE];
    while (!program->has_end && program->error == 0) {
        ssize_t count = recv(program->fd, buffer, sizeof(buffer), 0);
        if (count < 0) {
            if (errno != EAGAIN)
                program->error = errno;
            return;
        }
        if (count == 0)
            program->has_end = 1;
        assert_memory_equal(buffer, pattern + program->received % PERIOD, (size_t)count);
        program->received += (size_t)count;
    }
}

static bool both_are_done(void *context)
{
    struct fixture *fixture = context;
    send_on(&fixture->client);
    send_on(&fixture->target);
    receive_on(&fixture->client);
    receive_on(&fixture->target);
    return fixture->ended != 0 && fixture->client.has_end && fixture->target.has_end;
}

static bool target_has_end(void *context)
{
    struct fixture *fixture = context;
    receive_on(&fixture->target);
    return fixture->target.has_end;
}

static bool client_has_end(void *context)
{
    struct fixture *fixture = context;
    receive_on(&fixture->client);
    return fixture->client.has_end;
}

static bool target_has_error(void *context)
{
    struct fixture *fixture = context;
    receive_on(&fixture->target);
    return fixture->target.error != 0;
}

/* Nobody reads any more: only writing shows it. */
static bool target_was_reset(void *context)
{
    struct fixture *fixture = context;
    return send(fixture->target.fd, pattern, 1, MSG_NOSIGNAL) < 0 && errno == EPIPE;
}

static bool client_has_error(void *context)
{
    struct fixture *fixture = context;
    receive_on(&fixture->client);
    return fixture->client.error != 0;
}

/* Sends until the loop has been idle and the socket still takes nothing. */
static void fill(struct fixture *fixture)
{
    size_t before;
    fixture->client.to_send = SIZE_MAX;
    do {
        before = fixture->client.sent;
        send_on(&fixture->client);
        test_loop_idle(&fixture->test);
    } while (fixture->client.sent != before);
}

/* ---- tests ---- */

static void megabytes_go_both_ways(void **state)
{
    struct fixture *f = *state;
    f->client.to_send = 8000001;
    f->target.to_send = 5000003;
    join(f);
    test_loop_until(&f->test, both_are_done, f);
    assert_int_equal(f->target.received, 8000001);
    assert_int_equal(f->client.received, 5000003);
    assert_int_equal(f->relay.side[0].received, 8000001);
    assert_int_equal(f->relay.side[1].received, 5000003);
    assert_int_equal(f->code, REASON_NONE);
    assert_int_equal(test_loop_chunks_held(&f->test), 0);
}

static void the_client_ends_first(void **state)
{
    struct fixture *f = *state;
    join(f);
    f->client.to_send = 10;
    send_on(&f->client);
    test_loop_until(&f->test, target_has_end, f);
    assert_int_equal(f->target.received, 10);
    assert_int_equal(f->ended, 0);
    assert_in_range(test_loop_idle(&f->test), 0, 5);
    f->target.to_send = 1000000;
    test_loop_until(&f->test, both_are_done, f);
    assert_int_equal(f->client.received, 1000000);
    assert_int_equal(f->code, REASON_NONE);
}

static void the_target_ends_first(void **state)
{
    struct fixture *f = *state;
    join(f);
    shutdown(f->target.fd, SHUT_WR);
    test_loop_until(&f->test, client_has_end, f);
    assert_int_equal(f->ended, 0);
    f->client.to_send = 1000000;
    test_loop_until(&f->test, both_are_done, f);
    assert_int_equal(f->target.received, 1000000);
    assert_int_equal(f->code, REASON_NONE);
}

static void a_session_of_no_bytes(void **state)
{
    struct fixture *f = *state;
    join(f);
    shutdown(f->client.fd, SHUT_WR);
    shutdown(f->target.fd, SHUT_WR);
    test_loop_until(&f->test, both_are_done, f);
    assert_int_equal(f->code, REASON_NONE);
}

static void a_reset_of_the_client_reaches_the_target(void **state)
{
    struct fixture *f = *state;
    join(f);
    assert_int_equal(send(f->client.fd, pattern, 5, 0), 5);
    test_loop_idle(&f->test);
    test_tcp_abort(f->client.fd);
    f->client.fd = -1;
    test_loop_until(&f->test, target_has_error, f);
    assert_int_equal(f->target.error, ECONNRESET);
    assert_int_equal(f->code, REASON_RESET);
}

static void a_reset_of_the_target_reaches_the_client(void **state)
{
    struct fixture *f = *state;
    join(f);
    test_tcp_abort(f->target.fd);
    f->target.fd = -1;
    test_loop_until(&f->test, client_has_error, f);
    assert_int_equal(f->client.error, ECONNRESET);
    assert_int_equal(f->code, REASON_RESET);
}

/* Nothing is read any more and nothing is written: only the poll can tell. */
static void a_reset_after_the_half_close_is_noticed(void **state)
{
    struct fixture *f = *state;
    join(f);
    shutdown(f->client.fd, SHUT_WR);
    test_loop_until(&f->test, target_has_end, f);
    f->target.has_end = 0;
    assert_int_equal(f->ended, 0);
    test_tcp_abort(f->client.fd);
    f->client.fd = -1;
    test_loop_until_set(&f->test, &f->ended);
    assert_int_equal(f->code, REASON_RESET);
    test_loop_until(&f->test, target_was_reset, f);
}

/* All that the client's kernel has handed over before the reset: what is still in the relay, and
 * what lies unread in the socket. A FIN does not belong to it. */
static void what_came_before_a_reset_arrives(void **state)
{
    struct fixture *f = *state;
    join(f);
    fill(f);
    test_tcp_abort(f->client.fd);
    f->client.fd = -1;
    /* A socket that has failed must not wake the loop all the time. */
    assert_in_range(test_loop_idle(&f->test), 0, 5);
    assert_int_equal(f->ended, 0);
    size_t delivered = f->relay.side[0].received;
    test_loop_until(&f->test, target_has_error, f);
    assert_int_equal(f->target.error, ECONNRESET);
    assert_int_equal(f->target.has_end, 0);
    assert_in_range(f->target.received, delivered, f->client.sent);
    assert_int_equal(f->target.received, f->relay.side[0].received);
    test_loop_until_set(&f->test, &f->ended);
    assert_int_equal(f->code, REASON_RESET);
    assert_int_equal(test_loop_chunks_held(&f->test), 0);
}

/* The client goes away with unread input; the target, which has written, reads. */
static void an_early_answer_arrives_while_the_target_sends(void **state)
{
    struct fixture *f = *state;
    join(f);
    f->target.to_send = SIZE_MAX;
    send_on(&f->target);
    test_loop_idle(&f->test);
    assert_int_equal(send(f->client.fd, pattern, 1000, MSG_NOSIGNAL), 1000);
    close(f->client.fd); /* with a RST, since not all was read */
    f->client.fd = -1;
    test_loop_until_set(&f->test, &f->ended);
    test_loop_until(&f->test, target_has_error, f);
    assert_int_equal(f->target.received, 1000);
    assert_int_equal(f->code, REASON_RESET);
}

static void a_target_that_takes_nothing_is_not_waited_for_long(void **state)
{
    struct fixture *f = *state;
    f->test.loop.reset_patience = 300 * 1000;
    join(f);
    fill(f);
    test_tcp_abort(f->client.fd);
    f->client.fd = -1;
    test_loop_until_set(&f->test, &f->ended);
    assert_int_equal(f->code, REASON_NOT_TAKEN);
    assert_int_equal(test_loop_chunks_held(&f->test), 0);
    test_loop_until(&f->test, target_has_error, f);
    assert_int_equal(f->target.error, ECONNRESET);
}

static void a_failed_socket_is_read_and_not_written(void **state)
{
    struct fixture *f = *state;
    join(f);
    fill(f);
    test_tcp_abort(f->client.fd);
    f->client.fd = -1;
    test_loop_idle(&f->test);
    /* What the target sends is taken, and dropped. */
    f->target.to_send = 4000000;
    do {
        send_on(&f->target);
        test_loop_idle(&f->test);
    } while (f->target.sent < f->target.to_send);
    assert_int_equal(f->ended, 0);
    test_loop_until(&f->test, target_has_error, f);
    assert_int_equal(f->target.received, f->relay.side[0].received);
    test_loop_until_set(&f->test, &f->ended);
    assert_int_equal(f->code, REASON_RESET);
}

static void a_slow_target_holds_the_client_back(void **state)
{
    struct fixture *f = *state;
    join(f);
    fill(f);
    size_t outstanding = f->relay.side[0].received;
    assert_in_range(test_loop_idle(&f->test), 0, 5);
    assert_int_equal(f->relay.side[0].received, outstanding);
    /* The window, and what is left of the chunks that it begins and ends in. */
    assert_in_range(f->test.account.used, TCP_STREAM_WINDOW / 2, 4 * CHUNK_LARGE_SIZE);
    relay_abort(&f->relay, REASON_SHUTDOWN, NULL);
}

static void the_rest_arrives_when_a_slow_target_reads(void **state)
{
    struct fixture *f = *state;
    join(f);
    fill(f);
    f->client.to_send = f->client.sent + 1000000;
    f->target.to_send = 1;
    test_loop_until(&f->test, both_are_done, f);
    assert_int_equal(f->target.received, f->client.sent);
    assert_int_equal(f->code, REASON_NONE);
}

static void an_abort_resets_both_programs(void **state)
{
    struct fixture *f = *state;
    join(f);
    fill(f);
    relay_abort(&f->relay, REASON_SHUTDOWN, NULL);
    test_loop_until(&f->test, target_has_error, f);
    test_loop_until(&f->test, client_has_error, f);
    assert_int_equal(f->target.error, ECONNRESET);
    assert_int_equal(f->client.error, ECONNRESET);
    assert_int_equal(test_loop_chunks_held(&f->test), 0);
}

static void data_waits_until_the_stream_is_joined(void **state)
{
    struct fixture *f = *state;
    f->client.to_send = 1000;
    send_on(&f->client);
    test_loop_idle(&f->test);
    assert_in_range(test_loop_idle(&f->test), 0, 5);
    join(f);
    f->target.to_send = 7;
    test_loop_until(&f->test, both_are_done, f);
    assert_int_equal(f->target.received, 1000);
    assert_int_equal(f->code, REASON_NONE);
}

static void a_reset_waits_until_the_stream_is_joined(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(send(f->client.fd, pattern, 5, 0), 5);
    test_loop_idle(&f->test);
    test_tcp_abort(f->client.fd);
    f->client.fd = -1;
    test_loop_idle(&f->test);
    assert_in_range(test_loop_idle(&f->test), 0, 5);
    join(f);
    assert_int_equal(f->ended, 0);
    test_loop_until_set(&f->test, &f->ended);
    assert_int_equal(f->code, REASON_RESET);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(megabytes_go_both_ways),
        TEST(the_client_ends_first),
        TEST(the_target_ends_first),
        TEST(a_session_of_no_bytes),
        TEST(a_reset_of_the_client_reaches_the_target),
        TEST(a_reset_of_the_target_reaches_the_client),
        TEST(a_reset_after_the_half_close_is_noticed),
        TEST(what_came_before_a_reset_arrives),
        TEST(an_early_answer_arrives_while_the_target_sends),
        TEST(a_target_that_takes_nothing_is_not_waited_for_long),
        TEST(a_failed_socket_is_read_and_not_written),
        TEST(a_slow_target_holds_the_client_back),
        TEST(the_rest_arrives_when_a_slow_target_reads),
        TEST(an_abort_resets_both_programs),
        TEST(data_waits_until_the_stream_is_joined),
        TEST(a_reset_waits_until_the_stream_is_joined),
    };
    return cmocka_run_group_tests_name("tcp relay", tests, NULL, NULL);
}
