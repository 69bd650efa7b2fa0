/*
 * A session of long poll at the gateway: its carrier, its id, which every loop can find it by
 * (gateway->polls), and the connections that are or were last used for it.
 */
#ifndef GATEWAY_POLL_SESSION_H
#define GATEWAY_POLL_SESSION_H

#include "carrier/poll_server.h"
#include "codec/poll.h"
#include "gateway/worker.h"

enum {
    /* One asks, one brings, and each may have to be repeated before we know that those before it
     * are dead. One more makes another go. */
    POLL_SESSION_CONNECTIONS = 8,
    POLL_SESSION_EARLY_CONNECTIONS = 3, /* until the login is through */
};

struct poll_connection;
struct visitor;

struct poll_session {
    struct poll_server server;
    struct worker *worker;
    uint64_t id;
    char name[POLL_ID_TEXT_SIZE]; /* a secret of the agent's */
    struct list connections;      /* the least lately used first */
    size_t connection_count;
    struct poll_connection *bringer; /* whose body is being read, NULL: none */
    struct visitor *visitor;         /* who is logging in by it, or NULL */
    struct stranger stranger;        /* until it is logged in */
    bool is_logged_in;
    struct loop_task burial;
};

/* A new one for the visitor, whose carrier reads and has no events yet, or NULL: there is no
 * memory.
 */
struct poll_session *poll_session_new(struct visitor *visitor);
/* On its worker. */
struct poll_session *poll_session_find(struct worker *worker, uint64_t id);

/* Takes the connection, which is none's, in as the one that is used. */
void poll_session_join(struct poll_session *session, struct poll_connection *connection);
/* The connection, which may be none's, is none's. */
void poll_session_leave(struct poll_connection *connection);
/* A body is going to be read from this connection: from another, where the agent tried before, no
 * more is taken. */
void poll_session_set_bringer(struct poll_session *session, struct poll_connection *connection);

/* The visitor ends: its carrier is a member's now, or is closed; then the session counts as a
 * stranger until it is gone. */
void poll_session_end_login(struct poll_session *session, bool is_logged_in);

/* Forgets it; its connections close as soon as their last answers are out. The carrier has been
 * closed. */
void poll_session_end(struct poll_session *session);

#endif
