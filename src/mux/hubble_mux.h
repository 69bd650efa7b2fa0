/*
 * The sessions of a Hubble 0.1 connection as streams (docs/hubble.md). Pure, as mux/mux.h: decoded
 * messages in, encoded messages out, time as an argument. What 0.1 lacks is made up for here:
 *
 * - It has no credit. What this side delivers and its holders have not consumed is bounded, for a
 *   stream and for all; at a bound the owner is asked to stop reading the carrier.
 * - An original answers an open before it can take data. So data towards it is held until its ack
 *   and one ping and pong after it, and a session that was given up before its ack is ended once
 *   more when it comes.
 * - It has no half-close: whoever ends a direction ends both. At the gateway a `finish` is
 *   therefore withheld from the peer until its own direction has ended, or has been silent for a
 *   while (HUBBLE_LINGER_*), for else it might wait for us for ever. An agent ends at once, as the
 *   originals do.
 * - A closed connection's last bytes are still delivered: `fin` comes first, and the reset with
 *   REASON_CLOSED when all that was delivered has been consumed. Other ends that are the peer's
 * (its connection is lost, it uses the GUID for another session) wait in the same way.
 */
#ifndef MUX_HUBBLE_MUX_H
#define MUX_HUBBLE_MUX_H

#include "base/account.h"
#include "base/list.h"
#include "base/map.h"
#include "base/parking.h"
#include "base/slice.h"
#include "codec/hubble.h"
#include "mux/record_cost.h"
#include "relay/stream.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum hubble_role {
    HUBBLE_GATEWAY, /* the peer is an agent: it sends 05, is sent 04 */
    HUBBLE_AGENT,   /* the peer is a proxy: the other way round */
};

enum {
    HUBBLE_STREAM_WINDOW = 1024 * 1024,    /* delivered and not consumed, of one stream */
    HUBBLE_LINK_WINDOW = 8 * 1024 * 1024,  /* of all */
    HUBBLE_MAX_STREAMS = 65536,            /* that the peer may have open */
    HUBBLE_MAX_CONTROL_QUEUE = 256 * 1024, /* bytes of queued control messages */
    HUBBLE_CHUNK = 32 * 1024,              /* payload of the data messages that we send */
    /* seconds */
    HUBBLE_ASK_TIME = 30,         /* an agent waits for the ack of its open */
    HUBBLE_ANSWER_TIME = 120,     /* the gateway waits for a responder's ack */
    HUBBLE_ACCEPT_TIME = 35,      /* ...and for its own answer to an open of the peer's, which by
                                     then has given up */
    HUBBLE_PONG_TIME = 5,         /* data waits for the pong: a peer that is not read sends none */
    HUBBLE_LINGER_ASKING = 1,     /* the peer asked for the session, is silent, and the other end
                                     has ended: it most likely waits for that end */
    HUBBLE_LINGER_ANSWERING = 30, /* the same where the peer answers */
    HUBBLE_RESET_PATIENCE = 30,   /* without progress, until the holder has consumed what came
                                     before an end */
};

enum hubble_timer {
    HUBBLE_TIMER_ANSWER, /* ours: for the peer's ack */
    HUBBLE_TIMER_ACCEPT, /* the peer's: for our ack */
    HUBBLE_TIMER_PONG,
    HUBBLE_TIMER_LINGER_ASKING,
    HUBBLE_TIMER_LINGER_ANSWERING,
    HUBBLE_TIMER_CONSUMER, /* the peer has ended it, the holder has not consumed all */
    HUBBLE_TIMERS,
};

struct hubble_mux;
struct hubble_stream;

struct hubble_mux_owner {
    /* As mux_owner. open->guid is set. */
    void (*peer_opened)(struct hubble_mux *mux, struct stream *stream,
                        const struct message_open *open);
    /* There is something to pull, or to tell when the turn ends; called once until the next pull or
     * hubble_mux_turn_ends. */
    void (*wants_to_send)(struct hubble_mux *mux);
    /* Stop reading the carrier, or go on. Comes from inside of operations too: what has been read
     * already is to be given to hubble_mux_receive later. */
    void (*wants_to_read)(struct hubble_mux *mux, bool on);
    /* Send the peer a ping of the carrier's; hubble_mux_ponged when it has answered one that was
     * sent from now on. Not called again before that. */
    void (*wants_ping)(struct hubble_mux *mux);
};

