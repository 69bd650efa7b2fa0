/*
 * Puts the messages of Hubble 0.1 together from the pieces that a carrier brings: one of them is
 * one of the carrier's messages. What lies in one piece is not copied; what comes in several is
 * copied together, and so is what waits for the rest of its message.
 */
#ifndef TUNNEL_HUBBLE_INBOUND_H
#define TUNNEL_HUBBLE_INBOUND_H

#include "base/parking.h"
#include "base/slice.h"
#include "codec/hubble.h"

#include <stdbool.h>
#include <stddef.h>

struct hubble_inbound {
    struct chunk_pool *pool;
    size_t max;             /* bytes that a message may have */
    struct slice whole;     /* what is there of the message, in one piece */
    struct parking parking; /* of `whole` */
    struct chunk
        *scratch;        /* where several pieces are copied together, one message behind another */
    size_t scratch_used; /* by the messages before this one */
    bool is_copied;      /* `whole` lies in scratch */
};

/* `max`: at most CHUNK_LARGE_SIZE. */
void hubble_inbound_init(struct hubble_inbound *inbound, struct chunk_pool *pool, size_t max);
void hubble_inbound_deinit(struct hubble_inbound *inbound);

/* Takes a piece of a message. Returns 0, CULVERT_ERROR_TOO_LARGE, CULVERT_ERROR_NO_MEMORY. */
int hubble_inbound_take(struct hubble_inbound *inbound, struct slice piece);

/*
 * The message is complete: decodes it. The texts of `message` are borrowed from the inbound until
 * hubble_inbound_next; `payload` gets slices of its own. Returns 0 or what hubble_decode says.
 */
int hubble_inbound_decode(struct hubble_inbound *inbound, struct message *message,
                          struct slice_queue *payload);

/* Forgets the message that was decoded. */
void hubble_inbound_next(struct hubble_inbound *inbound);
/* Gives back the memory that is only kept for the next message. */
void hubble_inbound_rest(struct hubble_inbound *inbound);

#endif
