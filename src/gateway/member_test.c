/* Members and logins, turn by turn. */
#include "base/error.h"
#include "base/reason.h"
#include "gateway/probe.h"
#include "gateway/session.h"
#include "gateway/test_gateway.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { SECOND = 1000 * 1000 };

static bool holds(struct registry *registry, const char *name)
{
    struct member_ref ref;
    return registry_find(registry, name, &ref) == 0;
}

/* ---- names ---- */

static void an_agent_is_a_member_until_it_goes(void **state)
{
    (void)state;
    struct test_gateway test;
    struct test_agent agent = {0};
    test_gateway_begin(&test);
    test_agent_register(&agent, &test, "one");
    const struct member *member = test_gateway_member(&test, "one");
    assert_non_null(member);
    assert_string_equal(member->name, "one");
    assert_string_equal(member->address, "192.0.2.1:1234");
    assert_int_equal(list_is_empty(&test.worker->visitors), true);
    assert_int_equal(test.worker->visitor_ids.count, 0);
    assert_int_equal(test.worker->members.count, 1);
    test_agent_close(&agent);
    assert_null(test_gateway_member(&test, "one"));
    assert_int_equal(test.worker->members.count, 0);
    assert_true(registry_is_empty(&test.gateway->registry));
    assert_true(registry_is_empty(&test.gateway->links));
    test_gateway_close(&test);
}

static void a_link_that_is_over_frees_its_name(void **state)
{
    (void)state;
    struct test_gateway test;
    struct test_agent agent = {0};
    test_gateway_begin(&test);
    test_agent_register(&agent, &test, "one");
    struct member *member = test_gateway_member(&test, "one");
    char link[LINK_NAME_TEXT_SIZE];
    snprintf(link, sizeof(link), "%s", member->link);
    assert_true(holds(&test.gateway->links, link));
    test_agent_cut(&agent);
    assert_true(holds(&test.gateway->links, link));
    assert_true(holds(&test.gateway->registry, "one"));
    member_end(member, REASON_LINK_LOST, "the test ends it");
    assert_false(holds(&test.gateway->links, link));
    assert_false(holds(&test.gateway->registry, "one"));
    test_agent_close(&agent);
    test_gateway_close(&test);
}

static void a_name_is_not_claimed_for_ever(void **state)
{
    (void)state;
    struct test_gateway test;
    test_gateway_begin(&test);
    /* How often it has tried before; the last that is let in, and the first that is not. */
    for (unsigned tries = 2; tries <= 3; tries++) {
        struct test_agent agent = {0};
        test_agent_dial(&agent, &test, "one");
        agent.visitor->claims = tries;
        test_gateway_settle(&test);
        assert_int_equal(agent.welcomes, tries == 2);
        if (tries == 3) {
            assert_int_equal(agent.refused, REASON_NAME_TAKEN);
            assert_string_equal(agent.refusal, "other agents want this name at the same time");
        }
        test_agent_close(&agent);
        assert_null(test_gateway_member(&test, "one"));
    }
    test_gateway_close(&test);
}

static bool is_refused(void *holder)
{
    const struct test_agent *agent = holder;
    return agent->refused != 0 && agent->lost != 0;
}

static void a_name_whose_holder_answers_is_taken(void **state)
{
    (void)state;
    struct test_gateway test;
    struct test_agent first = {0}, second = {0};
    test_gateway_begin(&test);
    test_agent_register(&first, &test, "one");
    const struct member *member = test_gateway_member(&test, "one");
    test_agent_dial(&second, &test, "one");
    test_gateway_run(&test, is_refused, &second);
    assert_int_equal(second.refused, REASON_NAME_TAKEN);
    assert_string_equal(second.refusal, "an agent with this name is connected and answers");
    assert_ptr_equal(test_gateway_member(&test, "one"), member);
    assert_int_equal(first.lost + (int)first.detachments, 0);
    test_agent_close(&second);
    test_agent_close(&first);
    test_gateway_close(&test);
}

static void a_detached_holder_makes_way(void **state)
{
    (void)state;
    struct test_gateway test;
    struct test_agent first = {0}, second = {0};
    test_gateway_begin(&test);
    test_agent_register(&first, &test, "one");
    test_agent_cut(&first);
    const struct member *before = test_gateway_member(&test, "one");
    assert_non_null(before);
    uint64_t id = before->id;
    test_agent_register(&second, &test, "one");
    assert_int_equal(second.welcomes, 1);
    assert_int_not_equal(test_gateway_member(&test, "one")->id, id);
    assert_null(member_find(test.worker, id));
    test_agent_close(&second);
    test_agent_close(&first);
    test_gateway_close(&test);
}

/* ---- a link that waits ---- */

