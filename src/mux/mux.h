/*
 * The streams of a link: opening, credit, fair scheduling, half-close, reset. Pure: messages in,
 * messages out. The owner feeds decoded messages (mux_receive) and pulls the next message to send
 * when the carrier has room (mux_pull). Payload is pulled when a message is being built, so that
 * the choice of the stream is made as late as can be.
 *
 * Order of sending: control first (open, ack, reset, credit), then data in deficit round-robin,
 * where a stream that was idle goes before those that have been sending. A stream counts as idle
 * again only when its turn among the busy ones has come and found it empty; until then it may go
 * ahead with what is left of one quantum.
 */
#ifndef MUX_MUX_H
#define MUX_MUX_H

#include "base/account.h"
#include "base/list.h"
#include "base/map.h"
#include "base/parking.h"
#include "base/slice.h"
#include "codec/message.h"
#include "mux/credit.h"
#include "mux/record_cost.h"
#include "relay/stream.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    MUX_WINDOW = 256 * 1024, /* receive window of a new stream */
    MUX_MAX_WINDOW = CREDIT_MAX_WINDOW,
    MUX_EARLY_WINDOW = 16 * 1024, /* what may follow an open before its ack */
    MUX_QUANTUM = 64 * 1024,
    MUX_SLICE_COST = 64,      /* bytes that a slice in a queue is counted with, beside its data */
    MUX_MAX_STREAMS = 65536,  /* that a peer may have open */
    MUX_SMALLEST_DATA = 4096, /* that the payload of data messages can be limited to */
    MUX_SMALL_DATA = 1024,    /* payload of what MUX_MAY_SMALL lets through */
    MUX_MAX_CONTROL = 256 * 1024, /* bytes of refusals without a stream, past which the link is cut;
                                     and twice the bytes of opens that wait to be sent */
    MUX_MAX_REFUSALS = 4096,      /* of the peer's opens, that it does not take; one more cuts */
    MUX_RESET_PATIENCE = 30,      /* seconds without progress that a reset waits for its holder */
};

struct mux;
struct mux_stream;

struct mux_owner {
    /* The peer opened a stream. The owner joins stream->stream with another (or resets and closes
     * it) before it returns. `open` is borrowed for the call. */
    void (*peer_opened)(struct mux *mux, struct mux_stream *stream,
                        const struct message_open *open);
    /* There is something to pull: see to it that mux_pull is called in this turn. Called once until
     * the next pull. */
    void (*wants_to_send)(struct mux *mux);
};

struct mux_stream {
    struct stream stream; /* what a relay joins; must be first */
    struct mux *mux;      /* NULL after mux_deinit */
    uint64_t id;
    struct list_node scheduled; /* on mux->fresh or mux->busy, once it ended on one of the others */
    struct list_node notice;    /* on mux->notices: there is control of it to be sent */
    struct list_node credited;  /* on mux->credits: credit is due; or on mux->resetting */
    struct slice opening;       /* our open, encoded, until it is sent */
    struct slice_queue out;
    struct parking parking; /* of `out` */
    struct credit_sender send;
    struct credit_receiver receive;
    uint64_t consumed;  /* by the holder, not yet credited */
    uint64_t mark;      /* for whoever pulls; 0 at first */
    uint64_t deadline;  /* microseconds: until when its reset waits for progress */
    size_t dropped;     /* of what was written, not yet reported */
    char *ack_pair;     /* what our ack tells, until it is sent; owned; may be NULL */
    char *reset_reason; /* of the reset that waits, or is to be sent; owned; may be NULL */
    int reset_code;
    uint32_t deficit;
    uint32_t early;                 /* bytes that came before our ack, until then */
    bool ack_due, fin_due, end_due; /* to be sent, in this order; the end is a reset or refusal */
    bool is_ours;                   /* we opened it */
    bool is_accepted;               /* the ack was sent or came */
    bool fin_wanted, fin_sent, fin_received;
    bool is_resetting;   /* the peer has reset it: the event waits until all is consumed */
    bool has_progressed; /* something was consumed since the deadline was set */
    bool is_dead;        /* reset or closed: off the map, no event follows */
    bool is_closed;
    bool lingers; /* empty, on mux->busy until its turn comes */
};

struct mux {
    const struct mux_owner *owner;
    void *holder; /* for the owner's use */
    struct chunk_pool *pool;
    struct account *account;
    struct map streams;
    struct list fresh, busy, credits;
    struct list news;      /* events are due that could not come inside an operation */
    struct list resetting; /* streams whose reset waits, in the order of their deadlines */
    struct list ended;     /* reset, the holder has not closed them yet */
    struct list dead;      /* closed, freed at the end of the turn */
    struct slice_arena arena;
    struct slice_queue control; /* encoded refusals without a stream, one a slice */
    struct list notices;        /* streams that have an open, ack, fin or reset to be sent */
    size_t unopened;            /* bytes of opens that wait to be sent */
    uint32_t refusals;          /* that wait to be sent, of streams */
    uint64_t next_id;           /* ours: odd for the dialling side, even for the accepting side */
    uint64_t highest_peer_id;
    uint32_t peer_window;  /* what a new stream may send after its ack */
    uint32_t peer_streams; /* that the peer opened, until their last message is sent */
    uint64_t round_trip;   /* microseconds */
    uint64_t patience;     /* microseconds without progress that a reset waits for its holder */
    size_t largest_data;   /* payload of one data message at most */
    size_t early;          /* of all streams that we have not accepted yet */
    size_t queued;         /* bytes in all `out` queues with MUX_SLICE_COST per slice */
    int failure;           /* remembered: the link must be cut */
    bool asked;            /* wants_to_send was called, no pull since */
};

