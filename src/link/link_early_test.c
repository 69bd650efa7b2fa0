/* Messages that come early, on another way than their link's carrier. */
#include "link/link.h"

#include "base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct account account;
static struct chunk_pool pool;
static struct link the_link;

static int set_up(void **state)
{
    account_init(&account, SIZE_MAX);
    chunk_pool_init(&pool, &account);
    link_init(&the_link, &pool, &account);
    *state = &the_link;
    return link_attach(&the_link, 1, 1, 0);
}

static int tear_down(void **state)
{
    (void)state;
    link_deinit(&the_link);
    return (int)chunk_pool_deinit(&pool);
}

static void are_taken_once(void **state)
{
    struct link *link = *state;
    assert_int_equal(link_take_early(link, 3, 0), 1);
    assert_int_equal(link_take_early(link, 3, 0), 0);
    assert_int_equal(link->received, 0);
    assert_false(link_report_is_due(link, UINT64_MAX));
    assert_int_equal(link_take(link, 10, 0), 1);
    assert_int_equal(link_take_early(link, 1, 0), 0); /* it came in its place */
    assert_int_equal(link_take(link, 10, 0), 1);
    assert_int_equal(link_take(link, 10, 0), 0);
    assert_int_equal(link->received, 3); /* counted in its place */
    assert_int_equal(link_take(link, 10, 0), 1);
}

static void wait_for_those_before(void **state)
{
    struct link *link = *state;
    assert_int_equal(link_take_early(link, 5, 2), 0);
    assert_int_equal(link_take_early(link, 2, 0), 1);
    assert_int_equal(link_take_early(link, 5, 2), 1);
    assert_int_equal(link_take_early(link, 7, 1), 0);
    assert_int_equal(link_take(link, 10, 0), 1);
    assert_int_equal(link_take_early(link, 7, 1), 1);
    assert_int_equal(link_take_early(link, 8, 8), CULVERT_ERROR_PROTOCOL);
    assert_int_equal(link_take_early(link, 8, 9), CULVERT_ERROR_PROTOCOL);
    assert_int_equal(link_take_early(link, 0, 0), CULVERT_ERROR_PROTOCOL);
}

static void have_a_window(void **state)
{
    struct link *link = *state;
    assert_int_equal(link_take_early(link, LINK_EARLY_WINDOW, 0), 1);
    assert_int_equal(link_take_early(link, LINK_EARLY_WINDOW + 1, 0), 0);
    assert_int_equal(link_take_early(link, UINT64_MAX, 0), 0);
    assert_int_equal(link_take_early(link, UINT64_MAX, UINT64_MAX - 1), 0);
    /* The place in the window of one that has come is free again. */
    for (uint64_t number = 1; number < LINK_EARLY_WINDOW; number++)
        assert_int_equal(link_take(link, 10, 0), 1);
    assert_int_equal(link_take_early(link, 2 * LINK_EARLY_WINDOW - 1, 0), 1);
    assert_int_equal(link_take_early(link, 2 * LINK_EARLY_WINDOW, 0), 0);
    assert_int_equal(link_take(link, 10, 0), 0);
    assert_int_equal(link_take_early(link, 2 * LINK_EARLY_WINDOW, 0), 1);
}

static void outlive_a_carrier(void **state)
{
    struct link *link = *state;
    assert_int_equal(link_take(link, 10, 0), 1);
    assert_int_equal(link_take_early(link, 3, 0), 1);
    assert_int_equal(link_attach(link, 2, 1, 0), 0);
    assert_int_equal(link_take(link, 10, 0), 0); /* sent again */
    assert_int_equal(link_take(link, 10, 0), 1);
    assert_int_equal(link_take(link, 10, 0), 0); /* was early */
    assert_int_equal(link->received, 3);
    assert_int_equal(link_take_early(link, 5, 0), 1);
    assert_int_equal(link_take_skip(link, 4, 0), 1); /* the peer knows that they were taken */
    assert_int_equal(link_take(link, 10, 0), 1);
    for (size_t i = 0; i < sizeof link->early / sizeof link->early[0]; i++)
        assert_int_equal(link->early[i], 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(are_taken_once),
        TEST(wait_for_those_before),
        TEST(have_a_window),
        TEST(outlive_a_carrier),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
