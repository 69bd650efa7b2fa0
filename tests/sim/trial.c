#include "trial.h"

#include <stdio.h>
#include <stdlib.h>

/* xorshift64* (Marsaglia; Vigna) */
uint64_t trial_random(struct trial *trial)
{
    trial->random ^= trial->random >> 12;
    trial->random ^= trial->random << 25;
    trial->random ^= trial->random >> 27;
    return trial->random * UINT64_C(0x2545f4914f6cdd1d);
}

uint64_t trial_below(struct trial *trial, uint64_t below)
{
    return (trial_random(trial) >> 16) % below;
}

bool trial_chance(struct trial *trial, unsigned percent)
{
    return trial_below(trial, 100) < percent;
}

_Noreturn void trial_fail(struct trial *trial, const char *what, const char *file, int line)
{
    fprintf(stderr, "seed %llu failed at %llu us, %s:%d: %s\nrun it again: %s %llu\n",
            (unsigned long long)trial->seed, (unsigned long long)trial->now, file, line, what,
            trial->program, (unsigned long long)trial->seed);
    longjmp(trial->failed, 1);
}

static bool run_one(struct trial *trial, void (*run)(struct trial *trial))
{
    trial->now = 1;
    trial->random = trial->seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    for (int i = 0; i < 4; i++)
        trial_random(trial);
    if (setjmp(trial->failed) != 0)
        return false;
    run(trial);
    return true;
}

/* A simulation has one thread; what ThreadSanitizer and, less so, AddressSanitizer can find in it
 * is found by fewer seeds, which take as long. */
#if defined(__SANITIZE_THREAD__)
enum { SLOWNESS = 10 };
#elif defined(__SANITIZE_ADDRESS__)
enum { SLOWNESS = 4 };
#else
enum { SLOWNESS = 1 };
#endif

uint64_t trial_run_all(struct trial *trial, int argc, char **argv, uint64_t seeds,
                       void (*run)(struct trial *trial))
{
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : argc > 1 ? 1 : seeds / SLOWNESS;
    trial->program = argv[0];
    for (trial->seed = first; trial->seed < first + count; trial->seed++) {
        if (!run_one(trial, run))
            return 0;
    }
    return count;
}
