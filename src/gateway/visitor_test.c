/* From the first bytes of a connection to the handshake, and the end of a worker: turn by turn. */
#include "base/reason.h"
#include "gateway/dialect.h"
#include "gateway/test_gateway.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { SECOND = 1000 * 1000 };

#define UPGRADE_FIELDS                                                                        \
    "Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: " \
    "13\r\n"                                                                                  \
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
#define UPGRADE_NATIVELY UPGRADE_FIELDS "Sec-WebSocket-Protocol: culvert.1\r\n"

static int dial(struct test_gateway *test)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    visitor_new(test->worker, fds[1]);
    return fds[0];
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* What the gateway has sent; `is_closed`: that was all. */
static const char *hear(int fd, bool *is_closed)
{
    static char text[8192];
    size_t size = 0;
    ssize_t got = 0;
    while (size < sizeof(text) - 1 && (got = recv(fd, text + size, sizeof(text) - 1 - size, 0)) > 0)
        size += (size_t)got;
    text[size] = '\0';
    *is_closed = got == 0 || errno != EAGAIN;
    return text;
}

static int status_of(const char *answer)
{
    return strncmp(answer, "HTTP/1.1 ", 9) == 0 ? (int)strtol(answer + 9, NULL, 10) : 0;
}

/* Sends a request on a connection of its own; checks the answer's status, and whether the
 * connection goes on. */
static void expect(struct test_gateway *test, const char *request, int status, bool goes_on)
{
    bool is_closed = false;
    int fd = dial(test);
    say(fd, request);
    test_gateway_settle(test);
    const char *answer = hear(fd, &is_closed);
    assert_int_equal(status_of(answer), status);
    assert_int_equal(is_closed, !goes_on);
    assert_int_equal(test->worker->strangers.count, goes_on);
    assert_int_equal(test->worker->visitor_ids.count, goes_on);
    if (status == 101)
        assert_non_null(strstr(answer, "Culvert-Nonce: "));
    if (status != 101)
        assert_non_null(strstr(answer, "\r\n\r\n"));
    close(fd);
    test_gateway_settle(test);
    assert_int_equal(test->worker->strangers.count, 0);
    assert_int_equal(test->worker->visitor_ids.count, 0);
    assert_true(list_is_empty(&test->worker->visitors));
}

/* ---- requests ---- */

static void requests_and_what_they_get(void **state)
{
    (void)state;
    struct test_gateway test;
    test_gateway_begin(&test);
    expect(&test, "GET / HTTP/1.1\r\n" UPGRADE_NATIVELY "\r\n", 101, true);
    expect(&test, "GET / HTTP/1.1\r\n" UPGRADE_NATIVELY "Origin: http://page\r\n\r\n", 403, false);
    expect(&test, "GET / HTTP/1.1\r\n" UPGRADE_FIELDS "\r\n", 400, false);
    expect(&test, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 200, false);
    expect(&test, "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n", 200, false);
    expect(&test, "what is this\r\n\r\n", 400, false);
    expect(&test,
           "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
           400, false);
    test_gateway_close(&test);
}

static void originals_are_served_where_that_is_wanted(void **state)
{
    (void)state;
    struct test_gateway test;
    bool is_closed = false;
    test_gateway_prepare(&test);
    test.config.legacy_hubble = true;
    test_gateway_open(&test);
    int fd = dial(&test);
    say(fd, "GET / HTTP/1.1\r\n" UPGRADE_FIELDS "\r\n");
    test_gateway_settle(&test);
    assert_int_equal(status_of(hear(fd, &is_closed)), 101);
    assert_false(is_closed);
    close(fd);
    test_gateway_settle(&test);
    test_gateway_close(&test);
}

static void logins_a_second_are_limited(void **state)
{
    (void)state;
    enum { TRIES = 5 };
    struct test_gateway test;
    int fds[TRIES];
    unsigned admitted = 0;
    test_gateway_prepare(&test);
    test.config.handshakes = 1;
    test_gateway_open(&test);
    for (int i = 0; i < TRIES; i++) {
        fds[i] = dial(&test);
        say(fds[i], "GET / HTTP/1.1\r\n" UPGRADE_NATIVELY "\r\n");
    }
    test_gateway_settle(&test); /* all are ready in the same turn */
    for (int i = 0; i < TRIES; i++) {
        bool is_closed = false;
        const char *answer = hear(fds[i], &is_closed);
        int status = status_of(answer);
        admitted += status == 101;
        assert_true(status == 101 || status == 503);
        assert_int_equal(is_closed, status == 503);
        if (status == 503)
            assert_non_null(strstr(answer, "Retry-After: "));
        close(fds[i]);
    }
    assert_true(admitted >= 1 && admitted < TRIES);
    test_gateway_settle(&test);
    test_gateway_close(&test);
}

