/* Requests of a peer on a socket, and what the connection tells its user. */
#include "http/http_connection.h"

#include "base/error.h"
#include "base/list.h"
#include "base/memory.h"
#include "ends/test_loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { LONG = 60 * 1000 };

#define ANSWER "HTTP/1.1 204 No Content\r\n\r\n"

static const struct http_connection_limits limits = {
    .head = 4096,
    .first_time = LONG,
    .idle_time = LONG,
    .request_time = LONG,
    .answer_time = LONG,
};

/* What the user does with a head. */
enum plan { PLAN_ANSWER, PLAN_LAST_ANSWER, PLAN_READ, PLAN_ASKED, PLAN_WAIT, PLAN_CLOSE };

struct fixture {
    struct test_loop test;
    struct http_connection connection;
    struct loop_task buried;
    enum plan plan;
    size_t body_size;
    char told[512]; /* a word for each event */
    char body[64];
    size_t body_used;
    size_t written; /* of the answer */
    const char *answer;
    int peer;
    char heard[4096]; /* what the peer has received */
    size_t heard_size;
    bool has_heard_end;
    int is_over; /* the connection was lost or closed */
    int is_buried;
    unsigned changes; /* of its state */
    const char *awaited;
};

static struct fixture *of(struct http_connection *connection)
{
    return CONTAINER_OF(connection, struct fixture, connection);
}

static void tell(struct fixture *fixture, const char *word)
{
    size_t size = strlen(fixture->told);
    snprintf(fixture->told + size, sizeof(fixture->told) - size, "%s ", word);
}

static void buried(struct loop_task *task)
{
    CONTAINER_OF(task, struct fixture, buried)->is_buried = 1;
}

static void end(struct fixture *fixture)
{
    if (fixture->is_over)
        return;
    fixture->is_over = 1;
    fixture->buried.run = buried;
    http_connection_close(&fixture->connection, &fixture->buried);
}

static void on_head(struct http_connection *connection, const struct http1_head *head)
{
    struct fixture *fixture = of(connection);
    char target[32];
    assert_int_equal(text_copy(head->target, target, sizeof(target)), 0);
    tell(fixture, target);
    switch (fixture->plan) {
    case PLAN_ANSWER:
    case PLAN_LAST_ANSWER:
        http_connection_answer(connection, fixture->plan == PLAN_ANSWER);
        break;
    case PLAN_READ:
    case PLAN_ASKED:
        http_connection_read_body(connection, fixture->body_size, fixture->plan == PLAN_ASKED);
        break;
    case PLAN_WAIT:
        break;
    case PLAN_CLOSE:
        end(fixture);
        break;
    }
}

static void on_malformed(struct http_connection *connection, int error)
{
    tell(of(connection), error == CULVERT_ERROR_TOO_LARGE ? "too-large" : "malformed");
    http_connection_answer(connection, false);
}

static void *on_body_space(struct http_connection *connection, size_t *room)
{
    struct fixture *fixture = of(connection);
    *room = sizeof(fixture->body) - fixture->body_used;
    return *room > 0 ? fixture->body + fixture->body_used : NULL;
}

static void on_body_came(struct http_connection *connection, size_t size, bool is_last)
{
    struct fixture *fixture = of(connection);
    fixture->body_used += size;
    if (!is_last)
        return;
    tell(fixture, "body");
    http_connection_answer(connection, true);
}

static int on_answer_vectors(struct http_connection *connection, struct iovec *vectors, int max)
{
    struct fixture *fixture = of(connection);
    const char *rest = fixture->answer + fixture->written;
    assert_true(max > 0);
    *vectors = (struct iovec){(void *)(uintptr_t)rest, strlen(rest)};
    return vectors->iov_len > 0 ? 1 : 0;
}

static void on_answer_written(struct http_connection *connection, size_t size)
{
    of(connection)->written += size;
}

static void on_answered(struct http_connection *connection)
{
    of(connection)->written = 0;
    of(connection)->body_used = 0;
    tell(of(connection), "answered");
}

static void on_timed_out(struct http_connection *connection)
{
    tell(of(connection), "timed-out");
    http_connection_answer(connection, false);
}

static void on_changed(struct http_connection *connection)
{
    of(connection)->changes++;
}

