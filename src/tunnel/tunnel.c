#include "tunnel/tunnel_inner.h"

#include "base/error.h"
#include "base/memory.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

static void mux_wants_to_send(struct mux *mux)
{
    struct tunnel *tunnel = mux->holder;
    loop_defer(tunnel->loop, &tunnel->flush);
}

static void mux_peer_opened(struct mux *mux, struct mux_stream *stream,
                            const struct message_open *open)
{
    struct tunnel *tunnel = mux->holder;
    tunnel->owner->peer_opened(tunnel, stream, open);
}

static const struct mux_owner mux_handlers = {
    .peer_opened = mux_peer_opened,
    .wants_to_send = mux_wants_to_send,
};

int tunnel_init(struct tunnel *tunnel, const struct tunnel_owner *owner, void *holder,
                struct loop *loop, bool dials)
{
    uint64_t seed = 0;
    if (getrandom(&seed, sizeof(seed), 0) != (ssize_t)sizeof(seed))
        return CULVERT_ERROR_NO_MEMORY;
    memset(tunnel, 0, sizeof(*tunnel));
    tunnel->owner = owner;
    tunnel->holder = holder;
    tunnel->loop = loop;
    tunnel->dials = dials;
    tunnel->timer_due = UINT64_MAX;
    tunnel->flush.run = tunnel_flush;
    int error =
        mux_init(&tunnel->mux, &mux_handlers, tunnel, dials, seed, &loop->pool, loop->account);
    if (error != 0)
        return error;
    error = loop_timer_init(loop, &tunnel->timer, tunnel_timer_fired, tunnel);
    if (error != 0) {
        mux_deinit(&tunnel->mux);
        return error;
    }
    link_init(&tunnel->link, &loop->pool, loop->account);
    slice_arena_init(&tunnel->arena, &loop->pool);
    inbound_init(&tunnel->inbound, tunnel_take_message);
    return 0;
}

static void detach(struct tunnel *tunnel, int error, const char *reason)
{
    if (tunnel->carrier == NULL)
        return;
    carrier_close(tunnel->carrier, error, reason);
    tunnel->carrier = NULL;
    tunnel->is_fresh = false;
    inbound_deinit(&tunnel->inbound);
    slice_queue_clear(&tunnel->batch);
}

int tunnel_attach(struct tunnel *tunnel, struct carrier *carrier,
                  const struct message_handshake *handshake)
{
    detach(tunnel, 0, "replaced by a newer connection");
    carrier->events = &tunnel_carrier_events;
    carrier->holder = tunnel;
    tunnel->carrier = carrier;
    carrier->operations->read(carrier, true); /* a login may have paused it */
    tunnel->failure = 0;
    tunnel->pong_due = false;
    tunnel->ping_pending = 0;
    tunnel->blocked_since = 0;
    tunnel->ping_wanted = false;
    tunnel->last_heard = loop_now(tunnel->loop);
    tunnel->last_ping = tunnel->last_heard;
    tunnel->expects_welcome = handshake != NULL;
    /* Whoever took the handshake had stopped the reading until the name was settled. */
    carrier->operations->read(carrier, true);
    tunnel_arm_timer(tunnel);
    if (handshake == NULL)
        return 0;
    struct message message = {.type = MESSAGE_HANDSHAKE, .is_known = true, .handshake = *handshake};
    return tunnel_send(tunnel, &message);
}

void tunnel_begin(struct tunnel *tunnel, uint32_t peer_window)
{
    tunnel->expects_welcome = false;
    tunnel->is_fresh = true;
    mux_set_peer_window(&tunnel->mux, peer_window);
    tunnel->ping_wanted = true; /* the first measure of the round trip */
    loop_defer(tunnel->loop, &tunnel->flush);
}

int tunnel_send(struct tunnel *tunnel, const struct message *message)
{
    uint8_t *room = slice_arena_reserve(&tunnel->arena, MESSAGE_MAX_CONTROL);
    if (room == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    int size = message_encode(message, room, MESSAGE_MAX_CONTROL);
    if (size < 0)
        return size;
    struct slice slice = slice_arena_commit(&tunnel->arena, (size_t)size);
    int error = 0;
    if (message_type_is_counted((uint8_t)message->type) && message->type != MESSAGE_ACK)
        error = link_append(&tunnel->link, NULL, 0, slice, true, loop_now(tunnel->loop));
    else
        error = slice_queue_push(&tunnel->batch, slice);
    loop_defer(tunnel->loop, &tunnel->flush);
    return error;
}

bool tunnel_is_drained(const struct tunnel *tunnel)
{
    if (tunnel->carrier == NULL || tunnel->failure != 0)
        return true;
    return tunnel->link.count == 0 && tunnel->mux.control.count == 0 && tunnel->mux.queued == 0;
}

uint64_t tunnel_last_heard(const struct tunnel *tunnel)
{
    return tunnel->last_heard;
}

void tunnel_fail(struct tunnel *tunnel, int error, const char *why)
{
    if (tunnel->failure != 0 || tunnel->is_closed)
        return;
    tunnel->failure = error;
    snprintf(tunnel->failure_text, sizeof(tunnel->failure_text), "%s",
             why != NULL ? why : error_text(error));
    if (tunnel->carrier != NULL)
        tunnel->carrier->operations->read(tunnel->carrier, false);
    loop_defer(tunnel->loop, &tunnel->flush);
}

void tunnel_close(struct tunnel *tunnel, int code, const char *reason, struct loop_task *closed)
{
    if (tunnel->is_closed)
        return;
    tunnel->is_closed = true;
    loop_task_cancel(&tunnel->flush);
    mux_abort(&tunnel->mux, code, reason);
    detach(tunnel, tunnel->failure, reason);
    mux_deinit(&tunnel->mux);
    link_deinit(&tunnel->link);
    inbound_deinit(&tunnel->inbound);
    slice_queue_deinit(&tunnel->batch);
    slice_arena_deinit(&tunnel->arena);
    /* mux_abort's streams may have asked for a flush. */
    loop_task_cancel(&tunnel->flush);
    loop_timer_close(&tunnel->timer, closed);
}
