/*
 * Forwards: local ports whose connections go to targets behind other agents. They come and go while
 * the agent runs. A port is bound when its forward is added, so that a clash is known at once, and
 * accepts once the agent has registered. While the link is away, new connections wait, bounded in
 * number and time, and are then reset. Sessions outlive their forward.
 */
#ifndef AGENT_FORWARD_H
#define AGENT_FORWARD_H

#include "agent/rule.h"
#include "agent/session.h"
#include "ends/inlet.h"
#include "policy/whitelist.h"
#include "tunnel/tunnel.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    FORWARD_MAX = 1024,     /* forwards of an agent */
    FORWARD_WAITING = 1024, /* connections that wait for the link */
    FORWARD_PATIENCE = 60,  /* seconds that each may wait at most */
    FORWARD_TARGET_SIZE = 512,
};

/* Who asked for a forward. */
enum forward_source { FORWARD_RULE, FORWARD_FILE, FORWARD_API };

struct forward {
    struct list_node node;
    struct forward_table *table;
    uint64_t id; /* never used again */
    enum forward_source source;
    bool is_marked;      /* while a file is read again */
    struct rule rule;    /* as it was asked for: a local port of 0 stays one */
    struct inlet *inlet; /* NULL: its port could not be opened, or the forward is gone */
    struct session_tally tally;
    struct loop_task burial;
    char target[FORWARD_TARGET_SIZE];
};

struct forward_table {
    struct loop *loop;
    struct session_table *sessions;
    struct whitelist *whitelist; /* where our own ports are denied */
    bool announces;              /* each port is printed on standard output */
    struct tunnel *tunnel;       /* NULL while the link is away */
    bool is_accepting;           /* the agent has registered once */
    struct list forwards;        /* in the order in which they came */
    size_t count;
    size_t key_count; /* of those with a connection key */
    uint64_t last_id;
    struct list waiting;
    size_t waiting_count;
    unsigned patience; /* seconds that each may wait */
    struct loop_timer timer;
};

/* The whitelist is borrowed. Returns 0 or an error, after which only forward_table_deinit may be
 * called. */
int forward_table_init(struct forward_table *table, struct loop *loop,
                       struct session_table *sessions, struct whitelist *whitelist, bool announces);

/* Adds a forward, with the number `id` or (0) a new one, and binds its port. Our own ports are
 * denied in the whitelist. Returns 0, CULVERT_ERROR_LIMIT, CULVERT_ERROR_EXISTS (a forward whose
 * port could not be opened has this port), CULVERT_ERROR_NO_MEMORY, or what inlet_tcp returns, with
 * a sentence in `why`. */
int forward_table_add(struct forward_table *table, const struct rule *rule,
                      enum forward_source source, uint64_t id, struct forward **forward, char *why,
                      size_t why_size);
/* The same, except that a forward whose port cannot be opened stays, without one; `why` then says
 * so, and is "" otherwise. */
int forward_table_keep(struct forward_table *table, const struct rule *rule,
                       enum forward_source source, uint64_t id, char *why, size_t why_size);
/* Tries once more to open the ports of those that stayed without one. */
void forward_table_retry(struct forward_table *table);

/* NULL if there is none. */
struct forward *forward_table_find(const struct forward_table *table, uint64_t id);
/* The first forward, and the one behind `forward`; NULL at the end. */
struct forward *forward_table_first(const struct forward_table *table);
struct forward *forward_table_next(const struct forward_table *table,
                                   const struct forward *forward);

/* Closes the port, resets what waits there, and lets go of the forward. Its sessions go on. */
void forward_remove(struct forward *forward);

/* The port that it listens on; the one that was asked for when it has none. */
uint16_t forward_port(const struct forward *forward);

/* Brings open_sent and open_received of all tallies up to date. */
void forward_table_add_up(struct forward_table *table);

/* The link is up: connections are accepted, and those that wait go on. When the link is lost, new
 * ones wait for it for `window` seconds, as long as the gateway keeps it, but no longer than
 * FORWARD_PATIENCE; 0: as long as that. */
void forward_table_up(struct forward_table *table, struct tunnel *tunnel, unsigned window);
/* The link is away. */
void forward_table_down(struct forward_table *table);

/* Closes the ports and resets what waits; repeatable. */
void forward_table_close(struct forward_table *table);
/* After the loop has ended and the sessions too; closes what is open. */
void forward_table_deinit(struct forward_table *table);

#endif
