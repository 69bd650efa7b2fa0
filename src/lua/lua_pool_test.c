#include "lua/lua_pool.h"

#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "lua/pool_fixture.h"

#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define SPIN "local n = 0 while true do n = n + 1 end "

static void assert_verdict(struct policy_verdict verdict, bool allowed, const char *reason)
{
    assert_string_equal(verdict.reason, reason);
    assert_int_equal(verdict.allowed, allowed);
    assert_false(verdict.failed);
}

static void assert_failed(struct policy_verdict verdict, const char *reason)
{
    if (strstr(verdict.reason, reason) == NULL)
        assert_string_equal(verdict.reason, reason);
    assert_false(verdict.allowed);
    assert_true(verdict.failed);
}

/* ---- answers ---- */

static void test_a_script_allows_and_refuses(void **state)
{
    struct pool_fixture *fixture = *state;
    pool_fixture_start(fixture, "function connect(request)\n"
                                "  if request:ip() == 'why' then return false, 'not today' end\n"
                                "  if request:ip() == 'yes' then return true, 'be my guest' end\n"
                                "  return request:ip() == 'good'\n"
                                "end\n");
    assert_verdict(pool_fixture_answer(fixture, "good"), true, "the script allows it");
    assert_verdict(pool_fixture_answer(fixture, "bad"), false, "the script refuses it");
    assert_verdict(pool_fixture_answer(fixture, "why"), false, "not today");
    assert_verdict(pool_fixture_answer(fixture, "yes"), true, "be my guest");
    assert_false(lua_pool_has_register(fixture->pool));
    assert_false(lua_pool_has_on_event(fixture->pool));
}

static void test_what_a_request_tells(void **state)
{
    struct pool_fixture *fixture = *state;
    pool_fixture_start(fixture,
                       "function connect(r)\n"
                       "  return r:ip() == 'h' and r:port() == 22 and r:gatename() == 'alice' and\n"
                       "    r:key() == 'sesame' and r:source() == 'bob' and r:kind() == 'tcp' and\n"
                       "    r:user() == 'Bob' and r:address() == '192.0.2.1:4711' and\n"
                       "    type(r:port()) == 'number' and getmetatable(r) == false\n"
                       "end\n");
    assert_verdict(pool_fixture_answer(fixture, "h"), true, "the script allows it");
}

static void test_what_is_no_answer_is_a_refusal(void **state)
{
    static const struct {
        const char *host;
        const char *reason;
    } cases[] = {
        {"nil", "connect returned a nil instead of a boolean"},
        {"number", "connect returned a number instead of a boolean"},
        {"text", "connect returned a string instead of a boolean"},
        {"nothing", "connect returned a nil instead of a boolean"},
        {"index", "policy.lua:7: attempt to index"},
        {"raise", "policy.lua:8: no more"},
        {"number error", "the script raised the error 7"},
        {"table error", "the script raised an error that is a table, not a text"},
        {"key", "policy.lua:11: bad [key] and [key]"},
        {"bytes", "policy.lua:12: ? ? \xc3\xa4"},
        {"gone", "the script has no function connect"},
    };
    struct pool_fixture *fixture = *state;
    pool_fixture_start(fixture,
                       "local answers = {\n"
                       "  ['nil'] = function() return nil end,\n"
                       "  number = function() return 1 end,\n"
                       "  text = function() return 'true' end,\n"
                       "  nothing = function() end,\n"
                       "  index = function()\n"
                       "    local a; return a.b end,\n"
                       "  raise = function() error('no more') end,\n"
                       "  ['number error'] = function() error(7, 0) end,\n"
                       "  ['table error'] = function() error({}) end,\n"
                       "  key = function(r) error('bad ' .. r:key() .. ' and ' .. r:key()) end,\n"
                       "  bytes = function(r) error('\\255 ?\\n\\195\\164') end,\n"
                       "}\n"
                       "function connect(r)\n"
                       "  if not answers[r:ip()] then connect = nil; return true end\n"
                       "  return answers[r:ip()](r)\n"
                       "end\n");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (strcmp(cases[i].host, "gone") == 0)
            pool_fixture_answer(fixture, "gone");
        assert_failed(pool_fixture_answer(fixture, cases[i].host), cases[i].reason);
    }
}

