/* What the files of the tunnel share. */
#ifndef TUNNEL_TUNNEL_INNER_H
#define TUNNEL_TUNNEL_INNER_H

#include "tunnel/tunnel.h"

/* tunnel_receive.c */
extern const struct carrier_events tunnel_carrier_events;
int tunnel_take_message(struct inbound *inbound, const struct message *message,
                        struct slice_queue *payload, size_t size);

/* tunnel_send.c: the task that fills batches at the end of a turn. */
void tunnel_flush(struct loop_task *task);

/* tunnel_liveness.c */
void tunnel_timer_fired(struct loop_timer *timer);
/* Sees to it that the timer fires when the next thing is due. */
void tunnel_arm_timer(struct tunnel *tunnel);
void tunnel_heard(struct tunnel *tunnel);
void tunnel_take_pong(struct tunnel *tunnel, uint64_t opaque);

#endif
