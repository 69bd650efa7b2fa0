#include "mux/internal.h"

#include "base/error.h"
#include "mux/reason_copy.h"

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

int mux_try_control(struct mux *mux, const struct message *message)
{
    uint8_t encoded[MESSAGE_MAX_CONTROL];
    int size = message_encode(message, encoded, sizeof encoded);
    if (size < 0)
        return size;
    if (mux->control.bytes + (size_t)size > MUX_MAX_CONTROL)
        return CULVERT_ERROR_LIMIT;
    uint8_t *room = slice_arena_reserve(&mux->arena, (size_t)size);
    if (room == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    memcpy(room, encoded, (size_t)size);
    return slice_queue_push(&mux->control, slice_arena_commit(&mux->arena, (size_t)size));
}

void mux_queue_control(struct mux *mux, const struct message *message)
{
    if (mux->failure != 0)
        return;
    int error = mux_try_control(mux, message);
    if (error != 0)
        mux_fail(mux, error);
    else
        mux_wake(mux);
}

void mux_queue_refusal(struct mux *mux, uint64_t id, int code, const char *reason)
{
    struct message message = {
        .type = MESSAGE_ACK,
        .sid = id,
        .ack = {.ok = false, .code = code, .message = reason_to_wire(reason)},
    };
    mux_queue_control(mux, &message);
}

void mux_queue_reset(struct mux_stream *stream, int code, const char *reason)
{
    if (!stream->is_ours && !stream->is_accepted) {
        mux_queue_refusal(stream->mux, stream->id, code, reason);
        return;
    }
    struct message message = {
        .type = MESSAGE_RESET,
        .sid = stream->id,
        .reset = {.code = code, .reason = reason_to_wire(reason)},
    };
    mux_queue_control(stream->mux, &message);
}
