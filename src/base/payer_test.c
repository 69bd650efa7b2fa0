#include "base/payer.h"

#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static int set_up(void **state)
{
    static struct payers payers;
    *state = &payers;
    return payers_init(&payers, 1);
}

static int tear_down(void **state)
{
    payers_deinit(*state);
    return 0;
}

static struct payer_part part(uint64_t id)
{
    return (struct payer_part){(unsigned)id % 2, id};
}

static size_t choose(struct payers *payers, size_t limit, struct payer_part *chosen)
{
    struct account account;
    account_init(&account, limit);
    return payers_choose(payers, &account, 0, chosen);
}

static void members_of_one_name_share_a_payer(void **state)
{
    struct payers *payers = *state;
    struct payer *one = payers_join(payers, "user ann");
    assert_ptr_equal(payers_join(payers, "user ann"), one);
    struct payer *other = payers_join(payers, "user bob");
    assert_ptr_not_equal(other, one);
    payers_leave(payers, one);
    assert_ptr_equal(payers_join(payers, "user ann"), one);
    payers_leave(payers, one);
    payers_leave(payers, one);
    payers_leave(payers, other);
    assert_int_equal(payers->by_name.count, 0);
}

static void joining_survives_each_failing_allocation(void **state)
{
    struct payers *payers = *state;
    struct payer *payer = NULL;
    for (size_t n = 1; payer == NULL; n++) {
        memory_fail_after(n);
        payer = payers_join(payers, "user ann");
        memory_fail_after(0);
        assert_in_range(n, 1, 10);
        assert_int_equal(payers->by_name.count, payer != NULL);
    }
    payers_leave(payers, payer);
}

/* Many small ones of one owner hold more than one innocent that holds more than each of them. */
static void the_group_counts(void **state)
{
    struct payers *payers = *state;
    struct payer *evil = payers_join(payers, "network 1");
    struct payer *good = payers_join(payers, "network 2");
    struct payer_part chosen;
    payers_begin(payers);
    assert_int_equal(choose(payers, 1000, &chosen), 0);
    for (uint64_t i = 1; i <= 50; i++)
        payer_add(evil, part(i), 10 + i, 0);
    payer_add(good, part(100), 500, 0);
    assert_int_equal(choose(payers, 1000, &chosen), 60);
    assert_int_equal(chosen.id, 50);
    assert_int_equal(chosen.worker, 0);
    /* A new round forgets the last. */
    payers_begin(payers);
    payer_add(good, part(100), 500, 0);
    assert_int_equal(choose(payers, 1000, &chosen), 500);
    assert_int_equal(chosen.id, 100);
    payers_leave(payers, evil);
    payers_leave(payers, good);
}

static void who_acknowledges_nothing_goes_first(void **state)
{
    struct payers *payers = *state;
    struct payer *silent = payers_join(payers, "network 1");
    struct payer *large = payers_join(payers, "network 2");
    struct payer_part chosen;
    payers_begin(payers);
    payer_add(silent, part(1), 300, 250);
    payer_add(silent, part(2), 310, 240);
    payer_add(large, part(3), 900, 0);
    /* The equal share is 500 of 1,000; 490 are silent. */
    assert_int_equal(choose(payers, 1000, &chosen), 900);
    assert_int_equal(chosen.id, 3);
    assert_int_equal(choose(payers, 900, &chosen), 250);
    assert_int_equal(chosen.id, 1);
    payers_leave(payers, silent);
    payers_leave(payers, large);
}

/* Two of one kind that are silent: the one with more. */
static void of_the_silent_the_largest_goes(void **state)
{
    struct payers *payers = *state;
    struct payer *first = payers_join(payers, "network 1");
    struct payer *second = payers_join(payers, "network 2");
    struct payer_part chosen;
    payers_begin(payers);
    payer_add(first, part(1), 300, 300);
    payer_add(second, part(2), 400, 400);
    assert_int_equal(choose(payers, 200, &chosen), 400);
    assert_int_equal(chosen.id, 2);
    payers_leave(payers, first);
    payers_leave(payers, second);
}

static void next_round_waits_for_the_memory_or_a_while(void **state)
{
    struct payers *payers = *state;
    struct payer *payer = payers_join(payers, "user ann");
    struct payer_part chosen;
    struct account account;
    const uint64_t now = 1000000, pause = (uint64_t)PAYER_PAUSE * 1000;
    account_init(&account, 1000);
    account_charge(&account, 1200);
    assert_true(payers_are_due(payers, &account, now));
    payers_begin(payers);
    payer_add(payer, part(1), 300, 0);
    assert_int_equal(payers_choose(payers, &account, now, &chosen), 300);
    assert_false(payers_are_due(payers, &account, now));
    assert_false(payers_are_due(payers, &account, now + pause - 1));
    assert_true(payers_are_due(payers, &account, now + pause));
    account_release(&account, 299);
    assert_false(payers_are_due(payers, &account, now));
    account_release(&account, 1);
    assert_true(payers_are_due(payers, &account, now));
    payers_leave(payers, payer);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(members_of_one_name_share_a_payer),
        TEST(joining_survives_each_failing_allocation),
        TEST(the_group_counts),
        TEST(next_round_waits_for_the_memory_or_a_while),
        TEST(who_acknowledges_nothing_goes_first),
        TEST(of_the_silent_the_largest_goes),
    };
    return cmocka_run_group_tests_name("payer", tests, NULL, NULL);
}
