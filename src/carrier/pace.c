#include "carrier/pace.h"

void pace_init(struct pace *pace)
{
    *pace = (struct pace){.batch = PACE_FIRST_BATCH};
}

static size_t within(uint64_t value, size_t least, size_t most)
{
    if (value < least)
        return least;
    return value > most ? most : (size_t)value;
}

void pace_wrote(struct pace *pace, size_t bytes, uint64_t now)
{
    pace->written += bytes;
    /* What small messages take says nothing. */
    if (bytes >= pace->batch / 2 && now - pace->full > PACE_QUIET)
        pace->batch = within(2 * (uint64_t)pace->batch, PACE_LEAST_BATCH, PACE_MOST_BATCH);
}

bool pace_is_full(struct pace *pace, uint64_t now)
{
    uint64_t took = now - pace->since;
    pace->full = now;
    if (pace->since != 0 && took < PACE_LEAST_MEASURE)
        return false;
    if (pace->since != 0 && took <= PACE_MOST_MEASURE) {
        uint64_t measured = pace->written * PACE_TIME / took;
        pace->batch = within((pace->batch + measured) / 2, PACE_LEAST_BATCH, PACE_MOST_BATCH);
    }
    pace->since = now;
    pace->written = 0;
    if (pace->batch < PACE_MOST_UNSENT)
        return !pace->has_settled;
    pace->has_settled = false;
    return false;
}

void pace_settle(struct pace *pace)
{
    pace->has_settled = true;
}

bool pace_is_long(const struct pace *pace, uint64_t round_trip)
{
    return pace->has_settled || round_trip >= PACE_FAR;
}

size_t pace_unsent(const struct pace *pace)
{
    if (pace->has_settled)
        return within(2 * (uint64_t)pace->batch, 2 * PACE_LEAST_BATCH, PACE_MOST_UNSENT);
    if (pace->batch >= PACE_MOST_UNSENT)
        return PACE_MOST_UNSENT;
    return within(32 * (uint64_t)pace->batch, PACE_MOST_UNSENT, PACE_START_UNSENT);
}
