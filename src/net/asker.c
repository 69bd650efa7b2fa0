#include "net/asker.h"

#include "base/error.h"
#include "base/memory.h"
#include "net/descriptors.h"

#include <assert.h>

static unsigned given(unsigned value, unsigned otherwise)
{
    return value != 0 ? value : otherwise;
}

void askers_init(struct askers *askers, const struct asker_limits *limits, uint64_t seed)
{
    *askers = (struct askers){0};
    askers->limits = (struct asker_limits){
        .dials = given(limits->dials, ASKER_DIALS),
        .dials_per_asker = given(limits->dials_per_asker, ASKER_DIALS_EACH),
        .lookups = given(limits->lookups, ASKER_LOOKUPS),
        .lookups_per_asker = given(limits->lookups_per_asker, ASKER_LOOKUPS_EACH),
    };
    map_init(&askers->by_name, seed);
}

void askers_deinit(struct askers *askers)
{
    assert(askers->by_name.count == 0);
    map_deinit(&askers->by_name);
}

struct asker *asker_hold(struct askers *askers, const char *name)
{
    struct asker *asker = map_find_text(&askers->by_name, name);
    if (asker != NULL) {
        asker->holders++;
        return asker;
    }
    asker = memory_allocate_zero(sizeof(*asker));
    if (asker == NULL)
        return NULL;
    asker->name = memory_copy_text(name);
    if (asker->name == NULL || map_insert_text(&askers->by_name, name, asker) != 0) {
        memory_free(asker->name);
        memory_free(asker);
        return NULL;
    }
    asker->askers = askers;
    asker->holders = 1;
    list_init(&asker->waiting);
    return asker;
}

void asker_release(struct asker *asker)
{
    if (asker == NULL || --asker->holders > 0)
        return;
    assert(list_is_empty(&asker->waiting) && !list_node_is_linked(&asker->turn));
    map_remove_text(&asker->askers->by_name, asker->name);
    memory_free(asker->name);
    memory_free(asker);
}

/* Whether one that has `own` may have one more of `all`, of which `used` are in use. */
static bool fits(unsigned own, unsigned own_limit, unsigned used, unsigned all)
{
    return own < own_limit && used < all && own < all - used;
}

int asker_begin_dial(struct asker *asker)
{
    struct askers *askers = asker->askers;
    if (!fits(asker->dials, askers->limits.dials_per_asker, askers->dials, askers->limits.dials))
        return CULVERT_ERROR_LIMIT;
    askers->dials++;
    asker->dials++;
    asker->holders++;
    return 0;
}

void asker_end_dial(struct asker *asker)
{
    asker->askers->dials--;
    asker->dials--;
    asker_release(asker);
}

bool asker_may_look_up(const struct asker *asker)
{
    const struct askers *askers = asker->askers;
    return fits(asker->lookups, askers->limits.lookups_per_asker, askers->lookups,
                askers->limits.lookups);
}

void asker_begin_lookup(struct asker *asker)
{
    asker->askers->lookups++;
    asker->lookups++;
    asker->holders++;
}

void asker_end_lookup(struct asker *asker)
{
    asker->askers->lookups--;
    asker->lookups--;
    asker_release(asker);
}

int asker_take_socket(struct asker *asker, int fd)
{
    int left = descriptors_left(fd);
    if (left <= 0 || asker->sockets >= (unsigned)left)
        return CULVERT_ERROR_LIMIT;
    asker_keep_socket(asker);
    return 0;
}

void asker_keep_socket(struct asker *asker)
{
    asker->askers->sockets++;
    asker->sockets++;
    asker->holders++;
}

void asker_drop_socket(struct asker *asker)
{
    asker->askers->sockets--;
    asker->sockets--;
    asker_release(asker);
}
