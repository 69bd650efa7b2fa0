#include "carrier/poll_server.h"

#include "base/error.h"
#include "codec/message.h"

#include <stdio.h>
#include <string.h>

enum { SECOND = 1000 * 1000 }; /* microseconds */

static struct poll_server *from_carrier(const struct carrier *carrier)
{
    return CONTAINER_OF(carrier, struct poll_server, carrier);
}

/* ---- time ---- */

static uint64_t next_due(const struct poll_server *server)
{
    if (server->is_closed)
        return server->end;
    uint64_t due = server->last_seen + (uint64_t)POLL_SERVER_SILENCE * SECOND;
    return server->waiter != NULL && server->hang_end < due ? server->hang_end : due;
}

/* A timer that fires too early only looks again; so it is moved only towards now. */
static void arm(struct poll_server *server)
{
    uint64_t due = next_due(server);
    if (due >= server->timer_due)
        return;
    uint64_t now = loop_now(server->loop);
    server->timer_due = due;
    loop_timer_start(&server->timer, due <= now ? 1 : (due - now) / 1000 + 1);
}

static void lose(struct poll_server *server, int error, const char *why)
{
    if (server->is_closed || server->has_failed)
        return;
    server->has_failed = true;
    server->carrier.events->lost(&server->carrier, error, why);
}

static void answer(struct poll_server *server, unsigned status)
{
    struct poll_waiter *waiter = server->waiter;
    if (waiter == NULL)
        return;
    server->waiter = NULL;
    waiter->answered(waiter, status);
}

static void timer_fired(struct loop_timer *timer)
{
    struct poll_server *server = timer->holder;
    uint64_t now = loop_now(server->loop);
    server->timer_due = UINT64_MAX;
    if (server->is_closed) {
        if (now >= server->end)
            loop_defer(server->loop, &server->ending);
        else
            arm(server);
        return;
    }
    if (server->waiter != NULL && now >= server->hang_end)
        answer(server, 204);
    if (now >= server->last_seen + (uint64_t)POLL_SERVER_SILENCE * SECOND) {
        char why[64];
        snprintf(why, sizeof(why), "no request came for %d s", POLL_SERVER_SILENCE);
        lose(server, CULVERT_ERROR_TIMED_OUT, why);
        return;
    }
    arm(server);
}

static void seen(struct poll_server *server)
{
    server->last_seen = loop_now(server->loop);
}

/* ---- down ---- */

static void hand_out(struct poll_server *server)
{
    if (server->is_handed)
        return;
    server->is_handed = true;
    server->batch_start = loop_now(server->loop);
    server->batch_size = server->body.bytes;
}

/* The body has arrived: room for the next. */
static void advance(struct poll_server *server)
{
    uint64_t took = loop_now(server->loop) - server->batch_start;
    poll_batch_answered(&server->batch, server->batch_size, took > 0 ? took : 1);
    slice_queue_deinit(&server->body); /* an idle one keeps no room for slices */
    server->body = server->last;
    server->last = SLICE_QUEUE_NULL;
    server->is_handed = false;
    server->down++;
    if (server->is_closed && server->body.bytes == 0)
        loop_defer(server->loop, &server->ending);
    else if (!server->is_closed && !server->has_failed)
        server->carrier.events->ready(&server->carrier);
}

unsigned poll_server_ask(struct poll_server *server, struct poll_waiter *waiter, uint64_t number)
{
    seen(server);
    if (number == server->down + 1 && server->is_handed)
        advance(server);
    if (server->has_failed || (server->is_closed && server->body.bytes == 0))
        return 410;
    if (number != server->down)
        return 409;
    answer(server, 204);
    if (server->body.bytes > 0) {
        hand_out(server);
        return 200;
    }
    server->waiter = waiter;
    server->hang_end = loop_now(server->loop) + (uint64_t)POLL_SERVER_HANG * SECOND;
    arm(server);
    return 0;
}

void poll_server_leave(struct poll_server *server, const struct poll_waiter *waiter)
{
    if (server->waiter == waiter)
        server->waiter = NULL;
}

static bool is_ready(const struct carrier *carrier)
{
    const struct poll_server *server = from_carrier(carrier);
    return server->body.bytes == 0 && !server->has_failed && !server->is_closed;
}

static bool settle(struct parking *parking, struct chunk_pool *pool)
{
    struct poll_server *server = CONTAINER_OF(parking, struct poll_server, parking);
    bool is_unsettled = slice_queue_settle(&server->body, pool);
    return slice_queue_settle(&server->last, pool) || is_unsettled;
}

static void send_batch(struct carrier *carrier, struct slice_queue *batch)
{
    struct poll_server *server = from_carrier(carrier);
    /* What somebody may have got already stays as it is. */
    if (slice_queue_append(server->is_handed ? &server->last : &server->body, batch) != 0)
        lose(server, CULVERT_ERROR_NO_MEMORY, "out of memory");
    parking_enter(&server->parking, &server->loop->pool);
}

