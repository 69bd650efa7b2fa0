#include "relay/hold.h"

#include "base/reason.h"

static bool settle(struct parking *parking, struct chunk_pool *pool)
{
    return slice_queue_settle(&CONTAINER_OF(parking, struct hold, parking)->data, pool);
}

static void drop_data(struct hold *hold)
{
    parking_leave(&hold->parking);
    slice_queue_deinit(&hold->data);
}

static void let_go(struct hold *hold)
{
    hold->stream->operations->close(hold->stream);
    hold->stream = NULL;
    drop_data(hold);
    hold->gone(hold);
}

static void on_opened(struct stream *stream)
{
    (void)stream;
}

static void on_data(struct stream *stream, struct slice_queue *data)
{
    struct hold *hold = stream->holder;
    if (hold->stream != NULL && slice_queue_append(&hold->data, data) != 0) {
        stream->operations->reset(stream, REASON_NO_MEMORY, NULL);
        let_go(hold);
    } else if (hold->stream != NULL) {
        parking_enter(&hold->parking, hold->pool);
    }
    slice_queue_clear(data);
}

static void on_fin(struct stream *stream)
{
    struct hold *hold = stream->holder;
    hold->fin = true;
}

static void on_reset(struct stream *stream, int code, const char *reason)
{
    (void)code;
    (void)reason;
    let_go(stream->holder);
}

static void on_written(struct stream *stream, size_t bytes)
{
    (void)stream;
    (void)bytes;
}

static const struct stream_events hold_events = {
    .opened = on_opened,
    .data = on_data,
    .fin = on_fin,
    .reset = on_reset,
    .written = on_written,
    .finished = on_opened,
};

void hold_start(struct hold *hold, struct stream *stream, struct chunk_pool *pool,
                void (*gone)(struct hold *hold))
{
    *hold = (struct hold){.stream = stream,
                          .data = SLICE_QUEUE_NULL,
                          .parking = {.settle = settle},
                          .pool = pool,
                          .gone = gone};
    stream->events = &hold_events;
    stream->holder = hold;
}

struct stream *hold_release(struct hold *hold)
{
    struct stream *stream = hold->stream;
    hold->stream = NULL;
    return stream;
}

void hold_pass_on(struct hold *hold, struct stream *stream)
{
    if (hold->data.bytes > 0)
        stream->events->data(stream, &hold->data);
    if (hold->fin)
        stream->events->fin(stream);
    drop_data(hold);
}

void hold_deinit(struct hold *hold)
{
    drop_data(hold);
    if (hold->stream != NULL)
        stream_refuse(hold->stream, REASON_SHUTDOWN, NULL);
    hold->stream = NULL;
}
