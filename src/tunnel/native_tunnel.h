/*
 * A tunnel of culvert's own protocol (docs/protocol.md): a link, its streams (mux), and the carrier
 * they ride on. The carrier can be replaced while the link and its streams stay.
 *
 * It batches: whatever is ready when the loop's turn ends goes out as one message of the carrier's.
 */
#ifndef TUNNEL_NATIVE_TUNNEL_H
#define TUNNEL_NATIVE_TUNNEL_H

#include "link/link.h"
#include "mux/mux.h"
#include "tunnel/carrier.h"
#include "tunnel/inbound.h"
#include "tunnel/tunnel.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    NATIVE_PINGS_PER_SECOND = 50, /* of the peer's; more is an attack */
    NATIVE_FIRST_EPOCH = 1,       /* of a link's first carrier */
};

struct native_tunnel {
    struct tunnel base;
    struct link link;
    struct mux mux;
    struct carrier *carrier; /* NULL while detached */
    struct inbound inbound;
    struct loop_task flush;
    struct loop_task burial;
    struct loop_timer timer;
    struct slice_arena arena; /* messages that are not counted */
    struct slice_queue batch;
    uint64_t timer_due; /* microseconds; UINT64_MAX when it is not running */
    uint64_t last_heard;
    uint64_t last_ping;      /* when we sent the last */
    uint64_t ping_pending;   /* when the unanswered one was sent; 0: none */
    uint64_t blocked_since;  /* since when the carrier takes nothing; 0: it does */
    uint64_t round_trips[8]; /* the last ones; the smallest counts */
    unsigned round_trip_next;
    uint64_t pong_opaque;
    uint64_t peer_ping_second; /* the second in which peer_pings were counted */
    unsigned peer_pings;
    int failure; /* remembered until the flush tells the owner */
    char failure_text[192];
    bool dials; /* the agent's side */
    bool expects_welcome;
    bool is_fresh; /* the handshake is through: streams may go */
    bool pong_due;
    bool ping_wanted;
    bool is_closed;
};

/* A tunnel without a carrier. `dials`: the agent's side. Returns 0 or an error. */
int native_tunnel_new(const struct tunnel_owner *owner, void *holder, struct loop *loop, bool dials,
                      struct native_tunnel **out);

/*
 * Gives it a carrier, which it takes: a predecessor is closed first and never read again. The
 * agent's side sends `handshake` and waits for the welcome; the gateway's side, whose login has
 * answered already, gives NULL.
 */
int native_tunnel_attach(struct native_tunnel *tunnel, struct carrier *carrier,
                         const struct message_handshake *handshake);

/* The handshake is through: what streams want to send goes out from now on. */
void native_tunnel_begin(struct native_tunnel *tunnel, uint32_t peer_window);

/* The agent's side of a new link: takes the carrier, and registers under the name. */
int native_tunnel_register(struct native_tunnel *tunnel, struct carrier *carrier, const char *name,
                           const char *key);
/* The gateway's side of a new link: takes the carrier and welcomes the agent whose handshake this
 * is. An error means that the handshake cannot be. */
int native_tunnel_welcome(struct native_tunnel *tunnel, struct carrier *carrier,
                          const struct message_handshake *handshake,
                          const uint8_t link_id[static MESSAGE_LINK_ID_SIZE]);

/* Puts a message that is not counted, or a goaway, on the way. */
int native_tunnel_send(struct native_tunnel *tunnel, const struct message *message);

/* Gives the carrier up, with a reason in a person's words: `lost` follows in this turn. */
void native_tunnel_fail(struct native_tunnel *tunnel, int error, const char *why);

#endif
