/*
 * Holds a stream that cannot be joined yet, because a question about it is still open: what arrives
 * is kept (its window bounds it) and passed on to whoever joins the stream afterwards.
 */
#ifndef RELAY_HOLD_H
#define RELAY_HOLD_H

#include "base/parking.h"
#include "relay/stream.h"

#include <stdbool.h>

struct hold {
    struct stream *stream; /* NULL: given back, or gone */
    struct slice_queue data;
    struct parking parking; /* of `data` */
    struct chunk_pool *pool;
    bool fin;
    /* The stream was reset while it was held, and is closed. */
    void (*gone)(struct hold *hold);
};

/* `pool` is the stream's loop's. */
void hold_start(struct hold *hold, struct stream *stream, struct chunk_pool *pool,
                void (*gone)(struct hold *hold));

/* Gives the stream to the caller, who joins or refuses it; NULL if it is gone. What has arrived
 * stays here, for hold_pass_on, or is dropped by hold_deinit. */
struct stream *hold_release(struct hold *hold);

/* Tells the stream's new events what has arrived. Called as an event of the stream, that is not
 * from inside one of its operations. */
void hold_pass_on(struct hold *hold, struct stream *stream);

/* Refuses the stream if it is still held; drops what has arrived; repeatable. */
void hold_deinit(struct hold *hold);

#endif
