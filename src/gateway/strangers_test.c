#include "base/error.h"
#include "base/memory.h"
#include "gateway/address_group.h"
#include "gateway/strangers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { COUNT = 6000, SHARE = STRANGERS_MOST / STRANGERS_SHARE };

struct fixture {
    struct strangers strangers;
    struct stranger each[COUNT];
    size_t next;
    size_t gone; /* the number of those that had to go */
};

static struct fixture f;

static void evict(struct stranger *stranger)
{
    strangers_remove(&f.strangers, stranger);
    f.gone++;
}

static void begin_with(size_t most)
{
    memset(&f, 0, sizeof(f));
    strangers_init(&f.strangers, 42, most);
}

static void begin(void)
{
    begin_with(STRANGERS_MOST);
}

static void end(void)
{
    for (size_t i = 0; i < f.next; i++)
        strangers_remove(&f.strangers, &f.each[i]);
    assert_int_equal(f.strangers.count, 0);
    strangers_deinit(&f.strangers);
}

/* Lets `count` come of a group, one after the other. Returns the first. */
static struct stranger *come(uint64_t group, size_t count)
{
    struct stranger *first = &f.each[f.next];
    for (size_t i = 0; i < count; i++) {
        struct stranger *stranger = &f.each[f.next++];
        stranger->evict = evict;
        assert_int_equal(strangers_add(&f.strangers, stranger, group), 0);
        struct stranger *excess;
        while ((excess = strangers_excess(&f.strangers)) != NULL)
            excess->evict(excess);
    }
    return first;
}

static bool is_there(const struct stranger *stranger)
{
    return stranger->group != NULL;
}

static void test_half_of_the_room_is_anybodys(void **state)
{
    (void)state;
    begin();
    come(7, STRANGERS_MOST / 2);
    assert_int_equal(f.gone, 0);
    end();
}

static void test_one_group_does_not_get_more_than_half(void **state)
{
    (void)state;
    begin();
    struct stranger *innocent = come(8, 10);
    struct stranger *first = come(7, 3000);
    assert_int_equal(f.strangers.count, STRANGERS_MOST / 2);
    assert_true(is_there(&innocent[0]) && is_there(&innocent[9]));
    assert_false(is_there(first)); /* its oldest went */
    assert_true(is_there(&f.each[f.next - 1]));
    struct stranger *late = come(9, SHARE);
    for (size_t i = 0; i < SHARE; i++)
        assert_true(is_there(&late[i]));
    end();
}

static void test_many_groups_have_the_total(void **state)
{
    (void)state;
    begin();
    struct stranger *innocent = come(1, 3);
    for (uint64_t group = 2; group < 200; group++)
        come(group, 20);
    assert_int_equal(f.strangers.count, STRANGERS_MOST);
    for (size_t i = 0; i < 3; i++)
        assert_true(is_there(&innocent[i]));
    end();
}

static void test_who_has_no_group_has_the_total(void **state)
{
    (void)state;
    begin();
    struct stranger *innocent = come(7, 3);
    struct stranger *first = come(ADDRESS_GROUP_NONE, STRANGERS_MOST - 3);
    assert_int_equal(f.gone, 0);
    come(ADDRESS_GROUP_NONE, 100);
    assert_int_equal(f.gone, 100);
    assert_int_equal(f.strangers.count, STRANGERS_MOST);
    assert_true(is_there(&innocent[0]));
    assert_false(is_there(&first[99]));
    assert_true(is_there(&first[100]));
    end();
}

static void test_little_memory_leaves_less_room(void **state)
{
    (void)state;
    begin_with(64);
    come(ADDRESS_GROUP_NONE, 200);
    assert_int_equal(f.strangers.count, 64);
    end();
    begin_with(0);
    struct stranger *innocent = come(8, STRANGERS_SHARE_LEAST);
    come(7, 200);
    assert_int_equal(f.strangers.count, STRANGERS_LEAST / 2);
    for (size_t i = 0; i < STRANGERS_SHARE_LEAST; i++)
        assert_true(is_there(&innocent[i]));
    come(ADDRESS_GROUP_NONE, 200);
    assert_int_equal(f.strangers.count, STRANGERS_LEAST);
    end();
    begin_with(SIZE_MAX);
    come(ADDRESS_GROUP_NONE, 2 * STRANGERS_MOST);
    assert_int_equal(f.strangers.count, STRANGERS_MOST);
    end();
}

static void test_who_moves_is_the_newest_there(void **state)
{
    (void)state;
    begin();
    struct stranger *mover = come(ADDRESS_GROUP_NONE, 1);
    come(7, 20);
    assert_int_equal(strangers_add(&f.strangers, mover, 7), 0);
    assert_int_equal(f.strangers.count, 21);
    come(7, 600);
    assert_int_equal(f.gone, 621 - STRANGERS_MOST / 2);
    assert_false(is_there(mover));
    end();
}

static void test_many_come_before_one_goes(void **state)
{
    (void)state;
    begin();
    for (size_t i = 0; i < COUNT; i++, f.next++) {
        f.each[i].evict = evict;
        assert_int_equal(strangers_add(&f.strangers, &f.each[i], 1 + i % 2), 0);
    }
    struct stranger *excess;
    while ((excess = strangers_excess(&f.strangers)) != NULL)
        excess->evict(excess);
    assert_int_equal(f.strangers.count, STRANGERS_MOST / 2);
    end();
}

static void test_no_memory(void **state)
{
    (void)state;
    for (size_t n = 1; n <= 2; n++) {
        begin();
        memory_fail_after(n);
        int error = strangers_add(&f.strangers, &f.each[f.next++], 7);
        memory_fail_after(0);
        assert_int_equal(error, CULVERT_ERROR_NO_MEMORY);
        assert_int_equal(f.strangers.count, 1);
        assert_ptr_equal(f.each[0].group, &f.strangers.nobodys);
        end();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_half_of_the_room_is_anybodys),
        cmocka_unit_test(test_one_group_does_not_get_more_than_half),
        cmocka_unit_test(test_many_groups_have_the_total),
        cmocka_unit_test(test_who_has_no_group_has_the_total),
        cmocka_unit_test(test_little_memory_leaves_less_room),
        cmocka_unit_test(test_who_moves_is_the_newest_there),
        cmocka_unit_test(test_many_come_before_one_goes),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
