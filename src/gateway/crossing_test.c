/* Two loops on two threads, a crossing between them, a holder at each end. */
#include "gateway/crossing.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/reason.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { PIECES = 2000, PIECE = 700, WINDOW = 64 * 1024 };

/* A holder that writes a number of pieces within a window, and counts what comes. */
struct holder {
    struct loop *loop;
    struct stream *stream;
    struct loop_message start;
    size_t to_write, outstanding, got;
    uint64_t sum_written, sum_got;
    bool fin, finished, is_reset;
    int code;
    bool resets; /* after its first piece, instead of going on */
};

static struct loop loops[2];

static void check_end(struct holder *holder)
{
    if (!(holder->fin && holder->finished) && !holder->is_reset)
        return;
    holder->stream->operations->close(holder->stream);
    loop_stop(holder->loop);
}

static void write_more(struct holder *holder)
{
    while (holder->to_write > 0 && holder->outstanding + PIECE <= WINDOW) {
        uint8_t bytes[PIECE];
        for (size_t i = 0; i < PIECE; i++) {
            bytes[i] = (uint8_t)(holder->to_write + i);
            holder->sum_written = holder->sum_written * 31 + bytes[i];
        }
        struct slice slice;
        struct slice_queue queue = SLICE_QUEUE_NULL;
        assert_int_equal(slice_copy(&holder->loop->pool, bytes, PIECE, &slice), 0);
        assert_int_equal(slice_queue_push(&queue, slice), 0);
        holder->outstanding += PIECE;
        holder->to_write--;
        holder->stream->operations->write(holder->stream, &queue);
        slice_queue_deinit(&queue);
        if (holder->to_write == 0)
            holder->stream->operations->finish(holder->stream);
    }
}

static void data(struct stream *stream, struct slice_queue *queue)
{
    struct holder *holder = stream->holder;
    struct slice *slice;
    while ((slice = slice_queue_first(queue)) != NULL) {
        for (size_t i = 0; i < slice->size; i++)
            holder->sum_got = holder->sum_got * 31 + slice->data[i];
        holder->got += slice->size;
        stream->operations->consumed(stream, slice->size);
        slice_queue_skip(queue, slice->size);
    }
    if (holder->resets) {
        stream->operations->reset(stream, REASON_FORBIDDEN, "no");
        holder->is_reset = true;
        check_end(holder);
    }
}

static void written(struct stream *stream, size_t bytes)
{
    struct holder *holder = stream->holder;
    assert_true(bytes <= holder->outstanding);
    holder->outstanding -= bytes;
    write_more(holder);
}

static void fin(struct stream *stream)
{
    struct holder *holder = stream->holder;
    holder->fin = true;
    check_end(holder);
}

static void finished(struct stream *stream)
{
    struct holder *holder = stream->holder;
    holder->finished = true;
    check_end(holder);
}

static void was_reset(struct stream *stream, int code, const char *reason)
{
    struct holder *holder = stream->holder;
    assert_string_equal(reason, "no");
    holder->is_reset = true;
    holder->code = code;
    check_end(holder);
}

static void opened(struct stream *stream)
{
    (void)stream;
}

static const struct stream_events events = {
    .opened = opened,
    .data = data,
    .fin = fin,
    .reset = was_reset,
    .written = written,
    .finished = finished,
};

static void start(struct loop *loop, struct loop_message *message)
{
    struct holder *holder = CONTAINER_OF(message, struct holder, start);
    (void)loop;
    holder->stream->events = &events;
    holder->stream->holder = holder;
    write_more(holder);
}

static void *run(void *loop)
{
    (void)loop_run(loop);
    return NULL;
}

static void run_pair(struct holder holders[2])
{
    struct account account;
    account_init(&account, SIZE_MAX);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(loop_init(&loops[i], i, &account), 0);
        holders[i].loop = &loops[i];
        holders[i].start.run = start;
    }
    assert_int_equal(crossing_new(&loops[0], &loops[1], &holders[0].stream, &holders[1].stream), 0);
    loop_post(&loops[1], &holders[1].start);
    loop_post(&loops[0], &holders[0].start);
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run, &loops[i]), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    /* The second first: its mailbox may still hold chunks of the first one's pool. */
    loop_deinit(&loops[1]);
    loop_deinit(&loops[0]);
    assert_int_equal(account.used, 0);
}

static void carries_both_ways(void **state)
{
    (void)state;
    struct holder holders[2] = {{.to_write = PIECES}, {.to_write = PIECES / 2}};
    run_pair(holders);
    assert_int_equal(holders[1].got, PIECES * PIECE);
    assert_int_equal(holders[0].got, PIECES / 2 * PIECE);
    assert_true(holders[0].sum_written == holders[1].sum_got);
    assert_true(holders[1].sum_written == holders[0].sum_got);
}

