/*
 * What waits longer than a moment shall not pin much larger chunks than its bytes need. Whoever
 * keeps slices that came from a large chunk parks their keeper on the pool. The pool's thread
 * settles all that is parked every few milliseconds (net/loop.h): what has waited since the time
 * before is copied together if it pins too much. What leaves within that time is never copied.
 */
#ifndef BASE_PARKING_H
#define BASE_PARKING_H

#include "base/chunk.h"
#include "base/list.h"

#include <stdbool.h>

/* Embedded in the keeper, who sets `settle` and calls parking_leave before it is freed. */
struct parking {
    struct list_node node; /* on pool->parked */
    /* Copies what has waited since the last call; the keeper may be empty. Returns whether there is
     * something to be looked at again. Calls no events. */
    bool (*settle)(struct parking *parking, struct chunk_pool *pool);
};

/* Something was added to the keeper. No effect if it is parked already. Own thread only. */
static inline void parking_enter(struct parking *parking, struct chunk_pool *pool)
{
    if (!list_node_is_linked(&parking->node))
        list_append(&pool->parked, &parking->node);
}

/* Repeatable. */
static inline void parking_leave(struct parking *parking)
{
    list_remove(&parking->node);
}

/* Settles all that is parked; keepers with nothing more to settle leave. */
static inline void parking_settle_all(struct chunk_pool *pool)
{
    struct list_node *next;
    for (struct list_node *node = list_first(&pool->parked); node != NULL; node = next) {
        struct parking *parking = CONTAINER_OF(node, struct parking, node);
        next = list_next(&pool->parked, node);
        if (!parking->settle(parking, pool))
            list_remove(node);
    }
}

#endif
