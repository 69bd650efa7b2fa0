/*
 * Forwards: local ports whose connections go to targets behind other agents. Ports are bound at
 * start, so that a clash is known at once, and accept once the agent has registered. While the link
 * is away, new connections wait, bounded in number and time, and are then reset.
 */
#ifndef AGENT_FORWARD_H
#define AGENT_FORWARD_H

#include "agent/rule.h"
#include "agent/session.h"
#include "ends/inlet.h"
#include "policy/whitelist.h"
#include "tunnel/tunnel.h"

#include <stdbool.h>

enum {
    FORWARD_WAITING = 1024, /* connections that wait for the link */
    FORWARD_PATIENCE = 60,  /* seconds that each may wait */
};

struct forward_table {
    struct loop *loop;
    struct session_table *sessions;
    struct tunnel *tunnel; /* NULL while the link is away */
    struct forward *forwards;
    size_t count;
    struct list waiting;
    size_t waiting_count;
    struct loop_timer timer;
};

int forward_table_init(struct forward_table *table, struct loop *loop,
                       struct session_table *sessions);

/* Binds every rule's port and prints it; what cannot be bound is named in the log and left out. Our
 * own ports are denied in `whitelist`. Returns how many were bound, or an error. */
int forward_table_bind(struct forward_table *table, const struct rule *rules, size_t count,
                       struct whitelist *whitelist);

/* The link is up: connections are accepted, and those that wait go on. */
void forward_table_up(struct forward_table *table, struct tunnel *tunnel);
/* The link is away. */
void forward_table_down(struct forward_table *table);

/* Closes the ports and resets what waits. */
void forward_table_close(struct forward_table *table);
/* After the loop has ended. */
void forward_table_deinit(struct forward_table *table);

#endif
