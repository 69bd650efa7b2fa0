#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/slice.h"
#include "base/test_slices.h"

#include <string.h>

static struct slice copy_of(struct test_slices *fixture, const char *text)
{
    struct slice slice;
    assert_int_equal(slice_copy(&fixture->pool, text, strlen(text), &slice), 0);
    return slice;
}

static void push(struct test_slices *fixture, struct slice_queue *queue, const char *text)
{
    assert_int_equal(slice_queue_push(queue, copy_of(fixture, text)), 0);
}

static void a_slice_splits(void **state)
{
    struct slice slice = copy_of(*state, "hello world");
    struct slice none = slice_split(&slice, 0);
    assert_null(none.chunk);
    assert_int_equal(none.size, 0);
    struct slice front = slice_split(&slice, 6);
    assert_int_equal(front.size, 6);
    assert_memory_equal(front.data, "hello ", 6);
    assert_memory_equal(slice.data, "world", 5);
    assert_false(chunk_is_exclusive(slice.chunk));
    slice_drop(&front);
    slice_drop(&front);
    assert_true(chunk_is_exclusive(slice.chunk));
    struct slice all = slice_split(&slice, 100);
    assert_int_equal(all.size, 5);
    assert_null(slice.data);
    slice_drop(&all);
}

static void a_copy_takes_the_chunk_that_fits(void **state)
{
    struct test_slices *fixture = *state;
    static char bytes[CHUNK_LARGE_SIZE + 1];
    size_t small = CHUNK_SMALL_SIZE - offsetof(struct chunk, data);
    struct slice slice;
    assert_int_equal(slice_copy(&fixture->pool, bytes, small, &slice), 0);
    assert_int_equal(slice.chunk->class, CHUNK_SMALL);
    slice_drop(&slice);
    assert_int_equal(slice_copy(&fixture->pool, bytes, small + 1, &slice), 0);
    assert_int_equal(slice.chunk->class, CHUNK_EXACT);
    assert_int_equal(slice.chunk->size, small + 1);
    slice_drop(&slice);
    assert_int_equal(slice_copy(&fixture->pool, bytes, CHUNK_LARGE_SIZE, &slice), 0);
    slice_drop(&slice);
    assert_int_equal(slice_copy(&fixture->pool, bytes, CHUNK_LARGE_SIZE + 1, &slice),
                     CULVERT_ERROR_NO_MEMORY);
}

static void a_queue_keeps_order_while_it_grows(void **state)
{
    struct test_slices *fixture = *state;
    struct slice_queue queue = SLICE_QUEUE_NULL;
    unsigned next_in = 0;
    unsigned next_out = 0;
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < 7; i++, next_in++) {
            struct slice slice;
            slice_copy(&fixture->pool, &next_in, sizeof(next_in), &slice);
            assert_int_equal(slice_queue_push(&queue, slice), 0);
        }
        for (int i = 0; i < 5; i++, next_out++) {
            struct slice slice = slice_queue_take(&queue, 100);
            assert_int_equal(slice.size, sizeof(next_out));
            assert_memory_equal(slice.data, &next_out, sizeof(next_out));
            slice_drop(&slice);
        }
        assert_int_equal(queue.count, next_in - next_out);
        assert_int_equal(queue.bytes, (next_in - next_out) * sizeof(unsigned));
    }
    slice_queue_deinit(&queue);
    slice_queue_deinit(&queue);
}

