/* A reset of the peer's that waits until its holder has consumed what came before it. */
#include "mux/internal.h"

#include "base/memory.h"
#include "base/reason.h"
#include "mux/reason_copy.h"

static void note(struct mux_stream *stream)
{
    if (!list_node_is_linked(&stream->scheduled))
        list_append(&stream->mux->news, &stream->scheduled);
    mux_wake(stream->mux);
}

/* Starts the time that it may take until something is consumed again. */
static void restart(struct mux_stream *stream, uint64_t now)
{
    struct mux *mux = stream->mux;
    stream->deadline = now + mux->patience;
    stream->has_progressed = false;
    list_remove(&stream->credited);
    list_append(&mux->resetting, &stream->credited);
}

void mux_stream_take_reset(struct mux_stream *stream, int code, const char *reason, uint64_t now)
{
    struct mux *mux = stream->mux;
    if (reason_is_immediate(code) || mux_stream_outstanding(stream) == 0 ||
        stream->stream.events == NULL) {
        mux_stream_end(stream, code, reason);
        return;
    }
    stream->is_resetting = true;
    stream->reset_code = code;
    stream->reset_reason = reason_copy_short(reason);
    list_remove(&stream->scheduled);
    mux->queued -= mux_stream_cost(stream);
    stream->dropped += stream->out.bytes;
    slice_queue_deinit(&stream->out);
    restart(stream, now);
    if (stream->dropped > 0)
        note(stream);
}

void mux_stream_drop(struct mux_stream *stream, struct slice_queue *data)
{
    stream->dropped += data->bytes;
    slice_queue_clear(data);
    note(stream);
}

void mux_stream_progress(struct mux_stream *stream)
{
    stream->has_progressed = true;
    note(stream);
}

/* The stream may be closed within. */
static void report_written(struct mux_stream *stream)
{
    size_t bytes = stream->dropped;
    stream->dropped = 0;
    if (bytes > 0)
        stream->stream.events->written(&stream->stream, bytes);
}

static void end(struct mux_stream *stream, int code, const char *reason)
{
    char *kept = stream->reset_reason;
    stream->reset_reason = NULL;
    mux_stream_end(stream, code, reason != NULL ? reason : kept);
    memory_free(kept);
}

static void report(struct mux_stream *stream, uint64_t now)
{
    /* It broke within an operation, where no event may come. */
    if (stream->is_dead) {
        list_append(&stream->mux->ended, &stream->scheduled);
        if (stream->stream.events != NULL)
            stream->stream.events->reset(&stream->stream, REASON_NO_MEMORY, NULL);
        return;
    }
    if (stream->has_progressed)
        restart(stream, now);
    report_written(stream);
    if (!stream->is_dead && mux_stream_outstanding(stream) == 0)
        end(stream, stream->reset_code, NULL);
}

void mux_report_news(struct mux *mux, uint64_t now)
{
    struct list due;
    struct list_node *node;
    list_init(&due);
    while ((node = list_pop(&mux->news)) != NULL)
        list_append(&due, node);
    /* Data that a holder writes in this call waits for the next one; otherwise a holder that always
     * writes would never let it end. */
    while ((node = list_pop(&due)) != NULL)
        report(CONTAINER_OF(node, struct mux_stream, scheduled), now);
}

static struct mux_stream *first(const struct mux *mux)
{
    struct list_node *node = list_first(&mux->resetting);
    return node == NULL ? NULL : CONTAINER_OF(node, struct mux_stream, credited);
}

uint64_t mux_deadline(const struct mux *mux)
{
    const struct mux_stream *stream = first(mux);
    return stream == NULL ? UINT64_MAX : stream->deadline;
}

void mux_tick(struct mux *mux, uint64_t now)
{
    struct mux_stream *stream;
    while ((stream = first(mux)) != NULL && stream->deadline <= now)
        end(stream, REASON_NOT_TAKEN, NULL);
}
