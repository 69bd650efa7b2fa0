#include "mux/internal.h"

#include "base/memory.h"
#include "base/reason.h"

#include <assert.h>

static void stream_accept(struct stream *base)
{
    struct mux_stream *stream = mux_stream_from(base);
    if (stream->is_ours || stream->is_accepted || stream->is_dead || stream->is_resetting)
        return;
    stream->is_accepted = true;
    mux_stream_forget_early(stream);
    mux_announce_ack(stream);
    base->dialled = NULL;
}

/* The holder must learn of it by an event, which may not come from inside its own call. */
static void break_stream(struct mux_stream *stream)
{
    struct mux *mux = stream->mux;
    mux_announce_reset(stream, REASON_NO_MEMORY, NULL);
    mux_stream_detach(stream, &mux->news);
    mux_wake(mux);
}

static void stream_write(struct stream *base, struct slice_queue *data)
{
    struct mux_stream *stream = mux_stream_from(base);
    struct mux *mux = stream->mux;
    if (stream->is_dead || stream->fin_wanted || data->count == 0) {
        slice_queue_clear(data);
        return;
    }
    if (stream->is_resetting) {
        mux_stream_drop(stream, data);
        return;
    }
    /* The ack must come before any data. */
    stream_accept(base);

    bool was_idle = stream->out.count == 0;
    size_t before = mux_stream_cost(stream);
    if (slice_queue_append(&stream->out, data) != 0) {
        slice_queue_clear(data);
        break_stream(stream);
        return;
    }
    mux->queued = mux->queued - before + mux_stream_cost(stream);
    parking_enter(&stream->parking, mux->pool);
    mux_schedule(stream, was_idle);
}

static void stream_finish(struct stream *base)
{
    struct mux_stream *stream = mux_stream_from(base);
    if (stream->is_dead || stream->is_resetting || stream->fin_wanted)
        return;
    stream_accept(base);
    stream->fin_wanted = true;
    mux_schedule(stream, stream->out.count == 0);
}

/* A half-close that came before the reset goes out before it too, if all data has. */
static void send_last_fin(struct mux_stream *stream, int code)
{
    if (!stream->fin_wanted || stream->fin_sent || stream->out.count > 0 ||
        reason_is_immediate(code))
        return;
    mux_announce_fin(stream);
    stream->fin_sent = true;
}

static void stream_reset(struct stream *base, int code, const char *reason)
{
    struct mux_stream *stream = mux_stream_from(base);
    struct mux *mux = stream->mux;
    if (stream->is_closed || mux == NULL)
        return;
    if (stream->is_dead) {
        /* It may be waiting for the event of a reset of its own, which must not come now. */
        list_remove(&stream->scheduled);
        list_append(&mux->ended, &stream->scheduled);
        return;
    }
    if (!stream->is_resetting) {
        send_last_fin(stream, code);
        mux_announce_reset(stream, code, reason);
    }
    mux_stream_detach(stream, &mux->ended);
    mux_wake(mux); /* whose owner may wait until it is empty */
}

static void stream_consumed(struct stream *base, size_t bytes)
{
    struct mux_stream *stream = mux_stream_from(base);
    struct mux *mux = stream->mux;
    if (stream->is_dead)
        return;
    stream->consumed += bytes;
    assert(stream->consumed <= stream->receive.undelivered);
    if (stream->is_resetting) {
        mux_stream_progress(stream);
        return;
    }
    if (stream->fin_received || list_node_is_linked(&stream->credited) || mux->failure != 0)
        return;
    if (stream->consumed < stream->receive.window / 4)
        return;
    list_append(&mux->credits, &stream->credited);
    mux_wake(mux);
}

static void stream_close(struct stream *base)
{
    struct mux_stream *stream = mux_stream_from(base);
    if (stream->is_closed)
        return;
    if (stream->mux == NULL) {
        memory_free(stream);
        return;
    }
    bool has_ended = stream->fin_sent && stream->fin_received;
    if (!stream->is_dead && !has_ended && !stream->is_resetting)
        mux_announce_reset(stream, REASON_RESET, NULL);
    if (!stream->is_dead) {
        mux_stream_detach(stream, &stream->mux->dead);
        mux_wake(stream->mux);
    }
    list_remove(&stream->scheduled);
    list_append(&stream->mux->dead, &stream->scheduled);
    stream->is_closed = true;
}

const struct stream_operations mux_stream_operations = {
    .accept = stream_accept,
    .write = stream_write,
    .finish = stream_finish,
    .reset = stream_reset,
    .consumed = stream_consumed,
    .close = stream_close,
};
