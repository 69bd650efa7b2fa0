#include "carrier/poll_server.h"

#include "base/error.h"
#include "base/memory.h"
#include "codec/message.h"
#include "ends/test_loop.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* A request that waits, and what it was told. */
struct asker {
    struct poll_waiter waiter;
    unsigned status;
    int times;
};

struct fixture {
    struct test_loop test;
    struct poll_server server;
    struct asker first, second;
    char taken[64]; /* what came up, a bar after each message */
    int reads, ready, over, lost;
    bool closes_at_data; /* as a login does that refuses */
    bool sends_when_ready;
};

static struct fixture *of(struct carrier *carrier)
{
    return carrier->holder;
}

static void add(struct fixture *fixture, const uint8_t *bytes, size_t size)
{
    size_t used = strlen(fixture->taken);
    assert_true(used + size < sizeof(fixture->taken));
    memcpy(fixture->taken + used, bytes, size);
    fixture->taken[used + size] = '\0';
}

static void send_last(struct fixture *fixture, const char *text)
{
    struct slice_queue batch = SLICE_QUEUE_NULL;
    struct slice slice = SLICE_NULL;
    struct carrier *carrier = &fixture->server.carrier;
    assert_int_equal(slice_copy(&fixture->test.loop.pool, text, strlen(text), &slice), 0);
    assert_int_equal(slice_queue_push(&batch, slice), 0);
    carrier->operations->send(carrier, &batch);
    carrier->operations->flush(carrier);
    slice_queue_deinit(&batch);
}

static void send_text(struct fixture *fixture, const char *text)
{
    const struct carrier *carrier = &fixture->server.carrier;
    assert_true(carrier->operations->is_ready(carrier));
    send_last(fixture, text);
}

static void on_data(struct carrier *carrier, struct slice piece)
{
    add(of(carrier), piece.data, piece.size);
    slice_drop(&piece);
    if (of(carrier)->closes_at_data) {
        send_text(of(carrier), "no");
        carrier_close(carrier, CULVERT_ERROR_REFUSED, "no");
    }
}

static void on_message_end(struct carrier *carrier)
{
    add(of(carrier), (const uint8_t *)"|", 1);
}

static void on_read_end(struct carrier *carrier)
{
    of(carrier)->reads++;
}

static void on_ready(struct carrier *carrier)
{
    of(carrier)->ready++;
    if (of(carrier)->sends_when_ready)
        send_text(of(carrier), "more");
}

static void on_lost(struct carrier *carrier, int error, const char *why)
{
    assert_non_null(why);
    of(carrier)->lost = error;
}

static const struct carrier_events events = {
    .data = on_data,
    .message_end = on_message_end,
    .read_end = on_read_end,
    .ready = on_ready,
    .lost = on_lost,
};

static void reads(struct poll_server *server, bool on)
{
    assert_int_equal(server->is_reading, on);
}

static void over(struct poll_server *server)
{
    of(&server->carrier)->over++;
}

static const struct poll_server_owner owner = {.reads = reads, .over = over};

static void answered(struct poll_waiter *waiter, unsigned status)
{
    struct asker *asker = CONTAINER_OF(waiter, struct asker, waiter);
    asker->status = status;
    asker->times++;
}

static int set_up(void **state)
{
    static struct fixture fixture;
    memset(&fixture, 0, sizeof(fixture));
    test_loop_open(&fixture.test);
    assert_int_equal(poll_server_init(&fixture.server, &fixture.test.loop, &owner), 0);
    fixture.server.carrier.events = &events;
    fixture.server.carrier.holder = &fixture;
    fixture.first.waiter.answered = answered;
    fixture.second.waiter.answered = answered;
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    poll_server_deinit(&fixture->server, NULL);
    test_loop_close(&fixture->test);
    return 0;
}

static unsigned bring_part(struct fixture *fixture, uint64_t number, const char *text,
                           bool has_more)
{
    struct slice_queue body = SLICE_QUEUE_NULL;
    struct slice slice = SLICE_NULL;
    assert_int_equal(slice_copy(&fixture->test.loop.pool, text, strlen(text), &slice), 0);
    struct slice head = slice_split(&slice, 1); /* so that there are pieces */
    assert_int_equal(slice_queue_push(&body, head), 0);
    assert_int_equal(slice_queue_push(&body, slice), 0);
    unsigned status = poll_server_take(&fixture->server, number, has_more, &body);
    assert_int_equal(body.bytes, 0);
    slice_queue_deinit(&body);
    return status;
}

static unsigned bring(struct fixture *fixture, uint64_t number, const char *text)
{
    return bring_part(fixture, number, text, false);
}

