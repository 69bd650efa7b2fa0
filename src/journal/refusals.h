/*
 * Aggregates refusals, so that no peer fills the journal with them. Of each type (session.refused,
 * auth.failed) and cause (journal/event_cause.h) REFUSALS_SHOWN events a second are shown one by
 * one. One event, with their number, stands for all others of that second; its other fields are
 * those of the first of them. If more than REFUSALS_CAUSES causes are refused in one second, the
 * refusals of further causes are aggregated together, by type. The clock comes in.
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

/* The refusals of one cause in one second that were held back. */
struct refusals_sum {
    struct event_record *record; /* owned by the caller; NULL: there was no memory for it */
    uint64_t count;              /* refusals; 0: none was held back */
};

int refusals_init(struct refusals *refusals, uint64_t seed);
/* Also frees the refusals that are held back; repeatable. */
void refusals_deinit(struct refusals *refusals);

/* Holds a refusal back for a later sum and returns true, or returns false: show it now. `now` is in
 * milliseconds and never decreases. Take all sums that are due before this call. */
bool refusals_hold(struct refusals *refusals, const struct event *event, int64_t now);

/* Takes the sum of a second that is over, the oldest first. Returns false if there is none. */
bool refusals_take(struct refusals *refusals, int64_t now, struct refusals_sum *sum);

/* Returns when a sum may be due; 0: no refusal is held back. */
int64_t refusals_due(const struct refusals *refusals);

#endif
