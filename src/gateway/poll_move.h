/* The way of a connection with a request of long poll to the worker that can serve it. */
#ifndef GATEWAY_POLL_MOVE_H
#define GATEWAY_POLL_MOVE_H

#include "gateway/poll_connection.h"

/* Takes the connection to the session's worker, to be served there. */
void poll_move_request(struct poll_connection *connection, struct member_ref session);
/* Takes the connection to another worker, to open a session there; `agent` is whose it will be. */
void poll_move_open(struct poll_connection *connection, unsigned worker, const struct front *agent);

#endif
