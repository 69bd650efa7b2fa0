/* How a link begins, goes on with another carrier, and ends. */
#include "base/error.h"
#include "base/reason.h"
#include "mux/reason_copy.h"
#include "tunnel/native_inner.h"

#include <string.h>

bool native_is_resumable(const struct native_tunnel *tunnel)
{
    bool is_given_up = tunnel->failure != 0 && tunnel->loss != NATIVE_LOSS_CARRIER;
    return tunnel->resume_seconds > 0 && tunnel->base.owner->detached != NULL && !is_given_up &&
           !tunnel->is_over && !tunnel->is_closed;
}

/* Data before a reset may have to wait for the link as long. */
static void set_resume_window(struct native_tunnel *tunnel, unsigned seconds)
{
    tunnel->resume_seconds = seconds;
    loop_be_patient(tunnel->base.loop, seconds);
    mux_set_patience(&tunnel->mux, tunnel->base.loop->reset_patience);
}

bool native_tunnel_can_resume(const struct native_tunnel *tunnel, unsigned *seconds)
{
    *seconds = tunnel->resume_seconds;
    return native_is_resumable(tunnel);
}

void native_tunnel_begin(struct native_tunnel *tunnel, uint32_t peer_window)
{
    tunnel->expects_welcome = false;
    tunnel->is_fresh = true;
    tunnel->silent_since = 0;
    mux_set_peer_window(&tunnel->mux, peer_window);
    tunnel->ping_wanted = true; /* the first measure of the round trip */
    loop_defer(tunnel->base.loop, &tunnel->flush);
}

/* The link goes on with the carrier that it has now; counts what must be sent again. Returns what
 * link_attach does. */
static int attach_link(struct native_tunnel *tunnel, uint64_t epoch, uint64_t first,
                       uint64_t received)
{
    struct link *link = &tunnel->link;
    uint64_t sent = link->next - 1 - link->unsent;
    int error = link_attach(link, epoch, first, received);
    if (error != 0)
        return error;
    if (sent > tunnel->highest_sent)
        tunnel->highest_sent = sent;
    struct native_gap gap = {0};
    uint64_t silent_since = tunnel->is_fresh ? tunnel->last_heard : tunnel->silent_since;
    if (silent_since != 0)
        gap.duration = loop_now(tunnel->base.loop) - silent_since;
    uint64_t number = link_first(link);
    for (; number <= tunnel->highest_sent; number++) {
        const struct link_entry *entry = link_unsent(link, (uint32_t)gap.messages++);
        gap.bytes += entry->head.size + entry->body.size;
    }
    tunnel->gap = gap;
    return 0;
}

/* ---- the agent's side ---- */

static struct message_handshake make_handshake(const struct native_tunnel *tunnel, const char *name,
                                               const char *key, uint64_t epoch)
{
    return (struct message_handshake){
        .version = text_of("1"),
        .name = text_of(name),
        .key = text_of(key),
        .window = MUX_WINDOW,
        .epoch = epoch,
        .first = link_first(&tunnel->link),
    };
}

int native_tunnel_register(struct native_tunnel *tunnel, struct carrier *carrier,
                           const struct native_credentials *credentials)
{
    struct message_handshake handshake =
        make_handshake(tunnel, credentials->name, credentials->key, NATIVE_FIRST_EPOCH);
    if (credentials->boot != NULL)
        memcpy(handshake.boot, credentials->boot, sizeof(handshake.boot));
    if (credentials->place != NULL)
        memcpy(handshake.place, credentials->place, sizeof(handshake.place));
    tunnel->epoch = handshake.epoch;
    return native_tunnel_attach(tunnel, carrier, &handshake);
}

int native_make_proof(const struct native_tunnel *tunnel, const char *name, const char *key,
                      uint64_t epoch, const uint8_t nonce[static CARRIER_NONCE_SIZE],
                      struct message_handshake *handshake)
{
    *handshake = make_handshake(tunnel, name, key, epoch);
    handshake->resumes = true;
    handshake->received = tunnel->link.received;
    memcpy(handshake->link, tunnel->identity.link, sizeof(handshake->link));
    return link_proof_make(tunnel->identity.secret, nonce, epoch, handshake->proof);
}

int native_tunnel_rejoin(struct native_tunnel *tunnel, struct carrier *carrier, const char *name,
                         const char *key, const uint8_t nonce[static CARRIER_NONCE_SIZE])
{
    struct message_handshake handshake;
    if (!native_is_resumable(tunnel))
        return CULVERT_ERROR_CLOSED;
    /* Its Received is true as of the attaching, which closes the old carrier before anything else
     * is read. */
    int error = native_make_proof(tunnel, name, key, tunnel->epoch + 1, nonce, &handshake);
    if (error != 0)
        return error;
    tunnel->epoch = handshake.epoch;
    error = native_tunnel_attach(tunnel, carrier, &handshake);
    if (error != 0)
        native_tunnel_cut(tunnel, error, error_text(error));
    return 0;
}

/* Says no, and whether for good. */
static int take_refusal(struct native_tunnel *tunnel, const struct message_welcome *welcome)
{
    char why[MESSAGE_MAX_REASON + 1];
    (void)text_copy(welcome->message, why, sizeof(why)); /* fits: the decoder checks it */
    bool is_for_now = native_is_resumable(tunnel) && welcome->code != REASON_LINK_LOST;
    native_lose(tunnel, is_for_now ? NATIVE_LOSS_CARRIER : NATIVE_LOSS_PEER, CULVERT_ERROR_REFUSED,
                why);
    tunnel->base.owner->welcomed(&tunnel->base, welcome);
    return CULVERT_ERROR_REFUSED;
}

