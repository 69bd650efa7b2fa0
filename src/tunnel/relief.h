/*
 * What a process does at its memory limit (--max-memory): it gives cached chunks back, and while it
 * is still at the limit, each turn of a loop resets the session that holds the most, with a reason.
 * Nothing else is harmed.
 */
#ifndef TUNNEL_RELIEF_H
#define TUNNEL_RELIEF_H

#include "mux/mux.h"
#include "net/loop.h"

struct relief {
    struct loop *loop;
    /* Of all streams on the loop the one that holds the most, or NULL. */
    struct mux_stream *(*largest)(struct relief *relief, size_t *bytes);
    uv_prepare_t prepare;
    struct loop_task task;
};

/* Returns 0 or an error. */
int relief_init(struct relief *relief, struct loop *loop,
                struct mux_stream *(*largest)(struct relief *, size_t *));
/* After the loop has ended, before it is deinitialised. */
void relief_deinit(struct relief *relief);

#endif
