#include "tunnel/hubble_tunnel.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/reason.h"
#include "mux/hubble_mux.h"
#include "tunnel/hubble_inbound.h"

#include <stdio.h>
#include <sys/random.h>

enum {
    SECOND = 1000 * 1000,
    MAX_MESSAGE = CHUNK_LARGE_SIZE, /* that we take; the originals send little more than 1 KiB */
    /* A peer that was silent for so long is gone. It is long, because an original is silent as long
     * as any one of its sessions has a slow reader. */
    PATIENCE = 3 * TUNNEL_KEEPALIVE * SECOND,
};

/* One ping is under way at most, so that a pong is never taken for another's. */
enum mux_ping { MUX_PING_NONE, MUX_PING_WANTED, MUX_PING_SENT };

struct hubble_tunnel {
    struct tunnel base;
    struct hubble_mux mux;
    struct carrier *carrier; /* NULL once it is lost */
    struct hubble_inbound inbound;
    struct slice_queue payload, message;
    struct loop_task flush;
    struct loop_task burial;
    struct loop_timer timer;
    uint64_t timer_due; /* microseconds; UINT64_MAX when it is not running */
    uint64_t last_heard;
    enum mux_ping mux_ping;
    int failure; /* remembered until the flush tells the owner */
    char failure_text[192];
    bool ping_pending;
    bool expects_ack; /* of the handshake; no session before it */
    bool is_paused;   /* the carrier is not read, because the mux holds enough */
    bool is_closed;
};

static const struct tunnel_operations operations;
static const struct carrier_events carrier_handlers;

static struct hubble_tunnel *from_base(struct tunnel *base)
{
    return CONTAINER_OF(base, struct hubble_tunnel, base);
}

static void fail(struct hubble_tunnel *tunnel, int error, const char *why)
{
    if (tunnel->failure != 0 || tunnel->is_closed)
        return;
    tunnel->failure = error;
    snprintf(tunnel->failure_text, sizeof(tunnel->failure_text), "%s",
             why != NULL ? why : error_text(error));
    tunnel->carrier->operations->read(tunnel->carrier, false);
    loop_defer(tunnel->base.loop, &tunnel->flush);
}

/* ---- pings ---- */

static void send_ping(struct hubble_tunnel *tunnel)
{
    tunnel->ping_pending = true;
    tunnel->carrier->operations->ping(tunnel->carrier);
}

static void on_ponged(struct carrier *carrier)
{
    struct hubble_tunnel *tunnel = carrier->holder;
    if (!tunnel->ping_pending || tunnel->failure != 0)
        return;
    tunnel->ping_pending = false;
    if (tunnel->mux_ping == MUX_PING_SENT) {
        tunnel->mux_ping = MUX_PING_NONE;
        hubble_mux_ponged(&tunnel->mux);
    } else if (tunnel->mux_ping == MUX_PING_WANTED) {
        tunnel->mux_ping = MUX_PING_SENT;
        send_ping(tunnel);
    }
    if (tunnel->base.owner->ponged != NULL)
        tunnel->base.owner->ponged(&tunnel->base);
}

static uint64_t next_due(const struct hubble_tunnel *tunnel)
{
    uint64_t due = hubble_mux_deadline(&tunnel->mux);
    if (tunnel->is_paused || tunnel->carrier == NULL)
        return due;
    uint64_t look = tunnel->last_heard +
                    (tunnel->ping_pending ? PATIENCE : (uint64_t)TUNNEL_KEEPALIVE * SECOND);
    return look < due ? look : due;
}

static void arm_timer(struct hubble_tunnel *tunnel)
{
    /* A timer that fires too early only looks again; so it is moved only towards now. */
    uint64_t due = next_due(tunnel);
    if (due >= tunnel->timer_due)
        return;
    uint64_t now = loop_now(tunnel->base.loop);
    tunnel->timer_due = due;
    loop_timer_start(&tunnel->timer, due <= now ? 1 : (due - now) / 1000 + 1);
}

static void timer_fired(struct loop_timer *timer)
{
    struct hubble_tunnel *tunnel = timer->holder;
    uint64_t now = loop_now(tunnel->base.loop);
    tunnel->timer_due = UINT64_MAX;
    if (now >= hubble_mux_deadline(&tunnel->mux))
        hubble_mux_tick(&tunnel->mux, now);
    loop_defer(tunnel->base.loop, &tunnel->flush);
    if (tunnel->carrier == NULL || tunnel->failure != 0)
        return;
    uint64_t silence = now - tunnel->last_heard;
    if (!tunnel->is_paused && silence >= PATIENCE) {
        char why[96];
        snprintf(why, sizeof(why), "the peer was silent for %llu s",
                 (unsigned long long)(silence / SECOND));
        fail(tunnel, CULVERT_ERROR_TIMED_OUT, why);
    } else if (!tunnel->is_paused && !tunnel->ping_pending &&
               silence >= (uint64_t)TUNNEL_KEEPALIVE * SECOND) {
        send_ping(tunnel);
    }
}

