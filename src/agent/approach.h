/*
 * An approach is one try to get a carrier to one gateway: it dials, through a proxy where one is in
 * the way, secures, and upgrades to a WebSocket; or it opens a long poll. It ends once, with a
 * carrier or with what failed, in words for people and as a class that tells what may be tried
 * next.
 */
#ifndef AGENT_APPROACH_H
#define AGENT_APPROACH_H

#include "agent/agent.h"
#include "agent/gateway_denial.h"
#include "agent/ladder.h"
#include "carrier/carrier.h"
#include "net/loop.h"
#include "net/tls.h"
#include "tunnel/link_proof.h"

#include <stdbool.h>
#include <stdint.h>

struct approach;

enum approach_failure {
    APPROACH_UNREACHABLE, /* no connection: name, TCP, proxy, TLS */
    APPROACH_BUSY,        /* the gateway wants us back after `retry_after` seconds */
    APPROACH_SILENT,      /* it is connected, but got no answer to the upgrade in time */
    APPROACH_NOT_PASSED,  /* the upgrade, or the long poll, was refused, stripped, or got no answer
                           */
    APPROACH_PROTOCOL,    /* what answered is nothing that this agent speaks with */
};

struct approach_result {
    struct carrier *carrier; /* the receiver's, without events yet; NULL: it failed */
    bool is_native;          /* the server has taken up culvert.1; else it speaks Hubble 0.1 */
    uint8_t nonce[CARRIER_NONCE_SIZE]; /* zero where the server has sent none */
    uint64_t waited; /* milliseconds for TLS and the upgrade, or for all that opens a long poll */
    enum approach_failure failure;
    unsigned retry_after; /* seconds */
    bool may_want_tls;    /* a plain connection met what may be a port with TLS; `why` says so */
    const char *why;      /* a sentence's end; borrowed for the call */
};

struct approach_request {
    const struct url *url;         /* lives as long as the approach */
    struct agent_config *config;   /* the same; the gateway's address is denied in its whitelist */
    struct tls_context *tls;       /* for a URL that is secure; a reference is taken */
    struct gateway_denial *denial; /* of this URL; the owner's, who cancels it */
    enum ladder_rung rung;         /* WebSocket or long poll */
    const uint8_t *link;           /* the name of the link that is to be resumed, or NULL; copied */
    bool may_speak_hubble;         /* a server that does not know culvert.1 will do */
    unsigned dial_time;            /* milliseconds to connect; for long poll, for all of it */
    unsigned answer_time;          /* milliseconds for TLS and the upgrade together */
    void (*done)(void *holder, const struct approach_result *result); /* never from the start */
    void *holder;
};

/* Begins. Returns 0; or an error and what is wrong in `why`, then `done` is not called. The
 * approach is gone once `done` is called. */
int approach_start(struct loop *loop, const struct approach_request *request, struct approach **out,
                   char *why, size_t why_size);
/* `done` is not called any more; NULL: nothing. */
void approach_cancel(struct approach *approach);

#endif
