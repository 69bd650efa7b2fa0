#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mux/mux_fake.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/reason.h"

static struct fake_pair pair;

static int set_up(void **state)
{
    return fake_pair_init(&pair, state);
}

static void abort_resets_each_stream_once(void **state)
{
    (void)state;
    struct fake_holder *far;
    struct fake_holder *near = fake_join(&pair.a, &pair.b, &far);
    struct fake_holder *unanswered = fake_open(&pair.a);
    struct fake_holder *ended = fake_open(&pair.a);
    fake_reset(ended, REASON_RESET, NULL);
    fake_write(near, 100000);
    mux_abort(&pair.a.mux, REASON_LINK_LOST, "lost", pair.a.now);
    assert_int_equal(1, near->resets);
    assert_int_equal(1, unanswered->resets);
    assert_int_equal(0, ended->resets);
    assert_int_equal(REASON_LINK_LOST, near->code);
    assert_string_equal("lost", near->reason);
    mux_abort(&pair.a.mux, REASON_LINK_LOST, "lost", pair.a.now);
    assert_int_equal(1, near->resets);

    struct mux_output output;
    assert_int_equal(CULVERT_ERROR_CLOSED, mux_pull(&pair.a.mux, MUX_MAY_ALL, &output, 0));
    struct message_open open = {.kind = text_of("tcp")};
    struct mux_stream *stream;
    assert_int_equal(CULVERT_ERROR_CLOSED, mux_open(&pair.a.mux, &open, &stream));
    assert_int_equal(CULVERT_ERROR_CLOSED, fake_receive_data(&pair.a, near->id, 1));
}

static void abort_spares_a_stream_that_has_ended_both_ways(void **state)
{
    (void)state;
    struct fake_holder *far;
    struct fake_holder *near = fake_join(&pair.a, &pair.b, &far);
    struct fake_holder *half_far;
    struct fake_holder *half = fake_join(&pair.a, &pair.b, &half_far);
    fake_write(far, 1000);
    far->stream->operations->finish(far->stream);
    near->stream->operations->finish(near->stream);
    half->stream->operations->finish(half->stream);
    fake_settle(&pair.a, &pair.b);
    assert_int_equal(1, near->fins);
    assert_int_equal(1, near->finished);
    mux_abort(&pair.a.mux, REASON_LINK_LOST, "lost", pair.a.now);
    assert_int_equal(0, near->resets);
    assert_int_equal(1, half->resets);
    mux_deinit(&pair.a.mux);
    fake_consume(near);
    fake_close(near);
}

static void stream_outlives_the_mux_until_its_close(void **state)
{
    (void)state;
    struct fake_holder *near = fake_open(&pair.a);
    fake_write(near, 1000);
    mux_abort(&pair.a.mux, REASON_LINK_LOST, NULL, pair.a.now);
    assert_int_equal(1, near->resets);
    mux_deinit(&pair.a.mux);
    fake_write(near, 1000);
    near->stream->operations->finish(near->stream);
    fake_reset(near, REASON_RESET, NULL);
    fake_close(near);
}

static int hooks_called;

/* Ends the holder's own stream and all others from inside whatever event. */
static void close_all(struct fake_holder *holder)
{
    struct fake_end *end = holder->end;
    hooks_called++;
    for (size_t i = 0; i < end->holder_count; i++) {
        if (end->holders[i].stream == NULL)
            continue;
        if (i % 2 == 0)
            fake_reset(&end->holders[i], REASON_RESET, NULL);
        fake_close(&end->holders[i]);
    }
}

static void close_own(struct fake_holder *holder)
{
    hooks_called++;
    fake_close(holder);
}

static void abort_mux(struct fake_holder *holder)
{
    hooks_called++;
    mux_abort(&holder->end->mux, REASON_SHUTDOWN, NULL, 0);
}

enum event { EVENT_DATA, EVENT_WRITTEN, EVENT_FINISHED, EVENT_FIN, EVENT_RESET, EVENT_OPENED };

static void cause(enum event event, struct fake_holder *near, struct fake_holder *far)
{
    struct message ack = {.type = MESSAGE_ACK, .sid = near->id, .ack = {.ok = true}};
    switch (event) {
    case EVENT_DATA:
        fake_write(far, 10000);
        break;
    case EVENT_WRITTEN:
        fake_write(near, 100000);
        break;
    case EVENT_FINISHED:
        near->stream->operations->finish(near->stream);
        break;
    case EVENT_FIN:
        far->stream->operations->finish(far->stream);
        break;
    case EVENT_RESET:
        fake_reset(far, REASON_RESET, "x");
        break;
    case EVENT_OPENED:
        fake_receive(&pair.a, &ack, NULL, 0);
        break;
    }
}

/* Streams of `a` with something queued, on which one event comes; the hook ends what it likes. */
static void run_with_hook(void (*hook)(struct fake_holder *), enum event event)
{
    struct fake_holder *far[4];
    struct fake_holder *near[4];
    for (size_t i = 0; i < 4; i++)
        near[i] = fake_join(&pair.a, &pair.b, &far[i]);
    if (event == EVENT_OPENED)
        near[1] = fake_open(&pair.a);
    else
        fake_write(near[2], 100000);
    near[1]->hook = hook;
    near[3]->hook = hook;
    hooks_called = 0;
    cause(event, near[1], far[1]);

    static struct fake_message pulled;
    struct mux_output output;
    for (int i = 0; i < 10; i++) {
        int result = mux_pull(&pair.a.mux, MUX_MAY_ALL, &output, pair.a.now);
        if (result == 1)
            slice_drop(&output.body);
        if (!fake_pull(&pair.b, &pulled))
            continue;
        size_t size = pulled.message.type == MESSAGE_DATA ? pulled.message.payload : 0;
        fake_receive(&pair.a, &pulled.message, pulled.payload, size);
    }
    mux_turn_ends(&pair.a.mux);
    assert_true(hooks_called > 0);
}