/* What was acknowledged only now stands in for no message: the peer was told a First before it. */
static int push_skip(struct native_tunnel *tunnel, uint64_t told_first)
{
    uint64_t freed = link_first(&tunnel->link) - told_first;
    struct message message = {.type = MESSAGE_SKIP, .is_known = true, .skip = freed};
    return freed > 0 ? native_push(tunnel, &message) : 0;
}

int native_take_welcome(struct native_tunnel *tunnel, const struct message *message)
{
    if (message->type != MESSAGE_ACK || !message->is_handshake_ack)
        return CULVERT_ERROR_PROTOCOL;
    const struct message_welcome *welcome = &message->welcome;
    if (!welcome->ok)
        return take_refusal(tunnel, welcome);
    bool is_first = tunnel->epoch == NATIVE_FIRST_EPOCH;
    size_t size = sizeof(welcome->link);
    if (welcome->epoch != tunnel->epoch ||
        (!is_first && memcmp(welcome->link, tunnel->identity.link, size) != 0))
        return CULVERT_ERROR_PROTOCOL;
    uint64_t told_first = link_first(&tunnel->link);
    int error = attach_link(tunnel, welcome->epoch, welcome->first, welcome->received);
    if (error == 0)
        error = push_skip(tunnel, told_first);
    if (error != 0)
        return error;
    if (is_first) {
        memcpy(tunnel->identity.link, welcome->link, size);
        memcpy(tunnel->identity.secret, welcome->secret, sizeof(welcome->secret));
    }
    set_resume_window(tunnel, welcome->resume < NATIVE_LONGEST_RESUME ? welcome->resume
                                                                      : NATIVE_LONGEST_RESUME);
    tunnel->express.is_offered = welcome->takes_express;
    native_tunnel_begin(tunnel, welcome->window);
    tunnel->base.owner->welcomed(&tunnel->base, welcome);
    return 0;
}

/* ---- the gateway's side ---- */

struct message native_make_welcome(const struct native_tunnel *tunnel, const uint8_t *secret)
{
    struct message message = {.type = MESSAGE_ACK, .is_handshake_ack = true, .is_known = true};
    struct message_welcome *welcome = &message.welcome;
    welcome->ok = true;
    welcome->epoch = tunnel->link.epoch;
    welcome->first = link_first(&tunnel->link);
    welcome->received = tunnel->link.received;
    welcome->keepalive = TUNNEL_KEEPALIVE;
    welcome->window = MUX_WINDOW;
    welcome->resume = tunnel->resume_seconds;
    welcome->takes_express = tunnel->resume_seconds > 0;
    memcpy(welcome->link, tunnel->identity.link, sizeof(welcome->link));
    if (secret != NULL)
        memcpy(welcome->secret, secret, sizeof(welcome->secret));
    return message;
}

static int push_welcome(struct native_tunnel *tunnel, const uint8_t *secret)
{
    struct message message = native_make_welcome(tunnel, secret);
    return native_push(tunnel, &message);
}

int native_tunnel_welcome(struct native_tunnel *tunnel, struct carrier *carrier,
                          const struct message_handshake *handshake,
                          const struct link_identity *identity, unsigned resume_seconds)
{
    tunnel->identity = *identity;
    set_resume_window(tunnel, resume_seconds);
    native_tunnel_attach(tunnel, carrier, NULL);
    int error = attach_link(tunnel, handshake->epoch, handshake->first, 0);
    if (error == 0)
        error = push_welcome(tunnel, identity->secret);
    if (error == 0)
        native_tunnel_begin(tunnel, handshake->window);
    return error;
}

int native_tunnel_resume(struct native_tunnel *tunnel, struct carrier *carrier,
                         const struct message_handshake *handshake)
{
    if (!native_is_resumable(tunnel))
        return CULVERT_ERROR_REFUSED;
    int error = attach_link(tunnel, handshake->epoch, handshake->first, handshake->received);
    if (error != 0)
        return error;
    /* Closes the old carrier: what is stated as Received below stays true. */
    native_tunnel_attach(tunnel, carrier, NULL);
    error = push_welcome(tunnel, NULL);
    if (error == 0)
        native_tunnel_begin(tunnel, handshake->window);
    else
        native_tunnel_cut(tunnel, error, error_text(error));
    return 0;
}

/* ---- the end ---- */

void native_send_end(struct native_tunnel *tunnel, int code, const char *reason)
{
    struct carrier *carrier = tunnel->carrier;
    /* Not before the handshake, nor instead of its answer. */
    bool has_begun = tunnel->is_fresh || (tunnel->dials && tunnel->batch.bytes == 0);
    if (carrier == NULL || !has_begun)
        return;
    if (!carrier->operations->is_ready(carrier) && !carrier->operations->takes_last)
        return;
    slice_queue_clear(&tunnel->batch);
    struct message message = {.type = MESSAGE_END, .is_known = true};
    message.end.code = code;
    message.end.reason = reason_to_wire(reason);
    /* Without it the peer learns of the end when it comes back. */
    if (native_push(tunnel, &message) != 0)
        return;
    carrier->operations->send(carrier, &tunnel->batch);
    carrier->operations->flush(carrier);
}
