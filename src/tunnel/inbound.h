/*
 * Puts the messages of a link together from the pieces that a carrier brings. The pieces are not
 * copied, except for the few bytes of a header that lies across two of them, and what waits for the
 * rest of its message. A message is told only
 * when it is whole, so that half of one is never acted on when its carrier is cut.
 */
#ifndef TUNNEL_INBOUND_H
#define TUNNEL_INBOUND_H

#include "base/parking.h"
#include "base/slice.h"
#include "codec/message.h"

#include <stddef.h>
#include <stdint.h>

struct inbound {
    /* Acts on a message; for data and datagram `payload` holds the bytes, which it may take. `size`
     * is the whole message's. Any return but 0 stops and is returned by inbound_take. */
    int (*message)(struct inbound *inbound, const struct message *message,
                   struct slice_queue *payload, size_t size);
    struct message current; /* while its payload comes */
    size_t current_size;
    size_t missing; /* payload bytes still to come */
    struct slice_queue payload;
    struct parking parking; /* of `payload` */
    struct chunk_pool *pool;
    uint8_t *partial; /* the beginning of a message that is not all there; NULL mostly */
    size_t partial_size;
    /* Before a login: the only type that is taken; any other is CULVERT_ERROR_PROTOCOL at its first
     * byte. 0: all are. */
    uint8_t only;
};

/* `pool` is borrowed: the carrier's loop's. */
void inbound_init(struct inbound *inbound, struct chunk_pool *pool,
                  int (*message)(struct inbound *, const struct message *, struct slice_queue *,
                                 size_t));
void inbound_deinit(struct inbound *inbound);

/* Takes the piece. Returns 0, what `message` returned, or a decoding error. */
int inbound_take(struct inbound *inbound, struct slice piece);

/* Whether no message is half there: so it must be at the end of a carrier's message. */
bool inbound_is_whole(const struct inbound *inbound);

#endif