static void flush(struct carrier *carrier)
{
    struct poll_server *server = from_carrier(carrier);
    if (server->body.bytes == 0 || server->waiter == NULL || server->has_failed)
        return;
    hand_out(server);
    answer(server, 200);
}

static size_t batch_limit(const struct carrier *carrier)
{
    return poll_batch_limit(&from_carrier(carrier)->batch);
}

/* Requests come often enough to know that the peer is there; what it must answer are messages. */
static void ping(struct carrier *carrier)
{
    (void)carrier;
}

/* ---- up ---- */

/* The last body with another size is no repeat: the agent has divided it, and what follows would be
 * taken twice. */
static bool is_repeat(const struct poll_server *server, uint64_t number, size_t size)
{
    return number < server->up && (number + 1 != server->up || size == server->up_size);
}

unsigned poll_server_expects(struct poll_server *server, uint64_t number, size_t size)
{
    seen(server);
    if (server->has_failed || server->is_closed)
        return 410;
    if (number != server->up)
        return is_repeat(server, number, size) ? 200 : 409;
    /* Until the login is through nobody may make us keep more than a handshake. */
    return number == 1 && size > MESSAGE_MAX_CONTROL ? 413 : 0;
}

unsigned poll_server_take(struct poll_server *server, uint64_t number, bool has_more,
                          struct slice_queue *body)
{
    unsigned status = poll_server_expects(server, number, body->bytes);
    if (status != 0) {
        slice_queue_clear(body);
        return status;
    }
    struct carrier *carrier = &server->carrier;
    server->up++;
    server->up_size = body->bytes;
    while (body->count > 0 && !server->is_closed && !server->has_failed)
        carrier->events->data(carrier, slice_queue_take(body, SIZE_MAX));
    slice_queue_clear(body);
    if (!has_more && !server->is_closed && !server->has_failed)
        carrier->events->message_end(carrier);
    if (!server->is_closed && !server->has_failed)
        carrier->events->read_end(carrier);
    return 200;
}

static void read_on(struct carrier *carrier, bool on)
{
    struct poll_server *server = from_carrier(carrier);
    if (server->is_reading == on)
        return;
    server->is_reading = on;
    server->owner->reads(server, on);
}

/* ---- life ---- */

/* Everything that waits is here; only the requests' connections would have to come along, and the
 * agent comes back with a new one anyway. */
static struct carrier_cargo *depart(struct carrier *carrier)
{
    (void)carrier;
    return NULL;
}

static void close_carrier(struct carrier *carrier, int error, const char *reason)
{
    struct poll_server *server = from_carrier(carrier);
    (void)reason; /* the link's last message has it */
    if (server->is_closed)
        return;
    server->is_closed = true;
    bool peer_is_there = error != CULVERT_ERROR_CLOSED && error != CULVERT_ERROR_TIMED_OUT &&
                         !error_is_system(error) && !server->has_failed;
    if (server->body.bytes > 0 && peer_is_there) {
        if (server->waiter != NULL)
            hand_out(server);
        answer(server, 200);
        server->end = loop_now(server->loop) + (uint64_t)POLL_SERVER_LAST * SECOND;
        arm(server);
        return;
    }
    slice_queue_clear(&server->body);
    slice_queue_clear(&server->last);
    answer(server, 410);
    loop_defer(server->loop, &server->ending);
}

static const struct carrier_operations operations = {
    .takes_last = true,
    .send = send_batch,
    .flush = flush,
    .is_ready = is_ready,
    .batch_limit = batch_limit,
    .ping = ping,
    .read = read_on,
    .depart = depart,
    .close = close_carrier,
};

static void end(struct loop_task *task)
{
    struct poll_server *server = CONTAINER_OF(task, struct poll_server, ending);
    server->owner->over(server);
}

int poll_server_init(struct poll_server *server, struct loop *loop,
                     const struct poll_server_owner *owner)
{
    memset(server, 0, sizeof(*server));
    int error = loop_timer_init(loop, &server->timer, timer_fired, server);
    if (error != 0)
        return error;
    server->carrier.operations = &operations;
    server->parking.settle = settle;
    server->owner = owner;
    server->loop = loop;
    server->ending.run = end;
    server->down = 1;
    server->up = 1;
    server->last_seen = loop_now(loop);
    server->timer_due = UINT64_MAX;
    poll_batch_init(&server->batch);
    server->is_reading = true;
    arm(server);
    return 0;
}

void poll_server_deinit(struct poll_server *server, struct loop_task *burial)
{
    loop_task_cancel(&server->ending);
    parking_leave(&server->parking);
    slice_queue_deinit(&server->body);
    slice_queue_deinit(&server->last);
    loop_timer_close(&server->timer, burial);
}
