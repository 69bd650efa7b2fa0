/* What the files of the tunnel share. */
#ifndef TUNNEL_NATIVE_INNER_H
#define TUNNEL_NATIVE_INNER_H

#include "tunnel/native_tunnel.h"

/* native_tunnel.c */
/* Remembers the first failure, or a worse one, for the flush of this turn. */
void native_lose(struct native_tunnel *tunnel, enum native_loss loss, int error, const char *why);
/* Closes the carrier, if there is one; a half message from it is forgotten. */
void native_detach(struct native_tunnel *tunnel, int error, const char *reason);
/* Encodes a message, for a batch. */
int native_encode(struct native_tunnel *tunnel, const struct message *message, struct slice *out);
/* Puts a message into the batch as it is, counted or not. */
int native_push(struct native_tunnel *tunnel, const struct message *message);
/* Frees a closed tunnel, unless its streams still deliver. */
void native_close_when_empty(struct native_tunnel *tunnel);

/* native_resume.c */
/* Whether the link may go on with another carrier. */
bool native_is_resumable(const struct native_tunnel *tunnel);
int native_take_welcome(struct native_tunnel *tunnel, const struct message *message);
/* A handshake that proves to be the link's agent, with this epoch. */
int native_make_proof(const struct native_tunnel *tunnel, const char *name, const char *key,
                      uint64_t epoch, const uint8_t nonce[static CARRIER_NONCE_SIZE],
                      struct message_handshake *handshake);
/* The gateway's yes; `secret` is NULL where the link has crossed before. */
struct message native_make_welcome(const struct native_tunnel *tunnel, const uint8_t *secret);
/* Tells the peer that the link is over, if the carrier takes it now. */
void native_send_end(struct native_tunnel *tunnel, int code, const char *reason);

/* native_receive.c */
extern const struct carrier_events native_carrier_events;
/* The words for a protocol error say what kind of thing was wrong, for the log of both sides. */
const char *native_explain(int error);
int native_take_message(struct inbound *inbound, const struct message *message,
                        struct slice_queue *payload, size_t size);

/* native_send.c */
/* The task that fills batches at the end of a turn. */
void native_flush(struct loop_task *task);
/* Moves the mux's next message into the link, where it is the last. `early`, which may be NULL,
 * gets a data message's numbers; number 0 for others. Returns 1, 0 if there is none, or an error.
 */
int native_pull(struct native_tunnel *tunnel, enum mux_may may, struct message_early *early);

/* native_express.c */
int native_express_take_message(struct inbound *inbound, const struct message *message,
                                struct slice_queue *payload, size_t size);
/* Sends small messages that would have to wait. Returns 0 or an error of the link. */
int native_express_flush(struct native_tunnel *tunnel);
/* The peer is asked for an express carrier, or the owner, unless that was a moment ago. */
void native_express_want(struct native_tunnel *tunnel);
/* Closes one that is not needed any more; to be called from time to time. */
void native_express_look(struct native_tunnel *tunnel);
/* Closes it, if there is one. */
void native_express_close(struct native_tunnel *tunnel, int error, const char *reason);

/* native_liveness.c */
void native_timer_fired(struct loop_timer *timer);
/* Sees to it that the timer fires when the next thing is due. */
void native_arm_timer(struct native_tunnel *tunnel);
/* The least of the last ones, in microseconds; 0: none was measured. */
uint64_t native_round_trip(const struct native_tunnel *tunnel);
void native_ping(struct tunnel *base);
void native_heard(struct native_tunnel *tunnel);
void native_take_pong(struct native_tunnel *tunnel, uint64_t opaque);

#endif
