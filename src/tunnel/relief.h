/*
 * What a process does at its memory limit (--max-memory): it gives cached chunks back, and while it
 * is still at the limit, each turn of a loop resets the session that holds the most, with a reason.
 * Nothing else is harmed.
 */
#ifndef TUNNEL_RELIEF_H
#define TUNNEL_RELIEF_H

#include "net/loop.h"
#include "tunnel/tunnel.h"

struct relief {
    struct loop *loop;
    /* Of all tunnels on the loop the one whose largest stream holds the most, or NULL. */
    struct tunnel *(*largest)(struct relief *relief);
    uv_prepare_t prepare;
    struct loop_task task;
};

/* Returns 0 or an error. */
int relief_init(struct relief *relief, struct loop *loop,
                struct tunnel *(*largest)(struct relief *));
/* After the loop has ended, before it is deinitialised. */
void relief_deinit(struct relief *relief);

#endif