static void a_queue_takes_and_skips_parts(void **state)
{
    struct slice_queue queue = SLICE_QUEUE_NULL;
    assert_null(slice_queue_first(&queue));
    assert_null(slice_queue_take(&queue, 10).data);
    slice_queue_skip(&queue, 10);
    push(*state, &queue, "abcdef");
    push(*state, &queue, "ghi");
    push(*state, &queue, "jklm");
    assert_int_equal(slice_queue_push(&queue, SLICE_NULL), 0);
    assert_int_equal(queue.count, 3);
    struct slice slice = slice_queue_take(&queue, 2);
    assert_int_equal(slice.size, 2);
    slice_drop(&slice);
    test_slices_assert(&queue, "cdefghijklm");
    slice_queue_skip(&queue, 5);
    test_slices_assert(&queue, "hijklm");
    assert_int_equal(slice_queue_first(&queue)->size, 2);
    slice_queue_skip(&queue, 2);
    test_slices_assert(&queue, "jklm");
    slice_queue_skip(&queue, 100);
    test_slices_assert(&queue, "");
    assert_int_equal(queue.count, 0);
    slice_queue_deinit(&queue);
}

static void an_empty_slice_with_a_chunk_is_dropped(void **state)
{
    struct slice_queue queue = SLICE_QUEUE_NULL;
    struct slice slice = copy_of(*state, "x");
    slice.size = 0;
    assert_int_equal(slice_queue_push(&queue, slice), 0);
    assert_int_equal(queue.count, 0);
    slice_queue_deinit(&queue);
}

static void queues_append(void **state)
{
    struct slice_queue to = SLICE_QUEUE_NULL;
    struct slice_queue from = SLICE_QUEUE_NULL;
    assert_int_equal(slice_queue_append(&to, &from), 0);
    push(*state, &from, "one ");
    assert_int_equal(slice_queue_append(&to, &from), 0);
    test_slices_assert(&from, "");
    push(*state, &from, "two ");
    push(*state, &from, "three ");
    push(*state, &from, "four ");
    push(*state, &from, "five");
    memory_fail_after(1);
    assert_int_equal(slice_queue_append(&to, &from), CULVERT_ERROR_NO_MEMORY);
    test_slices_assert(&to, "one ");
    test_slices_assert(&from, "two three four five");
    assert_int_equal(slice_queue_append(&to, &from), 0);
    test_slices_assert(&to, "one two three four five");
    test_slices_assert(&from, "");
    slice_queue_clear(&to);
    test_slices_assert(&to, "");
    push(*state, &to, "again");
    test_slices_assert(&to, "again");
    slice_queue_deinit(&to);
    slice_queue_deinit(&from);
}

static void a_queue_shares_its_slices(void **state)
{
    struct slice_queue to = SLICE_QUEUE_NULL;
    struct slice_queue from = SLICE_QUEUE_NULL;
    assert_int_equal(slice_queue_share(&to, &from), 0);
    test_slices_assert(&to, "");
    push(*state, &from, "two ");
    push(*state, &from, "three ");
    push(*state, &from, "four ");
    push(*state, &from, "five ");
    push(*state, &from, "six");
    push(*state, &to, "one ");
    memory_fail_after(1);
    assert_int_equal(slice_queue_share(&to, &from), CULVERT_ERROR_NO_MEMORY);
    test_slices_assert(&to, "one ");
    assert_int_equal(slice_queue_share(&to, &from), 0);
    test_slices_assert(&from, "two three four five six");
    slice_queue_deinit(&from);
    test_slices_assert(&to, "one two three four five six");
    slice_queue_deinit(&to);
}

static void a_push_that_fails_drops_its_slice(void **state)
{
    struct slice_queue queue = SLICE_QUEUE_NULL;
    struct slice slice = copy_of(*state, "lost");
    memory_fail_after(1);
    assert_int_equal(slice_queue_push(&queue, slice), CULVERT_ERROR_NO_MEMORY);
    test_slices_assert(&queue, "");
    slice_queue_deinit(&queue);
}

static void vectors_are_bounded(void **state)
{
    struct slice_queue queue = SLICE_QUEUE_NULL;
    struct iovec vectors[2];
    push(*state, &queue, "a");
    push(*state, &queue, "bc");
    push(*state, &queue, "d");
    assert_int_equal(slice_queue_vectors(&queue, vectors, 2), 2);
    assert_int_equal(vectors[1].iov_len, 2);
    assert_memory_equal(vectors[1].iov_base, "bc", 2);
    assert_int_equal(slice_queue_vectors(&queue, vectors, 0), 0);
    slice_queue_deinit(&queue);
}

