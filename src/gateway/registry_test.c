#include "gateway/registry.h"

#include "base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void a_name_has_one_holder(void **state)
{
    (void)state;
    struct registry registry;
    struct member_ref first = {1, 10}, second = {2, 20}, found, holder;
    assert_int_equal(registry_init(&registry, 7), 0);
    assert_int_equal(registry_find(&registry, "east", &found), CULVERT_ERROR_NOT_FOUND);
    assert_int_equal(registry_claim(&registry, "east", first, &holder), 0);
    assert_int_equal(registry_claim(&registry, "east", second, &holder), CULVERT_ERROR_EXISTS);
    assert_int_equal(holder.worker, 1);
    assert_int_equal(holder.id, 10);
    assert_int_equal(registry_find(&registry, "east", &found), 0);
    assert_int_equal(found.id, 10);
    registry_deinit(&registry);
}

static void only_the_holder_gives_it_back(void **state)
{
    (void)state;
    struct registry registry;
    struct member_ref ref = {1, 10}, found, holder;
    assert_int_equal(registry_init(&registry, 7), 0);
    assert_true(registry_is_empty(&registry));
    assert_int_equal(registry_claim(&registry, "east", ref, &holder), 0);
    registry_release(&registry, "east", 11);
    assert_false(registry_is_empty(&registry));
    assert_int_equal(registry_find(&registry, "east", &found), 0);
    registry_release(&registry, "east", 10);
    assert_int_equal(registry_find(&registry, "east", &found), CULVERT_ERROR_NOT_FOUND);
    registry_release(&registry, "east", 10);
    assert_true(registry_is_empty(&registry));
    registry_deinit(&registry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_has_one_holder),
        cmocka_unit_test(only_the_holder_gives_it_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
