/* What a policy script decides about sessions and logins. The test replaces the pool of script
 * processes and answers their questions. */
#include "base/error.h"
#include "base/reason.h"
#include "gateway/asking.h"
#include "gateway/test_gateway.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- the pool ---- */

enum { MOST_QUESTIONS = ASKING_QUESTIONS + 8 };

struct lua_pool {
    struct lua_question *open[MOST_QUESTIONS]; /* oldest first */
    size_t count;
    unsigned asked; /* in all */
    unsigned reloads;
    bool has_register, is_full, is_unmanned;
};

static struct lua_pool script;

int lua_pool_start(struct loop *loop, const struct lua_pool_config *config, struct lua_pool **out,
                   char *why, size_t why_size)
{
    (void)loop;
    (void)why;
    (void)why_size;
    assert_string_equal(config->script, "policy.lua");
    *out = &script;
    return 0;
}

int lua_pool_ask(struct lua_pool *pool, struct lua_question *question)
{
    if (pool->is_full)
        return CULVERT_ERROR_LIMIT;
    assert_true(pool->count < MOST_QUESTIONS);
    pool->open[pool->count++] = question;
    pool->asked++;
    return 0;
}

bool lua_pool_is_manned(struct lua_pool *pool)
{
    return !pool->is_unmanned;
}

bool lua_pool_has_register(struct lua_pool *pool)
{
    return pool->has_register;
}

void lua_pool_tell(struct lua_pool *pool, const char *json)
{
    (void)pool;
    (void)json;
}

void lua_pool_reload(struct lua_pool *pool)
{
    pool->reloads++;
}

void lua_pool_stop(struct lua_pool *pool)
{
    assert_int_equal(pool->count, 0);
}

enum answer { ALLOWS, REFUSES, FAILS };

/* Answers the oldest question. */
static void answer(enum answer answer)
{
    assert_true(script.count > 0);
    struct lua_question *question = script.open[0];
    memmove(script.open, script.open + 1, --script.count * sizeof(script.open[0]));
    if (answer == ALLOWS)
        policy_allow(&question->verdict, "the script allows it");
    else if (answer == REFUSES)
        policy_refuse(&question->verdict, "the script says no");
    else
        policy_fail(&question->verdict, "the script did not answer");
    question->answered(question->loop, question);
}

/* ---- two agents ---- */

struct room {
    struct test_gateway test;
    struct test_agent near, far;
};

static void prepare(struct room *room)
{
    memset(room, 0, sizeof(*room));
    script = (struct lua_pool){0};
    test_gateway_prepare(&room->test);
    room->test.config.grant = false;
    room->test.config.script = "policy.lua";
}

static void begin(struct room *room)
{
    prepare(room);
    test_gateway_open(&room->test);
    test_agent_register(&room->near, &room->test, "near");
    test_agent_register(&room->far, &room->test, "far");
    assert_int_equal(room->near.welcomes + room->far.welcomes, 2);
}

static void end(struct room *room)
{
    test_agent_close(&room->far);
    test_agent_close(&room->near);
    assert_int_equal(room->test.gateway->sessions, 0);
    assert_true(list_is_empty(&room->test.worker->sessions));
    test_gateway_close(&room->test);
}

static struct member *near_of(struct room *room)
{
    return test_gateway_member(&room->test, "near");
}

/* Opens a session and waits until the script is asked, or the session is refused. */
static void ask(struct room *room, struct test_session *session)
{
    test_session_open(session, &room->near, "far");
    test_gateway_settle(&room->test);
}

/* ---- sessions ---- */

static void the_script_is_told_who_asks_for_what(void **state)
{
    (void)state;
    struct room room;
    struct test_session session;
    begin(&room);
    ask(&room, &session);
    assert_int_equal(script.count, 1);
    assert_int_equal(script.open[0]->kind, LUA_CONNECT);
    const struct policy_request *request = &script.open[0]->request;
    assert_string_equal(request->source, "near");
    assert_string_equal(request->address, "192.0.2.1:1234");
    assert_string_equal(request->agent, "far");
    assert_string_equal(request->host, "db.example");
    assert_string_equal(request->kind, "tcp");
    assert_int_equal(request->port, 80);
    answer(REFUSES);
    test_gateway_settle(&room.test);
    test_session_close(&session);
    end(&room);
}

/* Each answer of the script, and what the agent is told. */
static const struct {
    enum answer answer;
    int code;
    const char *reason;
} cases[] = {
    {ALLOWS, 0, ""},
    {REFUSES, REASON_FORBIDDEN, "the script says no"},
    {FAILS, REASON_POLICY_FAILED, "the script did not answer"},
};

static void its_answer_decides(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct room room;
        struct test_session session;
        begin(&room);
        ask(&room, &session);
        assert_false(session.is_reset);
        assert_int_equal(room.far.opened, 0);
        answer(cases[i].answer);
        test_gateway_settle(&room.test);
        assert_int_equal(room.far.opened, cases[i].code == 0);
        assert_int_equal(session.is_reset, cases[i].code != 0);
        assert_int_equal(session.code, cases[i].code);
        assert_string_equal(session.reason, cases[i].reason);
        /* Only refusals count against the agent. */
        assert_int_equal(near_of(&room)->refusals.full_at != 0, cases[i].code != 0);
        test_session_close(&session);
        end(&room);
    }
}

