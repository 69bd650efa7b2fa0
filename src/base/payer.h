/*
 * Which peer gives memory back when a process is at its memory limit. Peers are grouped by a name;
 * each group is a payer. A payer has parts: members of a gateway, sessions of an agent. A round
 * adds up the bytes that each part holds, and chooses the part that must free them. The next round
 * is due when it has done so, or after PAYER_PAUSE. Pure apart from the lock: no loop, no clock.
 */
#ifndef BASE_PAYER_H
#define BASE_PAYER_H

#include "base/account.h"
#include "base/map.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PAYER_PAUSE = 100,         /* milliseconds between two rounds */
    PAYER_SILENCE = 10 * 1000, /* milliseconds without progress after which held bytes are silent */
};

struct payer_part {
    unsigned worker;
    uint64_t id;
};

struct payer {
    unsigned members;
    size_t held;   /* bytes, of all its parts */
    size_t silent; /* of these, bytes without progress for PAYER_SILENCE */
    struct payer_part largest, most_silent;
    size_t largest_held, largest_silent; /* bytes of these two */
    char name[];
};

struct payers {
    pthread_mutex_t lock;
    struct map by_name;
    uint64_t next;    /* microseconds: when a round is due again, */
    size_t next_used; /* or when no more bytes than these are in use */
};

int payers_init(struct payers *payers, uint64_t seed);
/* After the last member has left. */
void payers_deinit(struct payers *payers);

/* Adds a member to the payer of this name. Returns NULL if there is no memory. */
struct payer *payers_join(struct payers *payers, const char *name);
/* Removes a member; frees the payer with its last one. */
void payers_leave(struct payers *payers, struct payer *payer);

/* ---- a round, in this order; the caller holds the lock where it says so ---- */

/* Whether the memory that the last round chose has been freed, or PAYER_PAUSE is over. `now` is in
 * microseconds. */
bool payers_are_due(const struct payers *payers, const struct account *account, uint64_t now);
/* Forgets the last round. Takes the lock. */
void payers_begin(struct payers *payers);
/* Adds the bytes that a part holds. The caller holds the lock. */
void payer_add(struct payer *payer, struct payer_part part, size_t held, size_t silent);
/*
 * Chooses the part that must free its memory. Payers whose silent bytes exceed an equal share of
 * the account's limit come first: of these the payer with most silent bytes, and its part with most
 * of them. Otherwise the payer that holds most, and its largest part. Returns the bytes that the
 * part holds; 0 if no payer holds any. Takes the lock.
 */
size_t payers_choose(struct payers *payers, const struct account *account, uint64_t now,
                     struct payer_part *part);

#endif
