/*
 * The agent's side of HTTP long poll (docs/protocol.md, "Long poll"): a carrier whose messages go
 * up in the bodies of requests and come down in those of answers, by libcurl. One request at a time
 * carries what goes up, one waits for what comes down; each can be repeated without harm.
 */
#ifndef CARRIER_POLL_CLIENT_H
#define CARRIER_POLL_CLIENT_H

#include "carrier/carrier.h"
#include "codec/url.h"
#include "net/loop.h"
#include "net/proxy.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct poll_client;

enum poll_client_failure {
    POLL_CLIENT_UNREACHABLE, /* no connection: name, TCP, proxy, TLS, or no answer in time */
    POLL_CLIENT_BUSY,        /* the gateway wants us back after `retry_after` seconds */
    POLL_CLIENT_REFUSED,     /* whoever answered is no gateway that serves long poll */
};

/* What came of the try to open. */
struct poll_client_result {
    struct carrier *carrier; /* the receiver's, paused, without events yet; NULL: it failed */
    uint8_t nonce[CARRIER_NONCE_SIZE];
    struct sockaddr_storage peer; /* who was connected to; AF_UNSPEC through a proxy */
    enum poll_client_failure failure;
    unsigned retry_after; /* seconds */
    bool may_want_tls;    /* a plain connection was closed without an answer */
    const char *why;      /* a sentence's end; borrowed for the call */
};

struct poll_client_request {
    const struct url
        *url; /* of any scheme: ws counts as http, wss as https; borrowed for the call */
    const struct proxy *proxy; /* may be of kind PROXY_NONE; borrowed for the call */
    const char *ca;            /* PEM file, NULL: the system's; lives as long as the carrier */
    bool insecure;             /* verify nothing */
    const uint8_t *link;       /* the name of the link that is to be resumed, or NULL */
    unsigned timeout;          /* milliseconds for all of the opening */
    void (*done)(void *holder, const struct poll_client_result *result); /* in a later turn */
    void *holder;
};

/* Begins to open. Returns 0, CULVERT_ERROR_NO_MEMORY, or CULVERT_ERROR_UNSUPPORTED where there is
 * no libcurl. *client is valid until `done` is called. */
int poll_client_open(struct loop *loop, const struct poll_client_request *request,
                     struct poll_client **client);
/* `done` is not called any more. */
void poll_client_cancel(struct poll_client *client);

#endif
