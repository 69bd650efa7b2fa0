#include "tunnel/native_inner.h"

#include "base/error.h"
#include "base/memory.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

/* Microseconds without an acknowledgement: what is kept then counts as held, and later as more than
 * a moment's delay, for which the link may be ended. */
enum { LINK_QUIET = 500 * 1000, LINK_STUCK = 2 * 1000 * 1000 };

static const struct tunnel_operations operations;

static struct native_tunnel *from_base(struct tunnel *base)
{
    return CONTAINER_OF(base, struct native_tunnel, base);
}

static void mux_wants_to_send(struct mux *mux)
{
    struct native_tunnel *tunnel = mux->holder;
    loop_defer(tunnel->base.loop, &tunnel->flush);
}

static void mux_peer_opened(struct mux *mux, struct mux_stream *stream,
                            const struct message_open *open)
{
    struct native_tunnel *tunnel = mux->holder;
    tunnel->base.owner->peer_opened(&tunnel->base, &stream->stream, open);
}

static const struct mux_owner mux_handlers = {
    .peer_opened = mux_peer_opened,
    .wants_to_send = mux_wants_to_send,
};

static void bury(struct loop_task *task)
{
    memory_free(CONTAINER_OF(task, struct native_tunnel, burial));
}

int native_tunnel_new(const struct tunnel_owner *owner, void *holder, struct loop *loop, bool dials,
                      struct native_tunnel **out)
{
    uint64_t seed = 0;
    if (getrandom(&seed, sizeof(seed), 0) != (ssize_t)sizeof(seed))
        return CULVERT_ERROR_NO_MEMORY;
    struct native_tunnel *tunnel = memory_allocate_zero(sizeof(*tunnel));
    if (tunnel == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    tunnel->base =
        (struct tunnel){.operations = &operations, .owner = owner, .holder = holder, .loop = loop};
    tunnel->dials = dials;
    tunnel->timer_due = UINT64_MAX;
    tunnel->flush.run = native_flush;
    tunnel->burial.run = bury;
    int error =
        mux_init(&tunnel->mux, &mux_handlers, tunnel, dials, seed, &loop->pool, loop->account);
    if (error != 0) {
        memory_free(tunnel);
        return error;
    }
    error = loop_timer_init(loop, &tunnel->timer, native_timer_fired, tunnel);
    if (error != 0) {
        mux_deinit(&tunnel->mux);
        memory_free(tunnel);
        return error;
    }
    mux_set_patience(&tunnel->mux, loop->reset_patience);
    link_init(&tunnel->link, &loop->pool, loop->account);
    slice_arena_init(&tunnel->arena, &loop->pool);
    inbound_init(&tunnel->inbound, &loop->pool, native_take_message);
    inbound_init(&tunnel->express.inbound, &loop->pool, native_express_take_message);
    *out = tunnel;
    return 0;
}

void native_detach(struct native_tunnel *tunnel, int error, const char *reason)
{
    if (tunnel->carrier == NULL)
        return;
    if (tunnel->is_fresh)
        tunnel->silent_since = tunnel->last_heard;
    native_express_close(tunnel, error, reason);
    carrier_close(tunnel->carrier, error, reason);
    tunnel->carrier = NULL;
    tunnel->is_fresh = false;
    tunnel->expects_welcome = false;
    inbound_deinit(&tunnel->inbound);
    slice_queue_clear(&tunnel->batch);
}

int native_tunnel_attach(struct native_tunnel *tunnel, struct carrier *carrier,
                         const struct message_handshake *handshake)
{
    native_detach(tunnel, 0, "replaced by a newer connection");
    carrier->events = &native_carrier_events;
    carrier->holder = tunnel;
    tunnel->carrier = carrier;
    tunnel->failure = 0;
    tunnel->pong_due = false;
    tunnel->ping_pending = 0;
    tunnel->blocked_since = 0;
    tunnel->ping_wanted = false;
    /* The way may be another one now. */
    memset(tunnel->round_trips, 0, sizeof(tunnel->round_trips));
    tunnel->attached_at = loop_now(tunnel->base.loop);
    tunnel->last_heard = tunnel->attached_at;
    tunnel->last_taken = tunnel->attached_at;
    tunnel->last_ping = tunnel->attached_at;
    tunnel->expects_welcome = handshake != NULL;
    /* Whoever took the handshake had stopped the reading until the name was settled. */
    carrier->operations->read(carrier, true);
    native_arm_timer(tunnel);
    if (handshake == NULL)
        return 0;
    struct message message = {.type = MESSAGE_HANDSHAKE, .is_known = true, .handshake = *handshake};
    return native_push(tunnel, &message);
}

int native_encode(struct native_tunnel *tunnel, const struct message *message, struct slice *out)
{
    uint8_t encoded[MESSAGE_MAX_CONTROL];
    int size = message_encode(message, encoded, sizeof(encoded));
    if (size < 0)
        return size;
    uint8_t *room = slice_arena_reserve(&tunnel->arena, (size_t)size);
    if (room == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    memcpy(room, encoded, (size_t)size);
    *out = slice_arena_commit(&tunnel->arena, (size_t)size);
    return 0;
}

int native_push(struct native_tunnel *tunnel, const struct message *message)
{
    struct slice slice;
    int error = native_encode(tunnel, message, &slice);
    if (error == 0)
        error = slice_queue_push(&tunnel->batch, slice);
    loop_defer(tunnel->base.loop, &tunnel->flush);
    return error;
}

int native_tunnel_send(struct native_tunnel *tunnel, const struct message *message)
{
    if (!message_type_is_counted((uint8_t)message->type))
        return tunnel->carrier != NULL ? native_push(tunnel, message) : 0;
    struct slice slice;
    int error = native_encode(tunnel, message, &slice);
    if (error == 0)
        error = link_append(&tunnel->link, NULL, 0, slice, true, loop_now(tunnel->base.loop));
    loop_defer(tunnel->base.loop, &tunnel->flush);
    return error;
}

void native_lose(struct native_tunnel *tunnel, enum native_loss loss, int error, const char *why)
{
    bool is_worse = tunnel->failure == 0 ||
                    (tunnel->loss == NATIVE_LOSS_CARRIER && loss != NATIVE_LOSS_CARRIER);
    if (!is_worse || tunnel->is_over || tunnel->is_closed)
        return;
    tunnel->failure = error;
    tunnel->loss = loss;
    snprintf(tunnel->failure_text, sizeof(tunnel->failure_text), "%s",
             why != NULL ? why : error_text(error));
    if (tunnel->carrier != NULL)
        tunnel->carrier->operations->read(tunnel->carrier, false);
    loop_defer(tunnel->base.loop, &tunnel->flush);
}

void native_tunnel_cut(struct native_tunnel *tunnel, int error, const char *why)
{
    if (tunnel->carrier != NULL)
        native_lose(tunnel, NATIVE_LOSS_CARRIER, error, why);
}

void native_tunnel_fail(struct native_tunnel *tunnel, int error, const char *why)
{
    native_lose(tunnel, NATIVE_LOSS_LINK, error, why);
}

/* ---- as any tunnel ---- */

static int open_stream(struct tunnel *base, const struct message_open *open, struct stream **stream)
{
    struct native_tunnel *tunnel = from_base(base);
    struct message_open sent = *open;
    /* A connection's key is for the gateway's policy alone, never for an agent. */
    if (!tunnel->dials)
        sent.key = TEXT_NULL;
    struct mux_stream *made = NULL;
    int error = mux_open(&tunnel->mux, &sent, &made);
    if (error == 0)
        *stream = mux_stream_base(made);
    return error;
}

static void announce_stop(struct tunnel *base, const char *reason, unsigned seconds)
{
    struct message message = {.type = MESSAGE_GOAWAY, .is_known = true, .is_counted = true};
    message.goaway.reason = text_of(reason);
    message.goaway.seconds = seconds;
    /* A courtesy: the close tells as much. */
    (void)native_tunnel_send(from_base(base), &message);
}

static bool is_drained(const struct tunnel *base)
{
    const struct native_tunnel *tunnel = CONTAINER_OF(base, const struct native_tunnel, base);
    bool is_cut = tunnel->carrier == NULL || tunnel->failure != 0;
    /* Nobody comes back to a gateway that stops, but an agent that stops goes on trying. */
    if (is_cut && !(tunnel->dials && native_is_resumable(tunnel)))
        return true;
    return tunnel->link.count == 0 && mux_is_drained(&tunnel->mux);
}

/* Microseconds for which the peer has acknowledged nothing of what is kept. */
static uint64_t silence_of(const struct native_tunnel *tunnel, uint64_t now)
{
    uint64_t since = tunnel->link.quiet_since;
    if (tunnel->link.count == 0)
        return 0;
    if (since < tunnel->attached_at)
        since = tunnel->attached_at;
    return now > since ? now - since : 0;
}

/* What was sent is acknowledged all the time. If that does not come, for want of a carrier or of
 * good will, the link itself may hold more than any stream. */
static size_t held_by_link(const struct native_tunnel *tunnel, uint64_t now, uint64_t patience)
{
    bool is_stuck = tunnel->carrier == NULL || silence_of(tunnel, now) >= patience;
    return is_stuck ? tunnel->link.kept : 0;
}

static void measure(const struct tunnel *base, uint64_t now, struct tunnel_holding *holding)
{
    const struct native_tunnel *tunnel = CONTAINER_OF(base, const struct native_tunnel, base);
    if (tunnel->is_over)
        return;
    holding->bytes = tunnel->mux.streams.count * MUX_RECORD_COST + tunnel->mux.queued +
                     tunnel->mux.early + tunnel->inbound.payload.bytes +
                     held_by_link(tunnel, now, LINK_QUIET);
    holding->unacknowledged = tunnel->link.kept;
    holding->is_connected = tunnel->carrier != NULL;
    holding->silence = silence_of(tunnel, now);
}

static size_t largest(struct tunnel *base)
{
    struct native_tunnel *tunnel = from_base(base);
    size_t bytes = 0;
    (void)mux_largest(&tunnel->mux, &bytes);
    size_t by_link = held_by_link(tunnel, loop_now(base->loop), LINK_STUCK);
    if (tunnel->is_over && !tunnel->is_closed)
        return 0;
    return by_link > bytes ? by_link : bytes;
}

static void end_largest(struct tunnel *base, int code, const char *reason)
{
    struct native_tunnel *tunnel = from_base(base);
    size_t bytes = 0;
    struct mux_stream *stream = mux_largest(&tunnel->mux, &bytes);
    if (held_by_link(tunnel, loop_now(base->loop), LINK_STUCK) > bytes)
        native_tunnel_fail(tunnel, CULVERT_ERROR_NO_MEMORY, reason);
    else if (stream != NULL)
        mux_stream_fail(stream, code, reason);
    loop_defer(base->loop, &tunnel->flush); /* a closed tunnel may be empty now */
}

void native_close_when_empty(struct native_tunnel *tunnel)
{
    if (!mux_is_empty(&tunnel->mux)) {
        native_arm_timer(tunnel);
        return;
    }
    loop_task_cancel(&tunnel->flush);
    mux_deinit(&tunnel->mux);
    loop_timer_close(&tunnel->timer, &tunnel->burial);
}

static void close_tunnel(struct tunnel *base, int code, const char *reason)
{
    struct native_tunnel *tunnel = from_base(base);
    if (tunnel->is_closed)
        return;
    tunnel->is_closed = true;
    loop_task_cancel(&tunnel->flush);
    mux_abort(&tunnel->mux, code, reason, loop_now(base->loop));
    if (tunnel->failure == 0)
        native_send_end(tunnel, code, reason);
    native_detach(tunnel, tunnel->failure, reason);
    link_deinit(&tunnel->link);
    inbound_deinit(&tunnel->inbound);
    inbound_deinit(&tunnel->express.inbound);
    slice_queue_deinit(&tunnel->batch);
    slice_queue_deinit(&tunnel->express.batch);
    slice_arena_deinit(&tunnel->arena);
    explicit_bzero(&tunnel->identity, sizeof(tunnel->identity));
    native_close_when_empty(tunnel);
}

static const struct tunnel_operations operations = {
    .dialect = "culvert.1",
    .open = open_stream,
    .ping = native_ping,
    .hears_stop = true,
    .announce_stop = announce_stop,
    .is_drained = is_drained,
    .measure = measure,
    .largest = largest,
    .end_largest = end_largest,
    .close = close_tunnel,
};