static void a_reset_reaches_the_other_side(void **state)
{
    (void)state;
    struct holder holders[2] = {{.to_write = PIECES}, {.to_write = 0, .resets = true}};
    run_pair(holders);
    assert_true(holders[0].is_reset);
    assert_int_equal(holders[0].code, REASON_FORBIDDEN);
}

/* ---- both ends on one loop, turn by turn ---- */

/* An end's holder that remembers what came. */
struct taker {
    struct stream *stream;
    size_t got, consumed_there;
    unsigned events_after_end;
    bool is_opened, fin, finished, is_reset, has_reason;
    int code;
    char reason[200];
};

struct bench {
    struct account account;
    struct loop loop;
    struct taker near, far;
};

static void note(struct taker *taker)
{
    taker->events_after_end += taker->is_reset;
}

static void taker_opened(struct stream *stream)
{
    struct taker *taker = stream->holder;
    note(taker);
    taker->is_opened = true;
}

static void taker_data(struct stream *stream, struct slice_queue *queue)
{
    struct taker *taker = stream->holder;
    note(taker);
    taker->got += queue->bytes;
    slice_queue_clear(queue);
}

static void taker_written(struct stream *stream, size_t bytes)
{
    struct taker *taker = stream->holder;
    note(taker);
    taker->consumed_there += bytes;
}

static void taker_fin(struct stream *stream)
{
    struct taker *taker = stream->holder;
    note(taker);
    taker->fin = true;
}

static void taker_finished(struct stream *stream)
{
    struct taker *taker = stream->holder;
    note(taker);
    taker->finished = true;
}

static void taker_reset(struct stream *stream, int code, const char *reason)
{
    struct taker *taker = stream->holder;
    note(taker);
    taker->is_reset = true;
    taker->code = code;
    taker->has_reason = reason != NULL;
    snprintf(taker->reason, sizeof(taker->reason), "%s", reason != NULL ? reason : "");
}

static const struct stream_events taker_events = {
    .opened = taker_opened,
    .data = taker_data,
    .fin = taker_fin,
    .reset = taker_reset,
    .written = taker_written,
    .finished = taker_finished,
};

static void take(struct taker *taker)
{
    taker->stream->events = &taker_events;
    taker->stream->holder = taker;
}

static void bench_begin(struct bench *bench)
{
    memset(bench, 0, sizeof(*bench));
    account_init(&bench->account, SIZE_MAX);
    assert_int_equal(loop_init(&bench->loop, 0, &bench->account), 0);
    assert_int_equal(
        crossing_new(&bench->loop, &bench->loop, &bench->near.stream, &bench->far.stream), 0);
    take(&bench->near);
}

static void turns(struct bench *bench)
{
    for (int i = 0; i < 5; i++)
        uv_run(&bench->loop.uv, UV_RUN_NOWAIT);
}

static void bench_write(struct bench *bench, struct taker *taker, size_t bytes)
{
    static const uint8_t zeros[PIECE];
    struct slice slice;
    struct slice_queue queue = SLICE_QUEUE_NULL;
    assert_int_equal(slice_copy(&bench->loop.pool, zeros, bytes, &slice), 0);
    assert_int_equal(slice_queue_push(&queue, slice), 0);
    taker->stream->operations->write(taker->stream, &queue);
    slice_queue_deinit(&queue);
}

static void bench_end(struct bench *bench)
{
    bench->near.stream->operations->close(bench->near.stream);
    bench->far.stream->operations->close(bench->far.stream);
    turns(bench);
    loop_deinit(&bench->loop);
    assert_int_equal(bench->account.used, 0);
    assert_int_equal(bench->near.events_after_end + bench->far.events_after_end, 0);
}

static void every_word_reaches_the_other_end(void **state)
{
    (void)state;
    struct bench bench;
    bench_begin(&bench);
    take(&bench.far);
    bench.far.stream->operations->accept(bench.far.stream);
    turns(&bench);
    assert_true(bench.near.is_opened);
    assert_false(bench.far.is_opened);
    bench_write(&bench, &bench.near, PIECE);
    bench.near.stream->operations->finish(bench.near.stream);
    turns(&bench);
    assert_int_equal(bench.far.got, PIECE);
    assert_true(bench.far.fin && bench.near.finished);
    assert_false(bench.near.fin || bench.far.finished);
    bench.far.stream->operations->consumed(bench.far.stream, 300);
    bench.far.stream->operations->consumed(bench.far.stream, PIECE - 300);
    turns(&bench);
    assert_int_equal(bench.near.consumed_there, PIECE);
    assert_int_equal(bench.far.consumed_there, 0);
    bench_end(&bench);
}

