#include "agent/gateways.h"

#include <assert.h>

static const uint64_t SECOND = 1000 * 1000;

/* SplitMix64: any seed will do. */
static uint64_t next_random(struct gateways *gateways)
{
    uint64_t value = gateways->generator += UINT64_C(0x9e3779b97f4a7c15);
    value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
    return value ^ (value >> 31);
}

static void swap(uint8_t *a, uint8_t *b)
{
    uint8_t other = *a;
    *a = *b;
    *b = other;
}

/* All of them, in their order or in any. */
static void begin_round(struct gateways *gateways)
{
    gateways->at = 0;
    for (size_t i = 0; i < gateways->count; i++)
        gateways->round[i] = (uint8_t)i;
    for (size_t i = gateways->count; gateways->is_random && i > 1; i--)
        swap(&gateways->round[i - 1], &gateways->round[next_random(gateways) % i]);
}

/* Takes `index` out of its place in the round and puts it at `place`. */
static void move(struct gateways *gateways, size_t index, size_t place)
{
    size_t from = 0;
    while (gateways->round[from] != index)
        from++;
    for (; from < place; from++)
        swap(&gateways->round[from], &gateways->round[from + 1]);
    for (; from > place; from--)
        swap(&gateways->round[from], &gateways->round[from - 1]);
}

void gateways_init(struct gateways *gateways, size_t count, bool is_random, unsigned retry,
                   uint64_t random)
{
    uint64_t first = retry > 0 ? retry : GATEWAYS_FIRST_RETURN;
    assert(count > 0 && count <= GATEWAYS_MAX);
    *gateways = (struct gateways){
        .count = count,
        .is_random = is_random,
        .generator = random,
        .home = count,
        .first_return = first * SECOND,
        .last_return = (first > GATEWAYS_LAST_RETURN ? first : GATEWAYS_LAST_RETURN) * SECOND,
    };
    begin_round(gateways);
}

size_t gateways_current(const struct gateways *gateways)
{
    return gateways->round[gateways->at];
}

bool gateways_failed(struct gateways *gateways, uint64_t now)
{
    if (now < gateways->patience_until)
        return true;
    gateways->patience_until = 0;
    gateways->at++;
    if (gateways->at < gateways->count)
        return false;
    begin_round(gateways);
    return true;
}

static void settle(struct gateways *gateways, size_t index, uint64_t now)
{
    if (gateways->home != index) {
        gateways->return_interval = gateways->first_return;
        gateways->return_at = now + gateways->return_interval;
        gateways->better = 0;
    }
    gateways->home = index;
    gateways->patience_until = 0;
    begin_round(gateways);
    move(gateways, index, 0);
}

void gateways_registered(struct gateways *gateways, uint64_t now)
{
    settle(gateways, gateways_current(gateways), now);
}

void gateways_lost(struct gateways *gateways, bool is_resumable, uint64_t now)
{
    size_t home = gateways->home;
    begin_round(gateways);
    if (home == gateways->count)
        return;
    move(gateways, home, is_resumable ? 0 : gateways->count - 1);
    gateways->patience_until =
        is_resumable && gateways->count > 1 ? now + GATEWAYS_PATIENCE * SECOND : 0;
}

void gateways_given_up(struct gateways *gateways)
{
    gateways->patience_until = 0;
}

void gateways_leave(struct gateways *gateways)
{
    gateways_lost(gateways, false, 0);
}

uint64_t gateways_leave_delay(struct gateways *gateways, uint64_t seconds)
{
    uint64_t spread = seconds < GATEWAYS_LAST_SPREAD ? seconds : GATEWAYS_LAST_SPREAD;
    return next_random(gateways) % (spread * 900 + 1);
}

uint64_t gateways_return_at(const struct gateways *gateways)
{
    bool is_settled = gateways->home < gateways->count && gateways->home > 0;
    return is_settled && !gateways->is_random ? gateways->return_at : UINT64_MAX;
}

size_t gateways_better(const struct gateways *gateways)
{
    return gateways->better;
}

void gateways_returned(struct gateways *gateways, uint64_t now)
{
    settle(gateways, gateways->better, now);
}

/* All earlier ones get a try, then the interval grows. */
void gateways_stayed(struct gateways *gateways, uint64_t now)
{
    gateways->better++;
    if (gateways->better >= gateways->home) {
        gateways->better = 0;
        gateways->return_interval *= 2;
        if (gateways->return_interval > gateways->last_return)
            gateways->return_interval = gateways->last_return;
    }
    gateways->return_at = now + gateways->return_interval;
}
