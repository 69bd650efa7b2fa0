#include "gateway/admission.h"

enum { SECOND = 1000 * 1000 }; /* microseconds */

void admission_init(struct admission *admission, unsigned per_second)
{
    admission->interval = per_second == 0 ? 0 : SECOND / per_second;
    atomic_init(&admission->taken, 0);
    atomic_init(&admission->asked, 0);
}

/* Moves the clock on by one interval, from `least` if it is behind that, but not beyond `most`.
 * Returns where it then is, or 0 if it did not move. */
static uint64_t advance(_Atomic uint64_t *clock, uint64_t least, uint64_t most, uint64_t interval)
{
    uint64_t before = atomic_load(clock);
    uint64_t after;
    do {
        after = (before > least ? before : least) + interval;
        if (after > most)
            return 0;
    } while (!atomic_compare_exchange_weak(clock, &before, after));
    return after;
}

unsigned admission_ask(struct admission *admission, uint64_t now)
{
    uint64_t interval = admission->interval;
    if (interval == 0 || advance(&admission->taken, now, now + SECOND, interval) != 0)
        return 0;
    uint64_t longest = now + (uint64_t)ADMISSION_LONGEST_WAIT * SECOND;
    uint64_t turn = advance(&admission->asked, now, longest, interval);
    if (turn == 0)
        return ADMISSION_LONGEST_WAIT;
    return (unsigned)((turn - now + SECOND - 1) / SECOND);
}