static void on_lost(struct http_connection *connection, int error)
{
    tell(of(connection), error == CULVERT_ERROR_TIMED_OUT   ? "lost-to-time"
                         : error == CULVERT_ERROR_NO_MEMORY ? "lost-to-memory"
                                                            : "lost");
    end(of(connection));
}

static const struct http_connection_events events = {
    .head = on_head,
    .malformed = on_malformed,
    .body_space = on_body_space,
    .body_came = on_body_came,
    .answer_vectors = on_answer_vectors,
    .answer_written = on_answer_written,
    .answered = on_answered,
    .timed_out = on_timed_out,
    .changed = on_changed,
    .lost = on_lost,
};

static void begin(struct fixture *fixture, const struct http_connection_limits *chosen)
{
    int fds[2];
    test_tcp_pair(fds);
    fixture->peer = fds[1];
    assert_int_equal(
        http_connection_init(&fixture->connection, &fixture->test.loop, fds[0], chosen, &events),
        0);
}

static int set_up(void **state)
{
    static struct fixture fixture;
    memset(&fixture, 0, sizeof(fixture));
    fixture.answer = ANSWER;
    test_loop_open(&fixture.test);
    begin(&fixture, &limits);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    end(fixture);
    test_loop_until_set(&fixture->test, &fixture->is_buried);
    if (fixture->peer >= 0)
        close(fixture->peer);
    test_loop_close(&fixture->test);
    return 0;
}

