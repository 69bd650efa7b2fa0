/* The express carrier: how small messages overtake what fills the first one. */
#include "base/error.h"
#include "tunnel/native_inner.h"

enum {
    SECOND = 1000 * 1000,
    MAX_BATCH = 16 * 1024, /* bytes at a time: all of them are small */
    CROWD = 32 * 1024,     /* bytes under way on the first carrier that are worth overtaking */
};

/* ---- its life ---- */

void native_express_close(struct native_tunnel *tunnel, int error, const char *reason)
{
    struct native_express *express = &tunnel->express;
    if (express->carrier == NULL)
        return;
    carrier_close(express->carrier, error, reason);
    express->carrier = NULL;
    express->is_up = false;
    express->early.number = 0;
    inbound_deinit(&express->inbound);
    slice_queue_clear(&express->batch);
}

static void tell(struct native_tunnel *tunnel, enum tunnel_express what, const char *why)
{
    if (tunnel->base.owner->express != NULL)
        tunnel->base.owner->express(&tunnel->base, what, why);
}

static void give_up(struct native_tunnel *tunnel, int error, const char *why)
{
    native_express_close(tunnel, error, why);
    tell(tunnel, TUNNEL_EXPRESS_OVER, why);
}

void native_express_want(struct native_tunnel *tunnel)
{
    struct native_express *express = &tunnel->express;
    uint64_t now = loop_now(tunnel->base.loop);
    bool is_soon =
        express->asked != 0 && now - express->asked < (uint64_t)NATIVE_EXPRESS_PAUSE * SECOND;
    if (express->carrier != NULL || is_soon || tunnel->resume_seconds == 0)
        return;
    express->asked = now;
    if (!tunnel->dials) {
        struct message message = {.type = MESSAGE_EXPRESS, .express = tunnel->link.epoch};
        /* Without memory for it, it is asked for later. */
        (void)native_push(tunnel, &message);
    } else if (express->is_offered) {
        tell(tunnel, TUNNEL_EXPRESS_WANTED, NULL);
    }
}

void native_express_look(struct native_tunnel *tunnel)
{
    struct native_express *express = &tunnel->express;
    unsigned seconds = express->is_up ? NATIVE_EXPRESS_IDLE : NATIVE_WELCOME_PATIENCE;
    bool is_idle = loop_now(tunnel->base.loop) - express->used >= (uint64_t)seconds * SECOND;
    if (express->carrier != NULL && tunnel->dials && is_idle)
        give_up(tunnel, 0, express->is_up ? "it is not needed" : "the gateway did not answer");
}

/* Whether it can be used now. One whose peer's system does not answer is given up. */
static bool is_usable(struct native_tunnel *tunnel)
{
    struct native_express *express = &tunnel->express;
    struct carrier *carrier = express->carrier;
    if (carrier == NULL || !express->is_up)
        return false;
    uint64_t now = loop_now(tunnel->base.loop);
    if (carrier->operations->unacknowledged != NULL && now - express->looked > SECOND) {
        express->looked = now;
        if (carrier->operations->unacknowledged(carrier) > (uint64_t)TUNNEL_PATIENCE * SECOND) {
            give_up(tunnel, CULVERT_ERROR_TIMED_OUT, "the peer does not acknowledge");
            return false;
        }
    }
    return carrier->operations->is_ready(carrier);
}

/* ---- the way out ---- */

static int push(struct native_tunnel *tunnel, const struct message *message)
{
    struct slice slice;
    int error = native_encode(tunnel, message, &slice);
    return error != 0 ? error : slice_queue_push(&tunnel->express.batch, slice);
}

static void send_batch(struct native_tunnel *tunnel)
{
    struct native_express *express = &tunnel->express;
    struct carrier *carrier = express->carrier;
    if (carrier == NULL || express->batch.bytes == 0 || !carrier->operations->is_ready(carrier))
        return;
    express->used = loop_now(tunnel->base.loop);
    carrier->operations->send(carrier, &express->batch);
    if (express->carrier == carrier) /* it may be lost now */
        carrier->operations->flush(carrier);
}

/* Behind what is told of it goes the link's last message. */
static int push_early(struct native_tunnel *tunnel, const struct message_early *early)
{
    struct slice_queue *batch = &tunnel->express.batch;
    const struct link_entry *entry = link_unsent(&tunnel->link, tunnel->link.unsent - 1);
    struct message message = {.type = MESSAGE_EARLY, .early = *early};
    int error = push(tunnel, &message);
    if (error == 0)
        error = slice_queue_push(batch, slice_ref(&entry->head));
    if (error == 0)
        error = slice_queue_push(batch, slice_ref(&entry->body));
    return error;
}

/* Whether what goes on the first carrier now would come noticeably late: much is under way there,
 * or waits, or is to be sent again. */
static bool is_crowded(const struct native_tunnel *tunnel)
{
    const struct carrier_operations *operations = tunnel->carrier->operations;
    return tunnel->link.kept >= CROWD && operations->is_long != NULL &&
           operations->is_long(tunnel->carrier, native_round_trip(tunnel));
}

