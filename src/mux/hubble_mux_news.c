/* Events that became due inside of operations, and what is delivered and not yet consumed. */
#include "mux/hubble_mux_internal.h"

#include "base/reason.h"

#include <assert.h>

void hubble_stream_note(struct hubble_stream *stream)
{
    struct hubble_mux *mux = stream->mux;
    if (stream->is_mute || list_node_is_linked(&stream->fresh))
        return;
    list_append(&mux->news, &stream->fresh);
    hubble_mux_wake(mux);
}

static void wait_for_holder(struct hubble_stream *stream)
{
    if (stream->has_progressed || !list_node_is_linked(&stream->timed))
        hubble_timer_start(stream, HUBBLE_TIMER_CONSUMER);
    stream->has_progressed = false;
}

/* The peer has ended the session. */
static void tell_ended(struct hubble_stream *stream)
{
    const struct stream_events *events = stream->stream.events;
    if (stream->peer_closed && !stream->fin_told) {
        stream->fin_told = true;
        events->fin(&stream->stream);
    }
    if (stream->dropped > 0 && !stream->is_mute) {
        size_t bytes = stream->dropped;
        stream->dropped = 0;
        events->written(&stream->stream, bytes);
    }
    if (stream->is_mute)
        return;
    if (stream->peer_closed && stream->fin_wanted) {
        stream->is_mute = true;
        events->finished(&stream->stream);
    } else if (stream->outstanding > 0) {
        wait_for_holder(stream);
    } else if (stream->peer_closed) {
        hubble_stream_tell_reset(stream, REASON_CLOSED, NULL);
    } else {
        hubble_stream_tell_reset(stream, stream->code, stream->reason);
    }
}

static void tell(struct hubble_stream *stream)
{
    if (stream->is_mute || stream->stream.events == NULL)
        return;
    if (stream->is_broken)
        hubble_stream_tell_reset(stream, REASON_NO_MEMORY, NULL);
    else if (stream->peer_closed || stream->is_resetting)
        tell_ended(stream);
    else
        hubble_stream_proceed(stream);
}

void hubble_mux_tell_news(struct hubble_mux *mux)
{
    struct list_node *node;
    struct list due;
    list_init(&due);
    while ((node = list_pop(&mux->news)) != NULL)
        list_append(&due, node);
    /* Data that a holder writes in this call waits for the next one; otherwise a holder that always
     * writes would never let it end. */
    while ((node = list_pop(&due)) != NULL)
        tell(CONTAINER_OF(node, struct hubble_stream, fresh));
}

/* Whether the count has reached its bound, or is not yet back at half of it. */
static bool is_above(bool was_above, size_t bytes, size_t bound)
{
    return was_above ? bytes > bound / 2 : bytes >= bound;
}

static void count(struct hubble_stream *stream)
{
    struct hubble_mux *mux = stream->mux;
    bool is_full = is_above(stream->is_full, stream->outstanding, HUBBLE_STREAM_WINDOW);
    if (is_full != stream->is_full)
        mux->full_streams += is_full ? 1 : UINT32_MAX;
    stream->is_full = is_full;
    mux->is_full = is_above(mux->is_full, mux->outstanding, HUBBLE_LINK_WINDOW);

    bool stops = mux->is_full || mux->full_streams > 0;
    if (stops == mux->is_stopped || mux->failure != 0)
        return;
    mux->is_stopped = stops;
    if (stops && !mux->is_resting) {
        mux->is_resting = true;
        mux->rest_began = mux->now;
    }
    mux->owner->wants_to_read(mux, !stops);
    /* The rest ends when the time is known. */
    if (!stops)
        hubble_mux_wake(mux);
}

void hubble_stream_delivered(struct hubble_stream *stream, size_t bytes)
{
    stream->outstanding += bytes;
    stream->mux->outstanding += bytes;
    count(stream);
}

void hubble_stream_released(struct hubble_stream *stream, size_t bytes)
{
    assert(bytes <= stream->outstanding);
    stream->outstanding -= bytes;
    stream->mux->outstanding -= bytes;
    count(stream);
}
