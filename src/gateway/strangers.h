/*
 * Who has not logged in yet, and holds memory or a descriptor: how many there are, of which groups
 * of addresses (gateway/address_group.h), and whose turn it is to go when there are too many. While
 * more than half of the room is in use a group keeps a STRANGERS_SHARE-th of it; when all of it is,
 * one of the largest group makes room, its oldest first. So those of other addresses stay. Pure:
 * what it means to go is the owners' affair.
 */
#ifndef GATEWAY_STRANGERS_H
#define GATEWAY_STRANGERS_H

#include "base/list.h"
#include "base/map.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    STRANGERS_MOST = 1024,
    STRANGERS_LEAST = 16, /* where there is little memory */
    STRANGERS_SHARE = 16,
    STRANGERS_SHARE_LEAST = 4, /* of a group */
    /* More than STRANGERS_MOST may come before those in excess are asked for. */
    STRANGERS_SIZES = 2 * STRANGERS_MOST,
};

struct stranger_group;

/* Part of its owner; to be zero at first. */
struct stranger {
    struct list_node node;
    struct stranger_group *group; /* NULL: it does not count */
    /* It shall go, and be removed before this returns. */
    void (*evict)(struct stranger *stranger);
};

struct stranger_group {
    uint64_t key;
    struct list strangers; /* the oldest first */
    size_t count;
    struct list_node node; /* on its list of `sizes` */
};

struct strangers {
    size_t most; /* connections that may stay */
    size_t count;
    struct stranger_group nobodys;      /* of ADDRESS_GROUP_NONE */
    struct map groups;                  /* the others, by their keys */
    struct list sizes[STRANGERS_SIZES]; /* of the others; the last has all that are larger */
    size_t largest;                     /* no group is on a later list */
};

/* At most `most` connections may stay; it is clamped to STRANGERS_LEAST and STRANGERS_MOST. */
void strangers_init(struct strangers *strangers, uint64_t seed, size_t most);
/* None is left. */
void strangers_deinit(struct strangers *strangers);

/* Counts it as the newest of its group, also when it counted before. On CULVERT_ERROR_NO_MEMORY it
 * counts for ADDRESS_GROUP_NONE. */
int strangers_add(struct strangers *strangers, struct stranger *stranger, uint64_t key);
/* It does not count any more; no effect if it did not. */
void strangers_remove(struct strangers *strangers, struct stranger *stranger);

/* Who shall go next, NULL: nobody. */
struct stranger *strangers_excess(const struct strangers *strangers);

#endif
