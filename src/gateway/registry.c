#include "gateway/registry.h"

#include "base/error.h"
#include "base/memory.h"

int registry_init(struct registry *registry, uint64_t seed)
{
    map_init(&registry->names, seed);
    return -pthread_mutex_init(&registry->lock, NULL);
}

void registry_deinit(struct registry *registry)
{
    size_t cursor = 0;
    struct member_ref *entry;
    while ((entry = map_next(&registry->names, &cursor)) != NULL)
        memory_free(entry);
    map_deinit(&registry->names);
    pthread_mutex_destroy(&registry->lock);
}

int registry_claim(struct registry *registry, const char *name, struct member_ref ref,
                   struct member_ref *holder)
{
    struct member_ref *entry = memory_allocate(sizeof(*entry));
    if (entry == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    *entry = ref;
    pthread_mutex_lock(&registry->lock);
    int error = map_insert_text(&registry->names, name, entry);
    if (error == CULVERT_ERROR_EXISTS)
        *holder = *(struct member_ref *)map_find_text(&registry->names, name);
    pthread_mutex_unlock(&registry->lock);
    if (error != 0)
        memory_free(entry);
    return error;
}

int registry_find(struct registry *registry, const char *name, struct member_ref *ref)
{
    pthread_mutex_lock(&registry->lock);
    const struct member_ref *entry = map_find_text(&registry->names, name);
    if (entry != NULL)
        *ref = *entry;
    pthread_mutex_unlock(&registry->lock);
    return entry != NULL ? 0 : CULVERT_ERROR_NOT_FOUND;
}

bool registry_is_empty(struct registry *registry)
{
    pthread_mutex_lock(&registry->lock);
    bool is_empty = registry->names.count == 0;
    pthread_mutex_unlock(&registry->lock);
    return is_empty;
}

void registry_release(struct registry *registry, const char *name, uint64_t id)
{
    struct member_ref *taken = NULL;
    pthread_mutex_lock(&registry->lock);
    const struct member_ref *entry = map_find_text(&registry->names, name);
    if (entry != NULL && entry->id == id)
        taken = map_remove_text(&registry->names, name);
    pthread_mutex_unlock(&registry->lock);
    memory_free(taken);
}
