/* The way in: pieces from the carrier, messages to the link and the mux. */
#include "base/error.h"
#include "base/reason.h"
#include "tunnel/native_inner.h"

/* An agent takes as many as come, since it is its gateway that asks; they share one answer a turn.
 */
static int take_ping(struct native_tunnel *tunnel, uint64_t opaque)
{
    uint64_t second = loop_now(tunnel->base.loop) / 1000000;
    if (second != tunnel->peer_ping_second) {
        tunnel->peer_ping_second = second;
        tunnel->peer_pings = 0;
    }
    if (++tunnel->peer_pings > NATIVE_PINGS_PER_SECOND && !tunnel->dials)
        return CULVERT_ERROR_LIMIT;
    tunnel->pong_opaque = opaque;
    tunnel->pong_due = true;
    loop_defer(tunnel->base.loop, &tunnel->flush);
    return 0;
}

static int take_end(struct native_tunnel *tunnel, const struct message_end *end)
{
    char why[MESSAGE_MAX_REASON + 1];
    (void)text_copy(end->reason, why, sizeof(why)); /* fits: the decoder checks it */
    native_lose(tunnel, NATIVE_LOSS_PEER, CULVERT_ERROR_CLOSED,
                why[0] != '\0' ? why : reason_text(end->code));
    return CULVERT_ERROR_CLOSED;
}

static int take_uncounted(struct native_tunnel *tunnel, const struct message *message)
{
    switch (message->type) {
    case MESSAGE_PING:
        return take_ping(tunnel, message->opaque);
    case MESSAGE_PONG:
        native_take_pong(tunnel, message->opaque);
        return 0;
    case MESSAGE_RECEIVED: {
        int error =
            link_acknowledged(&tunnel->link, message->received, loop_now(tunnel->base.loop));
        /* What was kept is free: data that waited for room may go on. */
        loop_defer(tunnel->base.loop, &tunnel->flush);
        return error;
    }
    case MESSAGE_DATAGRAM:
        return 0;
    case MESSAGE_END:
        return take_end(tunnel, &message->end);
    case MESSAGE_EXPRESS:
        if (!tunnel->dials)
            return CULVERT_ERROR_PROTOCOL;
        if (message->express == tunnel->link.epoch)
            native_express_want(tunnel);
        return 0;
    default:
        return CULVERT_ERROR_PROTOCOL;
    }
}

static int take_counted(struct native_tunnel *tunnel, const struct message *message,
                        struct slice_queue *payload, size_t size)
{
    uint64_t now = loop_now(tunnel->base.loop);
    if (message->is_known && message->type == MESSAGE_SKIP)
        return link_take_skip(&tunnel->link, message->skip, now) < 0 ? CULVERT_ERROR_PROTOCOL : 0;
    int is_new = link_take(&tunnel->link, size, now);
    if (is_new <= 0)
        return is_new;
    tunnel->last_taken = now;
    if (!message->is_known)
        return 0;
    if (message->type == MESSAGE_GOAWAY) {
        tunnel->base.owner->went_away(&tunnel->base, &message->goaway);
        return 0;
    }
    return mux_receive(&tunnel->mux, message, payload, now);
}

int native_take_message(struct inbound *inbound, const struct message *message,
                        struct slice_queue *payload, size_t size)
{
    struct native_tunnel *tunnel = CONTAINER_OF(inbound, struct native_tunnel, inbound);
    if (tunnel->expects_welcome)
        return native_take_welcome(tunnel, message);
    if (message->is_known && (message->type == MESSAGE_HANDSHAKE || message->is_handshake_ack))
        return CULVERT_ERROR_PROTOCOL;
    int error;
    if (message->is_counted)
        error = take_counted(tunnel, message, payload, size);
    else
        error = message->is_known ? take_uncounted(tunnel, message) : 0;
    if (link_report_is_due(&tunnel->link, loop_now(tunnel->base.loop)))
        loop_defer(tunnel->base.loop, &tunnel->flush);
    return error;
}

const char *native_explain(int error)
{
    switch (error) {
    case CULVERT_ERROR_PROTOCOL:
        return "the peer broke the culvert protocol";
    case CULVERT_ERROR_TOO_LARGE:
        return "the peer sent an oversized message";
    case CULVERT_ERROR_LIMIT:
        return "the peer went past a limit";
    default:
        return error_text(error);
    }
}

static void on_data(struct carrier *carrier, struct slice piece)
{
    struct native_tunnel *tunnel = carrier->holder;
    if (tunnel->failure != 0) {
        slice_drop(&piece);
        return;
    }
    int error = inbound_take(&tunnel->inbound, piece);
    if (error != 0 && tunnel->failure == 0)
        native_tunnel_fail(tunnel, error, native_explain(error));
}

static void on_message_end(struct carrier *carrier)
{
    struct native_tunnel *tunnel = carrier->holder;
    if (tunnel->failure == 0 && !inbound_is_whole(&tunnel->inbound))
        native_tunnel_fail(tunnel, CULVERT_ERROR_PROTOCOL, "the peer sent half a message");
}

static void on_read_end(struct carrier *carrier)
{
    struct native_tunnel *tunnel = carrier->holder;
    if (!tunnel->is_closed)
        native_heard(tunnel);
}

static void on_ready(struct carrier *carrier)
{
    struct native_tunnel *tunnel = carrier->holder;
    loop_defer(tunnel->base.loop, &tunnel->flush);
}

static void on_lost(struct carrier *carrier, int error, const char *why)
{
    native_tunnel_cut(carrier->holder, error, why);
}

const struct carrier_events native_carrier_events = {
    .data = on_data,
    .message_end = on_message_end,
    .read_end = on_read_end,
    .ready = on_ready,
    .lost = on_lost,
};