int native_express_flush(struct native_tunnel *tunnel)
{
    if (!tunnel->is_fresh || tunnel->failure != 0 || !is_crowded(tunnel))
        return 0;
    if (!is_usable(tunnel)) {
        if (mux_has_small(&tunnel->mux))
            native_express_want(tunnel);
        return 0;
    }
    struct message_early early;
    int result = 1;
    while (tunnel->express.batch.bytes < MAX_BATCH &&
           (result = native_pull(tunnel, MUX_MAY_SMALL, &early)) == 1) {
        if (early.number == 0)
            continue;
        int error = push_early(tunnel, &early);
        if (error == 0)
            continue;
        give_up(tunnel, error, error_text(error));
        return 0;
    }
    send_batch(tunnel);
    return result < 0 ? result : 0;
}

/* ---- the way in ---- */

static int take_answer(struct native_tunnel *tunnel, const struct message *message)
{
    if (message->type != MESSAGE_ACK || !message->is_handshake_ack)
        return CULVERT_ERROR_PROTOCOL;
    if (!message->welcome.ok)
        return CULVERT_ERROR_REFUSED;
    tunnel->express.is_up = true;
    tell(tunnel, TUNNEL_EXPRESS_UP, NULL);
    return 0;
}

int native_express_take_message(struct inbound *inbound, const struct message *message,
                                struct slice_queue *payload, size_t size)
{
    struct native_tunnel *tunnel = CONTAINER_OF(inbound, struct native_tunnel, express.inbound);
    struct native_express *express = &tunnel->express;
    uint64_t now = loop_now(tunnel->base.loop);
    (void)size;
    express->used = now;
    if (!express->is_up)
        return take_answer(tunnel, message);
    if (express->early.number == 0) {
        if (message->type != MESSAGE_EARLY)
            return message->is_known ? CULVERT_ERROR_PROTOCOL : 0;
        express->early = message->early;
        return 0;
    }
    const struct message_early early = express->early;
    express->early.number = 0;
    if (message->type != MESSAGE_DATA)
        return CULVERT_ERROR_PROTOCOL;
    if (!mux_takes_data(&tunnel->mux, message->sid))
        return 0;
    int is_new = link_take_early(&tunnel->link, early.number, early.before);
    return is_new == 1 ? mux_receive(&tunnel->mux, message, payload, now) : is_new;
}

static void on_data(struct carrier *carrier, struct slice piece)
{
    struct native_tunnel *tunnel = carrier->holder;
    if (tunnel->failure != 0) {
        slice_drop(&piece);
        return;
    }
    int error = inbound_take(&tunnel->express.inbound, piece);
    if (error == CULVERT_ERROR_REFUSED)
        give_up(tunnel, error, "the gateway refused it");
    else if (error != 0 && tunnel->failure == 0)
        native_tunnel_fail(tunnel, error, native_explain(error));
}

static void on_message_end(struct carrier *carrier)
{
    struct native_tunnel *tunnel = carrier->holder;
    const struct native_express *express = &tunnel->express;
    bool is_whole = inbound_is_whole(&express->inbound) && express->early.number == 0;
    if (tunnel->failure == 0 && !is_whole)
        native_tunnel_fail(tunnel, CULVERT_ERROR_PROTOCOL, "the peer sent half a message");
}

static void on_read_end(struct carrier *carrier)
{
    (void)carrier;
}

static void on_ready(struct carrier *carrier)
{
    send_batch(carrier->holder);
}

static void on_lost(struct carrier *carrier, int error, const char *why)
{
    give_up(carrier->holder, error, why);
}

static const struct carrier_events events = {
    .data = on_data,
    .message_end = on_message_end,
    .read_end = on_read_end,
    .ready = on_ready,
    .lost = on_lost,
};

/* ---- its beginning ---- */

/* Takes the carrier, on which this message is the first. */
static int attach(struct native_tunnel *tunnel, struct carrier *carrier,
                  const struct message *message)
{
    struct native_express *express = &tunnel->express;
    uint64_t now = loop_now(tunnel->base.loop);
    int error = push(tunnel, message);
    if (error != 0)
        return error;
    carrier->events = &events;
    carrier->holder = tunnel;
    express->carrier = carrier;
    express->looked = now;
    express->used = now;
    carrier->operations->read(carrier, true);
    send_batch(tunnel);
    return 0;
}

int native_tunnel_add_express(struct native_tunnel *tunnel, struct carrier *carrier,
                              const char *name, const char *key,
                              const uint8_t nonce[static CARRIER_NONCE_SIZE])
{
    struct message message = {.type = MESSAGE_HANDSHAKE};
    if (!tunnel->is_fresh || !native_is_resumable(tunnel) || tunnel->express.carrier != NULL)
        return CULVERT_ERROR_CLOSED;
    int error = native_make_proof(tunnel, name, key, tunnel->link.epoch, nonce, &message.handshake);
    if (error != 0)
        return error;
    message.handshake.is_express = true;
    return attach(tunnel, carrier, &message);
}

int native_tunnel_take_express(struct native_tunnel *tunnel, struct carrier *carrier,
                               const struct message_handshake *handshake)
{
    if (!tunnel->is_fresh || !native_is_resumable(tunnel) || handshake->epoch != tunnel->link.epoch)
        return CULVERT_ERROR_REFUSED;
    native_express_close(tunnel, 0, "replaced by a newer connection");
    struct message message = native_make_welcome(tunnel, NULL);
    int error = attach(tunnel, carrier, &message);
    if (error == 0)
        tunnel->express.is_up = tunnel->express.carrier != NULL;
    return error;
}
