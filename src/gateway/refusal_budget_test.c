#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/refusal_budget.h"

enum { SECOND = 1000 * 1000 };

/* Asks at one moment until it may not. Returns how often it could. */
static unsigned refuse_all(struct refusal_budget *budget, uint64_t now, uint64_t spent)
{
    unsigned count = 0;
    while (count < 100000 && refusal_budget_has(budget, now)) {
        refusal_budget_charge(budget, now, spent);
        count++;
    }
    return count;
}

static void so_many_a_second(void **state)
{
    (void)state;
    struct refusal_budget budget = {0};
    assert_int_equal(refuse_all(&budget, 9 * SECOND, 0), REFUSAL_BUDGET_PER_SECOND);
    assert_false(refusal_budget_has(&budget, 9 * SECOND));
    assert_int_equal(refuse_all(&budget, 9 * SECOND + SECOND / 2, 0),
                     REFUSAL_BUDGET_PER_SECOND / 2);
    assert_int_equal(refuse_all(&budget, 60 * (uint64_t)SECOND, 0), REFUSAL_BUDGET_PER_SECOND);
}

static void long_ones_take_a_share_of_the_time(void **state)
{
    (void)state;
    struct refusal_budget budget = {0};
    uint64_t spent = 0;
    for (uint64_t now = 9 * SECOND; now < 19 * (uint64_t)SECOND; now += 1000)
        spent += 3000 * (uint64_t)refuse_all(&budget, now, 3000);
    assert_in_range(spent, 10 * SECOND / REFUSAL_BUDGET_SHARE - 6000,
                    11 * SECOND / REFUSAL_BUDGET_SHARE + 6000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(so_many_a_second),
        cmocka_unit_test(long_ones_take_a_share_of_the_time),
    };
    return cmocka_run_group_tests_name("refusal_budget", tests, NULL, NULL);
}
