/*
 * Who pays for the memory that peers make a process hold. Those who cause it are grouped by a name:
 * each group is a payer. When memory is short a round adds up what each part of each payer holds (a
 * member of a gateway, a session of an agent) and chooses the part that is to give it back; the
 * next round is due when it has, or after PAYER_PAUSE. Pure apart from the lock: no loop, no clock.
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
    PAYER_SILENCE = 10 * 1000, /* milliseconds without progress: what is held then is silent */
};

struct payer_part {
    unsigned worker;
    uint64_t id;
};

struct payer {
    unsigned members;
    size_t held;   /* bytes, of all its parts */
    size_t silent; /* of these what has made no progress for a long time */
    struct payer_part largest, most_silent;
    size_t largest_held, largest_silent; /* what these two hold */
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

/* One more member; NULL when memory has run out. */
struct payer *payers_join(struct payers *payers, const char *name);
/* One less; the last one frees it. */
void payers_leave(struct payers *payers, struct payer *payer);

/* ---- a round, in this order; the caller holds the lock where it says so ---- */

/* Whether what the last round chose has been given back, or PAYER_PAUSE is over. `now` in
 * microseconds. */
bool payers_are_due(const struct payers *payers, const struct account *account, uint64_t now);
/* Forgets the last round. Takes the lock. */
void payers_begin(struct payers *payers);
/* What a part holds. With the lock held. */
void payer_add(struct payer *payer, struct payer_part part, size_t held, size_t silent);
/*
 * Which part is to give its memory back: of the payers whose silent bytes are more than an equal
 * share of the account's limit, the one with most of them, and its part with most; else the payer
 * that holds most, and its part that does. Returns the bytes that the part holds; 0: nobody holds
 * any. Takes the lock.
 */
size_t payers_choose(struct payers *payers, const struct account *account, uint64_t now,
                     struct payer_part *part);

#endif