static void test_a_reason_is_cut_and_shows_no_key(void **state)
{
    struct pool_fixture *fixture = *state;
    pool_fixture_start(fixture, "function connect(r)\n"
                                "  return false, ('\\195\\164'):rep(110) .. r:key():rep(100)\n"
                                "end\n");
    struct policy_verdict verdict = pool_fixture_answer(fixture, "h");
    assert_true(strlen(verdict.reason) < POLICY_REASON_SIZE);
    assert_non_null(strstr(verdict.reason, "\xc3\xa4[key]"));
    assert_null(strstr(verdict.reason, "ses"));
}

static void test_a_host_that_is_no_text(void **state)
{
    struct pool_fixture *fixture = *state;
    pool_fixture_start(fixture, "function connect(r) return true end");
    assert_failed(pool_fixture_answer(fixture, "a\xff"), "the request is not UTF-8 text");
    assert_verdict(pool_fixture_answer(fixture, "\"\\\n\x01\x7f"), true, "the script allows it");
}

static void test_agents_that_register(void **state)
{
    struct pool_fixture *fixture = *state;
    struct fixture_question question;
    pool_fixture_start(fixture, "function connect() return false end\n"
                                "function register(a)\n"
                                "  return a:name() == 'bob' and a:source() == 'bob' and\n"
                                "    a:user() == 'Bob' and a:address() == '192.0.2.1:4711', 'ok'\n"
                                "end\n");
    assert_true(lua_pool_has_register(fixture->pool));
    pool_fixture_ask(fixture, &question, "h");
    assert_verdict(*pool_fixture_wait(&question), false, "the script refuses it");
    /* The question is asked again as the other kind; the pool has no more to do with it. */
    sem_init(&question.answered, 0, 0);
    question.question.kind = LUA_REGISTER;
    assert_int_equal(lua_pool_ask(fixture->pool, &question.question), 0);
    assert_verdict(*pool_fixture_wait(&question), true, "ok");
}

/* ---- scripts that hold on ---- */

/* Endless in ways of their own: one C function, and what a tracing compiler would compile. */
static const char *const ENDLESS =
    "function connect(r)\n"
    "  if r:ip() == 'pattern' then\n"
    "    return (('a'):rep(40)):find(('a?'):rep(40) .. ('a'):rep(40) .. 'b') ~= nil\n"
    "  elseif r:ip() == 'loop' then\n"
    "    local n = 0\n"
    "    while true do n = (n * 31 + 7) % 65521 end\n"
    "  elseif r:ip() == 'protected' then\n"
    "    while true do pcall(function() while true do end end) end\n"
    "  elseif r:ip() == 'coroutine' then\n"
    "    while true do coroutine.wrap(function() coroutine.yield() end)() end\n"
    "  end\n"
    "  return true\n"
    "end\n";

static void test_a_script_that_never_answers_is_killed(void **state)
{
    static const char *const ways[] = {"pattern", "loop", "protected", "coroutine"};
    struct pool_fixture *fixture = *state;
    fixture->config.timeout = 1000;
    pool_fixture_start(fixture, ENDLESS);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        assert_failed(pool_fixture_answer(fixture, ways[i]),
                      "the script did not answer within 1 s");
        assert_verdict(pool_fixture_answer(fixture, "good"), true, "the script allows it");
    }
    pool_fixture_expect_workers(1);
}

static void test_one_that_hangs_does_not_hold_up_others(void **state)
{
    struct pool_fixture *fixture = *state;
    struct fixture_question slow;
    fixture->config.workers = 2;
    fixture->config.timeout = 2000;
    pool_fixture_start(fixture, ENDLESS);
    pool_fixture_ask(fixture, &slow, "loop");
    for (int i = 0; i < 50; i++)
        assert_verdict(pool_fixture_answer(fixture, "good"), true, "the script allows it");
    assert_int_equal(sem_trywait(&slow.answered), -1);
    assert_failed(*pool_fixture_wait(&slow), "the script did not answer within 2 s");
}

