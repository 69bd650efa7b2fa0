/* The WebSocket carrier: one message of the link's is one binary WebSocket message (RFC 6455). */
#ifndef CARRIER_WEBSOCKET_CARRIER_H
#define CARRIER_WEBSOCKET_CARRIER_H

#include "carrier/carrier.h"
#include "codec/websocket.h"
#include "net/conn.h"

enum {
    WEBSOCKET_CARRIER_MAX_MESSAGE = 1024 * 1024, /* that we take */
};

/*
 * A carrier on a connection whose upgrade is done; takes the connection on success. `ahead` are
 * bytes that were read behind the upgrade's head; they are told in a later turn. The holder sets
 * `events` before it returns to the loop. A plain client masks with random keys, a client under TLS
 * with the key 0.
 */
int websocket_carrier_new(struct conn *conn, enum websocket_role role, const uint8_t *ahead,
                          size_t ahead_size, struct carrier **carrier);

/* The connection under it, borrowed. */
struct conn *websocket_carrier_conn(struct carrier *carrier);

#endif
