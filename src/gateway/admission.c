#include "gateway/admission.h"

#include "gateway/address_group.h"

#include <string.h>

enum {
    SECOND = 1000 * 1000, /* microseconds */
    WAYS = 8,             /* slots that a group may be in */
};

int admission_init(struct admission *admission, unsigned per_second, uint64_t seed)
{
    memset(admission, 0, sizeof(*admission));
    admission->interval = per_second == 0 ? 0 : SECOND / per_second;
    admission->seed = seed;
    return -pthread_mutex_init(&admission->lock, NULL);
}

void admission_deinit(struct admission *admission)
{
    pthread_mutex_destroy(&admission->lock);
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* ---- groups ---- */

/* When the slot will say nothing any more. */
static uint64_t slot_end(const struct admission_slot *slot)
{
    return later(later(slot->taken[ADMISSION_NEW], slot->taken[ADMISSION_KNOWN]), slot->asked);
}

/* The group's slot, or else the one of those it may have that matters least, made its own. */
static struct admission_slot *find_slot(struct admission *admission, uint64_t group)
{
    uint64_t hash = (group ^ admission->seed) * UINT64_C(0x9E3779B97F4A7C15);
    size_t start = (size_t)(hash >> 40);
    struct admission_slot *least = NULL;
    for (size_t i = 0; i < WAYS; i++) {
        struct admission_slot *slot = &admission->slots[(start + i) % ADMISSION_SLOTS];
        if (slot->group == group)
            return slot;
        if (least == NULL || slot_end(slot) < slot_end(least))
            least = slot;
    }
    *least = (struct admission_slot){.group = group};
    return least;
}

/* ---- those that are admitted ---- */

static bool admit(struct admission *admission, struct admission_slot *slot,
                  enum admission_lane lane, uint64_t now)
{
    uint64_t interval = admission->interval;
    uint64_t *total = &admission->taken[lane];
    uint64_t after = later(*total, now) + interval;
    if (after > now + SECOND)
        return false;
    if (slot != NULL) {
        uint64_t share = interval * ADMISSION_SHARE;
        uint64_t most = now + later(SECOND, share);
        uint64_t own = later(slot->taken[lane], now) + share;
        if (*total > now + SECOND / 2 && own > most)
            return false;
        slot->taken[lane] = earlier(own, most);
    }
    *total = after;
    return true;
}

/* ---- those that are turned away ---- */

/* Moves the end of a queue on by one turn. Returns when that is. */
static uint64_t queue_up(uint64_t *queue, uint64_t interval, uint64_t now)
{
    uint64_t longest = now + (uint64_t)ADMISSION_LONGEST_WAIT * SECOND;
    *queue = earlier(later(*queue, now) + interval, longest);
    return *queue;
}

static unsigned turn_away(struct admission *admission, struct admission_slot *slot, uint64_t now)
{
    uint64_t turn;
    if (slot != NULL && slot->asked > now)
        turn = queue_up(&slot->asked, admission->interval, now);
    else
        turn = queue_up(&admission->asked, admission->interval, now);
    if (slot != NULL)
        slot->asked = turn;
    return (unsigned)((turn - now + SECOND - 1) / SECOND);
}

unsigned admission_ask(struct admission *admission, uint64_t group, bool names_link, uint64_t now)
{
    if (admission->interval == 0)
        return 0;
    pthread_mutex_lock(&admission->lock);
    struct admission_slot *slot = group != ADDRESS_GROUP_NONE ? find_slot(admission, group) : NULL;
    unsigned seconds = 0;
    if (!(names_link && admit(admission, slot, ADMISSION_KNOWN, now)) &&
        !admit(admission, slot, ADMISSION_NEW, now))
        seconds = turn_away(admission, slot, now);
    pthread_mutex_unlock(&admission->lock);
    return seconds;
}
