/*
 * One run of a simulation: a seed decides everything that happens in it, virtual time passes, and
 * the first check that fails ends it and says how to run it again.
 */
#ifndef TRIAL_H
#define TRIAL_H

#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>

#define TRIAL_NEVER UINT64_MAX

struct trial {
    const char *program;
    uint64_t seed;
    uint64_t now; /* microseconds */
    uint64_t random;
    jmp_buf failed;
};

uint64_t trial_random(struct trial *trial);
/* 0 to below - 1. */
uint64_t trial_below(struct trial *trial, uint64_t below);
bool trial_chance(struct trial *trial, unsigned percent);

#define TRIAL_CHECK(trial, condition) \
    ((condition) ? (void)0 : trial_fail((trial), #condition, __FILE__, __LINE__))

_Noreturn void trial_fail(struct trial *trial, const char *what, const char *file, int line);

/*
 * `PROGRAM` runs the seeds from 1 to `seeds` (fewer with a sanitizer), `PROGRAM SEED` runs one,
 * `PROGRAM FIRST COUNT` some. `run` starts at time 1 and gives nothing back when it has failed: the
 * next trial begins by clearing what it stands in. Stops at the first failure. Returns how many
 * ran, 0 if one failed.
 */
uint64_t trial_run_all(struct trial *trial, int argc, char **argv, uint64_t seeds,
                       void (*run)(struct trial *trial));

static inline void trial_earlier(uint64_t *time, uint64_t other)
{
    if (other < *time)
        *time = other;
}

#endif
