#include "gateway/payer.h"

#include "base/error.h"
#include "base/memory.h"

#include <stdio.h>
#include <string.h>

enum { IPV4_NETWORK = 15, IPV6_NETWORK = 7 }; /* bytes of a 16-byte address */

void payer_name(int64_t key_id, const char *user, const char *agent, const uint8_t address[16],
                char out[static PAYER_NAME_SIZE])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (key_id != 0) {
        bool has_owner = user[0] != '\0';
        snprintf(out, PAYER_NAME_SIZE, "%s %s", has_owner ? "user" : "agent",
                 has_owner ? user : agent);
        return;
    }
    int size = memcmp(address, mapped, sizeof(mapped)) == 0 ? IPV4_NETWORK : IPV6_NETWORK;
    int used = snprintf(out, PAYER_NAME_SIZE, "network ");
    for (int i = 0; i < size; i++)
        used += snprintf(out + used, PAYER_NAME_SIZE - (size_t)used, "%02x", address[i]);
}

int payers_init(struct payers *payers, uint64_t seed)
{
    map_init(&payers->by_name, seed);
    return -pthread_mutex_init(&payers->lock, NULL);
}

void payers_deinit(struct payers *payers)
{
    map_deinit(&payers->by_name);
    pthread_mutex_destroy(&payers->lock);
}

static struct payer *make(struct payers *payers, const char *name)
{
    struct payer *payer = memory_allocate_zero(sizeof(*payer) + strlen(name) + 1);
    if (payer == NULL)
        return NULL;
    memcpy(payer->name, name, strlen(name) + 1);
    if (map_insert_text(&payers->by_name, name, payer) != 0) {
        memory_free(payer);
        return NULL;
    }
    return payer;
}

struct payer *payers_join(struct payers *payers, const char *name)
{
    pthread_mutex_lock(&payers->lock);
    struct payer *payer = map_find_text(&payers->by_name, name);
    if (payer == NULL)
        payer = make(payers, name);
    if (payer != NULL)
        payer->members++;
    pthread_mutex_unlock(&payers->lock);
    return payer;
}

void payers_leave(struct payers *payers, struct payer *payer)
{
    pthread_mutex_lock(&payers->lock);
    if (--payer->members == 0) {
        map_remove_text(&payers->by_name, payer->name);
        memory_free(payer);
    }
    pthread_mutex_unlock(&payers->lock);
}

void payers_begin(struct payers *payers)
{
    pthread_mutex_lock(&payers->lock);
    size_t cursor = 0;
    struct payer *payer;
    while ((payer = map_next(&payers->by_name, &cursor)) != NULL) {
        payer->held = 0;
        payer->silent = 0;
        payer->largest_held = 0;
        payer->largest_silent = 0;
    }
    pthread_mutex_unlock(&payers->lock);
}

void payer_add(struct payer *payer, struct member_ref member, size_t held, size_t silent)
{
    payer->held += held;
    payer->silent += silent;
    if (held > payer->largest_held) {
        payer->largest_held = held;
        payer->largest = member;
    }
    if (silent > payer->largest_silent) {
        payer->largest_silent = silent;
        payer->most_silent = member;
    }
}

size_t payers_choose(struct payers *payers, size_t limit, struct member_ref *member)
{
    const struct payer *largest = NULL, *most_silent = NULL;
    size_t cursor = 0, holders = 0;
    const struct payer *payer;
    pthread_mutex_lock(&payers->lock);
    while ((payer = map_next(&payers->by_name, &cursor)) != NULL) {
        holders += payer->held > 0;
        if (payer->held > 0 && (largest == NULL || payer->held > largest->held))
            largest = payer;
        if (payer->silent > 0 && (most_silent == NULL || payer->silent > most_silent->silent))
            most_silent = payer;
    }
    size_t bytes = 0;
    if (most_silent != NULL && most_silent->silent * holders > limit) {
        *member = most_silent->most_silent;
        bytes = most_silent->largest_silent;
    } else if (largest != NULL) {
        *member = largest->largest;
        bytes = largest->largest_held;
    }
    pthread_mutex_unlock(&payers->lock);
    return bytes;
}
