/* The way out: batches from what must be answered, what the link has not sent, and what the mux
 * wants to say. */
#include "base/error.h"
#include "base/reason.h"
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

int native_pull(struct native_tunnel *tunnel, enum mux_may may, struct message_early *early)
{
    struct mux_output output;
    uint64_t now = loop_now(tunnel->base.loop);
    uint64_t number = tunnel->link.next;
    if (!link_has_control_room(&tunnel->link))
        return mux_hold(&tunnel->mux, now);
    bool is_small = may == MUX_MAY_SMALL;
    if (is_small ? !link_has_small_room(&tunnel->link) : !link_has_room(&tunnel->link))
        may = MUX_MAY_CONTROL;
    int result = mux_pull(&tunnel->mux, may, &output, now);
    if (result <= 0)
        return result;
    int error = link_append(&tunnel->link, output.head, output.head_size, output.body,
                            output.is_control || is_small, now);
    if (error != 0)
        return error;
    if (early != NULL)
        *early = (struct message_early){0};
    if (output.mark != NULL) {
        if (early != NULL)
            *early = (struct message_early){.number = number, .before = *output.mark};
        *output.mark = number;
    }
    return 1;
}

static int push_counted(struct native_tunnel *tunnel, size_t limit)
{
    uint32_t sent = 0;
    int error = 0;
    mux_limit_data(&tunnel->mux, limit);
    while (tunnel->batch.bytes < limit) {
        const struct link_entry *entry = link_unsent(&tunnel->link, sent);
        if (entry == NULL) {
            int result = native_pull(tunnel, MUX_MAY_ALL, NULL);
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
    if (!tunnel->is_fresh)
        return 0; /* only what is in the batch already: the handshake */
    int error = push_liveness(tunnel);
    if (error == 0)
        error = push_counted(tunnel, tunnel->carrier->operations->batch_limit(tunnel->carrier));
    bool has_news = link->received != link->reported;
    if (error == 0 && has_news &&
        (tunnel->batch.bytes > 0 || link_report_is_due(link, loop_now(tunnel->base.loop)))) {
        error = push_number(tunnel, MESSAGE_RECEIVED, link->received);
        link_reported(link);
    }
    return error;
}

/* Returns 0 or an error of the link. */
static int send_batches(struct native_tunnel *tunnel)
{
    struct carrier *carrier = tunnel->carrier;
    while (tunnel->failure == 0 && carrier->operations->is_ready(carrier)) {
        int error = fill(tunnel);
        if (error != 0 || tunnel->batch.bytes == 0)
            return error;
        carrier->operations->send(carrier, &tunnel->batch);
        carrier->operations->flush(carrier);
    }
    return 0;
}

static void send_all(struct native_tunnel *tunnel)
{
    int error = native_express_flush(tunnel);
    if (error == 0)
        error = send_batches(tunnel);
    if (error == CULVERT_ERROR_LIMIT)
        native_tunnel_fail(tunnel, error, "the peer does not take our control messages");
    else if (error != 0)
        native_tunnel_fail(tunnel, error, error_text(error));
}

/* What the mux is told while nothing of it can be sent. */
static void look_after_mux(struct native_tunnel *tunnel)
{
    int error = mux_hold(&tunnel->mux, loop_now(tunnel->base.loop));
    if (error != 0)
        native_lose(tunnel, NATIVE_LOSS_LINK, error,
                    error == CULVERT_ERROR_LIMIT ? "too much waits for the peer to take it"
                                                 : error_text(error));
}

static int end_code(int error)
{
    switch (error) {
    case CULVERT_ERROR_PROTOCOL:
    case CULVERT_ERROR_TOO_LARGE:
        return REASON_PROTOCOL;
    case CULVERT_ERROR_NO_MEMORY:
        return REASON_NO_MEMORY;
    case CULVERT_ERROR_LIMIT:
        return REASON_LIMIT;
    default:
        return REASON_LINK_LOST;
    }
}

/* Something has failed in this turn: closes the carrier and tells the owner what is left. */
static void give_up(struct native_tunnel *tunnel)
{
    const struct tunnel_owner *owner = tunnel->base.owner;
    int error = tunnel->failure;
    bool is_over = tunnel->loss != NATIVE_LOSS_CARRIER || !native_is_resumable(tunnel);
    if (tunnel->loss == NATIVE_LOSS_LINK)
        native_send_end(tunnel, end_code(error), tunnel->failure_text);
    native_detach(tunnel, error, tunnel->failure_text);
    if (is_over) {
        tunnel->is_over = true;
        owner->lost(&tunnel->base, error, tunnel->failure_text);
        return;
    }
    tunnel->failure = 0;
    /* The mux may have asked for a pull that did not come. */
    loop_defer(tunnel->base.loop, &tunnel->flush);
    owner->detached(&tunnel->base, error, tunnel->failure_text);
}

/* Whether the mux was asked for messages in this flush, so that it has reported its events. */
static bool can_pull(const struct native_tunnel *tunnel)
{
    const struct carrier *carrier = tunnel->carrier;
    return carrier != NULL && tunnel->is_fresh && carrier->operations->is_ready(carrier);
}

/* The tunnel is closed, and its streams deliver what came before. */
static void deliver_rest(struct native_tunnel *tunnel)
{
    (void)mux_hold(&tunnel->mux, loop_now(tunnel->base.loop));
    mux_turn_ends(&tunnel->mux);
    native_close_when_empty(tunnel);
}

void native_flush(struct loop_task *task)
{
    struct native_tunnel *tunnel = CONTAINER_OF(task, struct native_tunnel, flush);
    if (tunnel->is_closed)
        deliver_rest(tunnel);
    if (tunnel->is_closed || tunnel->is_over)
        return;
    if (tunnel->carrier != NULL)
        send_all(tunnel);
    if (!can_pull(tunnel))
        look_after_mux(tunnel);
    mux_turn_ends(&tunnel->mux);
    if (tunnel->batch.bytes == 0)
        slice_arena_rest(&tunnel->arena);
    if (tunnel->is_closed)
        return;
    if (tunnel->failure == 0)
        native_arm_timer(tunnel);
    else
        give_up(tunnel);
}
