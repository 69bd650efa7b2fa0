#include "mux/hubble_mux_internal.h"

#include "base/reason.h"
#include "codec/url_address.h"
#include "mux/reason_copy.h"

/* The host as an agent dials it: none is the agent's own (5.3 of the specification). */
static struct text host_of(const struct hubble_mux *mux, struct text host)
{
    return mux->role == HUBBLE_AGENT && host.size == 0 ? text_of("localhost") : host;
}

/* The host as the rest of us writes it: an IPv6 address comes in brackets. */
static struct text without_brackets(struct text host)
{
    if (host.size < 2 || host.data[0] != '[' || host.data[host.size - 1] != ']')
        return host;
    struct text inner = {host.data + 1, host.size - 2};
    uint8_t address[16];
    return url_parse_ipv6(inner, address) ? inner : host;
}

/* The peer uses the GUID anew: as at an original its entry is overwritten (quirk 8 of the
 * specification), but the far side of the old session learns of it. */
static void replace(struct hubble_stream *stream)
{
    hubble_stream_supersede(stream);
    if (!stream->peer_closed)
        hubble_stream_take_reset(stream, REASON_RESET,
                                 "the peer opened another session in its place");
    else
        hubble_stream_note(stream); /* its timer begins again */
    hubble_stream_settle(stream);
}

static void receive_open(struct hubble_mux *mux, const struct message *message)
{
    /* Without a GUID it could not be answered: such an ack is a handshake's. */
    if (message->guid.size == 0 || message->guid.size > HUBBLE_MAX_GUID)
        return;
    struct hubble_stream *old = hubble_mux_find(mux, message->guid);
    if (old != NULL)
        replace(old);
    if (mux->peer_streams >= HUBBLE_MAX_STREAMS) {
        hubble_mux_refuse(mux, message->guid, REASON_LIMIT, "too many open sessions");
        return;
    }
    /* An agent's link carries the opens of many agents, so the agent itself chooses who pays. */
    bool has_room = mux->role != HUBBLE_GATEWAY || mux->peer_streams < MUX_STREAMS_WITHOUT_MEMORY ||
                    account_level(mux->account) != ACCOUNT_FULL;
    struct hubble_stream *stream =
        has_room ? hubble_stream_create(mux, message->guid, false) : NULL;
    if (stream == NULL) {
        hubble_mux_refuse(mux, message->guid, REASON_NO_MEMORY, NULL);
        return;
    }
    if (mux->role == HUBBLE_GATEWAY)
        hubble_timer_start(stream, HUBBLE_TIMER_ACCEPT);
    struct message_open open = message->open;
    open.guid = hubble_stream_guid(stream);
    open.host = without_brackets(host_of(mux, open.host));
    mux->owner->peer_opened(mux, &stream->stream, &open);
}

/* What makes nothing good again: the peer need not be told of it later. */
static void fail_for_good(struct hubble_stream *stream, int code, const char *reason)
{
    list_remove(&stream->timed);
    hubble_stream_fail(stream, code, reason);
}

static void receive_data(struct hubble_stream *stream, const struct message *message,
                         struct slice_queue *payload)
{
    if (stream->is_over || stream->is_draining)
        return;
    if (stream->is_ours && !stream->is_accepted) {
        fail_for_good(stream, REASON_PROTOCOL, "data before the ack");
        return;
    }
    if (message->order != stream->received + 1) {
        hubble_stream_fail(stream, REASON_PROTOCOL, "data out of order");
        return;
    }
    stream->received++;
    stream->is_answered = true;
    /* Its silence begins anew. */
    hubble_stream_proceed(stream);
    if (payload == NULL || payload->count == 0 || stream->stream.events == NULL)
        return;
    hubble_stream_delivered(stream, payload->bytes);
    stream->stream.events->data(&stream->stream, payload);
}

/* The peer has closed its side, and so both directions. */
static void receive_end(struct hubble_stream *stream)
{
    if (stream->is_over) {
        /* It has been told of an end that came before its ack, or has ended just before. */
        hubble_stream_end(stream);
        hubble_stream_settle(stream);
        return;
    }
    if (stream->is_ours && !stream->is_accepted) {
        fail_for_good(stream, REASON_RESET, "closed by the peer before it answered");
        return;
    }
    if (stream->is_draining) {
        hubble_stream_fail(stream, 0, NULL);
        return;
    }
    stream->peer_closed = true;
    hubble_stream_end(stream);
    if (stream->mux->role == HUBBLE_GATEWAY) {
        stream->ends++;
        hubble_stream_announce(stream);
    }
    hubble_stream_note(stream);
}

static void receive_yes(struct hubble_stream *stream)
{
    list_remove(&stream->timed);
    stream->is_accepted = true;
    if (stream->mux->role == HUBBLE_GATEWAY) {
        hubble_stream_await_pong(stream);
    } else {
        stream->may_send = true;
        hubble_stream_proceed(stream);
    }
    if (!stream->is_mute && stream->stream.events != NULL)
        stream->stream.events->opened(&stream->stream);
}

static void receive_no(struct hubble_stream *stream, const struct message_ack *ack)
{
    struct reason_copy reason;
    hubble_stream_end(stream);
    hubble_stream_tell_reset(stream, ack->code, reason_from_wire(&reason, ack->message));
    hubble_stream_settle(stream);
}

static void receive_ack(struct hubble_stream *stream, const struct message_ack *ack)
{
    if (!stream->is_ours || stream->is_accepted)
        return;
    if (!stream->is_over) {
        if (ack->ok)
            receive_yes(stream);
        else
            receive_no(stream, ack);
        return;
    }
    if (!stream->was_given_up)
        return;
    hubble_stream_end(stream);
    if (ack->ok) {
        stream->ends++;
        hubble_stream_announce(stream);
    }
    hubble_stream_settle(stream);
}

static void receive_for_session(struct hubble_mux *mux, const struct message *message,
                                struct slice_queue *payload)
{
    struct hubble_stream *stream = hubble_mux_find(mux, message->guid);
    if (stream == NULL)
        return;
    /* The other one is never sent to this side. */
    enum message_type end = mux->role == HUBBLE_GATEWAY ? MESSAGE_FIN : MESSAGE_RESET;
    if (message->type == MESSAGE_DATA)
        receive_data(stream, message, payload);
    else if (message->type == MESSAGE_ACK)
        receive_ack(stream, &message->ack);
    else if (message->type == end)
        receive_end(stream);
}

int hubble_mux_receive(struct hubble_mux *mux, const struct message *message,
                       struct slice_queue *payload, uint64_t now)
{
    hubble_mux_at(mux, now);
    if (mux->failure == 0) {
        if (message->type == MESSAGE_OPEN)
            receive_open(mux, message);
        else if (message->type != MESSAGE_ACK || !message->is_handshake_ack)
            receive_for_session(mux, message, payload);
        hubble_mux_tell_news(mux);
    }
    if (payload != NULL)
        slice_queue_clear(payload);
    return mux->failure;
}
