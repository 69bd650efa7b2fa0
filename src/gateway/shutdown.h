/*
 * How a gateway ends: a signal closes the listeners, tells the agents, and lets open sessions
 * finish for a few seconds; then every worker ends its links, and when all have, their loops end. A
 * second signal does not wait.
 */
#ifndef GATEWAY_SHUTDOWN_H
#define GATEWAY_SHUTDOWN_H

#include "gateway/worker.h"

enum { SHUTDOWN_GRACE = 5 }; /* seconds for open sessions */

struct shutdown {
    struct gateway *gateway;
    void (*reload)(struct gateway *gateway); /* on SIGHUP */
    uv_signal_t signals[3];
    struct loop_timer timer;
    uint64_t deadline; /* microseconds */
    bool is_draining;
    bool is_ending;
};

/* On the main worker's loop. Returns 0 or an error. */
int shutdown_init(struct shutdown *shutdown, struct gateway *gateway,
                  void (*reload)(struct gateway *));
/* After the main loop has ended, before it is deinitialised. */
void shutdown_deinit(struct shutdown *shutdown);

#endif