static unsigned ask(struct fixture *fixture, struct asker *asker, uint64_t number)
{
    asker->status = 0;
    return poll_server_ask(&fixture->server, &asker->waiter, number);
}

static void expect_body(const struct fixture *fixture, uint64_t number, const char *text)
{
    struct iovec vectors[4];
    int count = slice_queue_vectors(&fixture->server.body, vectors, 4);
    assert_int_equal(fixture->server.down, number);
    assert_int_equal(count, 1);
    assert_int_equal(vectors[0].iov_len, strlen(text));
    assert_memory_equal(vectors[0].iov_base, text, strlen(text));
}

static void bodies_go_up_once(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(poll_server_expects(&fixture->server, 1, 3), 0);
    assert_int_equal(bring(fixture, 1, "one"), 200);
    assert_string_equal(fixture->taken, "one|");
    assert_int_equal(poll_server_expects(&fixture->server, 1, 3), 200);
    assert_int_equal(bring(fixture, 1, "eno"), 200);
    assert_int_equal(bring(fixture, 3, "three"), 409);
    assert_int_equal(poll_server_expects(&fixture->server, 3, 5), 409);
    assert_int_equal(bring(fixture, 2, "two"), 200);
    assert_int_equal(bring(fixture, 1, "late"), 200);
    assert_string_equal(fixture->taken, "one|two|");
    assert_int_equal(fixture->reads, 2);
}

static void a_message_in_several_bodies(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(bring(fixture, 1, "one"), 200);
    assert_int_equal(bring_part(fixture, 2, "two", true), 200);
    assert_int_equal(bring_part(fixture, 2, "two", true), 200);
    assert_int_equal(bring_part(fixture, 3, "three", true), 200);
    assert_string_equal(fixture->taken, "one|twothree");
    assert_int_equal(bring(fixture, 4, "four"), 200);
    assert_string_equal(fixture->taken, "one|twothreefour|");
}

/* A smaller body with the number of one that was taken: what follows is not new. */
static void a_body_divided_too_late(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(bring(fixture, 1, "one"), 200);
    assert_int_equal(bring(fixture, 2, "twothree"), 200);
    assert_int_equal(poll_server_expects(&fixture->server, 2, 3), 409);
    assert_int_equal(bring_part(fixture, 2, "two", true), 409);
    assert_int_equal(bring(fixture, 2, "twothree"), 200);
    assert_string_equal(fixture->taken, "one|twothree|");
}

static void only_a_handshake_comes_first(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(poll_server_expects(&fixture->server, 1, MESSAGE_MAX_CONTROL + 1), 413);
    assert_int_equal(poll_server_expects(&fixture->server, 1, MESSAGE_MAX_CONTROL), 0);
    assert_int_equal(bring(fixture, 1, "one"), 200);
    assert_int_equal(poll_server_expects(&fixture->server, 2, 1024 * 1024), 0);
}

static void a_request_waits_for_its_body(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(ask(fixture, &fixture->first, 1), 0);
    send_text(fixture, "one");
    assert_int_equal(fixture->first.status, 200);
    expect_body(fixture, 1, "one");
    assert_false(fixture->server.carrier.operations->is_ready(&fixture->server.carrier));
    assert_int_equal(fixture->ready, 0);
    assert_int_equal(ask(fixture, &fixture->first, 2), 0);
    assert_int_equal(fixture->ready, 1);
    assert_true(fixture->server.carrier.operations->is_ready(&fixture->server.carrier));
    assert_int_equal(fixture->first.times, 1);
}

static void a_body_waits_for_its_request(void **state)
{
    struct fixture *fixture = *state;
    send_text(fixture, "one");
    assert_int_equal(ask(fixture, &fixture->first, 2), 409);
    assert_int_equal(ask(fixture, &fixture->first, 1), 200);
    expect_body(fixture, 1, "one");
    assert_int_equal(ask(fixture, &fixture->second, 1), 200);
    expect_body(fixture, 1, "one");
    fixture->sends_when_ready = true;
    assert_int_equal(ask(fixture, &fixture->first, 2), 200);
    expect_body(fixture, 2, "more");
    assert_int_equal(ask(fixture, &fixture->first, 1), 409);
    assert_int_equal(ask(fixture, &fixture->first, 4), 409);
    assert_int_equal(fixture->first.times + fixture->second.times, 0);
}

static void a_newer_request_takes_the_place(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(ask(fixture, &fixture->first, 1), 0);
    assert_int_equal(ask(fixture, &fixture->second, 2), 409);
    assert_int_equal(fixture->first.times, 0);
    assert_int_equal(ask(fixture, &fixture->second, 1), 0);
    assert_int_equal(fixture->first.status, 204);
    send_text(fixture, "one");
    assert_int_equal(fixture->second.status, 200);
    assert_int_equal(fixture->first.times, 1);
}

