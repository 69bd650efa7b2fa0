/*
 * A loop's look-ups of host names. Numbers and `localhost` (RFC 6761 §6.3) need none. A look-up
 * runs on a thread of its own (net/lookup_threads.h); equal names that are looked up at the same
 * time share one. What others ask for is charged to them (net/asker.h) until the thread is done,
 * also when nobody waits for it any more, and waits its turn beyond their share: first those of one
 * asker, then those of the next. What the program itself needs is looked up at once.
 */
#ifndef NET_RESOLVER_H
#define NET_RESOLVER_H

#include "net/asker.h"
#include "net/loop.h"

#include <netdb.h>

enum { RESOLVER_KNOWN_MAX = 2 };

struct shared_lookup;

/* One who waits for a look-up: embedded in its owner, which sets `done` and `holder`. */
struct lookup {
    struct list_node node;
    struct shared_lookup *shared; /* NULL: it has not begun */
    struct asker *asker;
    char *host;
    /* Once, never from inside resolver_start. `list` is borrowed; NULL when there is no address.
     * `error`: 0, CULVERT_ERROR_RESOLVE or CULVERT_ERROR_NO_MEMORY. */
    void (*done)(struct lookup *lookup, int error, const struct addrinfo *list);
    void *holder;
};

/* The addresses of a number or of `localhost`, with a port of 0; returns how many, 0 for a name
 * that is to be looked up. */
unsigned resolver_know(const char *host, struct sockaddr_storage known[static RESOLVER_KNOWN_MAX]);

/* `asker` NULL: the program itself. The asker must be held until the look-up is done or cancelled.
 * Returns 0, CULVERT_ERROR_NO_MEMORY, or CULVERT_ERROR_RESOLVE when no thread can be started. */
int resolver_start(struct loop *loop, struct lookup *lookup, const char *host, struct asker *asker);
/* `done` will not be called. No effect on one that is done, or was never started. */
void resolver_cancel(struct lookup *lookup);

/* For loop_deinit: ends the look-ups of the loop without waiting for any. All must be cancelled. */
void resolver_free(struct resolver *resolver);

#endif