static void a_link_waits_as_long_as_its_window(void **state)
{
    (void)state;
    struct test_gateway test;
    struct test_agent agent = {0};
    test_gateway_begin(&test);
    test.config.resume_window = 10;
    test_agent_register(&agent, &test, "one");
    test_agent_cut(&agent);
    struct member *member = test_gateway_member(&test, "one");
    uint64_t id = member->id;
    member->detached = loop_now(test.loop) - 10 * SECOND + 1;
    member->timer.fired(&member->timer);
    assert_false(member->is_over);
    member->detached--;
    member->timer.fired(&member->timer);
    assert_null(member_find(test.worker, id));
    assert_null(test_gateway_member(&test, "one"));
    test_agent_close(&agent);
    test_gateway_close(&test);
}

static void a_link_goes_on_with_another_carrier(void **state)
{
    (void)state;
    struct test_gateway test;
    struct test_agent agent = {0};
    test_gateway_begin(&test);
    test_agent_register(&agent, &test, "one");
    struct member *member = test_gateway_member(&test, "one");
    test_agent_cut(&agent);
    assert_true(member->detached != 0);
    test_agent_rejoin(&agent);
    assert_int_equal(agent.welcomes, 2);
    assert_ptr_equal(test_gateway_member(&test, "one"), member);
    assert_int_equal(member->detached, 0);
    assert_false(uv_is_active((uv_handle_t *)&member->timer.uv)); /* the window is over */
    assert_int_equal(test.worker->members.count, 1);
    test_agent_close(&agent);
    test_gateway_close(&test);
}

/* ---- sessions ---- */

static void a_session_is_joined_and_counted(void **state)
{
    (void)state;
    struct test_gateway test;
    struct test_agent near = {0}, far = {0};
    struct test_session asking, asked;
    test_gateway_begin(&test);
    test_agent_register(&near, &test, "near");
    test_agent_register(&far, &test, "far");
    test_session_open(&asking, &near, "far");
    test_gateway_settle(&test);
    assert_int_equal(far.opened, 1);
    assert_false(asking.is_opened);
    test_session_accept(&asked, &far);
    test_gateway_settle(&test);
    assert_true(asking.is_opened);
    assert_int_equal(test.gateway->sessions, 1);
    test_session_write(&asking, &test, 1000);
    test_session_write(&asked, &test, 300);
    test_gateway_settle(&test);
    assert_int_equal(asked.got, 1000);
    assert_int_equal(asking.got, 300);
    test_session_close(&asked);
    test_gateway_settle(&test);
    assert_true(asking.is_reset);
    assert_int_equal(asking.code, REASON_RESET);
    assert_int_equal(test.gateway->sessions, 0);
    assert_true(list_is_empty(&test.worker->sessions));
    test_agent_close(&far);
    test_agent_close(&near);
    test_gateway_close(&test);
}

static void a_session_with_nobody_is_refused(void **state)
{
    (void)state;
    struct test_gateway test;
    struct test_agent near = {0};
    struct test_session asking;
    test_gateway_begin(&test);
    test_agent_register(&near, &test, "near");
    test_session_open(&asking, &near, "nobody");
    test_gateway_settle(&test);
    assert_true(asking.is_reset);
    assert_int_equal(asking.code, REASON_UNKNOWN_AGENT);
    assert_int_equal(test.gateway->sessions, 0);
    test_agent_close(&near);
    test_gateway_close(&test);
}

static void sessions_a_second_are_limited(void **state)
{
    (void)state;
    struct test_gateway test;
    struct test_agent near = {0};
    test_gateway_begin(&test);
    test_agent_register(&near, &test, "near");
    struct member *member = test_gateway_member(&test, "near");
    static const struct {
        unsigned opens; /* before, in this second, or in the one before */
        bool in_this_second, is_refused;
    } cases[] = {
        {MEMBER_OPENS_PER_SECOND - 1, true, false},
        {MEMBER_OPENS_PER_SECOND, true, true},
        {MEMBER_OPENS_PER_SECOND, false, false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct test_session session;
        uint64_t second = 0;
        test_session_open(&session, &near, "nobody");
        while (!session.is_reset) { /* also where the second ends meanwhile */
            second = loop_now(test.loop) / SECOND;
            member->open_second = cases[i].in_this_second ? second : second - 1;
            member->opens = cases[i].opens;
            uv_run(&test.loop->uv, UV_RUN_NOWAIT);
            test_gateway_settle(&test);
        }
        if (member->open_second != second && cases[i].in_this_second)
            continue;
        assert_int_equal(session.code == REASON_LIMIT, cases[i].is_refused);
        if (!cases[i].in_this_second)
            assert_int_equal(member->opens, 1);
    }
    test_agent_close(&near);
    test_gateway_close(&test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_agent_is_a_member_until_it_goes),
        cmocka_unit_test(a_link_that_is_over_frees_its_name),
        cmocka_unit_test(a_name_is_not_claimed_for_ever),
        cmocka_unit_test(a_name_whose_holder_answers_is_taken),
        cmocka_unit_test(a_detached_holder_makes_way),
        cmocka_unit_test(a_link_waits_as_long_as_its_window),
        cmocka_unit_test(a_link_goes_on_with_another_carrier),
        cmocka_unit_test(a_session_is_joined_and_counted),
        cmocka_unit_test(a_session_with_nobody_is_refused),
        cmocka_unit_test(sessions_a_second_are_limited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
