#ifndef JOURNAL_CLOCK_H
#define JOURNAL_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Milliseconds of a monotonic clock. */
static inline int64_t clock_milliseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* The same as pthread_cond_timedwait takes it. */
static inline struct timespec clock_moment(int64_t milliseconds)
{
    return (struct timespec){.tv_sec = (time_t)(milliseconds / 1000),
                             .tv_nsec = (long)(milliseconds % 1000) * 1000000};
}

#endif
