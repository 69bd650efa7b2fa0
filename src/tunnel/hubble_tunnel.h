/*
 * A tunnel of Hubble 0.1 (docs/hubble.md): its sessions (mux/hubble_mux.h) on a carrier, one
 * message of 0.1 in each of the carrier's. The tunnel lives and dies with its carrier: 0.1 has no
 * resume.
 */
#ifndef TUNNEL_HUBBLE_TUNNEL_H
#define TUNNEL_HUBBLE_TUNNEL_H

#include "carrier/carrier.h"
#include "tunnel/tunnel.h"

/* The gateway's side, whose login has taken the handshake: takes the carrier and says yes. Returns
 * 0, or an error; then the caller still has the carrier. */
int hubble_tunnel_welcome(const struct tunnel_owner *owner, void *holder, struct loop *loop,
                          struct carrier *carrier, struct tunnel **out);

/* The agent's side: takes the carrier and registers under the name; the key may be "". As above. */
int hubble_tunnel_register(const struct tunnel_owner *owner, void *holder, struct loop *loop,
                           struct carrier *carrier, const char *name, const char *key,
                           struct tunnel **out);

#endif
