/* What the files of the tunnel share. */
#ifndef TUNNEL_NATIVE_INNER_H
#define TUNNEL_NATIVE_INNER_H

#include "tunnel/native_tunnel.h"

/* native_receive.c */
extern const struct carrier_events native_carrier_events;
int native_take_message(struct inbound *inbound, const struct message *message,
                        struct slice_queue *payload, size_t size);

/* native_send.c: the task that fills batches at the end of a turn. */
void native_flush(struct loop_task *task);

/* native_liveness.c */
void native_timer_fired(struct loop_timer *timer);
/* Sees to it that the timer fires when the next thing is due. */
void native_arm_timer(struct native_tunnel *tunnel);
void native_ping(struct tunnel *base);
void native_heard(struct native_tunnel *tunnel);
void native_take_pong(struct native_tunnel *tunnel, uint64_t opaque);

#endif
