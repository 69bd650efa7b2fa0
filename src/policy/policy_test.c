#include "policy/policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_verdicts_have_reasons_that_fit(void **state)
{
    (void)state;
    struct policy_verdict verdict;
    policy_allow(&verdict, "line %d allows it", 3);
    assert_true(verdict.allowed);
    assert_false(verdict.failed);
    assert_string_equal(verdict.reason, "line 3 allows it");
    policy_refuse(&verdict, "no");
    assert_false(verdict.allowed);
    assert_false(verdict.failed);
    char longest[2 * POLICY_REASON_SIZE];
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    policy_fail(&verdict, "%s", longest);
    assert_false(verdict.allowed);
    assert_true(verdict.failed);
    assert_int_equal(strlen(verdict.reason), POLICY_REASON_SIZE - 1);
}

static void test_patterns(void **state)
{
    (void)state;
    assert_true(policy_matches("*", ""));
    assert_true(policy_matches("*", "anything"));
    assert_true(policy_matches("web", "web"));
    assert_false(policy_matches("web", "web2"));
    assert_false(policy_matches("web2", "web"));
    assert_true(policy_matches("web-?", "web-1"));
    assert_false(policy_matches("web-?", "web-"));
    assert_false(policy_matches("web-?", "web-12"));
    assert_true(policy_matches("*-db", "east-db"));
    assert_true(policy_matches("a*b*c", "axxbyybzzc"));
    assert_false(policy_matches("a*b*c", "axxbyybzzcd"));
    assert_true(policy_matches("**", ""));
    assert_false(policy_matches("", "a"));
    assert_true(policy_matches("", ""));
}

static void test_a_hostile_pattern_costs_little(void **state)
{
    (void)state;
    char value[4097];
    memset(value, 'a', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    assert_false(policy_matches("a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verdicts_have_reasons_that_fit),
        cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_a_hostile_pattern_costs_little),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
