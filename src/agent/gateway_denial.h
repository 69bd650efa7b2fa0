/*
 * The gateway's own listener is never dialled for anyone. Where a proxy leads to it no connection
 * shows its address: then what its name means on this machine, where others' targets are resolved
 * too, is denied.
 */
#ifndef AGENT_GATEWAY_DENIAL_H
#define AGENT_GATEWAY_DENIAL_H

#include "net/loop.h"
#include "net/resolver.h"
#include "policy/whitelist.h"

#include <stdint.h>

/* All zero at first. */
struct gateway_denial {
    struct lookup lookup; /* linked while it is under way */
    struct whitelist *list;
    uint16_t port;
};

/* Denies an address that the gateway has, with its port. One on this machine is likely to listen on
 * the machine's other addresses too, so that all of them are. */
void gateway_denial_add(struct whitelist *list, const struct sockaddr_storage *address);

/* Denies all addresses that `host` has, as soon as they are known; a name is looked up only if the
 * list allows anything at all, and a lookup that fails denies nothing, for then nobody's target of
 * that name resolves either. `list` is borrowed until it is done or cancelled. */
void gateway_denial_start(struct gateway_denial *denial, struct loop *loop, struct whitelist *list,
                          const char *host, uint16_t port);
void gateway_denial_cancel(struct gateway_denial *denial);

#endif
