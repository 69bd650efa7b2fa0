/*
 * What goes before all data: opens, acks, resets. Each is state of its stream, which waits in line
 * until the message can be sent, so that a flood of them holds no more than the streams do; an open
 * that was not sent disappears together with its reset. Only refusals of opens for which there is
 * no stream are queued, within MUX_MAX_CONTROL.
 */
#include "mux/internal.h"

#include "base/error.h"
#include "base/memory.h"
#include "mux/reason_copy.h"

#include <assert.h>
#include <string.h>

void mux_wake(struct mux *mux)
{
    if (mux->asked)
        return;
    mux->asked = true;
    mux->owner->wants_to_send(mux);
}

void mux_fail(struct mux *mux, int error)
{
    if (mux->failure == 0)
        mux->failure = error;
    mux_wake(mux);
}

static int encode(struct mux *mux, const struct message *message, struct slice *out)
{
    uint8_t encoded[MESSAGE_MAX_CONTROL];
    int size = message_encode(message, encoded, sizeof encoded);
    if (size < 0)
        return size;
    uint8_t *room = slice_arena_reserve(&mux->arena, (size_t)size);
    if (room == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    memcpy(room, encoded, (size_t)size);
    *out = slice_arena_commit(&mux->arena, (size_t)size);
    return 0;
}

static struct message refusal(uint64_t id, int code, const char *reason)
{
    return (struct message){
        .type = MESSAGE_ACK,
        .sid = id,
        .ack = {.ok = false, .code = code, .message = reason_to_wire(reason)},
    };
}

void mux_refuse(struct mux *mux, uint64_t id, int code, const char *reason)
{
    if (mux->failure != 0)
        return;
    struct message message = refusal(id, code, reason);
    struct slice slice;
    int error = encode(mux, &message, &slice);
    if (error == 0 && mux->control.bytes + slice.size > MUX_MAX_CONTROL) {
        slice_drop(&slice);
        error = CULVERT_ERROR_LIMIT;
    }
    if (error == 0)
        error = slice_queue_push(&mux->control, slice);
    if (error != 0)
        mux_fail(mux, error);
    else
        mux_wake(mux);
}

/* ---- a stream's ---- */

static void line_up(struct mux_stream *stream)
{
    if (!list_node_is_linked(&stream->notice))
        list_append(&stream->mux->notices, &stream->notice);
    mux_wake(stream->mux);
}

int mux_announce_open(struct mux_stream *stream, const struct message_open *open)
{
    struct mux *mux = stream->mux;
    struct message message = {.type = MESSAGE_OPEN, .sid = stream->id, .open = *open};
    int error = encode(mux, &message, &stream->opening);
    if (error != 0)
        return error;
    mux->unopened += stream->opening.size;
    line_up(stream);
    return 0;
}

void mux_announce_ack(struct mux_stream *stream)
{
    if (stream->mux->failure != 0)
        return;
    if (stream->stream.dialled != NULL)
        stream->ack_pair = memory_copy_text(stream->stream.dialled);
    stream->ack_due = true;
    line_up(stream);
}

void mux_announce_fin(struct mux_stream *stream)
{
    if (stream->mux->failure != 0)
        return;
    stream->fin_due = true;
    line_up(stream);
}

static struct slice take_opening(struct mux_stream *stream)
{
    struct slice opening = stream->opening;
    stream->opening = SLICE_NULL;
    stream->mux->unopened -= opening.size;
    return opening;
}

static void forget_pair(struct mux_stream *stream)
{
    memory_free(stream->ack_pair);
    stream->ack_pair = NULL;
}

static void forget_reason(struct mux_stream *stream)
{
    memory_free(stream->reset_reason);
    stream->reset_reason = NULL;
}

/* The peer opened the stream, and it was not accepted. */
static bool is_refused(const struct mux_stream *stream)
{
    return !stream->is_ours && !stream->is_accepted;
}

void mux_announce_reset(struct mux_stream *stream, int code, const char *reason)
{
    struct mux *mux = stream->mux;
    if (mux->failure != 0)
        return;
    if (stream->opening.size > 0) {
        struct slice opening = take_opening(stream);
        slice_drop(&opening);
        list_remove(&stream->notice);
        return;
    }
    stream->end_due = true;
    stream->reset_code = code;
    stream->reset_reason = reason_copy_short(reason);
    if (is_refused(stream) && ++mux->refusals > MUX_MAX_REFUSALS)
        mux_fail(mux, CULVERT_ERROR_LIMIT);
    line_up(stream);
}

/* Nothing is to be sent for the stream any more. */
static void leave(struct mux_stream *stream)
{
    struct mux *mux = stream->mux;
    list_remove(&stream->notice);
    if (!stream->is_dead)
        return;
    mux_stream_release_place(stream);
    if (is_refused(stream))
        mux->refusals--;
    if (stream->is_closed && !list_node_is_linked(&stream->scheduled))
        list_append(&mux->dead, &stream->scheduled);
}

static struct message take_message(struct mux_stream *stream)
{
    struct message message = {.sid = stream->id};
    if (stream->ack_due) {
        stream->ack_due = false;
        message.type = MESSAGE_ACK;
        message.ack.ok = true;
        message.ack.message = text_of(stream->ack_pair);
    } else if (stream->fin_due) {
        stream->fin_due = false;
        message.type = MESSAGE_FIN;
    } else if (is_refused(stream)) {
        stream->end_due = false;
        message = refusal(stream->id, stream->reset_code, stream->reset_reason);
    } else {
        stream->end_due = false;
        message.type = MESSAGE_RESET;
        message.reset.code = stream->reset_code;
        message.reset.reason = reason_to_wire(stream->reset_reason);
    }
    return message;
}

/* Returns 0 or an error. */
static int take_notice(struct mux_stream *stream, struct slice *out)
{
    int error = 0;
    if (stream->opening.size > 0) {
        *out = take_opening(stream);
    } else {
        bool had_ack = stream->ack_due;
        bool had_end = stream->end_due;
        struct message message = take_message(stream);
        error = encode(stream->mux, &message, out);
        if (had_ack)
            forget_pair(stream);
        if (had_end && !stream->end_due)
            forget_reason(stream);
    }
    if (!stream->ack_due && !stream->fin_due && !stream->end_due)
        leave(stream);
    return error;
}

int mux_pull_control(struct mux *mux, struct slice *out)
{
    if (mux->control.count > 0) {
        *out = slice_queue_take(&mux->control, MESSAGE_MAX_CONTROL);
        return 1;
    }
    struct list_node *node = list_first(&mux->notices);
    if (node == NULL)
        return 0;
    int error = take_notice(CONTAINER_OF(node, struct mux_stream, notice), out);
    if (error != 0)
        mux_fail(mux, error);
    return error != 0 ? error : 1;
}

void mux_forget_control(struct mux *mux)
{
    struct list_node *node;
    slice_queue_clear(&mux->control);
    while ((node = list_first(&mux->notices)) != NULL) {
        struct mux_stream *stream = CONTAINER_OF(node, struct mux_stream, notice);
        struct slice opening = take_opening(stream);
        slice_drop(&opening);
        forget_pair(stream);
        if (stream->end_due)
            forget_reason(stream);
        stream->ack_due = stream->fin_due = stream->end_due = false;
        leave(stream);
    }
    assert(mux->unopened == 0 && mux->refusals == 0);
}

bool mux_is_drained(const struct mux *mux)
{
    return mux->control.count == 0 && list_is_empty(&mux->notices) && mux->queued == 0;
}