/* `dials`: this side dialled the carrier (the agent). `seed`: a random number. */
int mux_init(struct mux *mux, const struct mux_owner *owner, void *holder, bool dials,
             uint64_t seed, struct chunk_pool *pool, struct account *account);

/* The link is lost or closed, which is as if the peer had reset every stream that has not ended
 * both ways: their holders get the reset event with this code now, or when they have consumed all.
 * From then on pull, receive and open return CULVERT_ERROR_CLOSED. */
void mux_abort(struct mux *mux, int code, const char *reason, uint64_t now);
/* Nothing waits to be sent. */
bool mux_is_drained(const struct mux *mux);
/* Whether all streams have ended: none waits for its holder any more. */
bool mux_is_empty(const struct mux *mux);
/* After mux_abort, once it is empty; frees everything but streams that their holders have not
 * closed, which close frees later; repeatable. */
void mux_deinit(struct mux *mux);

/* What the peer's handshake named as its Window, before the first stream; 0 until then. */
void mux_set_peer_window(struct mux *mux, uint32_t window);
void mux_set_round_trip(struct mux *mux, uint64_t microseconds);
/* How long a reset waits for its holder without progress: MUX_RESET_PATIENCE seconds at least. */
void mux_set_patience(struct mux *mux, uint64_t microseconds);
/* The payload of a data message shall be at most so many bytes from now on, but MUX_SMALLEST_DATA
 * to MESSAGE_MAX_DATA: on a slow line a small message must not wait for a large one. */
void mux_limit_data(struct mux *mux, size_t bytes);

/* Opens a stream; `open` is copied into the message. Data may be written at once. Returns 0,
 * CULVERT_ERROR_TOO_LARGE, CULVERT_ERROR_NO_MEMORY, CULVERT_ERROR_LIMIT while half of
 * MUX_MAX_CONTROL waits to be sent, or what has failed the mux. */
int mux_open(struct mux *mux, const struct message_open *open, struct mux_stream **stream);

/* The stream that a relay joins, and the way back. */
static inline struct stream *mux_stream_base(struct mux_stream *stream)
{
    return &stream->stream;
}

static inline struct mux_stream *mux_stream_from(struct stream *stream)
{
    return CONTAINER_OF(stream, struct mux_stream, stream);
}

/*
 * Acts on open, data, reset, fin, credit and stream acks. `payload` holds a data message's bytes,
 * whole; what is not taken is dropped. An error means that the link must be cut:
 * CULVERT_ERROR_PROTOCOL (an id never opened, of the wrong parity, used again),
 * CULVERT_ERROR_LIMIT, CULVERT_ERROR_NO_MEMORY. An error of one stream (data beyond its credit,
 * empty data, credit past 2^31) resets that stream and is not an error here.
 */
int mux_receive(struct mux *mux, const struct message *message, struct slice_queue *payload,
                uint64_t now);

/* What may be pulled; what then stays behind is not asked for again by wants_to_send. */
enum mux_may {
    MUX_MAY_CONTROL, /* no data, since the link has no room for any */
    MUX_MAY_SMALL,   /* of data only small messages of streams that were idle */
    MUX_MAY_ALL,
};

/* A message to send: head, then body, either of which may be empty. All of them are counted. */
struct mux_output {
    uint8_t head[MESSAGE_MAX_HEADER]; /* of data; all of a fin or credit */
    size_t head_size;
    struct slice body; /* payload; all of an open, ack or reset */
    uint64_t *mark;    /* of the stream whose data it is, valid until the next call; else NULL */
    bool is_control;
};

/* The next message, taken by the caller. Reports `written` and `finished`, so streams may end
 * within. Returns 1, 0 if there is none, or an error as mux_receive. */
int mux_pull(struct mux *mux, enum mux_may may, struct mux_output *output, uint64_t now);

/* Whether data is there that MUX_MAY_SMALL lets through. */
bool mux_has_small(struct mux *mux);

/* Whether the stream can take data now, though what the peer sent before on a slower way may be
 * missing: it is open here, and accepted if we opened it. */
bool mux_takes_data(const struct mux *mux, uint64_t sid);

/* Nothing can be sent now, since the link has no carrier or no room: takes back that wants_to_send
 * was called, so that it is called for what comes, and reports events that are due. Returns 0 or
 * what has failed the mux. */
int mux_hold(struct mux *mux, uint64_t now);

/* When mux_tick is due, microseconds; UINT64_MAX: never. */
uint64_t mux_deadline(const struct mux *mux);
/* Ends streams whose reset has waited too long. */
void mux_tick(struct mux *mux, uint64_t now);

/* Frees streams that were closed in this turn. Outside of any event. */
void mux_turn_ends(struct mux *mux);

/* Ends the stream at once from outside of its holder, who gets the reset event, and tells the peer
 * unless that has reset it. */
void mux_stream_fail(struct mux_stream *stream, int code, const char *reason);

/* The stream for which most bytes are held: queued in its `out`, or delivered to its holder and not
 * yet consumed; NULL if none holds any. For the one who must free memory. */
struct mux_stream *mux_largest(struct mux *mux, size_t *bytes);

#endif
