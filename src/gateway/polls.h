/*
 * What a worker has of HTTP long poll (docs/protocol.md, "Long poll"): sessions, each the carrier
 * of an agent, and connections, whose requests are for whichever session they name. A connection
 * lives on the worker of the session that it was last used for.
 */
#ifndef GATEWAY_POLLS_H
#define GATEWAY_POLLS_H

#include "base/list.h"
#include "base/map.h"
#include "net/loop.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    POLLS_IDLE_TIME = 60, /* seconds that a connection may take until its next request is there */
    POLLS_BUSY_TIME = 30, /* in which a body or an answer may stand still */
};

struct worker;

struct polls {
    struct map sessions; /* by id */
    struct list idle;    /* connections between two requests, the oldest first */
    struct list busy;    /* that bring a body or take an answer, the one that stood longest first */
    struct loop_timer sweep;
    bool is_sweeping;
    bool is_over; /* nothing arrives any more */
};

void polls_init(struct worker *worker, uint64_t seed);
/* Closes all connections and ends all sessions, whose carriers have been closed. */
void polls_end(struct worker *worker);
void polls_deinit(struct worker *worker);

/* A connection's time begins anew. */
void polls_clock(struct worker *worker, struct list *list, struct list_node *node);

#endif
