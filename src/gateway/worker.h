/*
 * A worker is one event loop of the gateway with its thread, its listeners, the visitors that have
 * not logged in yet, its members (registered agents) and their sessions. What a worker owns, only
 * its thread touches.
 */
#ifndef GATEWAY_WORKER_H
#define GATEWAY_WORKER_H

#include "base/list.h"
#include "base/map.h"
#include "gateway/admission.h"
#include "gateway/asking.h"
#include "gateway/authorizer.h"
#include "gateway/chains.h"
#include "gateway/denials.h"
#include "gateway/gateway.h"
#include "gateway/polls.h"
#include "gateway/pressure.h"
#include "gateway/registry.h"
#include "gateway/shutdown.h"
#include "gateway/strangers.h"
#include "net/address.h"
#include "net/listener.h"
#include "net/loop.h"
#include "net/tls.h"
#include "store/watch.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    WORKER_LOGIN_TIME = 10, /* seconds for all of connection, TLS, upgrade and handshake */
};

struct member;
struct worker;

/* How far a worker is on its way to its end. */
enum worker_calm {
    WORKER_BUSY,  /* there are sessions, or agents that have been told to leave and have not yet */
    WORKER_LEFT,  /* only agents that cannot be told, and which do not have all that was sent */
    WORKER_QUIET, /* nothing to wait for */
};

/* Where the gateway listens. */
struct gateway_place {
    uint16_t port;
    char text[ADDRESS_TEXT_SIZE];
};

/* What all workers share; fixed after the start but for what is atomic or has a lock of its own. */
struct gateway {
    const struct gateway_config *config;
    struct account account;
    struct registry registry; /* members by the agents' names */
    struct registry polls;    /* sessions of long poll by their ids (gateway/poll_session.h) */
    struct registry links;    /* by the names of their links (link_name_text) */
    struct registry left; /* links that their agents have left, by "NAME/N" (gateway/member.h) */
    struct chains chains;
    struct store_watch *watch; /* NULL when agents need no key */
    struct authorizer authorizer;
    struct admission admission;
    struct pressure pressure; /* of memory */
    struct worker *workers;
    unsigned worker_count;
    struct gateway_place *places; /* as many as the config's listens */
    struct shutdown shutdown;
    _Atomic uint64_t next_id;
    _Atomic uint64_t next_session;
    _Atomic size_t sessions; /* relays between two agents that are not over */
};

struct worker {
    struct loop loop;
    struct gateway *gateway;
    pthread_t thread;
    bool has_thread;
    struct listener **listeners;
    size_t listener_count;
    struct tls_context *tls;    /* NULL: plain */
    struct list visitors;       /* oldest first */
    struct strangers strangers; /* who holds something without being logged in */
    struct loop_task eviction;  /* of those that are too many */
    struct map visitor_ids;
    struct map members;
    struct list sessions;
    struct polls polls;
    struct asking_queue asking; /* questions to the access list that wait */
    struct denials denials;
    struct loop_timer sweep;      /* ends visitors that are too slow */
    struct loop_timer quiet_look; /* while draining */
    struct pressure_gauge pressure;
    bool is_draining;
    uint64_t drain_start;           /* microseconds */
    _Atomic(enum worker_calm) calm; /* while draining */
};

/* Prepares the worker; its listeners come with worker_listen. Returns 0 or an error, which leaves
 * nothing to be deinitialised. */
int worker_init(struct worker *worker, struct gateway *gateway, unsigned index);
/* After its loop has ended, or when it never ran. */
void worker_deinit(struct worker *worker);

/* Adds a listener on this worker. Any time before its loop runs. `probe`: find out that another
 * process has the port. */
int worker_listen(struct worker *worker, const struct sockaddr_storage *address, bool dual,
                  bool probe);

/* On the worker's thread: asks whether the member's key is still valid, and ends it if not. */
void worker_recheck_key(struct worker *worker, struct member *member);

/* Counts one who has not logged in, as the newest of its group, also if it counted before; those
 * who are too many go at the end of the turn. */
void worker_count_stranger(struct worker *worker, struct stranger *stranger, uint64_t group);
/* It counts no more; no effect if it did not. */
void worker_forget_stranger(struct worker *worker, struct stranger *stranger);

/* From any thread: each runs on the worker's own. */
void worker_set_tls(struct worker *worker, struct tls_context *context);
void worker_recheck_keys(struct worker *worker);
/* Closes the listeners and the visitors, tells the agents to go. */
void worker_drain(struct worker *worker, unsigned seconds);
/* Ends all links and sessions. */
void worker_end_links(struct worker *worker);
/* Ends the loop. */
void worker_stop(struct worker *worker);

#endif
