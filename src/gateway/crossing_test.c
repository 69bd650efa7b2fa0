/* Two loops on two threads, a crossing between them, a holder at each end. */
#include "gateway/crossing.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/reason.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(carries_both_ways),
        cmocka_unit_test(a_reset_reaches_the_other_side),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
