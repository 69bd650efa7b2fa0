/*
 * A tunnel of culvert's own protocol (docs/protocol.md): a link, its streams (mux), and the carrier
 * they ride on. The carrier can be replaced while the link and its streams stay.
 *
 * It batches: whatever is ready when the loop's turn ends goes out as one message of the carrier's.
 */
#ifndef TUNNEL_NATIVE_TUNNEL_H
#define TUNNEL_NATIVE_TUNNEL_H

#include "carrier/carrier.h"
#include "link/link.h"
#include "mux/mux.h"
#include "tunnel/inbound.h"
#include "tunnel/link_proof.h"
#include "tunnel/tunnel.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    NATIVE_PINGS_PER_SECOND = 50,      /* of an agent's; more is an attack */
    NATIVE_FIRST_EPOCH = 1,            /* of a link's first carrier */
    NATIVE_WELCOME_PATIENCE = 10,      /* seconds that a handshake waits for its answer */
    NATIVE_LONGEST_RESUME = 24 * 3600, /* seconds, whatever a gateway promises */
    NATIVE_EXPRESS_PAUSE = 10,         /* seconds until an express carrier is asked for again */
    NATIVE_EXPRESS_IDLE = 60,          /* seconds after which an agent closes one without use */
};

/* What has failed, and so who must be told. */
enum native_loss {
    NATIVE_LOSS_CARRIER, /* the carrier: the link may go on with another */
    NATIVE_LOSS_LINK,    /* we give the link up, and the peer is told */
    NATIVE_LOSS_PEER,    /* the peer has given it up */
};

/* What the last resumption was like. */
struct native_gap {
    uint64_t duration; /* microseconds for which nothing was heard of the peer */
    uint64_t messages; /* of ours that were sent again */
    uint64_t bytes;
};

/*
 * A second carrier for small messages, while the first is full of others. They are counted as all
 * are and go on the first too, where nothing is missing when this one is lost; whichever comes
 * first is acted on.
 */
struct native_express {
    struct carrier *carrier; /* NULL: there is none */
    struct inbound inbound;
    struct slice_queue batch;
    struct message_early early; /* of the data message that comes next; number 0: none was told */
    uint64_t asked;             /* when one was wanted last, 0: never */
    uint64_t used;              /* when something went or came on it last */
    uint64_t looked;            /* when it was looked at last whether the peer's system answers */
    bool is_up;                 /* the handshake is through */
    bool is_offered;            /* the gateway takes one; the agent's side */
};

struct native_tunnel {
    struct tunnel base;
    struct link link;
    struct mux mux;
    struct carrier *carrier; /* NULL while detached */
    struct native_express express;
    struct inbound inbound;
    struct loop_task flush;
    struct loop_task burial;
    struct loop_timer timer;
    struct slice_arena arena; /* messages that are not counted */
    struct slice_queue batch;
    uint64_t timer_due; /* microseconds; UINT64_MAX when it is not running */
    uint64_t last_heard;
    uint64_t last_taken;     /* when the last counted message came */
    uint64_t last_ping;      /* when we sent the last */
    uint64_t ping_pending;   /* when the unanswered one was sent; 0: none */
    uint64_t blocked_since;  /* since when the carrier takes nothing; 0: it does */
    uint64_t round_trips[8]; /* the last ones; the smallest counts */
    unsigned round_trip_next;
    uint64_t pong_opaque;
    uint64_t peer_ping_second; /* the second in which peer_pings were counted */
    unsigned peer_pings;
    int failure; /* remembered until the flush tells the owner */
    enum native_loss loss;
    char failure_text[192];
    bool dials; /* the agent's side */
    bool expects_welcome;
    bool is_fresh; /* the handshake is through: streams may go */
    bool pong_due;
    bool ping_wanted;
    bool is_over; /* `lost` was told */
    bool is_closed;
    struct link_identity identity; /* of the link, once it was welcomed */
    unsigned resume_seconds;       /* that the peer keeps it without a carrier; 0: not at all */
    uint64_t epoch;                /* the agent's: of the last handshake */
    uint64_t highest_sent;         /* number of the last counted message that any carrier had */
    uint64_t attached_at;          /* when it got the carrier */
    uint64_t silent_since; /* when the lost carrier last brought something; 0: none was lost */
    struct native_gap gap; /* of the last resumption */
};

