/*
 * The carrier of an agent's long poll that has been opened (docs/protocol.md, "Long poll"). One
 * request takes a batch up, one waits for what comes down. Either is repeated when it gets no
 * answer; if it fails again and again the carrier is lost.
 */
#ifndef CARRIER_POLL_CARRIER_H
#define CARRIER_POLL_CARRIER_H

#include "carrier/carrier.h"
#include "codec/poll.h"
#include "net/http_requests.h"

struct poll_carrier_parts {
    struct http_requests *requests; /* taken on success */
    struct http_request *up;        /* idle; of `requests` */
    struct http_request *down;
    char id[POLL_ID_TEXT_SIZE];
};

/* A paused carrier, without events yet. It does not move: there is no `depart`. Returns 0 or
 * CULVERT_ERROR_NO_MEMORY. */
int poll_carrier_new(struct loop *loop, const struct poll_carrier_parts *parts,
                     struct carrier **carrier);

#endif
