/* How a session of Hubble's begins and ends. */
#include "mux/hubble_mux_internal.h"

#include "base/memory.h"
#include "base/reason.h"

#include <assert.h>
#include <string.h>

static bool settle(struct parking *parking, struct chunk_pool *pool)
{
    return slice_queue_settle(&CONTAINER_OF(parking, struct hubble_stream, parking)->out, pool);
}

struct hubble_stream *hubble_stream_create(struct hubble_mux *mux, struct text guid, bool is_ours)
{
    assert(guid.size <= HUBBLE_MAX_GUID);
    struct hubble_stream *stream = memory_allocate_zero(sizeof *stream + guid.size + 1);
    if (stream == NULL)
        return NULL;
    stream->stream.operations = &hubble_stream_operations;
    stream->mux = mux;
    stream->parking.settle = settle;
    stream->is_ours = is_ours;
    stream->guid_size = (uint8_t)guid.size;
    memcpy(stream->guid, guid.data, guid.size);
    if (map_insert_text(&mux->sessions, stream->guid, stream) != 0) {
        memory_free(stream);
        return NULL;
    }
    list_append(&mux->streams, &stream->member);
    account_charge(mux->account, MUX_RECORD_COST);
    if (!is_ours)
        mux->peer_streams++;
    return stream;
}

/* Frees the GUID for another session. */
static void unlist(struct hubble_stream *stream)
{
    struct hubble_mux *mux = stream->mux;
    if (stream->is_superseded)
        return;
    stream->is_superseded = true;
    map_remove_text(&mux->sessions, stream->guid);
}

static void stop_waiting(struct hubble_stream *stream)
{
    list_remove(&stream->timed);
    if (stream->was_given_up)
        stream->mux->given_up--;
    stream->was_given_up = false;
}

static void bury(struct hubble_stream *stream)
{
    stream->is_dead = true;
    stop_waiting(stream);
    unlist(stream);
    if (!stream->is_ours)
        stream->mux->peer_streams--;
    memory_free(stream->reason);
    list_remove(&stream->fresh);
    list_remove(&stream->member);
    account_release(stream->mux->account, MUX_RECORD_COST);
    list_append(&stream->mux->dead, &stream->member);
}

void hubble_stream_discard(struct hubble_stream *stream)
{
    stream->is_over = true;
    stream->is_mute = true;
    stream->is_closed = true;
    bury(stream);
}

void hubble_stream_settle(struct hubble_stream *stream)
{
    bool is_done = stream->is_closed && stream->is_over && !stream->was_given_up &&
                   !list_node_is_linked(&stream->notice);
    if (is_done && !stream->is_dead)
        bury(stream);
}

static void end_wire(struct hubble_stream *stream)
{
    stream->is_over = true;
    stream->is_draining = false;
    list_remove(&stream->ready);
    stream->mux->queued -= stream->out.bytes;
    parking_leave(&stream->parking);
    stream->dropped += stream->out.bytes;
    slice_queue_deinit(&stream->out);
}

void hubble_stream_end(struct hubble_stream *stream)
{
    stop_waiting(stream);
    end_wire(stream);
}

/* A responder that is still dialling does not know the session yet and ignores its end (7.2 of the
 * specification): it is to be told again when its ack comes. */
static bool may_be_answered_late(const struct hubble_stream *stream)
{
    const struct hubble_mux *mux = stream->mux;
    return mux->role == HUBBLE_GATEWAY && stream->is_ours && !stream->is_accepted &&
           list_node_is_linked(&stream->timed) && mux->given_up < HUBBLE_MAX_GIVEN_UP;
}

void hubble_stream_say_end(struct hubble_stream *stream, int code, const char *reason)
{
    struct hubble_mux *mux = stream->mux;
    if (stream->is_over)
        return;
    if (mux->failure != 0 || !may_be_answered_late(stream)) {
        hubble_stream_end(stream);
    } else {
        stream->was_given_up = true;
        mux->given_up++;
        end_wire(stream);
    }
    if (stream->is_ours || stream->is_accepted) {
        stream->ends++;
    } else {
        stream->ack = HUBBLE_NO;
        stream->code = code;
        /* Without memory the code speaks for itself. */
        stream->reason = reason == NULL ? NULL : memory_copy_text(reason);
    }
    hubble_stream_announce(stream);
}

void hubble_stream_supersede(struct hubble_stream *stream)
{
    hubble_stream_end(stream);
    list_remove(&stream->notice);
    unlist(stream);
}

void hubble_stream_take_reset(struct hubble_stream *stream, int code, const char *reason)
{
    if (stream->is_mute || reason_is_immediate(code) || stream->outstanding == 0 ||
        stream->stream.events == NULL) {
        hubble_stream_tell_reset(stream, code, reason);
        return;
    }
    stream->is_resetting = true;
    stream->code = code;
    memory_free(stream->reason);
    stream->reason = reason == NULL ? NULL : memory_copy_text(reason);
    hubble_stream_note(stream);
}

void hubble_stream_tell_reset(struct hubble_stream *stream, int code, const char *reason)
{
    if (stream->is_mute)
        return;
    stream->is_mute = true;
    if (stream->peer_closed || stream->is_resetting)
        list_remove(&stream->timed);
    if (stream->stream.events != NULL)
        stream->stream.events->reset(&stream->stream, code, reason);
}

void hubble_stream_tell_end(struct hubble_stream *stream)
{
    if (stream->is_mute || stream->stream.events == NULL)
        return;
    stream->is_finished = true;
    stream->stream.events->finished(&stream->stream);
    if (stream->is_mute)
        return;
    stream->is_mute = true;
    stream->stream.events->fin(&stream->stream);
}

void hubble_stream_fail(struct hubble_stream *stream, int code, const char *reason)
{
    hubble_mux_wake(stream->mux);
    hubble_stream_say_end(stream, code, reason);
    hubble_stream_tell_reset(stream, code, reason);
    hubble_stream_settle(stream);
}
