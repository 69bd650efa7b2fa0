/* The login of an agent that speaks Hubble 0.1 (docs/hubble.md). */
#include "base/error.h"
#include "base/reason.h"
#include "gateway/dialect.h"
#include "gateway/login.h"
#include "gateway/visitor.h"
#include "tunnel/hubble_tunnel.h"

static int write_response(const struct visitor *visitor, const struct http1_head *head, char *out,
                          size_t room)
{
    (void)visitor;
    return upgrade_write_plain_response(head, out, room);
}

static void begin(struct visitor *visitor)
{
    hubble_inbound_init(&visitor->inbound.hubble, &visitor->worker->loop.pool, HUBBLE_MAX_CONTROL);
}

static void end(struct visitor *visitor)
{
    hubble_inbound_deinit(&visitor->inbound.hubble);
}

static void on_data(struct carrier *carrier, struct slice piece)
{
    struct visitor *visitor = carrier->holder;
    if (visitor->is_over || visitor->has_handshake) {
        slice_drop(&piece);
        if (!visitor->is_over)
            visitor_end(visitor, CULVERT_ERROR_PROTOCOL, "it went on before it was answered");
        return;
    }
    int error = hubble_inbound_take(&visitor->inbound.hubble, piece);
    if (error != 0)
        visitor_end(visitor, error, "the first message is no handshake");
}

static void on_message_end(struct carrier *carrier)
{
    struct visitor *visitor = carrier->holder;
    struct message message;
    struct slice_queue payload = SLICE_QUEUE_NULL;
    if (visitor->is_over)
        return;
    int error = hubble_inbound_decode(&visitor->inbound.hubble, &message, &payload);
    slice_queue_deinit(&payload);
    if (error == 0 && message.type != MESSAGE_HANDSHAKE)
        error = CULVERT_ERROR_PROTOCOL;
    if (error != 0)
        visitor_end(visitor, error, "the first message is no handshake");
    else
        login_take_handshake(visitor, &message.handshake);
}

static const struct carrier_events carrier_handlers = {
    .data = on_data,
    .message_end = on_message_end,
    .read_end = dialect_ignore,
    .ready = dialect_ignore,
    .lost = dialect_lost,
};

static const char *object(const struct message_handshake *handshake, int *code)
{
    if (!text_equals(handshake->version, HUBBLE_VERSION)) {
        *code = REASON_UNSUPPORTED;
        return HUBBLE_WRONG_VERSION;
    }
    if (!str_is_legacy_name(handshake->name)) {
        *code = REASON_PROTOCOL;
        return "a name is at most 128 bytes of text, not - and not the word gateway";
    }
    return NULL;
}

static int welcome(struct member *member, const struct tunnel_owner *owner, struct carrier *carrier,
                   const struct message_handshake *handshake)
{
    (void)handshake;
    return hubble_tunnel_welcome(owner, member, &member->worker->loop, carrier, &member->tunnel);
}

const struct dialect dialect_hubble = {
    .write_response = write_response,
    .begin = begin,
    .end = end,
    .events = &carrier_handlers,
    .object = object,
    .encode = hubble_encode,
    .welcome = welcome,
};