/* ---- the mux's owner ---- */

static void mux_peer_opened(struct hubble_mux *mux, struct stream *stream,
                            const struct message_open *open)
{
    struct hubble_tunnel *tunnel = mux->holder;
    tunnel->base.owner->peer_opened(&tunnel->base, stream, open);
}

static void mux_wants_to_send(struct hubble_mux *mux)
{
    struct hubble_tunnel *tunnel = mux->holder;
    loop_defer(tunnel->base.loop, &tunnel->flush);
}

static void mux_wants_to_read(struct hubble_mux *mux, bool on)
{
    struct hubble_tunnel *tunnel = mux->holder;
    tunnel->is_paused = !on;
    tunnel->last_heard = loop_now(tunnel->base.loop);
    if (tunnel->carrier != NULL && tunnel->failure == 0)
        tunnel->carrier->operations->read(tunnel->carrier, on);
    loop_defer(tunnel->base.loop, &tunnel->flush);
}

static void mux_wants_ping(struct hubble_mux *mux)
{
    struct hubble_tunnel *tunnel = mux->holder;
    if (tunnel->ping_pending) {
        tunnel->mux_ping = MUX_PING_WANTED;
        return;
    }
    tunnel->mux_ping = MUX_PING_SENT;
    send_ping(tunnel);
}

static const struct hubble_mux_owner mux_handlers = {
    .peer_opened = mux_peer_opened,
    .wants_to_send = mux_wants_to_send,
    .wants_to_read = mux_wants_to_read,
    .wants_ping = mux_wants_ping,
};

/* ---- the way in ---- */

static int take_handshake_ack(struct hubble_tunnel *tunnel, const struct message *message)
{
    if (message->type != MESSAGE_ACK || !message->is_handshake_ack)
        return CULVERT_ERROR_PROTOCOL;
    const struct message_welcome *welcome = &message->welcome;
    if (!welcome->ok) {
        char why[MESSAGE_MAX_REASON + 1];
        (void)text_copy(welcome->message, why, sizeof(why)); /* fits: the decoder cuts it */
        fail(tunnel, CULVERT_ERROR_REFUSED, why);
    } else {
        tunnel->expects_ack = false;
    }
    tunnel->base.owner->welcomed(&tunnel->base, welcome);
    return 0;
}

static int act(struct hubble_tunnel *tunnel, const struct message *message)
{
    if (tunnel->expects_ack)
        return take_handshake_ack(tunnel, message);
    return hubble_mux_receive(&tunnel->mux, message, &tunnel->payload, loop_now(tunnel->base.loop));
}

static int take_message(struct hubble_tunnel *tunnel)
{
    struct message message;
    int error = hubble_inbound_decode(&tunnel->inbound, &message, &tunnel->payload);
    bool is_refusable = error == CULVERT_ERROR_TOO_LARGE && message.type == MESSAGE_OPEN &&
                        message.guid.size > 0 && !tunnel->expects_ack;
    if (is_refusable) {
        hubble_mux_refuse(&tunnel->mux, message.guid, REASON_LIMIT, "the request is too long");
        error = 0;
    } else if (error == 0) {
        error = act(tunnel, &message);
    }
    slice_queue_clear(&tunnel->payload);
    hubble_inbound_next(&tunnel->inbound);
    return error;
}

