#include "tunnel/test_visitor.h"

#include "base/error.h"
#include "base/memory.h"
#include "carrier/websocket_carrier.h"
#include "net/conn.h"
#include "tunnel/inbound.h"

#include <stdlib.h>

struct visitor {
    struct loop_message message;
    struct test_visit visit;
    int fd;
    struct loop *loop;
    struct carrier *carrier;
    struct carrier_cargo *cargo;
    struct inbound inbound;
    struct message_handshake handshake;
    struct loop_task leave;
};

/* In any thread, where a failing assertion has nowhere to return to. */
static void require(bool condition)
{
    if (!condition)
        abort();
}

static void forget(struct visitor *visitor)
{
    inbound_deinit(&visitor->inbound);
    visitor->visit.gone(visitor->visit.holder);
    memory_free(visitor);
}

static void arrive(struct loop *loop, struct loop_message *message)
{
    struct visitor *visitor = CONTAINER_OF(message, struct visitor, message);
    struct carrier *carrier = NULL;
    require(visitor->cargo->operations->arrive(visitor->cargo, loop, &carrier) == 0);
    visitor->visit.arrived(visitor->visit.holder, carrier, &visitor->handshake);
    forget(visitor);
}

static void leave(struct loop_task *task)
{
    struct visitor *visitor = CONTAINER_OF(task, struct visitor, leave);
    if (visitor->carrier != NULL)
        visitor->cargo = visitor->carrier->operations->depart(visitor->carrier);
    if (visitor->cargo == NULL) {
        if (visitor->carrier != NULL)
            carrier_close(visitor->carrier, CULVERT_ERROR_CLOSED, NULL);
        forget(visitor);
        return;
    }
    visitor->message.run = arrive;
    loop_post(visitor->visit.home, &visitor->message);
}

static int take_handshake(struct inbound *inbound, const struct message *message,
                          struct slice_queue *payload, size_t size)
{
    struct visitor *visitor = CONTAINER_OF(inbound, struct visitor, inbound);
    (void)payload;
    (void)size;
    require(message->type == MESSAGE_HANDSHAKE);
    visitor->handshake = message->handshake;
    visitor->handshake.name = visitor->handshake.key = visitor->handshake.version = TEXT_NULL;
    visitor->carrier->operations->read(visitor->carrier, false);
    loop_defer(visitor->loop, &visitor->leave);
    return 0;
}

static void on_data(struct carrier *carrier, struct slice piece)
{
    struct visitor *visitor = carrier->holder;
    require(inbound_take(&visitor->inbound, piece) == 0);
}

static void ignore(struct carrier *carrier)
{
    (void)carrier;
}

static void on_lost(struct carrier *carrier, int error, const char *why)
{
    struct visitor *visitor = carrier->holder;
    (void)why;
    carrier_close(carrier, error, NULL);
    visitor->carrier = NULL;
    loop_defer(visitor->loop, &visitor->leave);
}

static const struct carrier_events carrier_handlers = {
    .data = on_data,
    .message_end = ignore,
    .read_end = ignore,
    .ready = ignore,
    .lost = on_lost,
};

static void greet(struct visitor *visitor, struct conn *conn)
{
    require(websocket_carrier_new(conn, WEBSOCKET_SERVER, NULL, 0, &visitor->carrier) == 0);
    visitor->carrier->events = &carrier_handlers;
    visitor->carrier->holder = visitor;
    visitor->carrier->operations->read(visitor->carrier, true);
}

static void on_secured(struct conn *conn, int error)
{
    struct visitor *visitor = conn_holder(conn);
    if (error == 0) {
        greet(visitor, conn);
        return;
    }
    conn_close(conn, true);
    forget(visitor);
}

static void no_event(struct conn *conn)
{
    (void)conn;
}

static const struct conn_events conn_handlers = {on_secured, no_event, no_event};

static void come_in(struct loop *loop, struct loop_message *message)
{
    struct visitor *visitor = CONTAINER_OF(message, struct visitor, message);
    struct conn *conn = NULL;
    visitor->loop = loop;
    require(conn_new(loop, visitor->fd, &conn_handlers, visitor, &conn) == 0);
    if (visitor->visit.tls != NULL)
        require(conn_secure(conn, visitor->visit.tls, NULL) == 0);
    else
        greet(visitor, conn);
}

void test_visitor_send(struct loop *first, int fd, const struct test_visit *visit)
{
    struct visitor *visitor = memory_allocate_zero(sizeof(*visitor));
    require(visitor != NULL);
    visitor->visit = *visit;
    visitor->fd = fd;
    visitor->message.run = come_in;
    visitor->leave.run = leave;
    inbound_init(&visitor->inbound, &first->pool, take_handshake);
    loop_post(first, &visitor->message);
}
