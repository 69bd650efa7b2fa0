/* The operations of a session's holder. */
#include "mux/hubble_mux_internal.h"

#include "base/memory.h"
#include "base/reason.h"

static void stream_accept(struct stream *base)
{
    struct hubble_stream *stream = hubble_stream_from(base);
    if (stream->mux == NULL || stream->is_ours || stream->is_accepted || stream->is_over)
        return;
    stream->is_accepted = true;
    stream->may_send = true;
    list_remove(&stream->timed);
    stream->ack = HUBBLE_YES;
    hubble_stream_announce(stream);
}

/* The holder must learn of it by an event, which may not come from inside its own call. */
static void break_stream(struct hubble_stream *stream)
{
    hubble_stream_say_end(stream, REASON_NO_MEMORY, NULL);
    stream->is_broken = true;
    hubble_stream_note(stream);
}

static void stream_write(struct stream *base, struct slice_queue *data)
{
    struct hubble_stream *stream = hubble_stream_from(base);
    struct hubble_mux *mux = stream->mux;
    if (mux == NULL || stream->is_mute || stream->fin_wanted || data->count == 0)
        goto out;
    /* The ack must come before any data. */
    stream_accept(base);
    if (stream->is_over) {
        stream->dropped += data->bytes;
        hubble_stream_note(stream);
        goto out;
    }
    size_t bytes = data->bytes;
    if (slice_queue_append(&stream->out, data) != 0) {
        break_stream(stream);
        goto out;
    }
    mux->queued += bytes;
    parking_enter(&stream->parking, mux->pool);
    hubble_stream_schedule(stream);
out:
    slice_queue_clear(data);
}

static void stream_finish(struct stream *base)
{
    struct hubble_stream *stream = hubble_stream_from(base);
    if (stream->mux == NULL || stream->is_mute || stream->fin_wanted)
        return;
    stream_accept(base);
    stream->fin_wanted = true;
    hubble_stream_note(stream);
}

static void stream_reset(struct stream *base, int code, const char *reason)
{
    struct hubble_stream *stream = hubble_stream_from(base);
    if (stream->mux == NULL || stream->is_mute)
        return;
    stream->is_mute = true;
    bool is_known = stream->is_ours || stream->is_accepted;
    bool may_drain = is_known && stream->out.count > 0 && stream->mux->failure == 0;
    if (code == REASON_CLOSED && may_drain && !stream->is_over)
        stream->is_draining = true;
    else
        hubble_stream_say_end(stream, code, reason);
    hubble_mux_wake(stream->mux); /* whose owner may wait until it is empty */
}

static void stream_consumed(struct stream *base, size_t bytes)
{
    struct hubble_stream *stream = hubble_stream_from(base);
    if (stream->mux == NULL || stream->is_closed)
        return;
    hubble_stream_released(stream, bytes);
    if (!stream->peer_closed && !stream->is_resetting)
        return;
    stream->has_progressed = true;
    hubble_stream_note(stream);
}

static void stream_close(struct stream *base)
{
    struct hubble_stream *stream = hubble_stream_from(base);
    if (stream->mux == NULL) {
        memory_free(stream);
        return;
    }
    if (stream->is_closed)
        return;
    stream->is_closed = true;
    stream->is_mute = true;
    hubble_stream_released(stream, stream->outstanding);
    if (!stream->is_draining)
        hubble_stream_say_end(stream, REASON_RESET, NULL);
    /* It answers the peer's end, at a gateway once more, as an original's does (7.3 of the
     * specification). */
    if (stream->peer_closed) {
        stream->ends++;
        hubble_stream_announce(stream);
    }
    hubble_mux_wake(stream->mux);
    hubble_stream_settle(stream);
}

const struct stream_operations hubble_stream_operations = {
    .accept = stream_accept,
    .write = stream_write,
    .finish = stream_finish,
    .reset = stream_reset,
    .consumed = stream_consumed,
    .close = stream_close,
};
