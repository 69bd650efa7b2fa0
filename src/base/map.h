/*
 * Hash maps: from an unsigned integer, and from a string, to a pointer. Open addressing, a seed
 * against chosen collisions. The map borrows the values and copies string keys.
 */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include <stddef.h>
#include <stdint.h>

struct map_slot {
    uint64_t key; /* the integer key, or the string's hash */
    char *text;   /* string maps only; owned */
    void *value;  /* NULL: free */
};

struct map {
    struct map_slot *slots;
    size_t capacity; /* a power of two, or 0 */
    size_t count;
    uint64_t seed;
};

/* `seed` is a random number that peers do not know. */
void map_init(struct map *map, uint64_t seed);

/* Frees the table, not the values; repeatable. */
void map_deinit(struct map *map);

/* `value` must not be NULL. Returns 0, CULVERT_ERROR_EXISTS, or CULVERT_ERROR_NO_MEMORY. */
int map_insert(struct map *map, uint64_t key, void *value);
void *map_find(const struct map *map, uint64_t key);
/* Returns the value taken out, or NULL. */
void *map_remove(struct map *map, uint64_t key);

int map_insert_text(struct map *map, const char *key, void *value);
void *map_find_text(const struct map *map, const char *key);
void *map_remove_text(struct map *map, const char *key);

/* Iterates: start with *cursor = 0; returns the next value or NULL at the end. Removing the value
 * just returned is not allowed during the iteration. */
void *map_next(const struct map *map, size_t *cursor);

#endif