static void test_a_script_that_takes_all_memory(void **state)
{
    static const char *const ways[] = {"table", "string", "rep", "closure", "keep"};
    struct pool_fixture *fixture = *state;
    fixture->config.memory = 8 * 1024 * 1024;
    pool_fixture_start(fixture, "function connect(r)\n"
                                "  local t, s = {}, 'x'\n"
                                "  if r:ip() == 'table' then\n"
                                "    while true do t[#t + 1] = {} end\n"
                                "  elseif r:ip() == 'string' then\n"
                                "    while true do s = s .. s end\n"
                                "  elseif r:ip() == 'rep' then\n"
                                "    s = s:rep(12e6)\n"
                                "  elseif r:ip() == 'closure' then\n"
                                "    while true do local u = t; t = function() return u end end\n"
                                "  elseif r:ip() == 'keep' then\n"
                                "    while true do kept = {kept} end\n"
                                "  end\n"
                                "  return true\n"
                                "end\n");
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        assert_failed(pool_fixture_answer(fixture, ways[i]), "the script is out of memory");
        assert_verdict(pool_fixture_answer(fixture, "good"), true, "the script allows it");
    }
}

static void test_recursion_without_end(void **state)
{
    struct pool_fixture *fixture = *state;
    fixture->config.timeout = FIXTURE_PATIENCE * 1000 / 2; /* it is not about the time */
    pool_fixture_start(fixture, "local function f(n) return 1 + f(n) end\n"
                                "function connect(r)\n"
                                "  if r:ip() == 'deep' then f(1) end\n"
                                "  if r:ip() == 'gsub' then\n"
                                "    local function g() ('x'):gsub('x', g) end g()\n"
                                "  end\n"
                                "  return true end");
    assert_failed(pool_fixture_answer(fixture, "deep"), "stack overflow");
    assert_failed(pool_fixture_answer(fixture, "gsub"), "stack overflow");
    assert_verdict(pool_fixture_answer(fixture, "good"), true, "the script allows it");
}

/* ---- processes ---- */

static void kill_workers(void)
{
    pid_t workers[8];
    size_t count = pool_fixture_workers(workers, 8);
    assert_true(count > 0 && count <= 8);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(kill(workers[i], SIGKILL), 0);
}

static void test_a_worker_that_dies_is_replaced(void **state)
{
    struct pool_fixture *fixture = *state;
    struct fixture_question question;
    pool_fixture_start(fixture, ENDLESS);
    pool_fixture_ask(fixture, &question, "loop");
    kill_workers();
    /* Killed before it was asked, another takes its place and the question. */
    struct policy_verdict verdict = *pool_fixture_wait(&question);
    assert_true(verdict.failed);
    assert_verdict(pool_fixture_answer(fixture, "good"), true, "the script allows it");
    for (int i = 0; i < 3; i++) {
        kill_workers();
        do
            verdict = pool_fixture_answer(fixture, "good");
        while (verdict.failed && strcmp(verdict.reason, "the script's process has died") == 0);
        assert_verdict(verdict, true, "the script allows it");
    }
}

static void test_one_that_dies_idle_is_replaced_ever_later(void **state)
{
    struct pool_fixture *fixture = *state;
    pool_fixture_start(fixture, ENDLESS);
    uint64_t start = uv_hrtime() / 1000000;
    for (int i = 0; i < 4; i++) {
        pid_t before = 0;
        pid_t after = 0;
        assert_int_equal(pool_fixture_workers(&before, 1), 1);
        assert_int_equal(kill(before, SIGKILL), 0);
        do
            pool_fixture_workers(&after, 1);
        while (after == 0 || after == before);
        pool_fixture_expect_workers(1);
    }
    /* 100, 200, 400 and 800 milliseconds. */
    assert_true(uv_hrtime() / 1000000 - start >= 1500);
    assert_verdict(pool_fixture_answer(fixture, "good"), true, "the script allows it");
}