static const char *explain(int error)
{
    switch (error) {
    case CULVERT_ERROR_PROTOCOL:
        return "the peer broke the protocol of Hubble 0.1";
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
    struct hubble_tunnel *tunnel = carrier->holder;
    if (tunnel->failure != 0) {
        slice_drop(&piece);
        return;
    }
    int error = hubble_inbound_take(&tunnel->inbound, piece);
    if (error != 0)
        fail(tunnel, error, explain(error));
}

static void on_message_end(struct carrier *carrier)
{
    struct hubble_tunnel *tunnel = carrier->holder;
    if (tunnel->failure != 0)
        return;
    int error = take_message(tunnel);
    if (error != 0)
        fail(tunnel, error, explain(error));
}

static void on_read_end(struct carrier *carrier)
{
    struct hubble_tunnel *tunnel = carrier->holder;
    tunnel->last_heard = loop_now(tunnel->base.loop);
    hubble_inbound_rest(&tunnel->inbound);
    /* What came may wait for something, and have nothing to be sent. */
    if (tunnel->failure == 0 && !tunnel->is_closed)
        arm_timer(tunnel);
}

static void on_ready(struct carrier *carrier)
{
    struct hubble_tunnel *tunnel = carrier->holder;
    loop_defer(tunnel->base.loop, &tunnel->flush);
}

static void on_lost(struct carrier *carrier, int error, const char *why)
{
    fail(carrier->holder, error, why);
}

static const struct carrier_events carrier_handlers = {
    .data = on_data,
    .message_end = on_message_end,
    .read_end = on_read_end,
    .ready = on_ready,
    .ponged = on_ponged,
    .lost = on_lost,
};

/* ---- the way out ---- */

/* Gives the carrier what it should write at once. Returns how many bytes. */
static size_t send_some(struct hubble_tunnel *tunnel)
{
    struct carrier *carrier = tunnel->carrier;
    size_t limit = carrier->operations->batch_limit(carrier);
    size_t sent = 0;
    while (sent < limit && tunnel->failure == 0) {
        int result = hubble_mux_pull(&tunnel->mux, &tunnel->message, loop_now(tunnel->base.loop));
        if (result < 0)
            fail(tunnel, result, explain(result));
        if (result <= 0)
            break;
        sent += tunnel->message.bytes;
        carrier->operations->send(carrier, &tunnel->message);
    }
    return sent;
}

static void tell_lost(struct hubble_tunnel *tunnel)
{
    carrier_close(tunnel->carrier, CULVERT_ERROR_CLOSED, NULL);
    tunnel->carrier = NULL;
    tunnel->base.owner->lost(&tunnel->base, tunnel->failure, tunnel->failure_text);
}

/* Frees a closed tunnel, unless its streams still deliver what came before. */
static void close_when_empty(struct hubble_tunnel *tunnel)
{
    if (!hubble_mux_is_empty(&tunnel->mux)) {
        arm_timer(tunnel);
        return;
    }
    hubble_mux_deinit(&tunnel->mux);
    loop_task_cancel(&tunnel->flush);
    loop_timer_close(&tunnel->timer, &tunnel->burial);
}

static void flush(struct loop_task *task)
{
    struct hubble_tunnel *tunnel = CONTAINER_OF(task, struct hubble_tunnel, flush);
    if (tunnel->is_closed) {
        hubble_mux_turn_ends(&tunnel->mux, loop_now(tunnel->base.loop));
        close_when_empty(tunnel);
    }
    if (tunnel->is_closed || tunnel->carrier == NULL)
        return;
    struct carrier *carrier = tunnel->carrier;
    while (tunnel->failure == 0 && !tunnel->expects_ack && carrier->operations->is_ready(carrier) &&
           send_some(tunnel) > 0)
        carrier->operations->flush(carrier);
    hubble_mux_turn_ends(&tunnel->mux, loop_now(tunnel->base.loop));
    if (tunnel->is_closed)
        return;
    if (tunnel->failure != 0)
        tell_lost(tunnel);
    else
        arm_timer(tunnel);
}

/* ---- life ---- */

static void bury(struct loop_task *task)
{
    memory_free(CONTAINER_OF(task, struct hubble_tunnel, burial));
}

static int create(const struct tunnel_owner *owner, void *holder, struct loop *loop,
                  enum hubble_role role, struct hubble_tunnel **out)
{
    uint64_t seed[2];
    if (getrandom(seed, sizeof(seed), 0) != (ssize_t)sizeof(seed))
        return CULVERT_ERROR_NO_MEMORY;
    struct hubble_tunnel *tunnel = memory_allocate_zero(sizeof(*tunnel));
    if (tunnel == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    tunnel->base =
        (struct tunnel){.operations = &operations, .owner = owner, .holder = holder, .loop = loop};
    tunnel->flush.run = flush;
    tunnel->burial.run = bury;
    tunnel->timer_due = UINT64_MAX;
    tunnel->last_heard = loop_now(loop);
    int error = hubble_mux_init(&tunnel->mux, &mux_handlers, tunnel, role, seed, &loop->pool,
                                loop->account);
    if (error != 0) {
        memory_free(tunnel);
        return error;
    }
    error = loop_timer_init(loop, &tunnel->timer, timer_fired, tunnel);
    if (error != 0) {
        hubble_mux_deinit(&tunnel->mux);
        memory_free(tunnel);
        return error;
    }
    hubble_mux_set_patience(&tunnel->mux, loop->reset_patience);
    hubble_inbound_init(&tunnel->inbound, &loop->pool, MAX_MESSAGE);
    *out = tunnel;
    return 0;
}

/* Takes the carrier, and sends the first message on it. */
static void begin(struct hubble_tunnel *tunnel, struct carrier *carrier,
                  const struct message *message)
{
    uint8_t bytes[HUBBLE_MAX_ENCODED];
    struct slice slice = SLICE_NULL;
    tunnel->carrier = carrier;
    carrier->events = &carrier_handlers;
    carrier->holder = tunnel;
    int size = hubble_encode(message, bytes, sizeof(bytes));
    int error = size < 0 ? size : slice_copy(&tunnel->base.loop->pool, bytes, (size_t)size, &slice);
    if (error == 0)
        error = slice_queue_push(&tunnel->message, slice);
    if (error == 0) {
        carrier->operations->send(carrier, &tunnel->message);
        carrier->operations->flush(carrier);
        carrier->operations->read(carrier, true); /* a login may have paused it */
    } else {
        fail(tunnel, error, error_text(error));
    }
    loop_defer(tunnel->base.loop, &tunnel->flush);
}

int hubble_tunnel_welcome(const struct tunnel_owner *owner, void *holder, struct loop *loop,
                          struct carrier *carrier, struct tunnel **out)
{
    struct hubble_tunnel *tunnel = NULL;
    int error = create(owner, holder, loop, HUBBLE_GATEWAY, &tunnel);
    if (error != 0)
        return error;
    struct message message = {.type = MESSAGE_ACK, .is_handshake_ack = true, .is_known = true};
    message.welcome.ok = true;
    begin(tunnel, carrier, &message);
    *out = &tunnel->base;
    return 0;
}

int hubble_tunnel_register(const struct tunnel_owner *owner, void *holder, struct loop *loop,
                           struct carrier *carrier, const char *name, const char *key,
                           struct tunnel **out)
{
    struct hubble_tunnel *tunnel = NULL;
    int error = create(owner, holder, loop, HUBBLE_AGENT, &tunnel);
    if (error != 0)
        return error;
    tunnel->expects_ack = true;
    struct message message = {.type = MESSAGE_HANDSHAKE, .is_known = true};
    message.handshake.version = text_of(HUBBLE_VERSION);
    message.handshake.name = text_of(name);
    message.handshake.key = text_of(key);
    begin(tunnel, carrier, &message);
    *out = &tunnel->base;
    return 0;
}

/* ---- as any tunnel ---- */

static int open_stream(struct tunnel *base, const struct message_open *open, struct stream **stream)
{
    struct hubble_tunnel *tunnel = from_base(base);
    return hubble_mux_open(&tunnel->mux, open, loop_now(base->loop), stream);
}

static void ping(struct tunnel *base)
{
    struct hubble_tunnel *tunnel = from_base(base);
    if (tunnel->carrier != NULL && !tunnel->ping_pending)
        send_ping(tunnel);
}

/* 0.1 has no word for it. */
static void announce_stop(struct tunnel *base, const char *reason, unsigned seconds)
{
    (void)base;
    (void)reason;
    (void)seconds;
}

static bool is_drained(const struct tunnel *base)
{
    const struct hubble_tunnel *tunnel = CONTAINER_OF(base, const struct hubble_tunnel, base);
    if (tunnel->carrier == NULL || tunnel->failure != 0)
        return true;
    return hubble_mux_is_drained(&tunnel->mux) &&
           tunnel->carrier->operations->is_ready(tunnel->carrier);
}

static void measure(const struct tunnel *base, uint64_t now, struct tunnel_holding *holding)
{
    const struct hubble_tunnel *tunnel = CONTAINER_OF(base, const struct hubble_tunnel, base);
    (void)now;
    holding->bytes = tunnel->mux.sessions.count * MUX_RECORD_COST + tunnel->mux.queued +
                     tunnel->inbound.whole.size;
    holding->is_connected = tunnel->carrier != NULL;
}

static size_t largest(struct tunnel *base)
{
    struct hubble_stream *stream = NULL;
    return hubble_mux_largest(&from_base(base)->mux, &stream);
}

static void end_largest(struct tunnel *base, int code, const char *reason)
{
    struct hubble_stream *stream = NULL;
    if (hubble_mux_largest(&from_base(base)->mux, &stream) > 0)
        hubble_stream_fail(stream, code, reason);
}

static void close_tunnel(struct tunnel *base, int code, const char *reason)
{
    struct hubble_tunnel *tunnel = from_base(base);
    if (tunnel->is_closed)
        return;
    tunnel->is_closed = true;
    hubble_mux_abort(&tunnel->mux, code, reason, loop_now(base->loop));
    /* The originals close without a frame that says so, and expect none. */
    if (tunnel->carrier != NULL)
        carrier_close(tunnel->carrier, CULVERT_ERROR_CLOSED, NULL);
    tunnel->carrier = NULL;
    hubble_inbound_deinit(&tunnel->inbound);
    slice_queue_deinit(&tunnel->payload);
    slice_queue_deinit(&tunnel->message);
    close_when_empty(tunnel);
}

static const struct tunnel_operations operations = {
    .dialect = "hubble 0.1",
    .open = open_stream,
    .ping = ping,
    .announce_stop = announce_stop,
    .is_drained = is_drained,
    .measure = measure,
    .largest = largest,
    .end_largest = end_largest,
    .close = close_tunnel,
};
