#include "mux/internal.h"

#include "base/error.h"
#include "base/reason.h"
#include "mux/reason_copy.h"

static bool is_our_id(const struct mux *mux, uint64_t id)
{
    return (id & 1) == (mux->next_id & 1);
}

/* The id names no open stream: it crossed a close, or the peer made it up. */
static int check_unknown(const struct mux *mux, uint64_t id)
{
    if (id == 0)
        return CULVERT_ERROR_PROTOCOL;
    bool was_opened = is_our_id(mux, id) ? id < mux->next_id : id <= mux->highest_peer_id;
    return was_opened ? 0 : CULVERT_ERROR_PROTOCOL;
}

/* At a gateway a link carries the opens of one agent, which pays for them. At an agent, whose ids
 * are odd, it carries those of many agents, so the agent itself chooses who pays. */
static bool has_room(const struct mux *mux)
{
    bool is_agent = (mux->next_id & 1) != 0;
    return is_agent || mux->peer_streams < MUX_STREAMS_WITHOUT_MEMORY ||
           account_level(mux->account) != ACCOUNT_FULL;
}

static int receive_open(struct mux *mux, const struct message *message, uint64_t now)
{
    uint64_t id = message->sid;
    if (id == 0 || is_our_id(mux, id) || id <= mux->highest_peer_id)
        return CULVERT_ERROR_PROTOCOL;
    mux->highest_peer_id = id;
    if (mux->peer_streams >= MUX_MAX_STREAMS) {
        mux_refuse(mux, id, REASON_LIMIT, "too many open streams");
        return mux->failure;
    }
    struct mux_stream *stream = has_room(mux) ? mux_stream_create(mux, id, false, now) : NULL;
    if (stream == NULL) {
        mux_refuse(mux, id, REASON_NO_MEMORY, NULL);
        return mux->failure;
    }
    mux->owner->peer_opened(mux, stream, &message->open);
    return mux->failure;
}

static void receive_data(struct mux_stream *stream, struct slice_queue *payload)
{
    bool is_early = !stream->is_ours && !stream->is_accepted;
    size_t size = payload->bytes;
    const char *wrong = NULL;
    if (size == 0)
        wrong = "empty data";
    else if (stream->fin_received)
        wrong = "data behind the end";
    else if (stream->is_ours && !stream->is_accepted)
        wrong = "data before the ack";
    else if (credit_receiver_arrived(&stream->receive, size) != 0)
        wrong = "data beyond credit";
    else if (is_early && stream->receive.undelivered > MUX_EARLY_WINDOW)
        wrong = "too much data before the ack";
    if (wrong != NULL) {
        mux_stream_fail(stream, REASON_PROTOCOL, wrong);
        return;
    }
    if (is_early) {
        stream->early += (uint32_t)size;
        stream->mux->early += size;
    }
    if (stream->stream.events != NULL)
        stream->stream.events->data(&stream->stream, payload);
}

static void receive_fin(struct mux_stream *stream)
{
    if (stream->fin_received || (stream->is_ours && !stream->is_accepted)) {
        mux_stream_fail(stream, REASON_PROTOCOL, "an end out of place");
        return;
    }
    stream->fin_received = true;
    list_remove(&stream->credited);
    if (stream->stream.events != NULL)
        stream->stream.events->fin(&stream->stream);
}

static void receive_credit(struct mux_stream *stream, uint64_t bytes)
{
    if (credit_sender_grant(&stream->send, bytes) != 0) {
        mux_stream_fail(stream, REASON_PROTOCOL, "credit past its limit");
        return;
    }
    mux_schedule(stream, false);
}

static void receive_ack(struct mux_stream *stream, const struct message_ack *ack)
{
    if (stream->is_accepted) {
        mux_stream_fail(stream, REASON_PROTOCOL, "a second ack");
        return;
    }
    if (!ack->ok) {
        struct reason_copy reason;
        mux_stream_end(stream, ack->code, reason_from_wire(&reason, ack->message));
        return;
    }
    stream->is_accepted = true;
    credit_sender_accepted(&stream->send);
    mux_schedule(stream, false);
    if (stream->stream.events == NULL)
        return;
    char dialled[STREAM_DIALLED_SIZE];
    if (ack->message.size > 0 && text_copy(ack->message, dialled, sizeof(dialled)) == 0)
        stream->stream.dialled = dialled;
    stream->stream.events->opened(&stream->stream);
    stream->stream.dialled = NULL;
}

static void receive_reset(struct mux_stream *stream, const struct message_reset *reset,
                          uint64_t now)
{
    struct reason_copy reason;
    mux_stream_take_reset(stream, reset->code, reason_from_wire(&reason, reset->reason), now);
}

static int receive_for_stream(struct mux *mux, const struct message *message,
                              struct slice_queue *payload, uint64_t now)
{
    if (message->type == MESSAGE_ACK && !is_our_id(mux, message->sid))
        return CULVERT_ERROR_PROTOCOL;
    struct mux_stream *stream = map_find(&mux->streams, message->sid);
    if (stream == NULL)
        return check_unknown(mux, message->sid);
    if (stream->is_resetting)
        return mux->failure;

    switch (message->type) {
    case MESSAGE_DATA:
        receive_data(stream, payload);
        break;
    case MESSAGE_FIN:
        receive_fin(stream);
        break;
    case MESSAGE_CREDIT:
        receive_credit(stream, message->credit);
        break;
    case MESSAGE_RESET:
        receive_reset(stream, &message->reset, now);
        break;
    default:
        receive_ack(stream, &message->ack);
        break;
    }
    return mux->failure;
}

bool mux_takes_data(const struct mux *mux, uint64_t sid)
{
    const struct mux_stream *stream = map_find(&mux->streams, sid);
    return stream != NULL && !stream->is_resetting && (!stream->is_ours || stream->is_accepted);
}

int mux_receive(struct mux *mux, const struct message *message, struct slice_queue *payload,
                uint64_t now)
{
    int result = mux->failure;
    if (result != 0)
        goto out;
    switch (message->type) {
    case MESSAGE_OPEN:
        result = receive_open(mux, message, now);
        break;
    case MESSAGE_ACK:
        if (!message->is_handshake_ack)
            result = receive_for_stream(mux, message, payload, now);
        break;
    case MESSAGE_DATA:
    case MESSAGE_FIN:
    case MESSAGE_CREDIT:
    case MESSAGE_RESET:
        result = receive_for_stream(mux, message, payload, now);
        break;
    default:
        break;
    }
out:
    if (payload != NULL)
        slice_queue_clear(payload);
    return result;
}
