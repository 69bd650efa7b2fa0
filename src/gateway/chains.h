/*
 * Chains of sessions. A session continues another when its client's connection is the very one that
 * was dialled for the other: a rule led to the listener of a rule. Without an end to this, rules
 * that lead to each other would open sessions until memory or descriptors run out. Agents tell both
 * ends of such a connection: who dials in the ack of the stream, who accepts in the open; which of
 * the two is heard first does not matter. All loops share the table, which has a lock of its own.
 */
#ifndef GATEWAY_CHAINS_H
#define GATEWAY_CHAINS_H

#include "base/map.h"
#include "codec/message.h"
#include "gateway/request.h"

#include <pthread.h>

enum { CHAINS_MAX = 8 /* sessions in one chain */ };

struct chains {
    pthread_mutex_t lock;
    struct map pairs; /* of addresses, with the place where they are */
};

/* A session, as a part of a chain. */
struct chain;

void chains_init(struct chains *chains, uint64_t seed);
/* When all sessions have ended. */
void chains_deinit(struct chains *chains);

/*
 * A session begins: *chain is what belongs to it, with one reference; NULL if it cannot be part of
 * any chain, for its agent tells nothing. CULVERT_ERROR_LIMIT with a sentence in *why: its rule
 * (who asks, for which target) was visited before in the chain that it continues, or that has
 * CHAINS_MAX sessions. CULVERT_ERROR_NO_MEMORY.
 */
int chain_begin(struct chains *chains, struct request *request, struct chain **chain,
                const char **why);

/* The session's target was dialled by an agent at `place`; `pair` is what it tells of the
 * connection, NULL: nothing. No effect when `chain` is NULL, or memory has run out: then the chain
 * ends here. */
void chain_dialled(struct chain *chain, const uint8_t place[static MESSAGE_PLACE_SIZE],
                   const char *pair);

/* Both take NULL. */
struct chain *chain_ref(struct chain *chain);
/* A session's half has ended: nobody continues it any more. */
void chain_end(struct chain *chain);

#endif