static void a_request_may_come_byte_by_byte(void **state)
{
    (void)state;
    struct test_gateway test;
    bool is_closed = false;
    const char *request = "GET / HTTP/1.1\r\n" UPGRADE_NATIVELY "\r\n";
    test_gateway_begin(&test);
    int fd = dial(&test);
    for (const char *at = request; *at != '\0'; at++) {
        const char byte[2] = {*at, '\0'};
        assert_string_equal(hear(fd, &is_closed), "");
        assert_false(is_closed);
        say(fd, byte);
        uv_run(&test.loop->uv, UV_RUN_NOWAIT);
    }
    test_gateway_settle(&test);
    assert_int_equal(status_of(hear(fd, &is_closed)), 101);
    close(fd);
    test_gateway_settle(&test);
    test_gateway_close(&test);
}

static void who_does_not_log_in_in_time_is_gone(void **state)
{
    (void)state;
    struct test_gateway test;
    bool is_closed = false;
    test_gateway_begin(&test);
    int first = dial(&test);
    int second = dial(&test);
    test_gateway_settle(&test);
    uint64_t now = loop_now(test.loop);
    struct visitor *oldest = CONTAINER_OF(list_first(&test.worker->visitors), struct visitor, node);
    oldest->since = now - WORKER_LOGIN_TIME * (uint64_t)SECOND + 1;
    test.worker->sweep.fired(&test.worker->sweep);
    assert_false(oldest->is_over);
    oldest->since--;
    test.worker->sweep.fired(&test.worker->sweep);
    assert_true(oldest->is_over);
    assert_true(uv_is_active((uv_handle_t *)&test.worker->sweep.uv)); /* there is another */
    test_gateway_settle(&test);
    (void)hear(first, &is_closed);
    assert_true(is_closed);
    (void)hear(second, &is_closed);
    assert_false(is_closed);
    close(first);
    close(second);
    test_gateway_settle(&test);
    loop_timer_stop(&test.worker->sweep);
    test.worker->sweep.fired(&test.worker->sweep);
    assert_false(uv_is_active((uv_handle_t *)&test.worker->sweep.uv)); /* nobody is left */
    test_gateway_close(&test);
}

/* ---- handshakes ---- */

/* Whether the native dialect takes this handshake; else with which code it objects. */
static int objection_to(struct message_handshake handshake)
{
    int code = 0;
    const char *text = dialect_native.object(&handshake, &code);
    assert_int_equal(text == NULL, code == 0);
    return code;
}

static void handshakes_that_cannot_be(void **state)
{
    (void)state;
    const struct message_handshake good = {
        .version = text_of("1"), .name = text_of("one"), .epoch = 1, .first = 1};
    struct message_handshake bad = good;
    assert_int_equal(objection_to(good), 0);
    bad.epoch = 7; /* any but 0 */
    assert_int_equal(objection_to(bad), 0);
    bad.epoch = 0;
    assert_int_equal(objection_to(bad), REASON_PROTOCOL);
    bad.resumes = true;
    assert_int_equal(objection_to(bad), 0);
    bad.is_express = true;
    assert_int_equal(objection_to(bad), 0);
    bad = good;
    bad.is_express = true;
    assert_int_equal(objection_to(bad), REASON_PROTOCOL);
    bad = good;
    bad.first = 2;
    assert_int_equal(objection_to(bad), REASON_PROTOCOL);
    bad.resumes = true;
    assert_int_equal(objection_to(bad), 0);
    bad = good;
    bad.version = text_of("2");
    assert_int_equal(objection_to(bad), REASON_UNSUPPORTED);
    bad = good;
    bad.name = text_of("no name");
    assert_int_equal(objection_to(bad), REASON_PROTOCOL);
    bad.name = text_of("gateway");
    assert_int_equal(objection_to(bad), REASON_PROTOCOL);
}

/* ---- the end ---- */

