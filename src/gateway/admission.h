/*
 * How many handshakes a gateway takes up in a second, so that thousands of agents that come at once
 * are served one after the other instead of none of them in time. Those that are turned away get
 * times to come back at, one behind the other at the same rate. A pure state; the clock comes in.
 */
#ifndef GATEWAY_ADMISSION_H
#define GATEWAY_ADMISSION_H

#include <stdatomic.h>
#include <stdint.h>

enum { ADMISSION_LONGEST_WAIT = 60 }; /* seconds */

struct admission {
    uint64_t interval;      /* microseconds between two; 0: no limit */
    _Atomic uint64_t taken; /* up to when the rate is used up */
    _Atomic uint64_t asked; /* up to when those that were turned away will use it up */
};

/* `per_second`: 0 for no limit, at most 1,000,000. */
void admission_init(struct admission *admission, unsigned per_second);

/* Any thread; `now` in microseconds, of one clock for all. As many as one second's may come at
 * once. Returns 0: admitted; else the seconds, 1 to ADMISSION_LONGEST_WAIT, to come back after. */
unsigned admission_ask(struct admission *admission, uint64_t now);

#endif
