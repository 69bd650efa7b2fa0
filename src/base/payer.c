#include "base/payer.h"

#include "base/memory.h"

#include <string.h>

int payers_init(struct payers *payers, uint64_t seed)
{
    *payers = (struct payers){0};
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

void payer_add(struct payer *payer, struct payer_part part, size_t held, size_t silent)
{
    payer->held += held;
    payer->silent += silent;
    if (held > payer->largest_held) {
        payer->largest_held = held;
        payer->largest = part;
    }
    if (silent > payer->largest_silent) {
        payer->largest_silent = silent;
        payer->most_silent = part;
    }
}

/* Returns the bytes that the chosen part holds. */
static size_t choose(struct payers *payers, size_t limit, struct payer_part *part)
{
    const struct payer *largest = NULL, *most_silent = NULL;
    size_t cursor = 0, holders = 0;
    const struct payer *payer;
    while ((payer = map_next(&payers->by_name, &cursor)) != NULL) {
        holders += payer->held > 0;
        if (payer->held > 0 && (largest == NULL || payer->held > largest->held))
            largest = payer;
        if (payer->silent > 0 && (most_silent == NULL || payer->silent > most_silent->silent))
            most_silent = payer;
    }
    if (most_silent != NULL && most_silent->silent * holders > limit) {
        *part = most_silent->most_silent;
        return most_silent->largest_silent;
    }
    if (largest == NULL)
        return 0;
    *part = largest->largest;
    return largest->largest_held;
}

size_t payers_choose(struct payers *payers, const struct account *account, uint64_t now,
                     struct payer_part *part)
{
    size_t used = atomic_load_explicit(&account->used, memory_order_relaxed);
    pthread_mutex_lock(&payers->lock);
    size_t bytes = choose(payers, account->limit, part);
    pthread_mutex_unlock(&payers->lock);
    payers->next = now + (uint64_t)PAYER_PAUSE * 1000;
    payers->next_used = used > bytes ? used - bytes : 0;
    return bytes;
}

bool payers_are_due(const struct payers *payers, const struct account *account, uint64_t now)
{
    return now >= payers->next ||
           atomic_load_explicit(&account->used, memory_order_relaxed) <= payers->next_used;
}