struct hubble_mux {
    const struct hubble_mux_owner *owner;
    void *holder; /* for the owner's use */
    enum hubble_role role;
    struct chunk_pool *pool;
    struct account *account;
    struct map sessions;               /* streams by GUID */
    struct list streams;               /* all but the dead */
    struct list dead;                  /* freed at the end of the turn */
    struct list news;                  /* events are due that could not come inside an operation */
    struct list notices;               /* acks and ends are to be sent */
    struct list ready;                 /* data may be sent, in turn */
    struct list timers[HUBBLE_TIMERS]; /* each in the order of its deadlines */
    struct slice_arena arena;
    struct slice_queue control; /* encoded opens and refusals, one a slice; before the notices */
    uint64_t random;
    uint64_t now;
    uint64_t rest_began; /* while is_resting */
    uint64_t rested;     /* microseconds in all */
    uint64_t patience;   /* microseconds, of HUBBLE_TIMER_CONSUMER */
    size_t queued;       /* bytes in all `out` queues */
    size_t outstanding;  /* delivered and not consumed, of all streams */
    uint32_t full_streams;
    uint32_t peer_streams;
    uint32_t given_up; /* streams that wait for a late ack */
    int failure;       /* remembered: the connection must be cut */
    bool asked;        /* wants_to_send was called */
    bool is_full;
    bool is_stopped;   /* the owner was asked not to read */
    bool is_resting;   /* timers that wait for the peer stand still, for it is not read */
    bool ping_pending; /* wants_ping was called, no pong yet */
};

/* `seed`: random numbers, for the map and for GUIDs. */
int hubble_mux_init(struct hubble_mux *mux, const struct hubble_mux_owner *owner, void *holder,
                    enum hubble_role role, const uint64_t seed[2], struct chunk_pool *pool,
                    struct account *account);
/* As mux_set_patience, mux_abort, mux_is_empty and mux_deinit. */
void hubble_mux_set_patience(struct hubble_mux *mux, uint64_t microseconds);
void hubble_mux_abort(struct hubble_mux *mux, int code, const char *reason, uint64_t now);
bool hubble_mux_is_empty(const struct hubble_mux *mux);
void hubble_mux_deinit(struct hubble_mux *mux);

/* Opens a session towards the peer under open->guid, or under a new one (a random UUID, version 4)
 * if that is empty, too long or in use on this connection. As mux_open. */
int hubble_mux_open(struct hubble_mux *mux, const struct message_open *open, uint64_t now,
                    struct stream **stream);

/* Acts on everything but handshakes and their acks, which it ignores. `payload` as for mux_receive.
 * A session that is not known, and what the spec says is ignored, is ignored. An error means that
 * the connection must be cut. `now` in microseconds. */
int hubble_mux_receive(struct hubble_mux *mux, const struct message *message,
                       struct slice_queue *payload, uint64_t now);

/* Says no to an open that cannot be taken, such as one with a text that is too long. */
void hubble_mux_refuse(struct hubble_mux *mux, struct text guid, int code, const char *reason);

/* Appends the next message to send, whole, to `out`. Returns 1, 0 if there is none, or an error.
 * Reports `written` and `finished`. */
int hubble_mux_pull(struct hubble_mux *mux, struct slice_queue *out, uint64_t now);

/* The peer has answered a ping that `wants_ping` asked for. */
void hubble_mux_ponged(struct hubble_mux *mux);

/* When hubble_mux_tick is due, microseconds; UINT64_MAX: never. */
uint64_t hubble_mux_deadline(const struct hubble_mux *mux);
void hubble_mux_tick(struct hubble_mux *mux, uint64_t now);

/* As mux_turn_ends; also tells events that became due inside of operations. To be called at the end
 * of every turn in which wants_to_send was called. */
void hubble_mux_turn_ends(struct hubble_mux *mux, uint64_t now);

/* Nothing waits to be sent. */
bool hubble_mux_is_drained(const struct hubble_mux *mux);

/* Bytes held for the stream that holds the most (0: none); and its end, with a reset both ways. */
size_t hubble_mux_largest(const struct hubble_mux *mux, struct hubble_stream **stream);
void hubble_stream_fail(struct hubble_stream *stream, int code, const char *reason);

#endif
