/*
 * A tunnel is one end of a link at work: the link, its streams (mux), and the carrier they ride on,
 * driven on a loop. The carrier can be replaced while the link and its streams stay
 * (tunnel_attach).
 *
 * It batches: whatever is ready when the loop's turn ends goes out as one message of the carrier's.
 */
#ifndef TUNNEL_TUNNEL_H
#define TUNNEL_TUNNEL_H

#include "link/link.h"
#include "mux/mux.h"
#include "net/loop.h"
#include "tunnel/carrier.h"
#include "tunnel/inbound.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    TUNNEL_KEEPALIVE = 20, /* seconds: a side that heard nothing for so long pings */
    TUNNEL_PATIENCE =
        3, /* seconds at least until an unanswered ping means that the carrier is dead */
    TUNNEL_PINGS_PER_SECOND = 50, /* of the peer's; more is an attack */
};

struct tunnel;

struct tunnel_owner {
    /* See mux_owner. */
    void (*peer_opened)(struct tunnel *tunnel, struct mux_stream *stream,
                        const struct message_open *open);
    /* The gateway's answer to our handshake (agents only; NULL at a gateway). Returns 0, or an
     * error that ends the carrier. */
    int (*welcomed)(struct tunnel *tunnel, const struct message_welcome *welcome);
    void (*went_away)(struct tunnel *tunnel, const struct message_goaway *goaway);
    /* The peer answered a ping. */
    void (*ponged)(struct tunnel *tunnel);
    /* The carrier is dead or the peer broke the protocol; the carrier is already closed. The owner
     * ends the tunnel (tunnel_close), or attaches another carrier. Called in the flush of a turn,
     * never from inside one of the owner's calls. */
    void (*lost)(struct tunnel *tunnel, int error, const char *why);
};

struct tunnel {
    const struct tunnel_owner *owner;
    void *holder; /* for the owner's use */
    struct loop *loop;
    struct link link;
    struct mux mux;
    struct carrier *carrier; /* NULL while detached */
    struct inbound inbound;
    struct loop_task flush;
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

/* `dials`: the agent's side. Returns 0 or an error. */
int tunnel_init(struct tunnel *tunnel, const struct tunnel_owner *owner, void *holder,
                struct loop *loop, bool dials);

/*
 * Gives it a carrier, which it takes: a predecessor is closed first and never read again. The
 * agent's side sends `handshake` and waits for the welcome; the gateway's side, whose login has
 * answered already, gives NULL.
 */
int tunnel_attach(struct tunnel *tunnel, struct carrier *carrier,
                  const struct message_handshake *handshake);

/* Puts a message that is not counted, or a goaway, on the way. */
int tunnel_send(struct tunnel *tunnel, const struct message *message);

/* The handshake is through: what streams want to send goes out from now on. */
void tunnel_begin(struct tunnel *tunnel, uint32_t peer_window);

/* Pings now; `ponged` comes if the peer is there. */
void tunnel_ping(struct tunnel *tunnel);

/* Whether the peer has taken in all that is on its way, or there is nobody to take it: then a close
 * loses nothing. */
bool tunnel_is_drained(const struct tunnel *tunnel);

/* When the peer was last heard, microseconds of the loop's clock. */
uint64_t tunnel_last_heard(const struct tunnel *tunnel);

/* Gives the carrier up, with a reason in a person's words: `lost` follows in this turn. */
void tunnel_fail(struct tunnel *tunnel, int error, const char *why);

/* Resets all streams but those that have ended both ways with `code`, tells the peer `reason` if it
 * can, and closes. `closed` is buried when nothing of the tunnel is in use any more: it may free
 * the memory. No owner's call follows.
 */
void tunnel_close(struct tunnel *tunnel, int code, const char *reason, struct loop_task *closed);

#endif
