/*
 * Two ends of a link in virtual time: each is a link and a mux on it, and between them runs a
 * carrier with a delay, a rate and a send buffer, which can be cut and replaced. What the tunnel
 * does on a loop, an end does here without one.
 */
#ifndef SIM_H
#define SIM_H

#include "base/list.h"
#include "link/link.h"
#include "mux/mux.h"

enum {
    SIM_NOT_SENT = 64 * 1024, /* bytes that a carrier takes in beyond what is on the line */
};

/* One direction of a carrier. */
struct sim_pipe {
    uint64_t rate;    /* bytes a second */
    uint64_t delay;   /* microseconds */
    uint64_t free_at; /* nanoseconds: when the line has sent all that it was given */
    struct list flights;
    bool is_dead; /* what is sent is lost */
};

void sim_pipe_init(struct sim_pipe *pipe, uint64_t rate, uint64_t delay);
/* Loses all that is under way. */
void sim_pipe_drop(struct sim_pipe *pipe);
/* When the next message arrives; UINT64_MAX if none is under way. */
uint64_t sim_pipe_arrival(const struct sim_pipe *pipe);
/* The first time from `now` on at which the pipe takes more. */
uint64_t sim_pipe_ready(const struct sim_pipe *pipe, uint64_t now);

struct sim_end {
    struct account account;
    struct chunk_pool pool;
    struct link link;
    struct mux mux;
    struct chunk *reading; /* where payload is read to, as from a socket */
    size_t read;
    struct sim_pipe *out, *in;
    bool is_attached;
    bool wants_to_send;
    void *holder;
};

/* Both ends attached to a first carrier. */
void sim_end_init(struct sim_end *end, const struct mux_owner *owner, void *holder, bool dials,
                  size_t memory);
void sim_connect(struct sim_end *a, struct sim_end *b, struct sim_pipe *a_to_b,
                 struct sim_pipe *b_to_a);
/* What the dialling side says comes first on a new carrier. */
enum sim_first {
    SIM_KNOWS,   /* what the other side lacks, as if it knew */
    SIM_SKIPS,   /* the oldest that it keeps, and then a skip for what the other side has already */
    SIM_REPEATS, /* the same, and then all of it, to be dropped there */
};

/* Replaces the carrier of both by a new one, which `a` dials at `now`. Returns 0 or an error. */
int sim_reconnect(struct sim_end *a, struct sim_end *b, enum sim_first how, uint64_t now);
/* After mux_abort; returns the chunks that are still referenced. */
size_t sim_end_deinit(struct sim_end *end);

/* Takes in what has arrived by now. Returns 0 or an error. */
int sim_end_receive(struct sim_end *end, uint64_t now);
/* Sends what the carrier takes, ends the turn. Returns 0 or an error. */
int sim_end_send(struct sim_end *end, uint64_t now);
/* When the end has something to do without a message coming; UINT64_MAX if never. */
uint64_t sim_end_timeout(const struct sim_end *end, uint64_t now);

#endif
