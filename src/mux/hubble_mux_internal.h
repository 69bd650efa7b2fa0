/* What the files of Hubble's mux share with one another. */
#ifndef MUX_HUBBLE_MUX_INTERNAL_H
#define MUX_HUBBLE_MUX_INTERNAL_H

#include "mux/hubble_mux.h"

enum {
    HUBBLE_MAX_GIVEN_UP = 4096, /* streams kept for a late ack */
    HUBBLE_MAX_IDLE_SLOTS = 8,  /* an idle stream does not keep a larger ring */
};

/*
 * A session. Its two sides end apart: the holder's when no event follows (is_mute) and it has
 * closed, the wire's when nothing more is sent or taken (is_over) and what was to be said is sent.
 * Then it is dead.
 */
struct hubble_stream {
    struct stream stream;    /* what a relay joins; must be first */
    struct hubble_mux *mux;  /* NULL after hubble_mux_deinit */
    struct list_node member; /* on mux->streams or mux->dead */
    struct list_node fresh;  /* on mux->news */
    struct list_node notice; /* on mux->notices */
    struct list_node ready;  /* on mux->ready */
    struct list_node timed;  /* on one of mux->timers */
    uint64_t deadline;
    struct slice_queue out;
    struct parking parking; /* of `out` */
    size_t outstanding;     /* delivered and not consumed */
    size_t dropped;         /* written behind the peer's end, not yet reported as `written` */
    int64_t sent;           /* the Order of our last data */
    int64_t received;       /* and of the peer's */
    /* To be sent, in this order: an ack, and so many 04 or 05. */
    enum { HUBBLE_NO_ACK, HUBBLE_YES, HUBBLE_NO } ack;
    unsigned ends;
    int code; /* of HUBBLE_NO or of the reset that waits, with the reason */
    char *reason;
    bool is_ours;     /* we opened it */
    bool is_accepted; /* the ack was sent or came */
    bool may_send;    /* the peer can take data */
    bool is_pinged;   /* on HUBBLE_TIMER_PONG: its ack came before the pending ping */
    bool is_full;
    bool is_answered;  /* the peer has sent data after our last */
    bool fin_wanted;   /* the holder has finished */
    bool is_finished;  /* and was told that this has left */
    bool fin_told;     /* the holder knows that the peer sends no more */
    bool is_draining;  /* the holder has let go in order: the end goes out behind its data */
    bool is_broken;    /* out of memory within an operation: the reset event is still to come */
    bool was_given_up; /* before its ack: is over, but kept for it */
    bool peer_closed;  /* by its 05 or 04 */
    bool is_resetting; /* ended by the peer in another way: the event waits until all is consumed */
    bool has_progressed; /* something was consumed since HUBBLE_TIMER_CONSUMER was started */
    bool is_over;        /* nothing more is sent or taken, but for what is still to be said */
    bool is_superseded;  /* its GUID is another's now, and nothing may be said */
    bool is_mute;        /* no event follows */
    bool is_closed;
    bool is_dead; /* buried */
    uint8_t guid_size;
    char guid[];
};

static inline struct hubble_stream *hubble_stream_from(struct stream *stream)
{
    return CONTAINER_OF(stream, struct hubble_stream, stream);
}

static inline struct text hubble_stream_guid(const struct hubble_stream *stream)
{
    return (struct text){stream->guid, stream->guid_size};
}

extern const struct stream_operations hubble_stream_operations;

/* ---- hubble_mux.c ---- */

/* Asks the owner to pull, once. */
void hubble_mux_wake(struct hubble_mux *mux);
/* Remembers the first error and sees to it that the owner learns of it. */
void hubble_mux_fail(struct hubble_mux *mux, int error);
/* The session, or NULL. A GUID that cannot be is not known either. */
struct hubble_stream *hubble_mux_find(const struct hubble_mux *mux, struct text guid);

/* ---- hubble_mux_life.c ---- */

/* A session on the map, not yet announced; NULL when memory has run out. */
struct hubble_stream *hubble_stream_create(struct hubble_mux *mux, struct text guid, bool is_ours);
/* Ends it without a word to anybody. */
void hubble_stream_discard(struct hubble_stream *stream);
/* Ends the wire's side without a word. A stream that is kept for a late ack stays on its timer. */
void hubble_stream_end(struct hubble_stream *stream);
/* Ends it and tells the peer: 04 or 05, or an ack that says no. */
void hubble_stream_say_end(struct hubble_stream *stream, int code, const char *reason);
/* The GUID is another session's from now on. */
void hubble_stream_supersede(struct hubble_stream *stream);
/* The peer has ended it other than by a close: the reset event comes now, or when the holder has
 * consumed all that came before. */
void hubble_stream_take_reset(struct hubble_stream *stream, int code, const char *reason);
/* The reset event, unless none may follow. */
void hubble_stream_tell_reset(struct hubble_stream *stream, int code, const char *reason);
/* Both directions have ended in our own time: the events for that. */
void hubble_stream_tell_end(struct hubble_stream *stream);
/* Buries it if both sides have ended. */
void hubble_stream_settle(struct hubble_stream *stream);

/* ---- hubble_mux_news.c ---- */

/* The stream has events due. */
void hubble_stream_note(struct hubble_stream *stream);
/* Tells them. Outside of any operation. */
void hubble_mux_tell_news(struct hubble_mux *mux);
/* Bytes were delivered, or consumed. */
void hubble_stream_delivered(struct hubble_stream *stream, size_t bytes);
void hubble_stream_released(struct hubble_stream *stream, size_t bytes);

/* ---- hubble_mux_send.c ---- */

/* Encodes a message that goes before the notices. An error leaves the mux as it was. */
int hubble_mux_queue(struct hubble_mux *mux, const struct message *message);
/* The stream has an ack or an end to be sent. */
void hubble_stream_announce(struct hubble_stream *stream);
/* Puts it in line if it has data that it may send, and starts its lingering if it waits for the
 * peer's end. Not from inside of an operation, where the time is not known. */
void hubble_stream_proceed(struct hubble_stream *stream);
/* The same for operations. */
void hubble_stream_schedule(struct hubble_stream *stream);

/* ---- hubble_mux_time.c ---- */

/* Takes note of the time; to be called first by whatever is given one. */
void hubble_mux_at(struct hubble_mux *mux, uint64_t now);
/* Starts the timer, or starts it anew, at mux->now. A stream has one at most. */
void hubble_timer_start(struct hubble_stream *stream, enum hubble_timer timer);
/* The peer can take data after its ack and a pong. */
void hubble_stream_await_pong(struct hubble_stream *stream);

#endif