/* Returns its id, or 0 if there was none. */
static pid_t kill_one_worker(void)
{
    pid_t worker = 0;
    if (pool_fixture_workers(&worker, 1) > 0)
        kill(worker, SIGKILL);
    return worker;
}

static void test_a_pool_without_workers_is_not_manned(void **state)
{
    struct pool_fixture *fixture = *state;
    pool_fixture_start(fixture, ENDLESS);
    assert_true(lua_pool_is_manned(fixture->pool));
    while (lua_pool_is_manned(fixture->pool))
        kill_one_worker();
    assert_verdict(pool_fixture_answer(fixture, "good"), true, "the script allows it");
    assert_true(lua_pool_is_manned(fixture->pool));
    while (lua_pool_is_manned(fixture->pool))
        kill_one_worker();
    pool_fixture_reload(fixture, ENDLESS);
    assert_true(lua_pool_is_manned(fixture->pool));
}

static void test_one_of_two_workers_that_dies_leaves_a_pool_manned(void **state)
{
    struct pool_fixture *fixture = *state;
    fixture->config.workers = 2;
    pool_fixture_start(fixture, ENDLESS);
    pid_t workers[2];
    pid_t killed = kill_one_worker();
    size_t count;
    do {
        assert_true(lua_pool_is_manned(fixture->pool));
        count = pool_fixture_workers(workers, 2);
    } while (count != 2 || workers[0] == killed || workers[1] == killed);
    assert_true(lua_pool_is_manned(fixture->pool));
}

/* ---- start ---- */

static void test_what_cannot_start(void **state)
{
    static const struct {
        const char *script;
        const char *why;
    } cases[] = {
        {"function connect(r)\n  return = 1\nend", "policy.lua:2: unexpected symbol near '='"},
        {"local a\nlocal b = a.c\nfunction connect() end", "policy.lua:2: attempt to index"},
        {"\x1bLJ\x02", ": is bytecode, and only text is taken"},
        {"error({})", ": the script raised an error that is a table, not a text"},
        {"local t = {} while true do t[#t + 1] = {} end", ": the script is out of memory"},
        {"connect = true", "policy.lua: it defines no function connect"},
        {"function register() return true end", "policy.lua: it defines no function connect"},
        {"require('socket')", "policy.lua:1: module 'socket' not found: there are http and json"},
    };
    struct pool_fixture *fixture = *state;
    fixture->config.workers = 2;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_true(pool_fixture_try(fixture, cases[i].script) < 0);
        assert_memory_equal(fixture->why, fixture->script, strlen(fixture->script));
        if (strstr(fixture->why, cases[i].why) == NULL)
            assert_string_equal(fixture->why, cases[i].why);
        assert_int_equal(pool_fixture_workers(NULL, 0), 0);
    }
}

static void test_what_is_no_file(void **state)
{
    struct pool_fixture *fixture = *state;
    struct lua_pool_config config = fixture->config;
    char why[1024];
    config.script = fixture->directory;
    assert_true(lua_pool_start(&fixture->loop, &config, &fixture->pool, why, sizeof why) < 0);
    assert_non_null(strstr(why, ": is not a file"));
    config.script = "/nonexistent/policy.lua";
    assert_true(lua_pool_start(&fixture->loop, &config, &fixture->pool, why, sizeof why) < 0);
    assert_string_equal(why, "/nonexistent/policy.lua: No such file or directory");
    config.script = fixture->script;
    config.program = "/nonexistent/culvert";
    pool_fixture_write(fixture, "function connect() return true end");
    assert_true(lua_pool_start(&fixture->loop, &config, &fixture->pool, why, sizeof why) < 0);
    assert_non_null(strstr(why, "cannot start /nonexistent/culvert for the script"));
}