static void one_that_left_gets_nothing(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(ask(fixture, &fixture->first, 1), 0);
    poll_server_leave(&fixture->server, &fixture->second.waiter);
    poll_server_leave(&fixture->server, &fixture->first.waiter);
    send_text(fixture, "one");
    assert_int_equal(fixture->first.times, 0);
    assert_int_equal(ask(fixture, &fixture->second, 1), 200);
}

/* Lets the server's timer find that this moment is in the past. */
static void pass(struct fixture *fixture, uint64_t *moment)
{
    *moment = loop_now(&fixture->test.loop) - 60000000;
    loop_timer_start(&fixture->server.timer, 1);
}

static void a_request_does_not_hang_for_ever(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(ask(fixture, &fixture->first, 1), 0);
    pass(fixture, &fixture->server.hang_end);
    test_loop_until_set(&fixture->test, &fixture->first.times);
    assert_int_equal(fixture->first.status, 204);
    assert_int_equal(ask(fixture, &fixture->first, 1), 0);
    send_text(fixture, "one");
    assert_int_equal(fixture->first.status, 200);
    assert_int_equal(fixture->lost, 0);
}

static void silence_loses_the_carrier(void **state)
{
    struct fixture *fixture = *state;
    struct carrier *carrier = &fixture->server.carrier;
    pass(fixture, &fixture->server.last_seen);
    test_loop_until_set(&fixture->test, &fixture->lost);
    assert_int_equal(fixture->lost, CULVERT_ERROR_TIMED_OUT);
    assert_false(carrier->operations->is_ready(carrier));
    assert_int_equal(ask(fixture, &fixture->first, 1), 410);
    assert_int_equal(bring(fixture, 1, "one"), 410);
    carrier_close(carrier, CULVERT_ERROR_TIMED_OUT, "silent");
    test_loop_until_set(&fixture->test, &fixture->over);
}

static void the_last_body_can_be_fetched(void **state)
{
    struct fixture *fixture = *state;
    struct carrier *carrier = &fixture->server.carrier;
    send_text(fixture, "the end");
    carrier_close(carrier, 0, "over");
    carrier_close(carrier, 0, "twice");
    assert_int_equal(bring(fixture, 1, "one"), 410);
    assert_int_equal(ask(fixture, &fixture->first, 1), 200);
    expect_body(fixture, 1, "the end");
    assert_int_equal(ask(fixture, &fixture->first, 1), 200);
    assert_int_equal(fixture->over, 0);
    assert_int_equal(ask(fixture, &fixture->first, 2), 410);
    assert_int_equal(ask(fixture, &fixture->first, 2), 410);
    test_loop_until_set(&fixture->test, &fixture->over);
    assert_int_equal(fixture->ready, 0);
}

static void the_last_body_is_not_kept_for_ever(void **state)
{
    struct fixture *fixture = *state;
    send_text(fixture, "the end");
    carrier_close(&fixture->server.carrier, 0, "over");
    pass(fixture, &fixture->server.end);
    test_loop_until_set(&fixture->test, &fixture->over);
}

static void the_end_goes_behind_what_is_on_its_way(void **state)
{
    struct fixture *fixture = *state;
    struct carrier *carrier = &fixture->server.carrier;
    send_text(fixture, "one");
    assert_int_equal(ask(fixture, &fixture->first, 1), 200);
    assert_true(carrier->operations->takes_last);
    assert_false(carrier->operations->is_ready(carrier));
    send_last(fixture, "the end");
    carrier_close(carrier, 0, "over");
    assert_int_equal(ask(fixture, &fixture->first, 1), 200);
    expect_body(fixture, 1, "one");
    assert_int_equal(ask(fixture, &fixture->first, 2), 200);
    expect_body(fixture, 2, "the end");
    assert_int_equal(fixture->over, 0);
    assert_int_equal(ask(fixture, &fixture->first, 3), 410);
    test_loop_until_set(&fixture->test, &fixture->over);
}

static void the_end_goes_with_what_has_not_left(void **state)
{
    struct fixture *fixture = *state;
    send_text(fixture, "one");
    send_last(fixture, " and the end");
    carrier_close(&fixture->server.carrier, 0, "over");
    assert_int_equal(ask(fixture, &fixture->first, 1), 200);
    assert_int_equal(fixture->server.body.bytes, strlen("one and the end"));
    assert_int_equal(ask(fixture, &fixture->first, 2), 410);
}