static void what_came_before_the_answer_is_passed_on(void **state)
{
    (void)state;
    struct room room;
    struct test_session session, asked;
    begin(&room);
    ask(&room, &session);
    test_session_write(&session, &room.test, 100);
    session.stream->operations->finish(session.stream);
    test_gateway_settle(&room.test);
    room.far.taker = &asked;
    answer(ALLOWS);
    test_gateway_settle(&room.test);
    assert_int_equal(asked.got, 100);
    assert_true(asked.fin);
    test_session_close(&session);
    test_session_close(&asked);
    end(&room);
}

static void an_answer_may_find_nobody(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct room room;
        struct test_session session;
        begin(&room);
        ask(&room, &session);
        if (i == 0)
            test_session_close(&session);
        else
            member_end(near_of(&room), REASON_SHUTDOWN, "the test ends it");
        test_gateway_settle(&room.test);
        answer(i == 0 ? ALLOWS : REFUSES);
        test_gateway_settle(&room.test);
        assert_int_equal(room.far.opened, 0);
        assert_int_equal(room.test.gateway->sessions, 0);
        test_session_close(&session);
        end(&room);
    }
}

static void a_gateway_that_stops_needs_no_answer(void **state)
{
    (void)state;
    struct room room;
    struct test_session session;
    begin(&room);
    ask(&room, &session);
    room.test.worker->is_draining = true;
    answer(ALLOWS);
    test_gateway_settle(&room.test);
    assert_true(session.is_reset);
    assert_int_equal(session.code, REASON_SHUTDOWN);
    assert_string_equal(session.reason, "the gateway is stopping");
    assert_int_equal(room.far.opened, 0);
    room.test.worker->is_draining = false;
    end(&room);
}

static void one_agent_has_so_many_questions_at_a_time(void **state)
{
    (void)state;
    static struct test_session sessions[ASKING_QUESTIONS + 1];
    struct room room;
    struct test_session more;
    begin(&room);
    for (int i = 0; i < ASKING_QUESTIONS; i++)
        ask(&room, &sessions[i]);
    assert_int_equal(script.count, ASKING_QUESTIONS);
    ask(&room, &sessions[ASKING_QUESTIONS]);
    assert_int_equal(script.count, ASKING_QUESTIONS);
    assert_int_equal(sessions[ASKING_QUESTIONS].code, REASON_LIMIT);
    assert_string_equal(sessions[ASKING_QUESTIONS].reason,
                        "too many of this agent's sessions wait for the policy script");
    /* Other agents may still ask; an answer makes room for another question. */
    test_session_open(&more, &room.far, "near");
    test_gateway_settle(&room.test);
    assert_int_equal(script.count, ASKING_QUESTIONS + 1);
    answer(ALLOWS);
    ask(&room, &sessions[ASKING_QUESTIONS]);
    assert_int_equal(script.count, ASKING_QUESTIONS + 1);
    test_session_close(&more);
    for (int i = 0; i <= ASKING_QUESTIONS; i++)
        test_session_close(&sessions[i]);
    test_gateway_settle(&room.test);
    while (script.count > 0)
        answer(ALLOWS);
    test_gateway_settle(&room.test);
    end(&room);
}

static void a_script_with_too_much_to_do_refuses(void **state)
{
    (void)state;
    struct room room;
    struct test_session session;
    begin(&room);
    script.is_full = true;
    ask(&room, &session);
    assert_int_equal(session.code, REASON_LIMIT);
    assert_string_equal(session.reason, "too many sessions wait for the policy script");
    assert_int_equal(near_of(&room)->questions, 0);
    end(&room);
}

static void the_script_is_not_asked_about_what_cannot_be_meant(void **state)
{
    (void)state;
    struct room room;
    struct test_session session;
    begin(&room);
    test_session_ask(&session, &room.near, "far", "127.1");
    test_gateway_settle(&room.test);
    assert_int_equal(script.asked, 0);
    assert_int_equal(session.code, REASON_FORBIDDEN);
    assert_string_equal(session.reason, "the host is neither a name nor an address");
    end(&room);
}

/* ---- beside rules ---- */

