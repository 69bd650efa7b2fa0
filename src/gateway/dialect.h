/*
 * What logging in is like in each protocol that an agent may speak: how its handshake is taken in,
 * what it may say, and how it is answered. After the login the tunnel knows (tunnel/tunnel.h).
 */
#ifndef GATEWAY_DIALECT_H
#define GATEWAY_DIALECT_H

#include "base/str.h"
#include "carrier/carrier.h"
#include "codec/http1.h"
#include "codec/message.h"
#include "tunnel/tunnel.h"

struct member;
struct visitor;

struct dialect {
    /* The 101 answer to the upgrade. Returns its size or an error. */
    int (*write_response)(const struct visitor *visitor, const struct http1_head *head, char *out,
                          size_t room);
    /* Sets up and frees the visitor's inbound. */
    void (*begin)(struct visitor *visitor);
    void (*end)(struct visitor *visitor);
    /* The carrier's until the handshake is taken in, which they give to login_take_handshake. */
    const struct carrier_events *events;
    /* Whether the handshake can be accepted, apart from its key: NULL, or why not, with a code. */
    const char *(*object)(const struct message_handshake *handshake, int *code);
    /* message_encode or hubble_encode. */
    int (*encode)(const struct message *message, uint8_t *out, size_t room);
    /* Makes the member's tunnel, which takes the carrier, and tells the agent yes. Returns 0 or an
     * error; then the caller still has the carrier. */
    int (*welcome)(struct member *member, const struct tunnel_owner *owner, struct carrier *carrier,
                   const struct message_handshake *handshake);
};

extern const struct dialect dialect_native;
extern const struct dialect dialect_hubble;

/* The carrier's events that both have in common. */
void dialect_ignore(struct carrier *carrier);
void dialect_lost(struct carrier *carrier, int error, const char *why);

#endif
