/*
 * How a gateway ends: a signal or an order from another thread closes the listeners, tells the
 * agents, and lets open sessions finish for a while (after a signal the config's drain); then every
 * worker ends its links, and when all have, their loops end. A second signal does not wait.
 */
#ifndef GATEWAY_SHUTDOWN_H
#define GATEWAY_SHUTDOWN_H

#include "net/loop.h"
#include "net/signals.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct gateway;
struct shutdown;

/* What another thread wants; under way at most once. */
struct shutdown_order {
    struct loop_message message;
    struct shutdown *shutdown;
    _Atomic bool is_posted;
};

struct shutdown {
    struct gateway *gateway;
    void (*reload)(struct gateway *gateway); /* on SIGHUP or the order */
    struct signals signals;
    struct shutdown_order stop_order;
    struct shutdown_order reload_order;
    _Atomic unsigned seconds; /* the fewest that an order to stop gave */
    struct loop_timer timer;
    uint64_t deadline; /* microseconds */
    _Atomic bool is_draining;
    bool is_ending;
    bool is_over; /* orders come too late */
};

/* On the main worker's loop, which has no such thing yet. */
void shutdown_init(struct shutdown *shutdown, struct gateway *gateway,
                   void (*reload)(struct gateway *));
/* From here on SIGTERM, SIGINT and SIGHUP are ours. Returns 0 or an error. */
int shutdown_take_signals(struct shutdown *shutdown);
/* Call it when the main loop has ended: from then on SIGTERM and SIGINT end the process at once
 * (net/signals.h). */
void shutdown_release_signals(struct shutdown *shutdown);
/* Any thread. Whether the gateway is stopping; a worker begins to drain a little later. */
bool shutdown_has_begun(const struct shutdown *shutdown);
/* After the main loop has ended, before it is deinitialised. */
void shutdown_deinit(struct shutdown *shutdown);

/* Any thread: ends the gateway; open sessions get `seconds` to finish. */
void shutdown_stop(struct shutdown *shutdown, unsigned seconds);
/* Any thread. */
void shutdown_reload(struct shutdown *shutdown);

#endif
