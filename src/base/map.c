#include "base/map.h"

#include "base/error.h"
#include "base/hash.h"
#include "base/memory.h"

#include <stdbool.h>
#include <string.h>

enum { FIRST_CAPACITY = 8 };

void map_init(struct map *map, uint64_t seed)
{
    *map = (struct map){.slots = NULL, .capacity = 0, .count = 0, .seed = seed};
}

void map_deinit(struct map *map)
{
    for (size_t i = 0; i < map->capacity; i++)
        memory_free(map->slots[i].text);
    memory_free(map->slots);
    map->slots = NULL;
    map->capacity = 0;
    map->count = 0;
}

/* Where the slot's key would like to stand. */
static size_t slot_home(const struct map *map, const struct map_slot *slot)
{
    uint64_t hash = slot->text != NULL ? slot->key : hash_number(map->seed, slot->key);
    return (size_t)hash & (map->capacity - 1);
}

static bool slot_matches(const struct map_slot *slot, uint64_t key, const char *text)
{
    if (slot->key != key)
        return false;
    return text == NULL || strcmp(slot->text, text) == 0;
}

/* The slot that holds the key, or the free one where it would go. There is always a free one. */
static struct map_slot *locate(const struct map *map, uint64_t key, const char *text)
{
    uint64_t hash = text != NULL ? key : hash_number(map->seed, key);
    size_t index = (size_t)hash & (map->capacity - 1);
    while (map->slots[index].value != NULL && !slot_matches(&map->slots[index], key, text))
        index = (index + 1) & (map->capacity - 1);
    return &map->slots[index];
}

static int grow(struct map *map)
{
    struct map larger = *map;
    larger.capacity = map->capacity == 0 ? FIRST_CAPACITY : map->capacity * 2;
    if (larger.capacity > SIZE_MAX / 2 / sizeof(struct map_slot))
        return CULVERT_ERROR_NO_MEMORY;
    larger.slots = memory_allocate_zero(larger.capacity * sizeof(struct map_slot));
    if (larger.slots == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    for (size_t i = 0; i < map->capacity; i++) {
        struct map_slot *slot = &map->slots[i];
        if (slot->value != NULL)
            *locate(&larger, slot->key, slot->text) = *slot;
    }
    memory_free(map->slots);
    *map = larger;
    return 0;
}

static void *find(const struct map *map, uint64_t key, const char *text)
{
    return map->count == 0 ? NULL : locate(map, key, text)->value;
}

static int insert(struct map *map, uint64_t key, const char *text, void *value)
{
    if (find(map, key, text) != NULL)
        return CULVERT_ERROR_EXISTS;
    /* Three quarters full at most: a search meets a free slot soon. */
    if (map->count >= map->capacity / 4 * 3) {
        int result = grow(map);
        if (result != 0)
            return result;
    }
    char *copy = NULL;
    if (text != NULL) {
        copy = memory_copy_text(text);
        if (copy == NULL)
            return CULVERT_ERROR_NO_MEMORY;
    }
    *locate(map, key, text) = (struct map_slot){.key = key, .text = copy, .value = value};
    map->count++;
    return 0;
}

/* Moves those behind a hole back, so that no search stops before its key. */
static void close_hole(struct map *map, size_t hole)
{
    size_t mask = map->capacity - 1;
    for (size_t index = (hole + 1) & mask; map->slots[index].value != NULL;
         index = (index + 1) & mask) {
        size_t distance = (index - slot_home(map, &map->slots[index])) & mask;
        if (distance >= ((index - hole) & mask)) {
            map->slots[hole] = map->slots[index];
            hole = index;
        }
    }
    map->slots[hole] = (struct map_slot){.key = 0, .text = NULL, .value = NULL};
}

static void *take(struct map *map, uint64_t key, const char *text)
{
    if (map->count == 0)
        return NULL;
    struct map_slot *slot = locate(map, key, text);
    void *value = slot->value;
    if (value == NULL)
        return NULL;
    memory_free(slot->text);
    map->count--;
    close_hole(map, (size_t)(slot - map->slots));
    return value;
}

int map_insert(struct map *map, uint64_t key, void *value)
{
    return insert(map, key, NULL, value);
}

void *map_find(const struct map *map, uint64_t key)
{
    return find(map, key, NULL);
}

void *map_remove(struct map *map, uint64_t key)
{
    return take(map, key, NULL);
}

int map_insert_text(struct map *map, const char *key, void *value)
{
    return insert(map, hash_text(map->seed, key), key, value);
}

void *map_find_text(const struct map *map, const char *key)
{
    return find(map, hash_text(map->seed, key), key);
}

void *map_remove_text(struct map *map, const char *key)
{
    return take(map, hash_text(map->seed, key), key);
}

void *map_next(const struct map *map, size_t *cursor)
{
    while (*cursor < map->capacity) {
        void *value = map->slots[*cursor].value;
        (*cursor)++;
        if (value != NULL)
            return value;
    }
    return NULL;
}
