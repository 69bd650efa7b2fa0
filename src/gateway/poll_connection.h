/*
 * A connection whose requests are those of long poll, one after the other. It reads a head, and
 * with it finds the session that is meant, which may live on another worker: then the connection
 * goes there. A body that goes up is read straight into chunks, and told when it is whole. While a
 * request waits the connection holds no buffer. Any other request makes it a visitor again, since a
 * proxy uses its connections for whoever comes.
 */
#ifndef GATEWAY_POLL_CONNECTION_H
#define GATEWAY_POLL_CONNECTION_H

#include "base/parking.h"
#include "carrier/poll_server.h"
#include "codec/poll.h"
#include "gateway/front.h"
#include "gateway/worker.h"
#include "http/head_reader.h"
#include "net/conn.h"

struct poll_session;
struct visitor;

enum poll_connection_state {
    POLL_CONNECTION_IDLE,    /* between two requests; the next one's head may be half there */
    POLL_CONNECTION_BODY,    /* reads a body that is wanted */
    POLL_CONNECTION_SKIP,    /* reads a body that is not, to be answered with `status` */
    POLL_CONNECTION_WAITS,   /* for a body to come down */
    POLL_CONNECTION_ANSWERS, /* writes */
};

struct poll_connection {
    struct worker *worker;
    struct conn *conn;
    struct poll_session *session; /* NULL: none */
    struct list_node session_node;
    struct list_node clock_node;
    uint64_t since; /* microseconds; on its clock */
    struct loop_task task;
    struct stranger stranger; /* unless its session is logged in */
    struct front front;       /* whose connection it is, before any request's fields */
    struct head_reader reader;
    struct poll_request request; /* the last */
    struct poll_waiter waiter;
    struct slice_queue bytes; /* of the body that comes, or of the answer that goes */
    struct parking parking;   /* of `bytes` */
    size_t missing;           /* bytes of the body */
    unsigned status;
    enum poll_connection_state state;
    bool stays; /* after this answer */
    bool is_over;
};

/* A visitor's request is one of long poll: takes its connection. The visitor ends, or, when a
 * session is opened, goes on as the one who has not logged in yet. */
void poll_connection_begin(struct visitor *visitor, const struct http1_head *head, size_t used);

/* Acts on its request, which is for the session with this id, if there is one on its worker. */
void poll_connection_serve(struct poll_connection *connection, uint64_t id);
/* Its request, an open, is answered with a new session, which `visitor` gets. */
void poll_connection_open(struct poll_connection *connection, struct visitor *visitor);

/* The body may be read, or must not be. */
void poll_connection_read_body(struct poll_connection *connection, bool on);
/* Counts it as a stranger, or no more, as its session is. */
void poll_connection_count(struct poll_connection *connection);
bool poll_connection_is_idle(const struct poll_connection *connection);

/* Its session is over: closes when its answer, if it is at one, is out. */
void poll_connection_let_go(struct poll_connection *connection);
void poll_connection_close(struct poll_connection *connection);

extern const struct conn_events poll_connection_events;

#endif
