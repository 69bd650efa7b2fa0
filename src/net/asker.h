/*
 * Who asks for connections, and the share of each: connections that are not established yet
 * (pending dials), look-ups of names, and descriptors. One asker never gets all: beyond its own
 * limit, or when it has as many as are left for all others, it gets no more (Choudhury and Hahne,
 * "Dynamic Queue Length Thresholds", with a factor of 1).
 */
#ifndef NET_ASKER_H
#define NET_ASKER_H

#include "base/list.h"
#include "base/map.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* 0 stands for the default. */
struct asker_limits {
    unsigned dials;             /* pending in all; default: 2048 */
    unsigned dials_per_asker;   /* default: 512 */
    unsigned lookups;           /* at work in all, each on a thread; default: 16 */
    unsigned lookups_per_asker; /* default: 4 */
};

enum {
    ASKER_DIALS = 2048,
    ASKER_DIALS_EACH = 512,
    ASKER_LOOKUPS = 16,
    ASKER_LOOKUPS_EACH = 4,
};

struct asker;

/* Belongs to one loop. */
struct askers {
    struct map by_name;
    struct asker_limits limits;
    unsigned dials;
    unsigned lookups;
    unsigned sockets;
};

/* Lives while it has anything, or somebody holds it. */
struct asker {
    struct askers *askers;
    char *name;
    unsigned holders;
    unsigned dials;
    unsigned lookups;
    unsigned sockets;
    struct list waiting;   /* the resolver's: look-ups that have not begun, oldest first */
    struct list_node turn; /* the resolver's: among the askers with such look-ups */
};

/* `seed` is a random number that peers do not know. */
void askers_init(struct askers *askers, const struct asker_limits *limits, uint64_t seed);
/* Asserts that no asker is left. */
void askers_deinit(struct askers *askers);

/* The asker of this name, made if there is none, to be given back with asker_release. NULL when
 * memory has run out. */
struct asker *asker_hold(struct askers *askers, const char *name);
/* NULL has no effect. */
void asker_release(struct asker *asker);

/* Begins a pending dial. 0, or CULVERT_ERROR_LIMIT. Holds the asker until asker_end_dial. */
int asker_begin_dial(struct asker *asker);
void asker_end_dial(struct asker *asker);

/* Whether a look-up may begin now. */
bool asker_may_look_up(const struct asker *asker);
/* Holds the asker until asker_end_lookup, also when nobody waits for the look-up any more. */
void asker_begin_lookup(struct asker *asker);
void asker_end_lookup(struct asker *asker);

/* Charges the just opened `fd`. 0, or CULVERT_ERROR_LIMIT: close it. Holds the asker until
 * asker_drop_socket. */
int asker_take_socket(struct asker *asker, int fd);
/* Charges one more without asking, for a descriptor that was allowed before. */
void asker_keep_socket(struct asker *asker);
void asker_drop_socket(struct asker *asker);

#endif
