#include "gateway/payer.h"

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

static struct member_ref member(uint64_t id)
{
    return (struct member_ref){(unsigned)id % 2, id};
}

static void names_group_owners_and_networks(void **state)
{
    static const uint8_t v4[16] = {[10] = 0xff, 0xff, 192, 0, 2, 1};
    static const uint8_t v4_beside[16] = {[10] = 0xff, 0xff, 192, 0, 2, 200};
    static const uint8_t v4_other[16] = {[10] = 0xff, 0xff, 192, 0, 3, 1};
    static const uint8_t v6[16] = {0x20, 1, 0xd, 0xb8, 1, 2, 3, 4, 5};
    static const uint8_t v6_beside[16] = {0x20, 1, 0xd, 0xb8, 1, 2, 3, 5};
    static const uint8_t v6_other[16] = {0x20, 1, 0xd, 0xb8, 1, 2, 4};
    char a[PAYER_NAME_SIZE], b[PAYER_NAME_SIZE];
    (void)state;
    payer_name(7, "ann", "a1", v4, a);
    payer_name(8, "ann", "a2", v6, b);
    assert_string_equal(a, b);
    payer_name(7, "", "a1", v4, a);
    payer_name(8, "", "a2", v4, b);
    assert_string_not_equal(a, b);
    payer_name(0, "", "a1", v4, a);
    payer_name(0, "", "a2", v4_beside, b);
    assert_string_equal(a, b);
    payer_name(0, "", "a1", v4_other, b);
    assert_string_not_equal(a, b);
    payer_name(0, "", "a1", v6, a);
    payer_name(0, "", "a2", v6_beside, b);
    assert_string_equal(a, b);
    payer_name(0, "", "a1", v6_other, b);
    assert_string_not_equal(a, b);
    /* The names that people choose are no networks. */
    payer_name(7, "", "network 20", v4, a);
    assert_string_equal(a, "agent network 20");
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
    struct member_ref chosen;
    payers_begin(payers);
    assert_int_equal(payers_choose(payers, 1000, &chosen), 0);
    for (uint64_t i = 1; i <= 50; i++)
        payer_add(evil, member(i), 10 + i, 0);
    payer_add(good, member(100), 500, 0);
    assert_int_equal(payers_choose(payers, 1000, &chosen), 60);
    assert_int_equal(chosen.id, 50);
    assert_int_equal(chosen.worker, 0);
    /* A new round forgets the last. */
    payers_begin(payers);
    payer_add(good, member(100), 500, 0);
    assert_int_equal(payers_choose(payers, 1000, &chosen), 500);
    assert_int_equal(chosen.id, 100);
    payers_leave(payers, evil);
    payers_leave(payers, good);
}

static void who_acknowledges_nothing_goes_first(void **state)
{
    struct payers *payers = *state;
    struct payer *silent = payers_join(payers, "network 1");
    struct payer *large = payers_join(payers, "network 2");
    struct member_ref chosen;
    payers_begin(payers);
    payer_add(silent, member(1), 300, 250);
    payer_add(silent, member(2), 310, 240);
    payer_add(large, member(3), 900, 0);
    /* The equal share is 500 of 1,000; 490 are silent. */
    assert_int_equal(payers_choose(payers, 1000, &chosen), 900);
    assert_int_equal(chosen.id, 3);
    assert_int_equal(payers_choose(payers, 900, &chosen), 250);
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
    struct member_ref chosen;
    payers_begin(payers);
    payer_add(first, member(1), 300, 300);
    payer_add(second, member(2), 400, 400);
    assert_int_equal(payers_choose(payers, 200, &chosen), 400);
    assert_int_equal(chosen.id, 2);
    payers_leave(payers, first);
    payers_leave(payers, second);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(names_group_owners_and_networks),          TEST(members_of_one_name_share_a_payer),
        TEST(joining_survives_each_failing_allocation), TEST(the_group_counts),
        TEST(who_acknowledges_nothing_goes_first),      TEST(of_the_silent_the_largest_goes),
    };
    return cmocka_run_group_tests_name("payer", tests, NULL, NULL);
}
