/*
 * Applications on the two sides of a link: sessions that either side opens, whose two halves send,
 * read, half-close, reset and refuse at random. They check all that a stream may be told: each byte
 * arrives once and in order, all of them before the end of its direction, a prefix before a reset;
 * nothing is reported that did not happen.
 */
#ifndef SESSIONS_H
#define SESSIONS_H

#include "codec/message.h"
#include "mux/mux.h"
#include "trial.h"
#include "tunnel/tunnel.h"

enum {
    SESSIONS = 16,
    SESSION_MAX_UNWRITTEN = 128 * 1024, /* what a half has queued at most, and one piece more */
    SESSION_MAX_PIECE = 60000,
};

struct sessions;

/* One side's part in a session: an application that sends, reads and ends as it likes. */
struct session_half {
    struct session *session;
    struct session_half *peer;
    int side;              /* of the link; -1 before it is opened */
    struct stream *stream; /* NULL before it is opened and after it is closed */
    uint64_t to_send;
    uint64_t sent, written, received;
    uint64_t promised; /* what it had delivered when it was reset at this end */
    struct slice_queue in;
    uint64_t wake;
    uint64_t reset_time;
    uint64_t pause; /* microseconds between actions, at most */
    unsigned small; /* per cent of the pieces that it writes */
    unsigned hasty; /* per cent of the events it acts upon from within */
    bool reads;     /* otherwise it takes nothing until the reset */
    bool needs_accept, is_done;
    bool finish_called, finished, fin, resets;
};

struct session {
    struct sessions *sessions;
    unsigned index;
    struct session_half half[2]; /* [0] opens */
    bool stays_open;             /* neither half finishes */
    bool is_refused;
};

struct sessions {
    struct trial *trial;
    struct chunk_pool *pools[2]; /* of the sides */
    /* Opens a stream from this side: NULL if it cannot be now, then it is tried again. */
    struct stream *(*open)(struct sessions *sessions, int side, const struct message_open *open);
    bool has_lost;     /* a link was given up: its streams are reset with REASON_LINK_LOST */
    bool is_relieving; /* while the largest stream is ended to save memory */
    struct session session[SESSIONS];
};

/* Chooses what will happen. `pools`, `open` and `trial` are set already; the rest is cleared. */
void sessions_init(struct sessions *sessions);

/* The peer of this side has opened a stream. */
void sessions_peer_opened(struct sessions *sessions, int side, struct stream *stream,
                          const struct message_open *open);

/* Ends the tunnel's stream for which most is held, as one does who must free memory. */
void sessions_relieve(struct sessions *sessions, struct tunnel *tunnel);

/* When an application wants to act; TRIAL_NEVER if none does. */
uint64_t sessions_next(const struct sessions *sessions);
/* Lets those act whose time has come. */
void sessions_run(struct sessions *sessions);

/* What waits is within its bounds, and adds up to what the side's mux believes. */
void sessions_check_bounds(struct sessions *sessions, int side, const struct mux *mux);

/* Whether all have ended, or have done all that they will do. */
bool sessions_are_over(const struct sessions *sessions);
/* Then, with nothing under way: for each stream that is still open, what one side may send and what
 * the other waits to grant make up the window. */
void sessions_check_credit(struct sessions *sessions);
/* Lets go of what is still open. */
void sessions_close(struct sessions *sessions);

#endif
