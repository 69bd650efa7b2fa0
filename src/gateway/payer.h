/*
 * Who pays for the memory that agents make the gateway hold. Agents are grouped by the owner of
 * their key; those without keys by their network (IPv4 /24, IPv6 /56), so that many agents of one
 * stranger count as one. When memory is short every worker adds what its members hold; then one of
 * them is chosen. Pure apart from the lock: no loop, no clock.
 */
#ifndef GATEWAY_PAYER_H
#define GATEWAY_PAYER_H

#include "base/map.h"
#include "gateway/registry.h"

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

struct payer {
    unsigned members;
    size_t held;   /* bytes, of all its members */
    size_t silent; /* of these what its peers have not acknowledged for a long time */
    struct member_ref largest, most_silent;
    size_t largest_held, largest_silent; /* what these two hold */
    char name[];
};

struct payers {
    pthread_mutex_t lock;
    struct map by_name;
};

enum { PAYER_NAME_SIZE = 160 };

/* The payer's name of an agent. `key_id`: 0 without a key; `user`: the key's owner, may be "";
 * `address`: 16 bytes, IPv4 as mapped. */
void payer_name(int64_t key_id, const char *user, const char *agent, const uint8_t address[16],
                char out[static PAYER_NAME_SIZE]);

int payers_init(struct payers *payers, uint64_t seed);
/* After the last member has left. */
void payers_deinit(struct payers *payers);

/* One more member; NULL when memory has run out. */
struct payer *payers_join(struct payers *payers, const char *name);
/* One less; the last one frees it. */
void payers_leave(struct payers *payers, struct payer *payer);

/* ---- a round, in this order; the caller holds the lock where it says so ---- */

/* Forgets the last round. Takes the lock. */
void payers_begin(struct payers *payers);
/* What a member holds. With the lock held. */
void payer_add(struct payer *payer, struct member_ref member, size_t held, size_t silent);
/*
 * Whose largest stream, or link, is to end: of the payers whose silent bytes are more than an equal
 * share of `limit`, the one with most of them, and its member with most; else the payer that holds
 * most, and its member that does. Returns the bytes that the member holds; 0: nobody holds any.
 * Takes the lock.
 */
size_t payers_choose(struct payers *payers, size_t limit, struct member_ref *member);

#endif
