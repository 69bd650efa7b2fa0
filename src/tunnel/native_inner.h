/* What the files of the tunnel share. */
#ifndef TUNNEL_NATIVE_INNER_H
#define TUNNEL_NATIVE_INNER_H

#include "tunnel/native_tunnel.h"

/* native_tunnel.c */
/* Remembers the first failure, or a worse one, for the flush of this turn. */
void native_lose(struct native_tunnel *tunnel, enum native_loss loss, int error, const char *why);
/* Closes the carrier, if there is one; a half message from it is forgotten. */
void native_detach(struct native_tunnel *tunnel, int error, const char *reason);
/* Puts a message into the batch as it is, counted or not. */
int native_push(struct native_tunnel *tunnel, const struct message *message);

/* native_resume.c */
/* Whether the link may go on with another carrier. */
bool native_is_resumable(const struct native_tunnel *tunnel);
int native_take_welcome(struct native_tunnel *tunnel, const struct message *message);
/* Tells the peer that the link is over, if the carrier takes it now. */
void native_send_end(struct native_tunnel *tunnel, int code, const char *reason);

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
