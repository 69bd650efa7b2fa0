/* The login of an agent that speaks culvert's own protocol (docs/protocol.md). */
#include "base/error.h"
#include "base/reason.h"
#include "gateway/dialect.h"
#include "gateway/login.h"
#include "gateway/visitor.h"
#include "tunnel/native_tunnel.h"

#include <string.h>

static int write_response(const struct visitor *visitor, const struct http1_head *head, char *out,
                          size_t room)
{
    return upgrade_write_response(head, visitor->nonce, out, room);
}

static int take_message(struct inbound *inbound, const struct message *message,
                        struct slice_queue *payload, size_t size)
{
    struct visitor *visitor = CONTAINER_OF(inbound, struct visitor, inbound.native);
    (void)payload;
    (void)size;
    if (visitor->has_handshake || !message->is_known || message->type != MESSAGE_HANDSHAKE)
        return CULVERT_ERROR_PROTOCOL;
    login_take_handshake(visitor, &message->handshake);
    return 0;
}

static void begin(struct visitor *visitor)
{
    inbound_init(&visitor->inbound.native, &visitor->worker->loop.pool, take_message);
    visitor->inbound.native.only = MESSAGE_HANDSHAKE;
}

static void end(struct visitor *visitor)
{
    inbound_deinit(&visitor->inbound.native);
}

static void on_data(struct carrier *carrier, struct slice piece)
{
    struct visitor *visitor = carrier->holder;
    if (visitor->is_over) {
        slice_drop(&piece);
        return;
    }
    int error = inbound_take(&visitor->inbound.native, piece);
    if (error != 0 && !visitor->is_over)
        visitor_end(visitor, error, "the first message is no handshake");
}

static void on_message_end(struct carrier *carrier)
{
    struct visitor *visitor = carrier->holder;
    if (!visitor->is_over && !inbound_is_whole(&visitor->inbound.native))
        visitor_end(visitor, CULVERT_ERROR_PROTOCOL, "half a message");
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
    if (!str_is_agent_name(handshake->name)) {
        *code = REASON_PROTOCOL;
        return "a name is 1 to 128 of A-Z a-z 0-9 . _ - and not the word gateway";
    }
    if (!text_equals(handshake->version, "1")) {
        *code = REASON_UNSUPPORTED;
        return "this gateway speaks version 1 of the protocol";
    }
    if (handshake->is_express && !handshake->resumes) {
        *code = REASON_PROTOCOL;
        return "an express connection is one more of a link that it names and proves";
    }
    if (!handshake->resumes && (handshake->epoch == 0 || handshake->first != 1)) {
        *code = REASON_PROTOCOL;
        return "a new link begins with the first of its connections and of its messages";
    }
    return NULL;
}

/* Makes the link known by its name, if it can be resumed. */
static int claim_link(struct member *member, const struct link_identity *identity)
{
    struct member_ref holder;
    if (member->worker->gateway->config->resume_window == 0)
        return 0;
    link_name_text(identity->link, member->link);
    int error =
        registry_claim(&member->worker->gateway->links, member->link, member_ref(member), &holder);
    if (error != 0)
        member->link[0] = '\0';
    return error;
}

static int welcome(struct member *member, const struct tunnel_owner *owner, struct carrier *carrier,
                   const struct message_handshake *handshake)
{
    struct native_tunnel *tunnel = NULL;
    struct link_identity identity;
    int error = link_identity_new(&identity);
    if (error == 0)
        error = native_tunnel_new(owner, member, &member->worker->loop, false, &tunnel);
    if (error != 0)
        return error;
    error = claim_link(member, &identity);
    if (error != 0) {
        tunnel_close(&tunnel->base, REASON_NO_MEMORY, NULL);
        return error;
    }
    member->tunnel = &tunnel->base;
    error = native_tunnel_welcome(tunnel, carrier, handshake, &identity,
                                  member->worker->gateway->config->resume_window);
    explicit_bzero(&identity, sizeof(identity));
    if (error != 0)
        native_tunnel_fail(tunnel, CULVERT_ERROR_PROTOCOL, "its handshake cannot be");
    return 0;
}

const struct dialect dialect_native = {
    .write_response = write_response,
    .begin = begin,
    .end = end,
    .events = &carrier_handlers,
    .object = object,
    .encode = message_encode,
    .welcome = welcome,
};
