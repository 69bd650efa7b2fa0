/*
 * The relay joins two streams and pumps bytes both ways with back-pressure, half-close and reset.
 * It is the one place where a session's end is decided: when both directions have finished, or
 * either stream is reset, both are closed and `ended` is called, once.
 */
#ifndef RELAY_RELAY_H
#define RELAY_RELAY_H

#include "relay/stream.h"

#include <stdbool.h>
#include <stdint.h>

struct relay;

struct relay_side {
    struct stream *stream;
    struct relay *relay;
    uint64_t received; /* bytes that this side's stream delivered */
    uint64_t written;  /* bytes from the other stream that have left this one */
    bool fin;          /* it sends no more */
    bool finished;     /* what was written to it has left, the half-close too */
};

struct relay_owner {
    /* The answering side has reported that it is there; the asking side is accepted next. May be
     * NULL. */
    void (*opened)(struct relay *relay);
    /* Called after both streams were closed; the relay's memory is the owner's again, though a
     * caller up the stack may still look at it: free it at the end of the loop's turn. */
    void (*ended)(struct relay *relay, int code, const char *reason);
};

/* Who ended first: sent a fin, or was reset. */
enum relay_end { RELAY_ASKING, RELAY_ANSWERING, RELAY_OWNER };

struct relay {
    struct relay_side side[2]; /* [0] asked for the session, [1] answers */
    const struct relay_owner *owner;
    enum relay_end ended_by;
    bool is_open; /* side[1] has reported that it is there */
    bool is_over;
};

/* Joins the streams and takes them; sets their events and holders. `asking` is accepted when
 * `answering` reports `opened`. Embedded by value in the owner's session. */
void relay_join(struct relay *relay, struct stream *asking, struct stream *answering,
                const struct relay_owner *owner);

/* Resets both sides and ends. No effect when it is over. */
void relay_abort(struct relay *relay, int code, const char *reason);

#endif
