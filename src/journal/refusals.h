/*
 * Sums up refusals, so that nobody fills the journal with them: of each type (session.refused,
 * auth.failed) and cause (journal/event_cause.h) REFUSALS_SHOWN a second are shown one by one; the
 * others of that second become one event that says how many it stands for. Its other fields are
 * those of the first of them. When more than REFUSALS_CAUSES causes are refused in one second, the
 * further ones are summed up together, by type. The clock comes in.
 */
#ifndef JOURNAL_REFUSALS_H
#define JOURNAL_REFUSALS_H

#include "base/list.h"
#include "base/map.h"
#include "journal/event_record.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    REFUSALS_SHOWN = 5,
    REFUSALS_CAUSES = 1024,
    REFUSALS_SECOND = 1000, /* milliseconds */
};

struct refusal_window;

struct refusals {
    struct map by_cause;
    struct list windows;              /* the oldest first */
    struct refusal_window *others[2]; /* of causes without a window of their own, by type */
    size_t holding;                   /* windows with a sum */
};

/* What was held back of one cause in one second. */
struct refusals_sum {
    struct event_record *record; /* the caller's; NULL: there was no memory for it */
    uint64_t count;              /* refusals; 0: none was held back */
};

int refusals_init(struct refusals *refusals, uint64_t seed);
/* Frees what is held back, too; repeatable. */
void refusals_deinit(struct refusals *refusals);

/* Whether this refusal is held back and will be in a sum; false: it is to be shown now. `now` is in
 * milliseconds and never goes back. Sums that are over must have been taken first. */
bool refusals_hold(struct refusals *refusals, const struct event *event, int64_t now);

/* Takes the sum of a second that is over, the oldest first; false: there is none. */
bool refusals_take(struct refusals *refusals, int64_t now, struct refusals_sum *sum);

/* When there may be a sum to take; 0: nothing is held back. */
int64_t refusals_due(const struct refusals *refusals);

#endif
