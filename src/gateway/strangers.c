#include "gateway/strangers.h"

#include "base/error.h"
#include "base/memory.h"
#include "gateway/address_group.h"

#include <assert.h>

void strangers_init(struct strangers *strangers, uint64_t seed, size_t most)
{
    if (most < STRANGERS_LEAST)
        most = STRANGERS_LEAST;
    *strangers = (struct strangers){.most = most < STRANGERS_MOST ? most : STRANGERS_MOST};
    map_init(&strangers->groups, seed);
    list_init(&strangers->nobodys.strangers);
    for (size_t i = 0; i < STRANGERS_SIZES; i++)
        list_init(&strangers->sizes[i]);
}

void strangers_deinit(struct strangers *strangers)
{
    assert(strangers->groups.count == 0);
    map_deinit(&strangers->groups);
}

/* Puts a group onto the list of those of its size. */
static void sort(struct strangers *strangers, struct stranger_group *group)
{
    size_t size = group->count < STRANGERS_SIZES ? group->count : STRANGERS_SIZES - 1;
    list_remove(&group->node);
    list_append(&strangers->sizes[size], &group->node);
    if (size > strangers->largest)
        strangers->largest = size;
    while (strangers->largest > 0 && list_is_empty(&strangers->sizes[strangers->largest]))
        strangers->largest--;
}

static struct stranger_group *find_group(struct strangers *strangers, uint64_t key)
{
    struct stranger_group *group = map_find(&strangers->groups, key);
    if (group != NULL)
        return group;
    group = memory_allocate_zero(sizeof(*group));
    if (group == NULL)
        return NULL;
    group->key = key;
    list_init(&group->strangers);
    if (map_insert(&strangers->groups, key, group) == 0)
        return group;
    memory_free(group);
    return NULL;
}

int strangers_add(struct strangers *strangers, struct stranger *stranger, uint64_t key)
{
    struct stranger_group *group = NULL;
    int error = 0;
    strangers_remove(strangers, stranger);
    if (key != ADDRESS_GROUP_NONE) {
        group = find_group(strangers, key);
        error = group == NULL ? CULVERT_ERROR_NO_MEMORY : 0;
    }
    if (group == NULL)
        group = &strangers->nobodys;
    stranger->group = group;
    list_append(&group->strangers, &stranger->node);
    group->count++;
    strangers->count++;
    if (group != &strangers->nobodys)
        sort(strangers, group);
    return error;
}

void strangers_remove(struct strangers *strangers, struct stranger *stranger)
{
    struct stranger_group *group = stranger->group;
    if (group == NULL)
        return;
    stranger->group = NULL;
    list_remove(&stranger->node);
    group->count--;
    strangers->count--;
    if (group == &strangers->nobodys)
        return;
    sort(strangers, group);
    if (group->count > 0)
        return;
    list_remove(&group->node);
    map_remove(&strangers->groups, group->key);
    memory_free(group);
}

static struct stranger *oldest(const struct stranger_group *group)
{
    return CONTAINER_OF(list_first(&group->strangers), struct stranger, node);
}

/* Of those with an address; without any, of those that have none. */
static const struct stranger_group *largest_group(const struct strangers *strangers)
{
    if (strangers->largest == 0)
        return &strangers->nobodys;
    return CONTAINER_OF(list_first(&strangers->sizes[strangers->largest]), struct stranger_group,
                        node);
}

struct stranger *strangers_excess(const struct strangers *strangers)
{
    const struct stranger_group *nobodys = &strangers->nobodys;
    const struct stranger_group *largest = largest_group(strangers);
    size_t share = strangers->most / STRANGERS_SHARE;
    if (share < STRANGERS_SHARE_LEAST)
        share = STRANGERS_SHARE_LEAST;
    if (strangers->count > strangers->most)
        return oldest(nobodys->count > largest->count ? nobodys : largest);
    bool is_above_share = largest != nobodys && largest->count > share;
    return strangers->count > strangers->most / 2 && is_above_share ? oldest(largest) : NULL;
}
