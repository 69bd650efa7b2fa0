/*
 * For tests: a tunnel of Hubble 0.1 in virtual time, with a carrier that only notes what it is
 * told, and a holder of its one stream that consumes what comes.
 */
#ifndef HUBBLE_WORLD_H
#define HUBBLE_WORLD_H

#include "codec/hubble.h"
#include "tunnel/hubble_tunnel.h"
#include "virtual_loop.h"

#include <stdbool.h>
#include <stddef.h>

enum { SECOND = 1000 * 1000 };

struct hubble_world {
    struct trial trial;
    struct virtual_loop loop;
    struct account account;
    struct tunnel *tunnel;
    struct carrier carrier;
    struct message last; /* that was sent; its texts are gone */
    struct stream *stream;
    size_t got, unconsumed;
    unsigned sent, flushed, pings, pongs, welcomes, lost, resets, opens;
    int error, code;
    char why[200];
    char stream_why[200];
    bool is_reading, is_ready, is_closed, keeps, is_opened;
};

/* A tunnel that has been given its carrier; the gateway's has said yes, the agent's has asked. */
void hubble_world_gateway(struct hubble_world *world);
void hubble_world_agent(struct hubble_world *world);
/* Closes it, and checks that nothing is left. */
void hubble_world_end(struct hubble_world *world);

void hubble_world_turn(struct hubble_world *world);
/* Lets time pass, with the turns that are due meanwhile. */
void hubble_world_pass(struct hubble_world *world, uint64_t microseconds);

/* The peer's bytes arrive as one message. */
void hubble_world_arrive(struct hubble_world *world, const uint8_t *bytes, size_t size);
void hubble_world_arrive_message(struct hubble_world *world, const struct message *message);
/* The gateway's answer to an agent's handshake. */
void hubble_world_answer(struct hubble_world *world, bool ok, const char *text);
void hubble_world_peer_opens(struct hubble_world *world, const char *guid);
void hubble_world_peer_sends(struct hubble_world *world, const char *guid, int64_t order,
                             uint32_t size);
/* We open; under this name. */
void hubble_world_open(struct hubble_world *world);
void hubble_world_open_as(struct hubble_world *world, const char *guid);

#endif
