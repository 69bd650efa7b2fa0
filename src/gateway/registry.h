/*
 * Where members live: by the agents' names in one table, by the names of their links in another.
 * These are what all loops share; they are read when a session opens or a link gets a new carrier,
 * and written when an agent comes or goes, never per byte.
 */
#ifndef GATEWAY_REGISTRY_H
#define GATEWAY_REGISTRY_H

#include "base/map.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* A member by loop and id; ids are never used twice, so a stale one finds nobody. */
struct member_ref {
    unsigned worker;
    uint64_t id;
};

struct registry {
    pthread_mutex_t lock;
    struct map names;
};

int registry_init(struct registry *registry, uint64_t seed);
void registry_deinit(struct registry *registry);

/* Takes the name for `ref`. CULVERT_ERROR_EXISTS if another holds it, told in `holder`;
 * CULVERT_ERROR_NO_MEMORY. */
int registry_claim(struct registry *registry, const char *name, struct member_ref ref,
                   struct member_ref *holder);

/* 0, or CULVERT_ERROR_NOT_FOUND. */
int registry_find(struct registry *registry, const char *name, struct member_ref *ref);

bool registry_is_empty(struct registry *registry);

/* Gives the name back if the member with this id holds it. */
void registry_release(struct registry *registry, const char *name, uint64_t id);

#endif