static void say(struct fixture *fixture, const char *text)
{
    assert_int_equal(send(fixture->peer, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void listen_to(struct fixture *fixture)
{
    ssize_t got;
    size_t room = sizeof(fixture->heard) - 1 - fixture->heard_size;
    while (room > 0 &&
           (got = recv(fixture->peer, fixture->heard + fixture->heard_size, room, 0)) >= 0) {
        fixture->heard_size += (size_t)got;
        room -= (size_t)got;
        fixture->has_heard_end = got == 0;
        if (got == 0)
            break;
    }
    fixture->heard[fixture->heard_size] = '\0';
}

static bool was_told(void *context)
{
    struct fixture *fixture = context;
    return strcmp(fixture->told, fixture->awaited) == 0;
}

/* Waits until exactly these events were told since the start. */
static void expect(struct fixture *fixture, const char *words)
{
    fixture->awaited = words;
    test_loop_until(&fixture->test, was_told, fixture);
}

static bool was_heard(void *context)
{
    struct fixture *fixture = context;
    listen_to(fixture);
    return strcmp(fixture->heard, fixture->awaited) == 0;
}

/* Waits until the peer has received exactly this. */
static void expect_heard(struct fixture *fixture, const char *text)
{
    fixture->awaited = text;
    test_loop_until(&fixture->test, was_heard, fixture);
}

static bool has_ended(void *context)
{
    struct fixture *fixture = context;
    listen_to(fixture);
    return fixture->has_heard_end;
}

/* ---- requests ---- */

static void requests_are_answered_in_turn(void **state)
{
    struct fixture *fixture = *state;
    say(fixture, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HT");
    expect(fixture, "/1 answered /2 answered ");
    assert_int_equal(fixture->connection.state, HTTP_CONNECTION_HEAD);
    say(fixture, "TP/1.1\r\nHost: a\r\n\r\n");
    expect(fixture, "/1 answered /2 answered /3 answered ");
    expect_heard(fixture, ANSWER ANSWER ANSWER);
    assert_int_equal(fixture->connection.state, HTTP_CONNECTION_IDLE);
    assert_true(fixture->changes >= 9); /* head, wait and answer of each */
    assert_null(fixture->connection.reader.buffer);
}

static void the_last_answer_arrives_though_more_is_sent(void **state)
{
    struct fixture *fixture = *state;
    fixture->plan = PLAN_LAST_ANSWER;
    say(fixture, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(fixture, "/1 answered ");
    test_loop_until(&fixture->test, has_ended, fixture);
    assert_string_equal(fixture->heard, ANSWER);
    say(fixture, "and more");
    assert_int_equal(shutdown(fixture->peer, SHUT_WR), 0);
    expect(fixture, "/1 answered lost ");
}

static void what_is_no_request_is_told(void **state)
{
    struct fixture *fixture = *state;
    say(fixture, "what is this\r\n\r\n");
    expect(fixture, "malformed answered ");
    test_loop_until(&fixture->test, has_ended, fixture);
    assert_string_equal(fixture->heard, ANSWER);
}

static void a_head_has_a_bound(void **state)
{
    struct fixture *fixture = *state;
    char text[4200];
    memset(text, 'x', sizeof(text) - 1);
    memcpy(text, "GET / HTTP/1.1\r\nX: ", 19);
    text[sizeof(text) - 1] = '\0';
    say(fixture, text);
    expect(fixture, "too-large answered ");
}

static void the_user_may_close_in_each_event(void **state)
{
    struct fixture *fixture = *state;
    fixture->plan = PLAN_CLOSE;
    say(fixture, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    test_loop_until_set(&fixture->test, &fixture->is_buried);
    assert_string_equal(fixture->told, "/1 ");
}

/* ---- bodies ---- */

static void a_body_comes_with_its_head_and_after_it(void **state)
{
    struct fixture *fixture = *state;
    fixture->plan = PLAN_READ;
    fixture->body_size = 10;
    say(fixture, "POST /1 HTTP/1.1\r\nHost: a\r\n\r\n0123");
    expect(fixture, "/1 ");
    say(fixture, "456789POST /2 HTTP/1.1\r\nHost: a\r\n\r\nabcdefghij");
    expect(fixture, "/1 body answered /2 body answered ");
    assert_memory_equal(fixture->body, "abcdefghij", 10);
    expect_heard(fixture, ANSWER ANSWER);
}

static void a_client_that_asks_first_is_told_to_continue(void **state)
{
    struct fixture *fixture = *state;
    fixture->plan = PLAN_ASKED;
    fixture->body_size = 4;
    say(fixture, "POST /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    expect_heard(fixture, "HTTP/1.1 100 Continue\r\n\r\n");
    say(fixture, "0123");
    expect(fixture, "/1 body answered ");
    expect_heard(fixture, "HTTP/1.1 100 Continue\r\n\r\n" ANSWER);
    fixture->heard_size = 0; /* one whose body is there already is not */
    say(fixture, "POST /2 HTTP/1.1\r\nHost: a\r\n\r\n0123");
    expect_heard(fixture, ANSWER);
}

static void without_memory_for_a_body_it_is_lost(void **state)
{
    struct fixture *fixture = *state;
    fixture->plan = PLAN_READ;
    fixture->body_size = 65;
    say(fixture, "POST /1 HTTP/1.1\r\nHost: a\r\n\r\n"
                 "0123456789012345678901234567890123456789012345678901234567890123");
    expect(fixture, "/1 ");
    say(fixture, "4");
    expect(fixture, "/1 lost-to-memory ");
}

static void an_end_within_a_body_is_a_loss(void **state)
{
    struct fixture *fixture = *state;
    fixture->plan = PLAN_READ;
    fixture->body_size = 8;
    say(fixture, "POST /1 HTTP/1.1\r\nHost: a\r\n\r\n0123");
    expect(fixture, "/1 ");
    assert_int_equal(shutdown(fixture->peer, SHUT_WR), 0);
    expect(fixture, "/1 lost ");
}

/* ---- a request that waits ---- */

static void while_a_request_waits_the_next_is_kept(void **state)
{
    struct fixture *fixture = *state;
    fixture->plan = PLAN_WAIT;
    say(fixture, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(fixture, "/1 ");
    assert_null(fixture->connection.reader.buffer);
    say(fixture, "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    test_loop_idle(&fixture->test);
    assert_string_equal(fixture->told, "/1 ");
    fixture->plan = PLAN_ANSWER;
    http_connection_answer(&fixture->connection, true);
    expect(fixture, "/1 answered /2 answered ");
    expect_heard(fixture, ANSWER ANSWER);
}

/* More than is kept stays in the socket, and the loop has nothing to do. */
static void what_comes_while_a_request_waits_has_a_bound(void **state)
{
    struct fixture *fixture = *state;
    char text[HTTP_AHEAD_BYTES + 1];
    memset(text, '\n', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    fixture->plan = PLAN_WAIT;
    say(fixture, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(fixture, "/1 ");
    for (int i = 0; i < 3; i++)
        (void)!send(fixture->peer, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT);
    test_loop_idle(&fixture->test);
    assert_true(fixture->connection.reader.size <= HTTP_AHEAD_BYTES);
    assert_true(fixture->connection.reader.capacity <= HTTP_AHEAD_BYTES);
    assert_true(test_loop_idle(&fixture->test) < 100);
}

static bool has_read_end(void *context)
{
    const struct fixture *fixture = context;
    return fixture->connection.peer_is_done;
}

static void a_peer_that_ends_its_side_still_gets_the_answer(void **state)
{
    struct fixture *fixture = *state;
    fixture->plan = PLAN_WAIT;
    say(fixture, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_int_equal(shutdown(fixture->peer, SHUT_WR), 0);
    expect(fixture, "/1 ");
    test_loop_until(&fixture->test, has_read_end, fixture);
    assert_int_equal(fixture->connection.state, HTTP_CONNECTION_WAIT);
    http_connection_answer(&fixture->connection, true);
    expect_heard(fixture, ANSWER);
    expect(fixture, "/1 answered lost ");
}

static void a_reset_is_noticed_while_a_request_waits(void **state)
{
    struct fixture *fixture = *state;
    fixture->plan = PLAN_WAIT;
    say(fixture, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(fixture, "/1 ");
    test_tcp_abort(fixture->peer);
    fixture->peer = -1;
    expect(fixture, "/1 lost ");
}

/* ---- time ---- */

static void restart_with(struct fixture *fixture, const struct http_connection_limits *chosen)
{
    end(fixture);
    test_loop_until_set(&fixture->test, &fixture->is_buried);
    close(fixture->peer);
    fixture->is_over = fixture->is_buried = 0;
    begin(fixture, chosen);
}

static void each_state_has_its_time(void **state)
{
    struct fixture *fixture = *state;
    struct http_connection_limits chosen = limits;
    chosen.first_time = 1;
    restart_with(fixture, &chosen);
    expect(fixture, "lost-to-time ");

    chosen.first_time = LONG;
    chosen.request_time = 1;
    fixture->told[0] = '\0';
    restart_with(fixture, &chosen);
    say(fixture, "GET /1 HTTP");
    expect(fixture, "timed-out answered ");

    chosen.request_time = LONG;
    chosen.idle_time = 1;
    fixture->told[0] = '\0';
    restart_with(fixture, &chosen);
    say(fixture, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(fixture, "/1 answered lost-to-time ");

    fixture->told[0] = '\0';
    fixture->plan = PLAN_WAIT;
    restart_with(fixture, &limits);
    say(fixture, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(fixture, "/1 ");
    http_connection_wait(&fixture->connection, 1);
    expect(fixture, "/1 timed-out answered ");
}

static void a_body_has_what_its_head_has_left_of_the_time(void **state)
{
    struct fixture *fixture = *state;
    fixture->plan = PLAN_WAIT;
    fixture->body_size = 8;
    say(fixture, "POST /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(fixture, "/1 ");
    fixture->connection.begun -= (uint64_t)LONG * 1000; /* so long ago */
    http_connection_read_body(&fixture->connection, fixture->body_size, false);
    expect(fixture, "/1 timed-out answered ");
}

/* Nobody reads the answer, which is more than the kernel's buffers take. */
static void an_answer_that_nobody_reads_has_its_time(void **state)
{
    struct fixture *fixture = *state;
    struct http_connection_limits chosen = limits;
    size_t size = (size_t)32 * 1024 * 1024;
    char *text = memory_allocate(size + 1);
    assert_non_null(text);
    memset(text, 'x', size);
    text[size] = '\0';
    chosen.answer_time = 50;
    fixture->answer = text;
    restart_with(fixture, &chosen);
    say(fixture, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(fixture, "/1 lost-to-time ");
    memory_free(text);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(requests_are_answered_in_turn),
        TEST(the_last_answer_arrives_though_more_is_sent),
        TEST(what_is_no_request_is_told),
        TEST(a_head_has_a_bound),
        TEST(the_user_may_close_in_each_event),
        TEST(a_body_comes_with_its_head_and_after_it),
        TEST(a_client_that_asks_first_is_told_to_continue),
        TEST(without_memory_for_a_body_it_is_lost),
        TEST(an_end_within_a_body_is_a_loss),
        TEST(while_a_request_waits_the_next_is_kept),
        TEST(what_comes_while_a_request_waits_has_a_bound),
        TEST(a_peer_that_ends_its_side_still_gets_the_answer),
        TEST(a_reset_is_noticed_while_a_request_waits),
        TEST(each_state_has_its_time),
        TEST(a_body_has_what_its_head_has_left_of_the_time),
        TEST(an_answer_that_nobody_reads_has_its_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
