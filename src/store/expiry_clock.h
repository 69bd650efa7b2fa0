/*
 * The time that decides whether a key has expired: the system's clock, but never less than the
 * latest time seen plus the time that has passed since. So setting the clock back delays no expiry.
 * After a clock was wrongly ahead, its time stays in force until the process is restarted.
 */
#ifndef STORE_EXPIRY_CLOCK_H
#define STORE_EXPIRY_CLOCK_H

#include <stdint.h>

struct expiry_clock {
    int64_t latest;  /* milliseconds since 1970 */
    int64_t at;      /* milliseconds of the monotonic clock */
    int64_t setback; /* milliseconds that the system's clock is behind */
};

#define EXPIRY_CLOCK_NULL ((struct expiry_clock){.latest = INT64_MIN})

/* Returns Unix seconds. `wall` is in milliseconds since 1970, `elapsed` in milliseconds of a
 * monotonic clock. */
int64_t expiry_clock_take(struct expiry_clock *clock, int64_t wall, int64_t elapsed);

/* The same with the system's clocks; counts the time of a suspended system. */
int64_t expiry_clock_now(struct expiry_clock *clock);

#endif