static void the_script_is_asked_about_what_rules_allow(void **state)
{
    (void)state;
    char path[] = "/tmp/culvert-script-test-XXXXXX";
    static const char rules[] = "allow near -> far db.example *\n";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, rules, sizeof(rules) - 1), sizeof(rules) - 1);
    assert_int_equal(close(fd), 0);
    struct room room;
    struct test_session session;
    prepare(&room);
    room.test.config.acl = path;
    test_gateway_open(&room.test);
    test_agent_register(&room.near, &room.test, "near");
    test_agent_register(&room.far, &room.test, "far");
    test_session_ask(&session, &room.near, "far", "other.example");
    test_gateway_settle(&room.test);
    assert_int_equal(session.code, REASON_FORBIDDEN);
    assert_int_equal(script.asked, 0);
    ask(&room, &session);
    assert_int_equal(script.asked, 1);
    answer(REFUSES);
    test_gateway_settle(&room.test);
    assert_int_equal(session.code, REASON_FORBIDDEN);
    assert_string_equal(session.reason, "the script says no");
    gateway_reload(room.test.gateway);
    test_gateway_settle(&room.test);
    assert_int_equal(script.reloads, 1);
    end(&room);
    unlink(path);
}

/* ---- logins ---- */

static void a_script_may_decide_about_logins(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct room room;
        prepare(&room);
        script.has_register = true;
        test_gateway_open(&room.test);
        test_agent_dial(&room.near, &room.test, "near");
        test_gateway_settle(&room.test);
        assert_int_equal(script.count, 1);
        assert_int_equal(script.open[0]->kind, LUA_REGISTER);
        assert_string_equal(script.open[0]->request.source, "near");
        assert_string_equal(script.open[0]->request.user, "");
        assert_string_equal(script.open[0]->request.address, "192.0.2.1:1234");
        assert_string_equal(script.open[0]->request.agent, "");
        assert_int_equal(room.near.welcomes, 0);
        assert_null(near_of(&room));
        answer(cases[i].answer);
        test_gateway_settle(&room.test);
        assert_int_equal(room.near.welcomes, cases[i].code == 0);
        assert_int_equal(room.near.refused, cases[i].code);
        assert_string_equal(room.near.refusal, cases[i].reason);
        assert_int_equal(near_of(&room) != NULL, cases[i].code == 0);
        end(&room);
    }
}

static void logins_wait_for_a_script_only_while_it_can_answer(void **state)
{
    (void)state;
    struct room room;
    prepare(&room);
    script.has_register = true;
    test_gateway_open(&room.test);
    /* An agent that has closed its connection is not registered. */
    test_agent_dial(&room.near, &room.test, "near");
    test_gateway_settle(&room.test);
    assert_int_equal(script.count, 1);
    visitor_end(room.near.visitor, CULVERT_ERROR_CLOSED, "the test ends it");
    test_gateway_settle(&room.test);
    answer(ALLOWS);
    test_gateway_settle(&room.test);
    assert_null(near_of(&room));
    script.is_full = true;
    test_agent_register(&room.far, &room.test, "far");
    assert_int_equal(room.far.refused, REASON_LIMIT);
    assert_string_equal(room.far.refusal, "too many agents wait for the policy script");
    end(&room);
}

/* The status of /readyz. */
static int readiness(struct test_gateway *test, char answer[static 512])
{
    static const char request[] = "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    visitor_new(test->worker, fds[1]);
    assert_int_equal(send(fds[0], request, sizeof(request) - 1, MSG_NOSIGNAL), sizeof(request) - 1);
    test_gateway_settle(test);
    ssize_t got = recv(fds[0], answer, 511, 0);
    assert_true(got > 0);
    answer[got] = '\0';
    assert_memory_equal(answer, "HTTP/1.1 ", 9);
    close(fds[0]);
    return (int)strtol(answer + 9, NULL, 10);
}

static void a_gateway_whose_script_does_not_run_is_not_ready(void **state)
{
    (void)state;
    struct room room;
    char answer[512];
    prepare(&room);
    room.test.config.max_memory = (size_t)1 << 30;
    test_gateway_open(&room.test);
    assert_int_equal(readiness(&room.test, answer), 200);
    script.is_unmanned = true;
    assert_int_equal(readiness(&room.test, answer), 503);
    assert_non_null(strstr(answer, "no process of the policy script is running"));
    script.is_unmanned = false;
    account_charge(&room.test.gateway->account, room.test.config.max_memory);
    assert_int_equal(readiness(&room.test, answer), 503);
    assert_non_null(strstr(answer, "the gateway is out of memory"));
    account_release(&room.test.gateway->account, room.test.config.max_memory);
    end(&room);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_script_is_told_who_asks_for_what),
        cmocka_unit_test(its_answer_decides),
        cmocka_unit_test(what_came_before_the_answer_is_passed_on),
        cmocka_unit_test(an_answer_may_find_nobody),
        cmocka_unit_test(a_gateway_that_stops_needs_no_answer),
        cmocka_unit_test(one_agent_has_so_many_questions_at_a_time),
        cmocka_unit_test(a_script_with_too_much_to_do_refuses),
        cmocka_unit_test(the_script_is_not_asked_about_what_cannot_be_meant),
        cmocka_unit_test(the_script_is_asked_about_what_rules_allow),
        cmocka_unit_test(a_script_may_decide_about_logins),
        cmocka_unit_test(logins_wait_for_a_script_only_while_it_can_answer),
        cmocka_unit_test(a_gateway_whose_script_does_not_run_is_not_ready),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
