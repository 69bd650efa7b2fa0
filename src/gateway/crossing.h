/*
 * A crossing is a pipe between two loops with a stream at each end. What one end's holder writes,
 * the other delivers on its own loop; slices are handed over, not copied. Each turn's worth goes as
 * one message, so the cost is one wake-up for a batch. It has no window of its own: what is in
 * flight counts as outstanding at the source, because `written` comes only when the far holder has
 * reported `consumed`.
 *
 * Each end is touched by its own loop alone. The pair is freed when both ends were closed and no
 * message is under way, whichever comes last.
 */
#ifndef GATEWAY_CROSSING_H
#define GATEWAY_CROSSING_H

#include "net/loop.h"
#include "relay/stream.h"

/* `near` is for a holder on loop `near_loop` (the calling thread's), `far` for one on `far_loop`,
 * to whom it is to be given by loop_post before anything is written at the near end. Returns 0 or
 * CULVERT_ERROR_NO_MEMORY. */
int crossing_new(struct loop *near_loop, struct loop *far_loop, struct stream **near,
                 struct stream **far);

#endif
