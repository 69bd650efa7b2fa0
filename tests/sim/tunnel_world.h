/*
 * An agent and a gateway, each with the native tunnel as it is, on loops in virtual time, and the
 * lines between them: how links begin, are resumed, refused and given up. When what happens is up
 * to tunnel_sim.c.
 */
#ifndef TUNNEL_WORLD_H
#define TUNNEL_WORLD_H

#include "doorway.h"
#include "line.h"
#include "sessions.h"
#include "virtual_loop.h"

#include "tunnel/native_tunnel.h"

enum {
    WORLD_LINES = 64, /* at one time */
    WORLD_AGENT = 0,
    WORLD_GATEWAY = 1,
    WORLD_SECOND = 1000 * 1000,
};

struct side {
    struct account account;
    struct virtual_loop loop;
    struct native_tunnel *tunnel;
    uint64_t give_up_time;
    uint64_t stops_announced, stops_heard; /* goaway messages, which a link counts as well */
};

/* How often it came to what should be tried. */
struct tally {
    uint64_t links, resumed, refused, late, lost, replayed, kept_carrier, express, early;
};

struct world {
    struct trial trial;
    struct side sides[2];
    struct sessions sessions;
    struct list lines;
    struct visitor visitors[WORLD_LINES];
    struct link_identity identity;
    unsigned resume_seconds;
    unsigned events; /* that are still to come over it */
    uint64_t tempo;  /* microseconds between two of them, at most */
    uint64_t event_time;
    uint64_t dial_time;    /* when the agent begins to dial */
    uint64_t connect_time; /* when it has a carrier */
    uint64_t express_time; /* when it has an express carrier */
    struct tally tally;
    size_t most_memory;
};

/* A side gives its link up. */
void world_end_link(struct world *world, int which);
/* The agent dials, or is asked for an express line, in a while. */
void world_dial_soon(struct world *world);
void world_express_soon(struct world *world);
/* It does now; a line is there; a line that is to be an express one is. */
void world_dial(struct world *world);
void world_connected(struct world *world);
void world_express_connected(struct world *world);
/* What the gateway makes of a line whose handshake it has. */
void world_decide(struct world *world, struct visitor *visitor);
/* For sessions. */
struct stream *world_open_stream(struct sessions *sessions, int which,
                                 const struct message_open *open);

#endif