/* What an agent registers with. Borrowed. */
struct native_credentials {
    const char *name;
    const char *key;      /* NULL or "": none */
    const uint8_t *boot;  /* MESSAGE_BOOT_SIZE random bytes of this process; NULL: none */
    const uint8_t *place; /* MESSAGE_PLACE_SIZE bytes (net/place_mark.h); NULL: none */
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
int native_tunnel_register(struct native_tunnel *tunnel, struct carrier *carrier,
                           const struct native_credentials *credentials);
/* The gateway's side of a new link: takes the carrier and welcomes the agent whose handshake this
 * is. The link can be resumed for `resume_seconds` after its carrier is lost; 0: never. An error
 * means that the handshake cannot be. */
int native_tunnel_welcome(struct native_tunnel *tunnel, struct carrier *carrier,
                          const struct message_handshake *handshake,
                          const struct link_identity *identity, unsigned resume_seconds);

/* Whether the link can go on with another carrier, and how many seconds after it lost the last. */
bool native_tunnel_can_resume(const struct native_tunnel *tunnel, unsigned *seconds);

/* The agent's side: takes the carrier, a predecessor is closed first, and sends a handshake that
 * resumes the link, with the next epoch. `nonce` is the gateway's, of this carrier. `welcomed`
 * tells its answer: when ok, streams go on and tunnel->gap is set; REASON_LINK_LOST ends the link
 * (`lost`); with any other refusal, or none within NATIVE_WELCOME_PATIENCE, it is `detached` again
 * and may rejoin. CULVERT_ERROR_CLOSED where native_tunnel_can_resume says no. On an error nothing
 * has changed and the carrier is still the caller's. */
int native_tunnel_rejoin(struct native_tunnel *tunnel, struct carrier *carrier, const char *name,
                         const char *key, const uint8_t nonce[static CARRIER_NONCE_SIZE]);

/*
 * The gateway's side, for a handshake whose proof is right: takes the carrier, detaches the old,
 * attaches, and answers; tunnel->gap is set. CULVERT_ERROR_REFUSED for an epoch that is not above
 * the last, or a link that is about to end: nothing has changed and the carrier is still the
 * caller's. CULVERT_ERROR_PROTOCOL for numbers that cannot be: as before, but the owner ends the
 * link, since the agent knows its secret.
 */
int native_tunnel_resume(struct native_tunnel *tunnel, struct carrier *carrier,
                         const struct message_handshake *handshake);

/* The agent's side, when its owner was told TUNNEL_EXPRESS_WANTED: takes the carrier beside the one
 * that the link has. `nonce` is the gateway's, of this carrier. CULVERT_ERROR_CLOSED where the link
 * has none, or an express one already. On an error the carrier is still the caller's. */
int native_tunnel_add_express(struct native_tunnel *tunnel, struct carrier *carrier,
                              const char *name, const char *key,
                              const uint8_t nonce[static CARRIER_NONCE_SIZE]);
/* The gateway's side, for an express handshake whose proof is right: takes the carrier, in place of
 * an older express one. CULVERT_ERROR_REFUSED where the link has lost the carrier that it was to go
 * beside: the carrier is still the caller's. */
int native_tunnel_take_express(struct native_tunnel *tunnel, struct carrier *carrier,
                               const struct message_handshake *handshake);

/* Puts a message that is not counted, or a goaway, on the way. Without a carrier the former is lost
 * and the latter kept. */
int native_tunnel_send(struct native_tunnel *tunnel, const struct message *message);

/* Gives the carrier up, with a reason in a person's words: `detached` follows in this turn, or
 * `lost` where the link cannot be resumed. Nothing while it is detached. */
void native_tunnel_cut(struct native_tunnel *tunnel, int error, const char *why);
/* Gives the link up: the peer is told if it can be, and `lost` follows in this turn. */
void native_tunnel_fail(struct native_tunnel *tunnel, int error, const char *why);

#endif
