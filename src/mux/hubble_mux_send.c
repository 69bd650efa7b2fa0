/* What goes out: opens and refusals, then acks and ends, then data, a message of each stream in
 * turn. */
#include "mux/hubble_mux_internal.h"

#include "base/error.h"
#include "base/memory.h"
#include "mux/reason_copy.h"

#include <string.h>

/* ---- control ---- */

/* Encodes into the arena. */
static int encode(struct hubble_mux *mux, const struct message *message, struct slice *out)
{
    uint8_t encoded[HUBBLE_MAX_ENCODED];
    int size = hubble_encode(message, encoded, sizeof encoded);
    if (size < 0)
        return size;
    uint8_t *room = slice_arena_reserve(&mux->arena, (size_t)size);
    if (room == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    memcpy(room, encoded, (size_t)size);
    *out = slice_arena_commit(&mux->arena, (size_t)size);
    return 0;
}

int hubble_mux_queue(struct hubble_mux *mux, const struct message *message)
{
    struct slice slice;
    int error = encode(mux, message, &slice);
    if (error != 0)
        return error;
    if (mux->control.bytes + slice.size > HUBBLE_MAX_CONTROL_QUEUE) {
        slice_drop(&slice);
        return CULVERT_ERROR_LIMIT;
    }
    return slice_queue_push(&mux->control, slice);
}

static struct message refusal(struct text guid, int code, const char *reason)
{
    return (struct message){
        .type = MESSAGE_ACK,
        .guid = guid,
        .ack = {.ok = false, .code = code, .message = reason_to_wire(reason)},
    };
}

void hubble_mux_refuse(struct hubble_mux *mux, struct text guid, int code, const char *reason)
{
    if (mux->failure != 0)
        return;
    struct message message = refusal(guid, code, reason);
    int error = hubble_mux_queue(mux, &message);
    if (error != 0)
        hubble_mux_fail(mux, error);
    else
        hubble_mux_wake(mux);
}

void hubble_stream_announce(struct hubble_stream *stream)
{
    struct hubble_mux *mux = stream->mux;
    if (mux->failure != 0 || stream->is_superseded)
        return;
    if (!list_node_is_linked(&stream->notice))
        list_append(&mux->notices, &stream->notice);
    hubble_mux_wake(mux);
}

/* Takes the next of what the stream has to say. */
static struct message take_notice(struct hubble_stream *stream)
{
    struct message message = {.guid = hubble_stream_guid(stream)};
    switch (stream->ack) {
    case HUBBLE_YES:
        message.type = MESSAGE_ACK;
        message.ack.ok = true;
        break;
    case HUBBLE_NO:
        return refusal(message.guid, stream->code, stream->reason);
    default:
        message.type = stream->mux->role == HUBBLE_GATEWAY ? MESSAGE_RESET : MESSAGE_FIN;
        stream->ends--;
        break;
    }
    return message;
}

/* Returns 1, 0 if there is none, or an error. */
static int pull_notice(struct hubble_mux *mux, struct slice_queue *out)
{
    struct list_node *node = list_first(&mux->notices);
    if (node == NULL)
        return 0;
    struct hubble_stream *stream = CONTAINER_OF(node, struct hubble_stream, notice);
    struct message message = take_notice(stream);
    struct slice slice;
    int error = encode(mux, &message, &slice);
    stream->ack = HUBBLE_NO_ACK;
    if (stream->ends == 0) {
        list_remove(&stream->notice);
        hubble_stream_settle(stream);
    }
    if (error == 0)
        error = slice_queue_push(out, slice);
    return error != 0 ? error : 1;
}

/* ---- data ---- */

/* An agent ends with empty data and a 05 (7.3 of the specification). */
static bool ends_by_itself(const struct hubble_stream *stream)
{
    return stream->fin_wanted && stream->mux->role == HUBBLE_AGENT;
}

void hubble_stream_schedule(struct hubble_stream *stream)
{
    struct hubble_mux *mux = stream->mux;
    if (!stream->may_send || stream->is_over || mux->failure != 0)
        return;
    if (stream->out.count == 0 && !ends_by_itself(stream))
        return;
    if (!list_node_is_linked(&stream->ready))
        list_append(&mux->ready, &stream->ready);
    hubble_mux_wake(mux);
}

static void linger(struct hubble_stream *stream)
{
    bool waits = stream->mux->role == HUBBLE_GATEWAY && stream->fin_wanted;
    if (!waits || !stream->may_send || stream->is_over || stream->out.count > 0)
        return;
    hubble_timer_start(stream, stream->is_ours ? HUBBLE_TIMER_LINGER_ANSWERING
                                               : HUBBLE_TIMER_LINGER_ASKING);
}

void hubble_stream_proceed(struct hubble_stream *stream)
{
    hubble_stream_schedule(stream);
    linger(stream);
}

static int push_copy(struct hubble_mux *mux, struct slice_queue *out, const uint8_t *bytes,
                     size_t size)
{
    uint8_t *room = slice_arena_reserve(&mux->arena, size);
    if (room == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    memcpy(room, bytes, size);
    return slice_queue_push(out, slice_arena_commit(&mux->arena, size));
}

/* Moves `size` bytes of the stream's queue into a data message. */
static int put_data(struct hubble_stream *stream, size_t size, struct slice_queue *out)
{
    struct hubble_mux *mux = stream->mux;
    uint8_t head[HUBBLE_MAX_DATA_HEAD];
    uint8_t tail[HUBBLE_MAX_DATA_TAIL];
    stream->is_answered = false;
    size_t head_size = hubble_encode_data_head((uint32_t)size, head);
    size_t tail_size = hubble_encode_data_tail(hubble_stream_guid(stream), ++stream->sent, tail);
    int error = push_copy(mux, out, head, head_size);
    while (error == 0 && size > 0) {
        struct slice slice = slice_queue_take(&stream->out, size);
        size -= slice.size;
        mux->queued -= slice.size;
        error = slice_queue_push(out, slice);
    }
    return error != 0 ? error : push_copy(mux, out, tail, tail_size);
}

/* The queue has run empty. */
static void run_dry(struct hubble_stream *stream)
{
    if (stream->out.capacity > HUBBLE_MAX_IDLE_SLOTS)
        slice_queue_deinit(&stream->out);
    if (!stream->is_draining)
        return;
    hubble_stream_say_end(stream, 0, NULL);
    hubble_stream_settle(stream);
}

static int pull_data(struct hubble_mux *mux, struct slice_queue *out)
{
    struct list_node *node = list_pop(&mux->ready);
    if (node == NULL)
        return 0;
    struct hubble_stream *stream = CONTAINER_OF(node, struct hubble_stream, ready);
    size_t size = stream->out.bytes < HUBBLE_CHUNK ? stream->out.bytes : HUBBLE_CHUNK;
    int error = put_data(stream, size, out);
    if (error != 0)
        return error;
    if (size == 0) {
        hubble_stream_say_end(stream, 0, NULL);
        hubble_stream_tell_end(stream);
        return 1;
    }
    if (stream->out.count == 0)
        run_dry(stream);
    hubble_stream_proceed(stream);
    if (!stream->is_mute && stream->stream.events != NULL)
        stream->stream.events->written(&stream->stream, size);
    return 1;
}

int hubble_mux_pull(struct hubble_mux *mux, struct slice_queue *out, uint64_t now)
{
    hubble_mux_at(mux, now);
    mux->asked = false;
    hubble_mux_tell_news(mux);
    if (mux->failure != 0)
        return mux->failure;
    int result = 1;
    if (mux->control.count > 0)
        result = slice_queue_push(out, slice_queue_take(&mux->control, HUBBLE_MAX_ENCODED)) != 0
                     ? CULVERT_ERROR_NO_MEMORY
                     : 1;
    else if (!list_is_empty(&mux->notices))
        result = pull_notice(mux, out);
    else
        result = pull_data(mux, out);
    if (result < 0)
        hubble_mux_fail(mux, result);
    return result;
}