static void who_waits_learns_of_the_end(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(ask(fixture, &fixture->first, 1), 0);
    carrier_close(&fixture->server.carrier, 0, "over");
    assert_int_equal(fixture->first.status, 410);
    test_loop_until_set(&fixture->test, &fixture->over);
}

static void nothing_is_kept_for_who_is_gone(void **state)
{
    struct fixture *fixture = *state;
    send_text(fixture, "the end");
    carrier_close(&fixture->server.carrier, -ECONNRESET, "gone");
    assert_int_equal(ask(fixture, &fixture->first, 1), 410);
    test_loop_until_set(&fixture->test, &fixture->over);
}

static void it_may_close_while_a_body_is_told(void **state)
{
    struct fixture *fixture = *state;
    fixture->closes_at_data = true;
    assert_int_equal(ask(fixture, &fixture->first, 1), 0);
    assert_int_equal(bring(fixture, 1, "one"), 200);
    assert_string_equal(fixture->taken, "o");
    assert_int_equal(fixture->first.status, 200);
    expect_body(fixture, 1, "no");
    assert_int_equal(ask(fixture, &fixture->first, 2), 410);
    test_loop_until_set(&fixture->test, &fixture->over);
}

static void a_holder_may_read_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct carrier *carrier = &fixture->server.carrier;
    assert_true(fixture->server.is_reading);
    carrier->operations->read(carrier, false);
    carrier->operations->read(carrier, false);
    carrier->operations->read(carrier, true);
    carrier->operations->ping(carrier);
    assert_null(carrier->operations->depart(carrier));
}

/* Full bodies from this number on, over a line that takes so many microseconds for a byte. */
static void fetch_slowly(struct fixture *fixture, uint64_t number, uint64_t count,
                         uint64_t slowness)
{
    const struct carrier *carrier = &fixture->server.carrier;
    for (uint64_t end = number + count; number < end; number++) {
        send_text(fixture, "much");
        assert_int_equal(ask(fixture, &fixture->first, number), 200);
        fixture->server.batch_size = carrier->operations->batch_limit(carrier);
        fixture->server.batch_start -= slowness * fixture->server.batch_size;
        assert_int_equal(ask(fixture, &fixture->first, number + 1), 0);
        poll_server_leave(&fixture->server, &fixture->first.waiter);
    }
}

static void bodies_fit_the_line(void **state)
{
    struct fixture *fixture = *state;
    const struct carrier *carrier = &fixture->server.carrier;
    assert_int_equal(carrier->operations->batch_limit(carrier), POLL_BATCH_FIRST);
    fetch_slowly(fixture, 1, 20, 0);
    assert_int_equal(carrier->operations->batch_limit(carrier), POLL_BATCH_MOST);
    fetch_slowly(fixture, 21, 20, 20);
    assert_true(carrier->operations->batch_limit(carrier) < POLL_BATCH_FIRST);
}

static void without_memory_it_is_lost(void **state)
{
    struct fixture *fixture = *state;
    struct carrier *carrier = &fixture->server.carrier;
    send_text(fixture, "one");
    struct slice_queue batch = SLICE_QUEUE_NULL;
    for (size_t i = 0; i < 8; i++) {
        struct slice slice = SLICE_NULL;
        assert_int_equal(slice_copy(&fixture->test.loop.pool, "x", 1, &slice), 0);
        assert_int_equal(slice_queue_push(&batch, slice), 0);
    }
    memory_fail_after(1);
    carrier->operations->send(carrier, &batch);
    assert_false(memory_fail_is_pending());
    slice_queue_deinit(&batch);
    assert_int_equal(fixture->lost, CULVERT_ERROR_NO_MEMORY);
    assert_int_equal(ask(fixture, &fixture->first, 1), 410);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(bodies_go_up_once),
        TEST(a_message_in_several_bodies),
        TEST(a_body_divided_too_late),
        TEST(only_a_handshake_comes_first),
        TEST(a_request_waits_for_its_body),
        TEST(a_body_waits_for_its_request),
        TEST(a_newer_request_takes_the_place),
        TEST(one_that_left_gets_nothing),
        TEST(a_request_does_not_hang_for_ever),
        TEST(silence_loses_the_carrier),
        TEST(the_last_body_can_be_fetched),
        TEST(the_last_body_is_not_kept_for_ever),
        TEST(the_end_goes_behind_what_is_on_its_way),
        TEST(the_end_goes_with_what_has_not_left),
        TEST(who_waits_learns_of_the_end),
        TEST(nothing_is_kept_for_who_is_gone),
        TEST(it_may_close_while_a_body_is_told),
        TEST(a_holder_may_read_nothing),
        TEST(bodies_fit_the_line),
        TEST(without_memory_it_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
