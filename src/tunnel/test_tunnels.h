/*
 * For tests: an agent's tunnel and a gateway's on one loop, joined by WebSocket carriers over
 * socket pairs. Each side's one stream writes what it is told to and sums up what comes.
 */
#ifndef TUNNEL_TEST_TUNNELS_H
#define TUNNEL_TEST_TUNNELS_H

#include "tunnel/native_tunnel.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TEST_PIECE = 32 * 1024 };

struct test_tunnels;

struct test_side {
    struct native_tunnel *tunnel;
    struct test_tunnels *pair;
    int fd; /* of its last carrier, to play tricks with */
    struct stream *stream;
    size_t to_write, outstanding, got;
    uint64_t sum_written, sum_got;
    bool is_opened, fin, finished, is_reset;
    int code;
    unsigned pongs;
    unsigned goodbyes; /* goaways that came */
    int lost;
    unsigned detachments;
    int detached; /* the last one's error */
    char why[200];
};

struct test_tunnels {
    struct account account;
    struct loop loop;
    struct loop_timer limit;
    struct test_side agent, gateway;
    bool (*is_over)(struct test_tunnels *pair); /* when true the loop ends */
    bool timed_out;
    bool rejoins_by_itself; /* the agent, as soon as it is detached */
    unsigned welcomes, refusals;
    unsigned express[TUNNEL_EXPRESS_OVER + 1]; /* how often each was told */
    int refused;                               /* the last one's code */
    /* What stands for a gateway's login. */
    struct {
        struct link_identity identity;
        uint8_t nonce[CARRIER_NONCE_SIZE];
        unsigned resume_seconds;
        int refuses;    /* the next handshake, with this code; -1: hangs up */
        bool is_silent; /* leaves handshakes unanswered */
        int result;     /* of the last resume */
        struct carrier *carrier;
        struct inbound inbound;
        struct message_handshake handshake;
        struct loop_task task;
    } door;
    struct loop_task rejoin;
};

/* A loop and a gateway's side; the agent's is the caller's. resume_seconds is what the gateway
 * grants. */
void test_tunnels_prepare(struct test_tunnels *pair, unsigned resume_seconds);
/* Starts an agent's registration; resume_seconds is what the gateway grants. */
void test_tunnels_start(struct test_tunnels *pair, unsigned resume_seconds);
/* A new carrier to the gateway's door, with a nonce of its own. */
struct carrier *test_tunnels_dial(struct test_tunnels *pair);
/* The agent dials and resumes. */
void test_tunnels_rejoin(struct test_tunnels *pair);
/* The agent dials and has an express carrier. */
void test_tunnels_add_express(struct test_tunnels *pair);
/* Runs until is_over says so. */
void test_tunnels_run(struct test_tunnels *pair, bool (*is_over)(struct test_tunnels *));
/* Runs until the streams of both sides may go. */
void test_tunnels_settle(struct test_tunnels *pair);
/* Opens the agent's stream, which writes `to_write`. */
void test_tunnels_open(struct test_tunnels *pair);
/* Whether both streams have ended both ways. */
bool test_tunnels_have_finished(struct test_tunnels *pair);
void test_tunnels_end(struct test_tunnels *pair);

#endif