static void events_may_end_any_stream(void **state)
{
    void (*hooks[])(struct fake_holder *) = {close_all, close_own, abort_mux};
    for (size_t hook = 0; hook < sizeof hooks / sizeof hooks[0]; hook++) {
        for (int event = EVENT_DATA; event <= EVENT_OPENED; event++) {
            run_with_hook(hooks[hook], (enum event)event);
            fake_pair_deinit(state);
            set_up(state);
        }
    }
}

static void owner_is_asked_once_until_the_next_pull(void **state)
{
    (void)state;
    struct fake_holder *near = fake_open(&pair.a);
    assert_int_equal(1, pair.a.asked);
    fake_write(near, 100);
    fake_open(&pair.a);
    assert_int_equal(1, pair.a.asked);
    fake_expect(&pair.a, MESSAGE_OPEN, 1);
    fake_write(near, 100);
    assert_int_equal(2, pair.a.asked);
}

static void opens_without_memory_are_refused(void **state)
{
    (void)state;
    for (uint64_t id = 1;; id += 2) {
        memory_fail_after((size_t)(id + 1) / 2);
        int result = fake_receive_open(&pair.b, id);
        bool pending = memory_fail_is_pending();
        memory_fail_after(0);
        if (pending)
            break;
        static struct fake_message pulled;
        if (result == 0 && fake_find(&pair.b, id) == NULL) {
            assert_true(fake_pull(&pair.b, &pulled));
            assert_int_equal(MESSAGE_ACK, pulled.message.type);
            assert_int_equal(REASON_NO_MEMORY, pulled.message.ack.code);
        }
        assert_true(id < 100);
    }
    assert_int_equal(0, pair.b.mux.failure);
}

static void own_open_without_memory_leaves_the_mux_as_it_was(void **state)
{
    (void)state;
    struct message_open open = {.kind = text_of("tcp")};
    struct mux_stream *stream;
    int failures = 0;
    for (size_t n = 1;; n++) {
        memory_fail_after(n);
        int result = mux_open(&pair.a.mux, &open, &stream);
        memory_fail_after(0);
        if (result == 0)
            break;
        assert_int_equal(CULVERT_ERROR_NO_MEMORY, result);
        assert_int_equal(0, pair.a.mux.failure);
        assert_int_equal(0, pair.a.mux.streams.count);
        failures++;
    }
    assert_true(failures >= 2);
    assert_int_equal(1, stream->id);
    fake_expect(&pair.a, MESSAGE_OPEN, 1);
    fake_expect_nothing(&pair.a);
    stream->stream.operations->close(&stream->stream);
}

static void write_without_memory_breaks_the_stream_later(void **state)
{
    (void)state;
    struct fake_holder *far;
    struct fake_holder *near = fake_join(&pair.a, &pair.b, &far);
    struct fake_holder *other = fake_join(&pair.a, &pair.b, &far);
    fake_write_pieces(near, 4 * 100, 100);

    struct slice_queue queue = SLICE_QUEUE_NULL;
    struct slice slice;
    assert_int_equal(0, slice_copy(&pair.a.pool, "x", 1, &slice));
    assert_int_equal(0, slice_queue_push(&queue, slice));
    memory_fail_after(1);
    near->stream->operations->write(near->stream, &queue);
    assert_false(memory_fail_is_pending());
    memory_fail_after(0);
    slice_queue_deinit(&queue);

    assert_int_equal(0, near->resets);
    fake_settle(&pair.a, &pair.b);
    assert_int_equal(1, near->resets);
    assert_int_equal(REASON_NO_MEMORY, near->code);
    assert_int_equal(0, other->resets);
    assert_int_equal(0, pair.a.mux.queued);
    assert_int_equal(1, fake_find(&pair.b, near->id)->resets);
}

static void broken_stream_that_is_reset_or_closed_stays_silent(void **state)
{
    (void)state;
    for (int closes = 0; closes < 2; closes++) {
        struct fake_holder *far;
        struct fake_holder *near = fake_join(&pair.a, &pair.b, &far);
        fake_write_pieces(near, 4 * 100, 100);
        struct slice_queue queue = SLICE_QUEUE_NULL;
        struct slice slice;
        assert_int_equal(0, slice_copy(&pair.a.pool, "x", 1, &slice));
        assert_int_equal(0, slice_queue_push(&queue, slice));
        memory_fail_after(1);
        near->stream->operations->write(near->stream, &queue);
        memory_fail_after(0);
        slice_queue_deinit(&queue);
        if (closes)
            fake_close(near);
        else
            fake_reset(near, REASON_RESET, NULL);
        fake_settle(&pair.a, &pair.b);
        assert_int_equal(0, near->resets);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, fake_pair_deinit)
    const struct CMUnitTest tests[] = {
        TEST(abort_resets_each_stream_once),
        TEST(abort_spares_a_stream_that_has_ended_both_ways),
        TEST(stream_outlives_the_mux_until_its_close),
        TEST(events_may_end_any_stream),
        TEST(owner_is_asked_once_until_the_next_pull),
        TEST(opens_without_memory_are_refused),
        TEST(own_open_without_memory_leaves_the_mux_as_it_was),
        TEST(write_without_memory_breaks_the_stream_later),
        TEST(broken_stream_that_is_reset_or_closed_stays_silent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