static void test_a_script_with_marks_before_it(void **state)
{
    struct pool_fixture *fixture = *state;
    pool_fixture_start(fixture,
                       "\xef\xbb\xbf#!/usr/bin/lua\nfunction connect(r)\n  error('x')\nend");
    assert_failed(pool_fixture_answer(fixture, "h"), "policy.lua:3: x");
}

static void test_memory_that_runs_out_at_the_start(void **state)
{
    struct pool_fixture *fixture = *state;
    size_t failures = 0;
    bool is_pending = false;
    pool_fixture_write(fixture, "function connect() return true end");
    for (size_t n = 1; !is_pending; n++) {
        memory_fail_after(n);
        int error = lua_pool_start(&fixture->loop, &fixture->config, &fixture->pool, fixture->why,
                                   sizeof fixture->why);
        is_pending = memory_fail_is_pending();
        memory_fail_after(0);
        if (error == 0) {
            lua_pool_stop(fixture->pool);
        } else {
            assert_false(is_pending);
            assert_true(strlen(fixture->why) > 0);
            failures++;
        }
        fixture->why[0] = '\0';
    }
    assert_true(failures > 5);
}

/* ---- reload ---- */

static void test_reload(void **state)
{
    struct pool_fixture *fixture = *state;
    fixture->config.workers = 3;
    pool_fixture_start(fixture, "function connect() return true, 'first' end");
    assert_verdict(pool_fixture_answer(fixture, "h"), true, "first");
    pool_fixture_reload(fixture, "function connect() return true, 'second' end\n"
                                 "function register() return true end");
    assert_string_equal(fixture->reload_why, "");
    assert_verdict(pool_fixture_answer(fixture, "h"), true, "second");
    assert_true(lua_pool_has_register(fixture->pool));
    pool_fixture_reload(fixture, "function connect() return true, 'third' end\nx x");
    assert_non_null(strstr(fixture->reload_why, "policy.lua:2: "));
    assert_verdict(pool_fixture_answer(fixture, "h"), true, "second");
    assert_true(lua_pool_has_register(fixture->pool));
    pool_fixture_reload(fixture, "function connect() return false, 'fourth' end");
    assert_string_equal(fixture->reload_why, "");
    assert_verdict(pool_fixture_answer(fixture, "h"), false, "fourth");
    assert_false(lua_pool_has_register(fixture->pool));
    pool_fixture_expect_workers(3);
}

static void test_a_file_that_is_gone_at_reload(void **state)
{
    struct pool_fixture *fixture = *state;
    pool_fixture_start(fixture, "function connect() return true end");
    pool_fixture_reload(fixture, NULL);
    assert_non_null(strstr(fixture->reload_why, "policy.lua: No such file or directory"));
    assert_verdict(pool_fixture_answer(fixture, "h"), true, "the script allows it");
    pool_fixture_expect_workers(1);
}

static void test_a_question_that_is_being_answered_survives_reload(void **state)
{
    struct pool_fixture *fixture = *state;
    struct fixture_question slow;
    fixture->config.timeout = 2000;
    pool_fixture_start(fixture, ENDLESS);
    pool_fixture_ask(fixture, &slow, "loop");
    pool_fixture_reload(fixture, "function connect() return true, 'new' end");
    assert_verdict(pool_fixture_answer(fixture, "h"), true, "new");
    assert_failed(*pool_fixture_wait(&slow), "the script did not answer within 2 s");
}

/* ---- stop ---- */

static void test_stop_answers_what_waits(void **state)
{
    enum { COUNT = 50 };
    struct pool_fixture *fixture = *state;
    struct fixture_question questions[COUNT];
    fixture->config.workers = 2;
    pool_fixture_start(fixture, ENDLESS);
    for (int i = 0; i < COUNT; i++)
        pool_fixture_ask(fixture, &questions[i], "loop");
    pool_fixture_stop(fixture);
    /* The answers are in the loop's mailbox. */
    loop_deinit(&fixture->loop);
    for (int i = 0; i < COUNT; i++)
        assert_failed(*pool_fixture_wait(&questions[i]), "the gateway is stopping");
    assert_int_equal(loop_init(&fixture->loop, 0, &fixture->account), 0);
}