static bool has_drained(void *holder)
{
    const struct test_gateway *test = holder;
    return test->worker->is_draining;
}

static bool is_quiet(void *holder)
{
    struct test_gateway *test = holder;
    return atomic_load(&test->worker->calm) == WORKER_QUIET;
}

static void a_gateway_that_stops_lets_sessions_finish(void **state)
{
    (void)state;
    struct test_gateway test;
    struct test_agent near = {0}, far = {0}, late = {0};
    struct test_session asking, asked, second;
    test_gateway_begin(&test);
    test_agent_register(&near, &test, "near");
    test_agent_register(&far, &test, "far");
    test_session_join(&asking, &near, &asked, &far);
    gateway_stop(test.gateway, 3600);
    test_gateway_run(&test, has_drained, &test);
    test_gateway_settle(&test);
    assert_int_equal(test.worker->listener_count, 0);
    assert_int_equal(near.goodbyes, 1);
    assert_int_equal(far.goodbyes, 1);
    /* Neither agents nor sessions come any more. */
    test_agent_dial(&late, &test, "late");
    test_session_open(&second, &near, "far");
    test_gateway_settle(&test);
    assert_int_equal(late.refused, REASON_SHUTDOWN);
    assert_string_equal(late.refusal, "the gateway is stopping");
    assert_true(second.is_reset);
    assert_int_equal(second.code, REASON_SHUTDOWN);
    /* What is there goes on. */
    assert_int_equal(atomic_load(&test.worker->calm), WORKER_BUSY);
    test_session_write(&asking, &test, 100);
    test_gateway_settle(&test);
    assert_int_equal(asked.got, 100);
    test_session_close(&asked);
    test_gateway_settle(&test);
    test_agent_close(&late);
    test_agent_close(&far);
    test_agent_close(&near);
    test_gateway_run(&test, is_quiet, &test);
    test_gateway_close(&test);
}

static void a_link_without_a_carrier_ends_when_the_gateway_stops(void **state)
{
    (void)state;
    struct test_gateway test;
    struct test_agent away = {0}, cut = {0};
    test_gateway_begin(&test);
    test_agent_register(&away, &test, "away");
    test_agent_register(&cut, &test, "cut");
    test_agent_cut(&away);
    assert_non_null(test_gateway_member(&test, "away"));
    gateway_stop(test.gateway, 3600);
    test_gateway_run(&test, has_drained, &test);
    struct member *member = test_gateway_member(&test, "away");
    if (member != NULL)
        member->timer.fired(&member->timer);
    assert_null(test_gateway_member(&test, "away"));
    /* Nor does one wait that is cut now. */
    test_agent_cut(&cut);
    assert_null(test_gateway_member(&test, "cut"));
    test_agent_close(&cut);
    test_agent_close(&away);
    test_gateway_close(&test);
}

static void links_that_end_reset_their_sessions(void **state)
{
    (void)state;
    struct test_gateway test;
    struct test_agent near = {0}, far = {0};
    struct test_session asking, asked;
    test_gateway_begin(&test);
    test_agent_register(&near, &test, "near");
    test_agent_register(&far, &test, "far");
    test_session_join(&asking, &near, &asked, &far);
    worker_end_links(test.worker);
    test_gateway_settle(&test);
    assert_int_equal(test.worker->members.count, 0);
    assert_int_equal(test.gateway->sessions, 0);
    assert_true(list_is_empty(&test.worker->sessions));
    assert_int_not_equal(near.lost, 0);
    assert_int_equal(near.detachments, 0); /* there is nothing to come back to */
    test_agent_close(&far);
    test_agent_close(&near);
    assert_true(asking.is_reset && asked.is_reset);
    test_gateway_close(&test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_and_what_they_get),
        cmocka_unit_test(originals_are_served_where_that_is_wanted),
        cmocka_unit_test(logins_a_second_are_limited),
        cmocka_unit_test(a_request_may_come_byte_by_byte),
        cmocka_unit_test(who_does_not_log_in_in_time_is_gone),
        cmocka_unit_test(handshakes_that_cannot_be),
        cmocka_unit_test(a_gateway_that_stops_lets_sessions_finish),
        cmocka_unit_test(a_link_without_a_carrier_ends_when_the_gateway_stops),
        cmocka_unit_test(links_that_end_reset_their_sessions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
