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

/* A byte in each of many large chunks, as from a peer that sends byte by byte. */
static void fill_wastefully(struct test_slices *fixture, struct slice_queue *queue, int count)
{
    for (int i = 0; i < count; i++) {
        struct chunk *chunk = chunk_pool_get(&fixture->pool, CHUNK_LARGE);
        chunk->data[7] = (uint8_t)('a' + i % 26);
        assert_int_equal(slice_queue_push(queue, (struct slice){chunk, chunk->data + 7, 1}), 0);
    }
}

/* The first call marks the slices that are there; the second copies them. */
static bool settle(struct slice_queue *queue, struct chunk_pool *pool)
{
    slice_queue_settle(queue, pool);
    return slice_queue_settle(queue, pool);
}

static void compaction_frees_what_is_pinned(void **state)
{
    struct test_slices *fixture = *state;
    struct slice_queue queue = SLICE_QUEUE_NULL;
    char before[64];
    char after[64];
    fill_wastefully(fixture, &queue, 40);
    size_t size = test_slices_read(&queue, before);
    assert_false(settle(&queue, &fixture->pool));
    assert_int_equal(test_slices_read(&queue, after), size);
    assert_memory_equal(before, after, size);
    assert_int_equal(queue.count, 1);
    chunk_pool_trim(&fixture->pool);
    assert_int_equal(fixture->account.used, offsetof(struct chunk, data) + size);
    const uint8_t *data = slice_queue_first(&queue)->data;
    assert_false(settle(&queue, &fixture->pool));
    assert_ptr_equal(slice_queue_first(&queue)->data, data);
    slice_queue_deinit(&queue);
}

