/* What the head of an answer says to the agent that polls (docs/protocol.md, "Long poll"). */
#ifndef CARRIER_POLL_REPLY_H
#define CARRIER_POLL_REPLY_H

#include "carrier/carrier.h"
#include "codec/poll.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum poll_reply_kind {
    POLL_REPLY_OK,        /* 200 */
    POLL_REPLY_NOTHING,   /* 204: nothing has come down yet */
    POLL_REPLY_BUSY,      /* 503 or 429, and when to come back */
    POLL_REPLY_AGAIN,     /* a proxy could not pass it on just now: the request may be repeated */
    POLL_REPLY_TOO_LARGE, /* 413: a smaller body may pass */
    POLL_REPLY_GONE,      /* 410: the gateway does not know the id, or not any more */
    POLL_REPLY_REFUSED,   /* any other: not for us */
};

struct poll_reply {
    enum poll_reply_kind kind;
    bool is_open;                      /* 200 to an open: `id` and `nonce` hold */
    char id[POLL_ID_TEXT_SIZE];        /* of what has been opened */
    uint8_t nonce[CARRIER_NONCE_SIZE]; /* to prove with */
    uint64_t down;                     /* the number of the body that came down; 0: none */
    unsigned retry_after;              /* seconds, for POLL_REPLY_BUSY */
    char why[768];                     /* a sentence's end, for when this is not what was wanted */
};

/* Reads a head, whole or not. `proxy` is who may have answered for the server, as
 * proxy_label names it, or NULL. */
void poll_reply_read(const uint8_t *head, size_t size, const char *proxy, struct poll_reply *reply);

#endif
