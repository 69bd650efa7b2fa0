/* Every allocation of a login, of long poll and of a session fails once: nobody else is harmed, and
 * nothing is left. */
#include "base/memory.h"
#include "gateway/poll_session.h"
#include "gateway/test_gateway.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { MOST = 1000 };

static void begin(struct test_gateway *test)
{
    test_gateway_prepare(test);
    test->config.threads = 2;
    test_gateway_open(test);
}

/* Whoever came has gone without a trace. */
static void expect_nobody(const struct test_gateway *test)
{
    for (unsigned i = 0; i < 2; i++) {
        const struct worker *worker = &test->gateway->workers[i];
        assert_int_equal(worker->visitor_ids.count, 0);
        assert_int_equal(worker->strangers.count, 0);
        assert_int_equal(worker->members.count, 0);
        assert_int_equal(worker->polls.sessions.count, 0);
        assert_true(list_is_empty(&worker->visitors) && list_is_empty(&worker->sessions));
        assert_true(list_is_empty(&worker->polls.idle) && list_is_empty(&worker->polls.busy));
    }
    assert_true(registry_is_empty(&test->gateway->registry));
    assert_true(registry_is_empty(&test->gateway->links));
    assert_true(registry_is_empty(&test->gateway->polls));
    assert_int_equal(test->gateway->sessions, 0);
}

/* Runs turns in which the n-th allocation fails. Returns whether there were so many. */
static bool settle_without_memory(struct test_gateway *test, size_t n)
{
    memory_fail_after(n);
    test_gateway_settle(test);
    bool has_failed = !memory_fail_is_pending();
    memory_fail_after(0);
    test_gateway_settle(test);
    return has_failed;
}

/* An agent that was hit itself has gone without a word: its link waits for it. */
static void end_link(struct test_gateway *test)
{
    struct member *member = test_gateway_member(test, "one");
    if (member != NULL)
        member_end(member, 0, "the test ends it");
    test_gateway_settle(test);
}

static void logins(void **state)
{
    (void)state;
    struct test_gateway test;
    begin(&test);
    bool has_failed = true;
    size_t n = 0;
    while (has_failed) {
        struct test_agent agent = {.worker = 1};
        assert_true(++n < MOST);
        test_agent_dial(&agent, &test, "one");
        has_failed = settle_without_memory(&test, n);
        assert_true(has_failed || agent.welcomes == 1);
        test_agent_close(&agent);
        end_link(&test);
        expect_nobody(&test);
    }
    assert_true(n > 5);
    test_gateway_close(&test);
}

static void resumed_links(void **state)
{
    (void)state;
    struct test_gateway test;
    begin(&test);
    bool has_failed = true;
    for (size_t n = 1; has_failed; n++) {
        struct test_agent agent = {0};
        assert_true(n < MOST);
        test_agent_register(&agent, &test, "one");
        test_agent_cut(&agent);
        agent.worker = 1;
        test_agent_begin_rejoin(&agent);
        has_failed = settle_without_memory(&test, n);
        if (agent.welcomes == 1 && agent.lost == 0) /* it tries again */
            test_agent_rejoin(&agent);
        assert_true(agent.welcomes == 2 || agent.lost != 0 || agent.refused != 0);
        assert_true(has_failed || agent.welcomes == 2);
        test_agent_close(&agent);
        end_link(&test);
        expect_nobody(&test);
    }
    test_gateway_close(&test);
}

static void sessions_between_two_loops(void **state)
{
    (void)state;
    struct test_gateway test;
    begin(&test);
    bool has_failed = true;
    for (size_t n = 1; has_failed; n++) {
        struct test_agent near = {0}, far = {.worker = 1};
        struct test_session asking, asked = {0};
        assert_true(n < MOST);
        test_agent_register(&near, &test, "near");
        test_agent_register(&far, &test, "far");
        test_session_open(&asking, &near, "far");
        has_failed = settle_without_memory(&test, n);
        if (!asking.is_reset && far.opened > 0) {
            test_session_accept(&asked, &far);
            test_gateway_settle(&test);
        }
        assert_true(has_failed || asking.is_opened);
        test_session_close(&asking);
        test_gateway_settle(&test);
        assert_int_equal(test.gateway->sessions, 0);
        test_session_close(&asked);
        test_agent_close(&far);
        test_agent_close(&near);
        expect_nobody(&test);
    }
    test_gateway_close(&test);
}

static void long_poll(void **state)
{
    (void)state;
    static const char open[] =
        "POST / HTTP/1.1\r\nHost: localhost\r\nCulvert-Poll: open\r\nContent-Length: 0\r\n\r\n";
    struct test_gateway test;
    begin(&test);
    bool has_failed = true;
    for (size_t n = 1; has_failed; n++) {
        int fds[2];
        char request[256], answer[1024];
        assert_true(n < MOST);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
        visitor_new(test.worker, fds[1]);
        assert_int_equal(send(fds[0], open, sizeof(open) - 1, MSG_NOSIGNAL), sizeof(open) - 1);
        has_failed = settle_without_memory(&test, n);
        size_t cursor = 0;
        struct poll_session *session = map_next(&test.worker->polls.sessions, &cursor);
        ssize_t got = recv(fds[0], answer, sizeof(answer), 0);
        assert_true(has_failed || session != NULL);
        assert_true(session == NULL || got >= 0); /* answered, or closed */
        if (session != NULL && got > 0) {
            int size = snprintf(request, sizeof(request),
                                "POST / HTTP/1.1\r\nHost: localhost\r\nCulvert-Poll: %s\r\n"
                                "Culvert-Up: 1\r\nContent-Type: application/octet-stream\r\n"
                                "Content-Length: 1\r\n\r\nx",
                                session->name);
            assert_int_equal(send(fds[0], request, (size_t)size, MSG_NOSIGNAL), size);
            settle_without_memory(&test, n);
        }
        close(fds[0]);
        test_gateway_settle(&test);
        cursor = 0;
        session = map_next(&test.worker->polls.sessions, &cursor);
        if (session != NULL && session->visitor != NULL)
            visitor_end(session->visitor, 0, "the test ends it");
        test_gateway_settle(&test);
        expect_nobody(&test);
    }
    test_gateway_close(&test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logins),
        cmocka_unit_test(resumed_links),
        cmocka_unit_test(sessions_between_two_loops),
        cmocka_unit_test(long_poll),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
