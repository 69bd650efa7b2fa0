#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/map.h"
#include "base/memory.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { KEYS = 5000 };

static char values[KEYS];

static uint64_t key_of(int i)
{
    /* Runs, strides of powers of two, and both ends of the range. */
    switch (i % 3) {
    case 0:
        return (uint64_t)i;
    case 1:
        return (uint64_t)i << 40;
    default:
        return UINT64_MAX - (uint64_t)i;
    }
}

static size_t count_values(const struct map *map)
{
    static bool seen[KEYS];
    memset(seen, 0, sizeof(seen));
    size_t cursor = 0;
    size_t count = 0;
    for (char *value; (value = map_next(map, &cursor)) != NULL; count++) {
        assert_false(seen[value - values]);
        seen[value - values] = true;
    }
    return count;
}

static void numbers_are_found_until_removed(void **state)
{
    (void)state;
    struct map map;
    map_init(&map, 12345);
    assert_null(map_find(&map, 1));
    assert_null(map_remove(&map, 1));
    for (int i = 0; i < KEYS; i++)
        assert_int_equal(map_insert(&map, key_of(i), &values[i]), 0);
    assert_int_equal(map.count, KEYS);
    assert_int_equal(count_values(&map), KEYS);
    assert_int_equal(map_insert(&map, key_of(77), &values[0]), CULVERT_ERROR_EXISTS);
    for (int i = 0; i < KEYS; i += 2)
        assert_ptr_equal(map_remove(&map, key_of(i)), &values[i]);
    for (int i = 0; i < KEYS; i++)
        assert_ptr_equal(map_find(&map, key_of(i)), i % 2 == 0 ? NULL : &values[i]);
    assert_int_equal(count_values(&map), KEYS / 2);
    for (int i = 0; i < KEYS; i += 2)
        assert_int_equal(map_insert(&map, key_of(i), &values[i]), 0);
    for (int i = KEYS - 1; i >= 0; i--) {
        assert_ptr_equal(map_remove(&map, key_of(i)), &values[i]);
        assert_null(map_remove(&map, key_of(i)));
    }
    assert_int_equal(map.count, 0);
    assert_int_equal(count_values(&map), 0);
    map_deinit(&map);
    map_deinit(&map);
}

/* Streams come and go for ever: what is removed must not fill the table. */
static void a_table_does_not_wear_out(void **state)
{
    (void)state;
    struct map map;
    map_init(&map, 99);
    for (uint64_t key = 0; key < 100000; key++) {
        assert_int_equal(map_insert(&map, key, &values[0]), 0);
        if (key >= 4)
            assert_non_null(map_remove(&map, key - 4));
    }
    assert_int_equal(map.count, 4);
    assert_int_equal(map.capacity, 8);
    map_deinit(&map);
}

static void texts_are_copied_and_found(void **state)
{
    (void)state;
    struct map map;
    char key[64];
    map_init(&map, 7);
    for (int i = 0; i < KEYS; i++) {
        snprintf(key, sizeof(key), "%.*s%d", i % 17, "agent-agent-agent-agent", i);
        assert_int_equal(map_insert_text(&map, key, &values[i]), 0);
        assert_int_equal(map_insert_text(&map, key, &values[i]), CULVERT_ERROR_EXISTS);
    }
    assert_null(map_find_text(&map, "nobody"));
    assert_null(map_find_text(&map, ""));
    assert_int_equal(map_insert_text(&map, "", &values[0]), 0);
    assert_ptr_equal(map_remove_text(&map, ""), &values[0]);
    for (int i = 0; i < KEYS; i += 3) {
        snprintf(key, sizeof(key), "%.*s%d", i % 17, "agent-agent-agent-agent", i);
        assert_ptr_equal(map_remove_text(&map, key), &values[i]);
    }
    for (int i = 0; i < KEYS; i++) {
        snprintf(key, sizeof(key), "%.*s%d", i % 17, "agent-agent-agent-agent", i);
        assert_ptr_equal(map_find_text(&map, key), i % 3 == 0 ? NULL : &values[i]);
    }
    map_deinit(&map);
}

static void the_seed_changes_the_order(void **state)
{
    (void)state;
    struct map a;
    struct map b;
    map_init(&a, 1);
    map_init(&b, 2);
    for (int i = 0; i < 1000; i++) {
        map_insert(&a, (uint64_t)i, &values[i]);
        map_insert(&b, (uint64_t)i, &values[i]);
    }
    size_t at_a = 0;
    size_t at_b = 0;
    int same = 0;
    for (int i = 0; i < 1000; i++)
        same += map_next(&a, &at_a) == map_next(&b, &at_b);
    assert_in_range(same, 0, 50);
    map_deinit(&a);
    map_deinit(&b);
}

static void a_failed_insertion_changes_nothing(void **state)
{
    (void)state;
    struct map map;
    map_init(&map, 3);
    for (int i = 0; i < 6; i++)
        assert_int_equal(map_insert_text(&map, (const char[]){(char)('a' + i), 0}, &values[i]), 0);
    for (size_t n = 1; n <= 2; n++) {
        memory_fail_after(n);
        assert_int_equal(map_insert_text(&map, "new", &values[9]), CULVERT_ERROR_NO_MEMORY);
        assert_int_equal(map.count, 6);
        assert_null(map_find_text(&map, "new"));
        assert_ptr_equal(map_find_text(&map, "f"), &values[5]);
    }
    memory_fail_after(0);
    assert_int_equal(map_insert_text(&map, "new", &values[9]), 0);
    map_deinit(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_found_until_removed),
        cmocka_unit_test(a_table_does_not_wear_out),
        cmocka_unit_test(texts_are_copied_and_found),
        cmocka_unit_test(the_seed_changes_the_order),
        cmocka_unit_test(a_failed_insertion_changes_nothing),
    };
    return cmocka_run_group_tests_name("map", tests, NULL, NULL);
}