/* A reset drops what has not left, the half-close with it. */
static void a_reset_overtakes_what_was_written_in_its_turn(void **state)
{
    (void)state;
    struct bench bench;
    bench_begin(&bench);
    take(&bench.far);
    bench_write(&bench, &bench.near, PIECE);
    turns(&bench);
    bench_write(&bench, &bench.near, PIECE);
    bench.near.stream->operations->finish(bench.near.stream);
    bench.near.stream->operations->reset(bench.near.stream, REASON_LIMIT, "too much");
    turns(&bench);
    assert_int_equal(bench.far.got, PIECE);
    assert_false(bench.far.fin);
    assert_true(bench.far.is_reset);
    assert_int_equal(bench.far.code, REASON_LIMIT);
    assert_string_equal(bench.far.reason, "too much");
    assert_false(bench.near.is_reset || bench.near.finished); /* who resets is told nothing */
    bench_end(&bench);
}

static void a_reset_needs_no_reason_and_a_long_one_is_cut(void **state)
{
    (void)state;
    char reason[150];
    memset(reason, 'r', sizeof(reason) - 1);
    reason[sizeof(reason) - 1] = '\0';
    for (int i = 0; i < 2; i++) {
        struct bench bench;
        bench_begin(&bench);
        take(&bench.far);
        bench.near.stream->operations->reset(bench.near.stream, REASON_RESET,
                                             i == 0 ? NULL : reason);
        turns(&bench);
        assert_true(bench.far.is_reset);
        assert_int_equal(bench.far.has_reason, i == 1);
        assert_true(strlen(bench.far.reason) < sizeof(reason) - 1);
        assert_memory_equal(bench.far.reason, reason, strlen(bench.far.reason));
        bench_end(&bench);
    }
}

/* Both reset before either knows. */
static void whoever_has_reset_hears_nothing_more(void **state)
{
    (void)state;
    struct bench bench;
    bench_begin(&bench);
    take(&bench.far);
    bench_write(&bench, &bench.far, PIECE);
    bench.far.stream->operations->accept(bench.far.stream);
    bench.far.stream->operations->consumed(bench.far.stream, 1);
    bench.far.stream->operations->finish(bench.far.stream);
    bench.near.stream->operations->reset(bench.near.stream, REASON_RESET, NULL);
    turns(&bench);
    assert_false(bench.near.is_opened || bench.near.fin || bench.near.is_reset);
    assert_int_equal(bench.near.got + bench.near.consumed_there, 0);
    assert_true(bench.far.is_reset);
    bench_end(&bench);
}

/* An end that is refused before anybody has joined it has no events. */
static void an_end_may_be_refused_before_it_is_joined(void **state)
{
    (void)state;
    struct bench bench;
    bench_begin(&bench);
    bench_write(&bench, &bench.near, PIECE);
    turns(&bench);
    bench.far.stream->operations->reset(bench.far.stream, REASON_FORBIDDEN, NULL);
    turns(&bench);
    assert_int_equal(bench.near.code, REASON_FORBIDDEN);
    bench_end(&bench);
}

static void without_memory_both_ends_are_reset_once(void **state)
{
    (void)state;
    struct bench bench;
    bench_begin(&bench);
    take(&bench.far);
    bench_write(&bench, &bench.near, PIECE);
    memory_fail_after(1);
    uv_run(&bench.loop.uv, UV_RUN_NOWAIT);
    assert_false(memory_fail_is_pending());
    memory_fail_after(0);
    turns(&bench);
    assert_int_equal(bench.far.got, 0);
    assert_true(bench.near.is_reset && bench.far.is_reset);
    assert_int_equal(bench.near.code, REASON_NO_MEMORY);
    assert_int_equal(bench.far.code, REASON_NO_MEMORY);
    /* Nothing follows. */
    bench.near.stream->operations->consumed(bench.near.stream, 1);
    turns(&bench);
    assert_int_equal(bench.far.consumed_there, 0);
    bench_end(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(carries_both_ways),
        cmocka_unit_test(a_reset_reaches_the_other_side),
        cmocka_unit_test(every_word_reaches_the_other_end),
        cmocka_unit_test(a_reset_overtakes_what_was_written_in_its_turn),
        cmocka_unit_test(a_reset_needs_no_reason_and_a_long_one_is_cut),
        cmocka_unit_test(whoever_has_reset_hears_nothing_more),
        cmocka_unit_test(an_end_may_be_refused_before_it_is_joined),
        cmocka_unit_test(without_memory_both_ends_are_reset_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