static void test_stop_during_reload(void **state)
{
    struct pool_fixture *fixture = *state;
    struct fixture_question slow;
    pool_fixture_start(fixture, ENDLESS);
    pool_fixture_ask(fixture, &slow, "loop");
    pool_fixture_reload(fixture, ENDLESS);
    /* An old worker is busy still, the new one reads. */
    pool_fixture_stop(fixture);
    loop_deinit(&fixture->loop);
    assert_failed(*pool_fixture_wait(&slow), "the gateway is stopping");
    assert_int_equal(loop_init(&fixture->loop, 0, &fixture->account), 0);
}

static void test_too_many_questions(void **state)
{
    struct pool_fixture *fixture = *state;
    static struct fixture_question questions[LUA_POOL_QUESTIONS + 2];
    size_t asked = 0;
    int error = 0;
    fixture->config.timeout = FIXTURE_PATIENCE * 1000; /* so that the first is not over */
    pool_fixture_start(fixture, ENDLESS);
    /* One is with the worker, sooner or later. */
    while (asked < LUA_POOL_QUESTIONS) {
        pool_fixture_ask(fixture, &questions[asked++], "loop");
    }
    struct lua_question *last = &questions[LUA_POOL_QUESTIONS + 1].question;
    for (int i = 0; i < 2 && error == 0; i++) {
        *last = questions[0].question;
        last->node = (struct list_node){0};
        struct lua_question *question = i == 0 ? &questions[asked].question : last;
        *question = *last;
        sem_init(&questions[i == 0 ? asked : LUA_POOL_QUESTIONS + 1].answered, 0, 0);
        error = lua_pool_ask(fixture->pool, question);
        if (error == 0)
            asked++;
    }
    assert_int_equal(error, CULVERT_ERROR_LIMIT);
    pool_fixture_stop(fixture);
    loop_deinit(&fixture->loop);
    for (size_t i = 0; i < asked; i++)
        assert_failed(*pool_fixture_wait(&questions[i]), "the gateway is stopping");
    assert_int_equal(loop_init(&fixture->loop, 0, &fixture->account), 0);
}

#define WITH_FIXTURE(test) \
    cmocka_unit_test_setup_teardown(test, pool_fixture_set_up, pool_fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(test_a_script_allows_and_refuses),
        WITH_FIXTURE(test_what_a_request_tells),
        WITH_FIXTURE(test_what_is_no_answer_is_a_refusal),
        WITH_FIXTURE(test_a_reason_is_cut_and_shows_no_key),
        WITH_FIXTURE(test_a_host_that_is_no_text),
        WITH_FIXTURE(test_agents_that_register),
        WITH_FIXTURE(test_a_script_that_never_answers_is_killed),
        WITH_FIXTURE(test_one_that_hangs_does_not_hold_up_others),
        WITH_FIXTURE(test_a_script_that_takes_all_memory),
        WITH_FIXTURE(test_recursion_without_end),
        WITH_FIXTURE(test_a_worker_that_dies_is_replaced),
        WITH_FIXTURE(test_one_that_dies_idle_is_replaced_ever_later),
        WITH_FIXTURE(test_a_pool_without_workers_is_not_manned),
        WITH_FIXTURE(test_one_of_two_workers_that_dies_leaves_a_pool_manned),
        WITH_FIXTURE(test_what_cannot_start),
        WITH_FIXTURE(test_what_is_no_file),
        WITH_FIXTURE(test_a_script_with_marks_before_it),
        WITH_FIXTURE(test_memory_that_runs_out_at_the_start),
        WITH_FIXTURE(test_reload),
        WITH_FIXTURE(test_a_file_that_is_gone_at_reload),
        WITH_FIXTURE(test_a_question_that_is_being_answered_survives_reload),
        WITH_FIXTURE(test_stop_answers_what_waits),
        WITH_FIXTURE(test_stop_during_reload),
        WITH_FIXTURE(test_too_many_questions),
    };
    log_init(LOG_ERROR, LOG_TEXT, "test");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
