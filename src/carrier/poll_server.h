/*
 * The gateway's side of long poll (docs/protocol.md, "Long poll"): a carrier whose messages come up
 * and go down in numbered bodies. It knows requests by their numbers, not the connections that they
 * come on: whoever reads those asks here what to answer. Each request can be repeated, since a body
 * that goes down is kept until the next is asked for, and one that has come up is not taken twice.
 */
#ifndef CARRIER_POLL_SERVER_H
#define CARRIER_POLL_SERVER_H

#include "base/parking.h"
#include "base/slice.h"
#include "carrier/carrier.h"
#include "carrier/poll_batch.h"
#include "net/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    /* Seconds. */
    POLL_SERVER_HANG = 25,    /* that a request waits for a body at most: proxies cut at 30 */
    POLL_SERVER_SILENCE = 40, /* without a request, until the agent counts as gone */
    POLL_SERVER_LAST = 10,    /* after the end, for the last body to be fetched */
};

/* A request that waits for a body to come down; part of whoever asked. */
struct poll_waiter {
    /* 200: the body is there (server->body, server->down); 204: ask again; 410: it is over. Called
     * once, and not after poll_server_leave. */
    void (*answered)(struct poll_waiter *waiter, unsigned status);
};

struct poll_server;

struct poll_server_owner {
    /* From now on bodies may be read that go up, or must not be. */
    void (*reads)(struct poll_server *server, bool on);
    /* It is closed, and nobody needs the last body any more: to be deinitialised. Comes in a task
     * of its own. */
    void (*over)(struct poll_server *server);
};

struct poll_server {
    struct carrier carrier;
    const struct poll_server_owner *owner;
    struct loop *loop;
    struct loop_timer timer;
    struct loop_task ending;
    struct poll_waiter *waiter; /* NULL: none waits */
    struct slice_queue body;    /* that goes down; empty: there is none yet */
    struct slice_queue last;    /* the one behind it, before the end; empty mostly */
    struct parking parking;     /* of both */
    uint64_t down;              /* its number */
    uint64_t up;                /* the number of the next that comes up */
    size_t up_size;             /* bytes of the one before it */
    /* microseconds */
    uint64_t hang_end;  /* of the waiter */
    uint64_t last_seen; /* when the last request came */
    uint64_t end;       /* once it is closed */
    uint64_t timer_due; /* UINT64_MAX when it is not running */
    uint64_t batch_start;
    size_t batch_size;
    struct poll_batch batch;
    bool is_handed; /* the body was an answer: who asks for the next has got it */
    bool is_reading;
    bool has_failed; /* lost was told */
    bool is_closed;
};

/* A carrier that reads, its events still to be set. */
int poll_server_init(struct poll_server *server, struct loop *loop,
                     const struct poll_server_owner *owner);
/* After `over`, or at the end of the loop. `burial`, which may be NULL, is buried when libuv has
 * let go of the memory. */
void poll_server_deinit(struct poll_server *server, struct loop_task *burial);

/* A request for body `number`. Returns the status of its answer, as `answered` would tell or 409
 * for a number that cannot be, or 0: the waiter waits, and one that waited before has got its 204.
 */
unsigned poll_server_ask(struct poll_server *server, struct poll_waiter *waiter, uint64_t number);
/* The waiter, if it waits, does so no more. */
void poll_server_leave(struct poll_server *server, const struct poll_waiter *waiter);

/* Whether the body of this number and size that goes up is wanted: 0, or the status of the answer
 * without it: 200 when it was taken before, 409, 410, 413. */
unsigned poll_server_expects(struct poll_server *server, uint64_t number, size_t size);
/* Gives the whole body, and takes it. With `has_more` the next body continues its message. Returns
 * the status of the answer. */
unsigned poll_server_take(struct poll_server *server, uint64_t number, bool has_more,
                          struct slice_queue *body);

#endif
