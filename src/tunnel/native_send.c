/* The way out: batches from what must be answered, what the link has not sent, and what the mux
 * wants to say. */
#include "base/error.h"
#include "tunnel/native_inner.h"

static int push_number(struct native_tunnel *tunnel, enum message_type type, uint64_t number)
{
    struct message message = {.type = type, .is_known = true};
    if (type == MESSAGE_RECEIVED)
        message.received = number;
    else
        message.opaque = number;
    uint8_t *room = slice_arena_reserve(&tunnel->arena, MESSAGE_MAX_HEADER);
    if (room == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    int size = message_encode(&message, room, MESSAGE_MAX_HEADER);
    if (size < 0)
        return size;
    return slice_queue_push(&tunnel->batch, slice_arena_commit(&tunnel->arena, (size_t)size));
}

/* Pings and pongs: what is not counted and does not wait. */
static int push_liveness(struct native_tunnel *tunnel)
{
    int error = 0;
    if (tunnel->pong_due) {
        tunnel->pong_due = false;
        error = push_number(tunnel, MESSAGE_PONG, tunnel->pong_opaque);
    }
    if (error == 0 && tunnel->ping_wanted) {
        uint64_t now = loop_now(tunnel->base.loop);
        tunnel->ping_wanted = false;
        tunnel->last_ping = now;
        if (tunnel->ping_pending == 0)
            tunnel->ping_pending = now;
        error = push_number(tunnel, MESSAGE_PING, now);
    }
    return error;
}

/* Moves the mux's next message into the link. Returns 1, 0 if there is none, or an error. */
static int pull(struct native_tunnel *tunnel)
{
    struct mux_output output;
    uint64_t now = loop_now(tunnel->base.loop);
    int result = mux_pull(&tunnel->mux, link_has_room(&tunnel->link), &output, now);
    if (result <= 0)
        return result;
    int error = link_append(&tunnel->link, output.head, output.head_size, output.body,
                            output.is_control, now);
    return error != 0 ? error : 1;
}

static int push_counted(struct native_tunnel *tunnel, size_t limit)
{
    uint32_t sent = 0;
    int error = 0;
    while (tunnel->batch.bytes < limit) {
        const struct link_entry *entry = link_unsent(&tunnel->link, sent);
        if (entry == NULL) {
            int result = pull(tunnel);
            if (result == 1)
                continue;
            error = result;
            break;
        }
        error = slice_queue_push(&tunnel->batch, slice_ref(&entry->head));
        if (error == 0)
            error = slice_queue_push(&tunnel->batch, slice_ref(&entry->body));
        if (error != 0)
            break;
        sent++;
    }
    link_sent(&tunnel->link, sent);
    return error;
}

/* Fills the batch. A `received` rides along for nothing when there is a batch anyway. */
static int fill(struct native_tunnel *tunnel)
{
    struct link *link = &tunnel->link;
    int error = push_liveness(tunnel);
    if (error == 0 && tunnel->is_fresh)
        error = push_counted(tunnel, tunnel->carrier->operations->batch_limit(tunnel->carrier));
    bool has_news = link->received != link->reported;
    if (error == 0 && tunnel->is_fresh && has_news &&
        (tunnel->batch.bytes > 0 || link_report_is_due(link, loop_now(tunnel->base.loop)))) {
        error = push_number(tunnel, MESSAGE_RECEIVED, link->received);
        link_reported(link);
    }
    return error;
}

static void send_batches(struct native_tunnel *tunnel)
{
    struct carrier *carrier = tunnel->carrier;
    while (tunnel->failure == 0 && carrier->operations->is_ready(carrier)) {
        int error = fill(tunnel);
        if (error != 0) {
            native_tunnel_fail(tunnel, error,
                               error == CULVERT_ERROR_LIMIT
                                   ? "the peer does not take our control messages"
                                   : error_text(error));
            return;
        }
        if (tunnel->batch.bytes == 0)
            return;
        carrier->operations->send(carrier, &tunnel->batch);
        carrier->operations->flush(carrier);
    }
}

void native_flush(struct loop_task *task)
{
    struct native_tunnel *tunnel = CONTAINER_OF(task, struct native_tunnel, flush);
    if (tunnel->is_closed)
        return;
    if (tunnel->carrier != NULL)
        send_batches(tunnel);
    mux_turn_ends(&tunnel->mux);
    if (tunnel->batch.bytes == 0)
        slice_arena_rest(&tunnel->arena);
    if (tunnel->failure == 0) {
        native_arm_timer(tunnel);
        return;
    }
    if (tunnel->carrier == NULL)
        return;
    carrier_close(tunnel->carrier, tunnel->failure, tunnel->failure_text);
    tunnel->carrier = NULL;
    tunnel->is_fresh = false;
    inbound_deinit(&tunnel->inbound);
    slice_queue_clear(&tunnel->batch);
    tunnel->base.owner->lost(&tunnel->base, tunnel->failure, tunnel->failure_text);
}
