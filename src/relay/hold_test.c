#include "relay/hold.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/account.h"
#include "base/memory.h"
#include "base/reason.h"

struct fixture {
    struct account account;
    struct chunk_pool pool;
    struct stream stream;
    struct hold hold;
    int closed, reset, gone, fins;
    char told[64];
};

static struct fixture *of(struct stream *stream)
{
    return (struct fixture *)(void *)((char *)stream - offsetof(struct fixture, stream));
}

static void on_close(struct stream *stream)
{
    of(stream)->closed++;
}

static void on_reset_operation(struct stream *stream, int code, const char *reason)
{
    (void)reason;
    of(stream)->reset = code;
}

static const struct stream_operations operations = {
    .reset = on_reset_operation,
    .close = on_close,
};

static void take_data(struct stream *stream, struct slice_queue *data)
{
    struct fixture *fixture = of(stream);
    const struct slice *slice;
    while ((slice = slice_queue_first(data)) != NULL) {
        strncat(fixture->told, (const char *)slice->data, slice->size);
        slice_queue_skip(data, slice->size);
    }
}

static void take_fin(struct stream *stream)
{
    of(stream)->fins++;
}

static const struct stream_events joined = {.data = take_data, .fin = take_fin};

static void on_gone(struct hold *hold)
{
    struct fixture *fixture =
        (struct fixture *)(void *)((char *)hold - offsetof(struct fixture, hold));
    fixture->gone++;
}

static void arrive(struct fixture *fixture, const char *text)
{
    struct slice_queue queue = SLICE_QUEUE_NULL;
    struct slice slice;
    assert_int_equal(slice_copy(&fixture->pool, text, strlen(text), &slice), 0);
    assert_int_equal(slice_queue_push(&queue, slice), 0);
    fixture->stream.events->data(&fixture->stream, &queue);
    assert_int_equal(queue.count, 0);
    slice_queue_deinit(&queue);
}

static int set_up(void **state)
{
    static struct fixture fixture;
    memset(&fixture, 0, sizeof(fixture));
    account_init(&fixture.account, SIZE_MAX);
    chunk_pool_init(&fixture.pool, &fixture.account);
    fixture.stream.operations = &operations;
    hold_start(&fixture.hold, &fixture.stream, &fixture.pool, on_gone);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    hold_deinit(&fixture->hold);
    return chunk_pool_deinit(&fixture->pool) == 0 ? 0 : -1;
}

static void what_arrived_is_passed_on_in_order(void **state)
{
    struct fixture *f = *state;
    arrive(f, "one ");
    arrive(f, "two");
    f->stream.events->fin(&f->stream);
    struct stream *stream = hold_release(&f->hold);
    assert_ptr_equal(stream, &f->stream);
    stream->events = &joined;
    hold_pass_on(&f->hold, stream);
    assert_string_equal(f->told, "one two");
    assert_int_equal(f->fins, 1);
    hold_deinit(&f->hold);
    assert_int_equal(f->closed, 0);
}

static void a_reset_lets_go(void **state)
{
    struct fixture *f = *state;
    arrive(f, "lost");
    f->stream.events->reset(&f->stream, REASON_RESET, NULL);
    assert_int_equal(f->closed, 1);
    assert_int_equal(f->gone, 1);
    assert_int_equal(f->hold.data.bytes, 0); /* at once */
    assert_true(list_is_empty(&f->pool.parked));
    assert_null(hold_release(&f->hold));
}

static void who_gives_up_refuses(void **state)
{
    struct fixture *f = *state;
    arrive(f, "lost");
    hold_deinit(&f->hold);
    assert_int_equal(f->reset, REASON_SHUTDOWN);
    assert_int_equal(f->closed, 1);
    hold_deinit(&f->hold);
    assert_int_equal(f->closed, 1);
}

static void out_of_memory_resets(void **state)
{
    struct fixture *f = *state;
    struct slice_queue queue = SLICE_QUEUE_NULL;
    struct slice slice;
    assert_int_equal(slice_copy(&f->pool, "x", 1, &slice), 0);
    assert_int_equal(slice_queue_push(&queue, slice), 0);
    arrive(f, "y"); /* so that the queue cannot just be taken over */
    for (int i = 0; i < 20 && f->gone == 0; i++) {
        struct slice_queue more = SLICE_QUEUE_NULL;
        struct slice copy = slice_ref(slice_queue_first(&queue));
        assert_int_equal(slice_queue_push(&more, copy), 0);
        memory_fail_after(1);
        f->stream.events->data(&f->stream, &more);
        memory_fail_after(0);
        assert_int_equal(more.count, 0);
        slice_queue_deinit(&more);
    }
    assert_int_equal(f->gone, 1);
    assert_int_equal(f->reset, REASON_NO_MEMORY);
    assert_int_equal(f->closed, 1);
    slice_queue_deinit(&queue);
}

/* What waits for long is copied out of the large chunk that it came in. */
static void what_waits_does_not_pin_a_large_chunk(void **state)
{
    struct fixture *f = *state;
    struct slice_queue queue = SLICE_QUEUE_NULL;
    struct chunk *chunk = chunk_pool_get(&f->pool, CHUNK_LARGE);
    assert_non_null(chunk);
    memcpy(chunk->data, "small", 5);
    assert_int_equal(slice_queue_push(&queue, (struct slice){chunk, chunk->data, 5}), 0);
    f->stream.events->data(&f->stream, &queue);
    slice_queue_deinit(&queue);
    assert_true(f->account.used > CHUNK_LARGE_SIZE);
    parking_settle_all(&f->pool);
    parking_settle_all(&f->pool);
    chunk_pool_trim(&f->pool);
    assert_true(f->account.used < CHUNK_LARGE_SIZE / 4);
    assert_int_equal(f->hold.data.bytes, 5);
    struct stream *stream = hold_release(&f->hold);
    stream->events = &joined;
    hold_pass_on(&f->hold, stream);
    assert_string_equal(f->told, "small");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_arrived_is_passed_on_in_order),
        TEST(a_reset_lets_go),
        TEST(who_gives_up_refuses),
        TEST(out_of_memory_resets),
        TEST(what_waits_does_not_pin_a_large_chunk),
    };
    return cmocka_run_group_tests_name("hold", tests, NULL, NULL);
}
