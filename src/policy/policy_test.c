#include "policy/policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct policy_request REQUEST = {
    .source = "agent1",
    .address = "192.0.2.1",
    .kind = "tcp",
    .agent = "agent2",
    .host = "127.0.0.1",
    .port = 22,
    .key = "",
};

static void check(bool grant, bool deny, bool allowed)
{
    struct policy policy = {.grant = grant, .deny = deny};
    struct policy_verdict verdict = policy_ask(&policy, &REQUEST);
    assert_int_equal(verdict.allowed, allowed);
    assert_non_null(verdict.reason);
    assert_true(verdict.reason[0] != '\0');
}

static void test_all_that_are_set_must_allow(void **state)
{
    (void)state;
    check(false, false, false);
    check(true, false, true);
    check(false, true, false);
    check(true, true, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_that_are_set_must_allow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
