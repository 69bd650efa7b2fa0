#include "store/expiry_clock.h"

#include <time.h>

enum { MILLISECONDS = 1000, NANOSECONDS = 1000000 };

int64_t expiry_clock_take(struct expiry_clock *clock, int64_t wall, int64_t elapsed)
{
    int64_t now = wall;
    clock->setback = 0;
    if (clock->latest != INT64_MIN && clock->latest + (elapsed - clock->at) > wall) {
        now = clock->latest + (elapsed - clock->at);
        clock->setback = now - wall;
    }
    clock->latest = now;
    clock->at = elapsed;
    return now / MILLISECONDS;
}

static int64_t read_clock(clockid_t id)
{
    struct timespec time = {0};
    clock_gettime(id, &time);
    return (int64_t)time.tv_sec * MILLISECONDS + time.tv_nsec / NANOSECONDS;
}

int64_t expiry_clock_now(struct expiry_clock *clock)
{
    int64_t wall = read_clock(CLOCK_REALTIME);
    return expiry_clock_take(clock, wall, read_clock(CLOCK_BOOTTIME));
}
