/* Keeps a log readable when the same kind of thing happens very often: a few lines at once, then
 * one a second, which says how many were left out. The clock comes in. */
#ifndef BASE_LOG_LIMIT_H
#define BASE_LOG_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

enum { LOG_LIMIT_BURST = 5 }; /* lines that may come at once after a quiet time */

/* All zero at first. */
struct log_limit {
    uint64_t full_at;  /* microseconds: when the whole burst is available again */
    uint64_t left_out; /* since the last line */
};

/* Whether one more line may be written at `now` (microseconds, of one clock); then in *left_out how
 * many could not since the last one. */
bool log_limit_take(struct log_limit *limit, uint64_t now, uint64_t *left_out);

#endif
