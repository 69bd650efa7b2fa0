/*
 * How many handshakes a gateway takes up in a second, so that thousands of agents that come at once
 * are served one after the other instead of none of them in time. Those that are turned away get
 * times to come back at, one behind the other at the same rate.
 *
 * While more than half of the rate is in use, a group of addresses (gateway/address_group.h) gets
 * an ADMISSION_SHARE-th of it, so that the rest is for others. In the queue of those turned away a
 * group has one turn among the others; its further ones queue behind that, among themselves.
 * Handshakes that name a link that is known here have a rate of their own and so go before all
 * others. A pure state; the clock comes in.
 */
#ifndef GATEWAY_ADMISSION_H
#define GATEWAY_ADMISSION_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    ADMISSION_LONGEST_WAIT = 15, /* seconds */
    ADMISSION_SHARE = 8,
    ADMISSION_SLOTS = 4096, /* groups that are remembered; a power of two */
};

enum admission_lane {
    ADMISSION_NEW,
    ADMISSION_KNOWN, /* names a link that is known here */
    ADMISSION_LANES,
};

/* What a group of addresses has used up. Times in microseconds; those that have passed count for
 * nothing. */
struct admission_slot {
    uint64_t group;
    uint64_t taken[ADMISSION_LANES]; /* up to when its share is used up */
    uint64_t asked; /* up to when its own queue of those that were turned away will use it up */
};

struct admission {
    pthread_mutex_t lock;
    uint64_t interval; /* microseconds between two; 0: no limit */
    uint64_t seed;
    uint64_t taken[ADMISSION_LANES]; /* up to when the rate is used up */
    uint64_t asked;                  /* up to when those that were turned away will use it up */
    struct admission_slot slots[ADMISSION_SLOTS];
};

/* `per_second`: 0 for no limit, at most 1,000,000. `seed` is a random number that peers do not
 * know. Returns 0 or -errno. */
int admission_init(struct admission *admission, unsigned per_second, uint64_t seed);
void admission_deinit(struct admission *admission);

/* Any thread; `now` in microseconds, of one clock for all. `group` may be ADDRESS_GROUP_NONE, which
 * has no limit but the total. As many as one second's may come at once. Returns 0: admitted; else
 * the seconds, 1 to ADMISSION_LONGEST_WAIT, to come back after. */
unsigned admission_ask(struct admission *admission, uint64_t group, bool names_link, uint64_t now);

#endif