/* A slice is copied to a smaller chunk if it leaves more than a quarter of its own unused. */
static void a_slice_leaves_a_chunk_that_it_wastes(void **state)
{
    struct test_slices *fixture = *state;
    static const struct {
        size_t size;
        bool moves;
    } cases[] = {
        {5, true},
        {CHUNK_LARGE_SIZE - CHUNK_LARGE_SIZE / 4 - 1, true},
        {CHUNK_LARGE_SIZE - CHUNK_LARGE_SIZE / 4, false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct chunk *chunk = chunk_pool_get(&fixture->pool, CHUNK_LARGE);
        assert_non_null(chunk);
        memset(chunk->data, 'x', cases[i].size);
        struct slice slice = {chunk, chunk->data, cases[i].size};
        if (cases[i].moves) {
            memory_fail_after(1);
            assert_int_equal(slice_settle(&slice, &fixture->pool), CULVERT_ERROR_NO_MEMORY);
            memory_fail_after(0);
        }
        assert_ptr_equal(slice.chunk, chunk);
        assert_int_equal(slice_settle(&slice, &fixture->pool), 0);
        assert_int_equal(slice.chunk != chunk, cases[i].moves);
        assert_int_equal(slice.size, cases[i].size);
        assert_int_equal(slice.data[slice.size - 1], 'x');
        slice_drop(&slice);
        chunk_pool_trim(&fixture->pool);
        assert_int_equal(fixture->account.used, 0);
    }
    struct slice empty = SLICE_NULL;
    assert_int_equal(slice_settle(&empty, &fixture->pool), 0);
    assert_null(empty.chunk);
    struct slice constant = {NULL, (const uint8_t *)"constant", 8};
    assert_int_equal(slice_settle(&constant, &fixture->pool), 0);
    assert_memory_equal(constant.data, "constant", 8);
}

static void compaction_keeps_what_is_dense(void **state)
{
    struct test_slices *fixture = *state;
    struct slice_queue queue = SLICE_QUEUE_NULL;
    static const char text[] = "static";
    static char before[2 * CHUNK_LARGE_SIZE];
    static char after[2 * CHUNK_LARGE_SIZE];
    fill_wastefully(fixture, &queue, 3);
    struct chunk *dense = chunk_pool_get(&fixture->pool, CHUNK_LARGE);
    memset(dense->data, 'D', dense->size);
    for (uint32_t used = 0; used < dense->size; used += 8192) {
        chunk_ref(dense);
        slice_queue_push(&queue, (struct slice){dense, dense->data + used, 8192});
    }
    chunk_unref(dense);
    slice_queue_push(&queue, (struct slice){NULL, (const uint8_t *)text, 6});
    fill_wastefully(fixture, &queue, 2);
    size_t size = test_slices_read(&queue, before);
    assert_false(settle(&queue, &fixture->pool));
    assert_int_equal(test_slices_read(&queue, after), size);
    assert_int_equal(queue.bytes, size);
    assert_memory_equal(before, after, size);
    assert_int_equal(queue.count, 1 + CHUNK_LARGE_SIZE / 8192 + 1 + 1);
    assert_false(chunk_is_exclusive(dense));
    chunk_pool_trim(&fixture->pool);
    assert_int_equal(fixture->pool.live, 3);
    slice_queue_deinit(&queue);
}

static void compaction_takes_a_chunk_of_the_size(void **state)
{
    struct test_slices *fixture = *state;
    struct slice_queue queue = SLICE_QUEUE_NULL;
    static char before[CHUNK_LARGE_SIZE];
    static char after[CHUNK_LARGE_SIZE];
    for (int i = 0; i < 4; i++) {
        struct chunk *chunk = chunk_pool_get(&fixture->pool, CHUNK_LARGE);
        memset(chunk->data, 'a' + i, 3000);
        slice_queue_push(&queue, (struct slice){chunk, chunk->data, 3000});
    }
    size_t size = test_slices_read(&queue, before);
    assert_false(settle(&queue, &fixture->pool));
    assert_int_equal(test_slices_read(&queue, after), size);
    assert_memory_equal(before, after, size);
    chunk_pool_trim(&fixture->pool);
    assert_int_equal(fixture->account.used, offsetof(struct chunk, data) + 12000);
    slice_queue_deinit(&queue);
}

/* Pieces that together are larger than any chunk. */
static void compaction_spreads_over_several_chunks(void **state)
{
    enum { COUNT = 3, PIECE = CHUNK_LARGE_SIZE / 10 * 6 };
    struct test_slices *fixture = *state;
    struct slice_queue queue = SLICE_QUEUE_NULL;
    static char before[COUNT * PIECE];
    static char after[COUNT * PIECE];
    for (int i = 0; i < COUNT; i++) {
        struct chunk *chunk = chunk_pool_get(&fixture->pool, CHUNK_LARGE);
        memset(chunk->data, 'a' + i, PIECE);
        slice_queue_push(&queue, (struct slice){chunk, chunk->data, PIECE});
    }
    size_t size = test_slices_read(&queue, before);
    assert_false(settle(&queue, &fixture->pool));
    assert_int_equal(test_slices_read(&queue, after), size);
    assert_memory_equal(before, after, size);
    chunk_pool_trim(&fixture->pool);
    assert_int_equal(fixture->account.used, 2 * offsetof(struct chunk, data) + size);
    slice_queue_deinit(&queue);
}

/* After some slices were taken the oldest one is not in the first slot. */
static void a_queue_in_use_is_compacted(void **state)
{
    struct test_slices *fixture = *state;
    struct slice_queue queue = SLICE_QUEUE_NULL;
    char before[64];
    char after[64];
    fill_wastefully(fixture, &queue, 4);
    slice_queue_skip(&queue, 3);
    fill_wastefully(fixture, &queue, 3);
    slice_queue_push(&queue, (struct slice){NULL, (const uint8_t *)"constant", 8});
    fill_wastefully(fixture, &queue, 2);
    size_t size = test_slices_read(&queue, before);
    assert_false(settle(&queue, &fixture->pool));
    assert_int_equal(test_slices_read(&queue, after), size);
    assert_memory_equal(before, after, size);
    assert_int_equal(queue.count, 3);
    slice_queue_push(&queue, (struct slice){NULL, (const uint8_t *)"more", 4});
    assert_int_equal(test_slices_read(&queue, after), size + 4);
    assert_memory_equal(after + size, "more", 4);
    slice_queue_deinit(&queue);
}

/* A slice that came after the last call, in a chunk with older ones, is not copied. */
static void a_chunk_that_is_still_filled_is_split(void **state)
{
    struct test_slices *fixture = *state;
    struct slice_queue queue = SLICE_QUEUE_NULL;
    struct chunk *chunk = chunk_pool_get(&fixture->pool, CHUNK_LARGE);
    memcpy(chunk->data, "onetwothree", 11);
    chunk_ref(chunk);
    chunk_ref(chunk);
    slice_queue_push(&queue, (struct slice){chunk, chunk->data, 3});
    slice_queue_push(&queue, (struct slice){chunk, chunk->data + 3, 3});
    assert_true(slice_queue_settle(&queue, &fixture->pool));
    slice_queue_push(&queue, (struct slice){chunk, chunk->data + 6, 5});
    assert_true(slice_queue_settle(&queue, &fixture->pool));
    test_slices_assert(&queue, "onetwothree");
    assert_int_equal(queue.count, 2);
    assert_true(chunk_is_exclusive(chunk));
    assert_false(slice_queue_settle(&queue, &fixture->pool));
    test_slices_assert(&queue, "onetwothree");
    assert_int_equal(queue.count, 1);
    slice_queue_deinit(&queue);
}

/* A dense queue is settled after two calls. */
static void a_dense_queue_is_settled(void **state)
{
    struct test_slices *fixture = *state;
    struct slice_queue queue = SLICE_QUEUE_NULL;
    struct chunk *chunk = chunk_pool_get(&fixture->pool, CHUNK_LARGE);
    slice_queue_push(&queue, (struct slice){chunk, chunk->data, CHUNK_LARGE_SIZE});
    assert_true(slice_queue_settle(&queue, &fixture->pool));
    assert_false(slice_queue_settle(&queue, &fixture->pool));
    assert_ptr_equal(slice_queue_first(&queue)->chunk, chunk);
    slice_queue_deinit(&queue);
}

/* Each byte would otherwise have a chunk of its own. */
static void what_comes_byte_by_byte_is_copied_together(void **state)
{
    struct test_slices *fixture = *state;
    struct slice_queue queue = SLICE_QUEUE_NULL;
    char out[1001] = "";
    for (int i = 0; i < 1000; i++) {
        fill_wastefully(fixture, &queue, 1);
        slice_queue_settle(&queue, &fixture->pool);
    }
    assert_false(settle(&queue, &fixture->pool));
    chunk_pool_trim(&fixture->pool);
    assert_in_range(queue.count, 1, 2);
    assert_in_range(fixture->account.used, 1000, 2000);
    assert_int_equal(test_slices_read(&queue, out), 1000);
    assert_int_equal(strspn(out, "a"), 1000);
    slice_queue_deinit(&queue);
}

/* A queue that is emptied as fast as it is filled is never copied. */
static void what_leaves_in_time_is_not_copied(void **state)
{
    struct test_slices *fixture = *state;
    struct slice_queue queue = SLICE_QUEUE_NULL;
    fill_wastefully(fixture, &queue, 3);
    for (int i = 0; i < 10; i++) {
        const struct chunk *first = slice_queue_first(&queue)->chunk;
        assert_true(slice_queue_settle(&queue, &fixture->pool));
        assert_ptr_equal(slice_queue_first(&queue)->chunk, first);
        slice_queue_skip(&queue, 3);
        fill_wastefully(fixture, &queue, 3);
    }
    slice_queue_skip(&queue, 2);
    assert_true(slice_queue_settle(&queue, &fixture->pool));
    assert_false(slice_queue_settle(&queue, &fixture->pool));
    assert_int_equal(slice_queue_first(&queue)->chunk->size, 1);
    slice_queue_deinit(&queue);
}

static void compaction_survives_each_failing_allocation(void **state)
{
    struct test_slices *fixture = *state;
    for (size_t n = 1;; n++) {
        struct slice_queue queue = SLICE_QUEUE_NULL;
        char before[64];
        char after[64];
        fill_wastefully(fixture, &queue, 40);
        size_t size = test_slices_read(&queue, before);
        chunk_pool_trim(&fixture->pool);
        assert_true(slice_queue_settle(&queue, &fixture->pool));
        memory_fail_after(n);
        bool is_unsettled = slice_queue_settle(&queue, &fixture->pool);
        bool done = memory_fail_is_pending();
        memory_fail_after(0);
        assert_int_equal(is_unsettled, !done);
        assert_int_equal(queue.count, done ? 1 : 40);
        assert_int_equal(test_slices_read(&queue, after), size);
        assert_memory_equal(before, after, size);
        slice_queue_deinit(&queue);
        if (done)
            break;
        assert_in_range(n, 1, 100);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_slices_set_up, test_slices_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(compaction_frees_what_is_pinned),
        TEST(a_slice_leaves_a_chunk_that_it_wastes),
        TEST(compaction_keeps_what_is_dense),
        TEST(compaction_takes_a_chunk_of_the_size),
        TEST(compaction_spreads_over_several_chunks),
        TEST(a_queue_in_use_is_compacted),
        TEST(a_chunk_that_is_still_filled_is_split),
        TEST(a_dense_queue_is_settled),
        TEST(what_comes_byte_by_byte_is_copied_together),
        TEST(what_leaves_in_time_is_not_copied),
        TEST(compaction_survives_each_failing_allocation),
    };
    return cmocka_run_group_tests_name("slice_compact", tests, NULL, NULL);
}