static void a_queue_is_read_in_place(void **state)
{
    struct slice_queue queue = SLICE_QUEUE_NULL;
    char out[16];
    push(*state, &queue, "one");
    push(*state, &queue, "two");
    for (size_t step = 1; step <= 7; step++) {
        struct slice_cursor cursor = {0};
        size_t size = 0, got;
        while ((got = slice_queue_read(&queue, &cursor, out + size, step)) > 0)
            size += got;
        assert_int_equal(size, 6);
        assert_memory_equal(out, "onetwo", 6);
        assert_int_equal(slice_queue_read(&queue, &cursor, out, 1), 0);
    }
    test_slices_assert(&queue, "onetwo");
    slice_queue_deinit(&queue);
}

static void an_arena_hands_out_pieces(void **state)
{
    struct test_slices *fixture = *state;
    struct slice_arena arena;
    slice_arena_init(&arena, &fixture->pool);
    uint8_t *room = slice_arena_reserve(&arena, 100);
    memcpy(room, "first", 5);
    struct slice first = slice_arena_commit(&arena, 5);
    room = slice_arena_reserve(&arena, 100);
    assert_ptr_equal(room, first.data + 5);
    memcpy(room, "second", 6);
    struct slice second = slice_arena_commit(&arena, 6);
    assert_memory_equal(first.data, "first", 5);
    assert_memory_equal(second.data, "second", 6);
    assert_ptr_equal(first.chunk, second.chunk);
    assert_int_equal(slice_arena_commit(&arena, 0).size, 0);

    struct slice third = slice_arena_commit(&arena, 80);
    room = slice_arena_reserve(&arena, 4000);
    assert_true(room < first.chunk->data || room >= first.chunk->data + first.chunk->size);
    slice_arena_rest(&arena);
    assert_null(arena.chunk);

    room = slice_arena_reserve(&arena, CHUNK_LARGE_SIZE);
    memset(room, 1, CHUNK_LARGE_SIZE);
    struct slice large = slice_arena_commit(&arena, CHUNK_LARGE_SIZE);
    assert_null(slice_arena_reserve(&arena, CHUNK_LARGE_SIZE + 1));
    slice_drop(&large);
    slice_drop(&first);
    slice_drop(&second);
    slice_drop(&third);
    slice_arena_deinit(&arena);
}

static void an_arena_starts_again_when_all_is_gone(void **state)
{
    struct test_slices *fixture = *state;
    struct slice_arena arena;
    slice_arena_init(&arena, &fixture->pool);
    uint8_t *room = slice_arena_reserve(&arena, 3000);
    struct slice slice = slice_arena_commit(&arena, 3000);
    slice_arena_rest(&arena);
    assert_non_null(arena.chunk);
    slice_drop(&slice);
    assert_ptr_equal(slice_arena_reserve(&arena, 3000), room);
    assert_int_equal(fixture->pool.live, 1);
    slice_arena_deinit(&arena);
    slice_arena_deinit(&arena);
    memory_fail_after(1);
    chunk_pool_trim(&fixture->pool);
    assert_null(slice_arena_reserve(&arena, 10));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_slices_set_up, test_slices_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_slice_splits),
        TEST(a_copy_takes_the_chunk_that_fits),
        TEST(a_queue_keeps_order_while_it_grows),
        TEST(a_queue_takes_and_skips_parts),
        TEST(an_empty_slice_with_a_chunk_is_dropped),
        TEST(queues_append),
        TEST(a_queue_shares_its_slices),
        TEST(a_push_that_fails_drops_its_slice),
        TEST(vectors_are_bounded),
        TEST(a_queue_is_read_in_place),
        TEST(an_arena_hands_out_pieces),
        TEST(an_arena_starts_again_when_all_is_gone),
    };
    return cmocka_run_group_tests_name("slice", tests, NULL, NULL);
}
