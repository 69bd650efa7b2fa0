/*
 * The time by which keys expire: that of the system's clock, but never less than the latest that
 * was seen and the time that has passed since, so that a clock set back delays no expiry. A clock
 * that was wrongly ahead therefore stays in force until the process starts again.
 */
#ifndef STORE_EXPIRY_CLOCK_H
#define STORE_EXPIRY_CLOCK_H

#include <stdint.h>

struct expiry_clock {
    int64_t latest;  /* milliseconds since 1970 */
    int64_t at;      /* of the clock that is never set */
    int64_t setback; /* milliseconds that the system's clock is behind */
};

#define EXPIRY_CLOCK_NULL ((struct expiry_clock){.latest = INT64_MIN})

/* Returns Unix seconds. `wall` are milliseconds since 1970, `elapsed` those of a clock that is
 * never set. */
int64_t expiry_clock_take(struct expiry_clock *clock, int64_t wall, int64_t elapsed);

/* The same with the system's clocks, time in suspension included. */
int64_t expiry_clock_now(struct expiry_clock *clock);

#endif
