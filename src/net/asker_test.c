#include "base/error.h"
#include "base/memory.h"
#include "net/asker.h"
#include "net/descriptors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/resource.h>

#include <cmocka.h>

static struct askers table(unsigned dials, unsigned dials_each, unsigned lookups, unsigned each)
{
    const struct asker_limits limits = {dials, dials_each, lookups, each};
    struct askers askers;
    askers_init(&askers, &limits, 7);
    return askers;
}

static unsigned dial_all(struct asker *asker)
{
    unsigned count = 0;
    while (asker_begin_dial(asker) == 0)
        count++;
    return count;
}

static void end_dials(struct asker *asker, unsigned count)
{
    while (count-- > 0)
        asker_end_dial(asker);
}

static void test_defaults(void **state)
{
    (void)state;
    struct askers askers = table(0, 0, 0, 0);
    assert_int_equal(askers.limits.dials, 2048);
    assert_int_equal(askers.limits.dials_per_asker, 512);
    assert_int_equal(askers.limits.lookups, 16);
    assert_int_equal(askers.limits.lookups_per_asker, 4);
    askers_deinit(&askers);
}

/* However many have all they can get, the next one gets something while anything is left. */
static void test_one_never_has_more_than_is_left(void **state)
{
    (void)state;
    struct askers askers = table(16, 4, 0, 0);
    static const char *const names[] = {"a", "b", "c", "d", "e", "f"};
    static const unsigned shares[] = {4, 4, 4, 2, 1, 1};
    struct asker *held[6];
    for (int i = 0; i < 6; i++) {
        held[i] = asker_hold(&askers, names[i]);
        assert_int_equal(dial_all(held[i]), shares[i]);
        assert_int_equal(asker_begin_dial(held[i]), CULVERT_ERROR_LIMIT);
    }
    assert_int_equal(askers.dials, 16);
    end_dials(held[0], 4);
    assert_int_equal(dial_all(held[5]), 2);
    end_dials(held[5], 3);
    for (int i = 1; i < 5; i++)
        end_dials(held[i], shares[i]);
    for (int i = 0; i < 6; i++)
        asker_release(held[i]);
    assert_int_equal(askers.dials, 0);
    askers_deinit(&askers);
}

static void test_lookups(void **state)
{
    (void)state;
    struct askers askers = table(0, 0, 3, 2);
    struct asker *a = asker_hold(&askers, "a");
    struct asker *b = asker_hold(&askers, "b");
    for (int i = 0; i < 2; i++) {
        assert_true(asker_may_look_up(a));
        asker_begin_lookup(a);
    }
    assert_false(asker_may_look_up(a));
    assert_true(asker_may_look_up(b));
    asker_begin_lookup(b);
    assert_false(asker_may_look_up(b));
    asker_end_lookup(a);
    assert_false(asker_may_look_up(a)); /* it has one, and one is left */
    assert_false(asker_may_look_up(b));
    asker_end_lookup(a);
    assert_true(asker_may_look_up(a));
    asker_end_lookup(b);
    asker_release(a);
    asker_release(b);
    askers_deinit(&askers);
}

static void test_an_asker_lives_while_it_has_anything(void **state)
{
    (void)state;
    struct askers askers = table(0, 0, 0, 0);
    struct asker *asker = asker_hold(&askers, "a");
    assert_ptr_equal(asker_hold(&askers, "a"), asker);
    asker_begin_lookup(asker);
    asker_keep_socket(asker);
    asker_release(asker);
    asker_release(asker);
    assert_int_equal(askers.by_name.count, 1);
    asker_drop_socket(asker);
    assert_int_equal(askers.by_name.count, 1);
    asker_end_lookup(asker);
    assert_int_equal(askers.by_name.count, 0);
    asker_release(NULL);
    askers_deinit(&askers);
}

static void test_sockets_leave_the_reserve(void **state)
{
    (void)state;
    struct askers askers = table(0, 0, 0, 0);
    struct asker *asker = asker_hold(&askers, "a");
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    const struct rlimit small = {.rlim_cur = 200, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &small), 0);
    assert_int_equal(descriptors_left(174), 1);
    assert_int_equal(descriptors_left(175), 0);
    assert_int_equal(asker_take_socket(asker, 175), CULVERT_ERROR_LIMIT);
    assert_int_equal(asker_take_socket(asker, 174), 0);
    assert_int_equal(asker_take_socket(asker, 174), CULVERT_ERROR_LIMIT); /* one of one */
    assert_int_equal(asker_take_socket(asker, 100), 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    asker_drop_socket(asker);
    asker_drop_socket(asker);
    asker_release(asker);
    askers_deinit(&askers);
}

static void test_no_memory(void **state)
{
    (void)state;
    struct askers askers = table(0, 0, 0, 0);
    for (size_t i = 1;; i++) {
        memory_fail_after(i);
        struct asker *asker = asker_hold(&askers, "a");
        if (memory_fail_is_pending()) {
            asker_release(asker);
            break;
        }
        assert_null(asker);
    }
    memory_fail_after(0);
    askers_deinit(&askers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_one_never_has_more_than_is_left),
        cmocka_unit_test(test_lookups),
        cmocka_unit_test(test_an_asker_lives_while_it_has_anything),
        cmocka_unit_test(test_sockets_leave_the_reserve),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
