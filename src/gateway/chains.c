#include "gateway/chains.h"

#include "base/error.h"
#include "base/memory.h"
#include "relay/stream.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { KEY_SIZE = 2 * MESSAGE_PLACE_SIZE + 1 + STREAM_DIALLED_SIZE };

/* A connection of which one end or both are known. */
struct pair {
    struct chain *dialled; /* the session that it was dialled for */
    struct chain *asked;   /* the session that it asks for */
};

struct chain {
    struct chains *chains;
    unsigned references; /* of a session's halves, and of the chain that continues it */
    struct chain *before;
    struct request *request;
    char asked[KEY_SIZE];   /* where the table has it; "": not at all */
    char dialled[KEY_SIZE]; /* the same */
};

void chains_init(struct chains *chains, uint64_t seed)
{
    map_init(&chains->pairs, seed);
    chains->lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}

void chains_deinit(struct chains *chains)
{
    map_deinit(&chains->pairs);
    pthread_mutex_destroy(&chains->lock);
}

/* ---- the table; the lock is held ---- */

/* Returns false if agents at such a place tell nothing, or `pair` cannot be one. */
static bool write_key(const uint8_t *place, const char *pair, char key[static KEY_SIZE])
{
    static const uint8_t nowhere[MESSAGE_PLACE_SIZE];
    if (pair == NULL || pair[0] == '\0' || strlen(pair) >= STREAM_DIALLED_SIZE ||
        memcmp(place, nowhere, sizeof(nowhere)) == 0)
        return false;
    for (size_t i = 0; i < MESSAGE_PLACE_SIZE; i++)
        snprintf(key + 2 * i, 3, "%02x", place[i]);
    snprintf(key + (size_t)2 * MESSAGE_PLACE_SIZE, KEY_SIZE - (size_t)2 * MESSAGE_PLACE_SIZE, " %s",
             pair);
    return true;
}

/* The pair of this key, made if there is none. NULL when memory has run out. */
static struct pair *find_or_make(struct chains *chains, const char *key)
{
    struct pair *pair = map_find_text(&chains->pairs, key);
    if (pair != NULL)
        return pair;
    pair = memory_allocate_zero(sizeof(*pair));
    if (pair == NULL || map_insert_text(&chains->pairs, key, pair) != 0) {
        memory_free(pair);
        return NULL;
    }
    return pair;
}

/* The end of the pair is known no more. */
static void leave(struct chains *chains, char *key, bool is_dialled)
{
    if (key[0] == '\0')
        return;
    struct pair *pair = map_find_text(&chains->pairs, key);
    struct chain **end = is_dialled ? &pair->dialled : &pair->asked;
    *end = NULL;
    if (pair->dialled == NULL && pair->asked == NULL) {
        map_remove_text(&chains->pairs, key);
        memory_free(pair);
    }
    key[0] = '\0';
}

/* ---- chains; the lock is held ---- */

static bool is_same_rule(const struct request *a, const struct request *b)
{
    return a->asks.port == b->asks.port && strcmp(a->asks.source, b->asks.source) == 0 &&
           strcmp(a->asks.agent, b->asks.agent) == 0 && strcmp(a->asks.host, b->asks.host) == 0 &&
           strcmp(a->asks.kind, b->asks.kind) == 0;
}

/* What is wrong with a session of this request that continues `before`; NULL: nothing. */
static const char *object(const struct chain *before, const struct request *request)
{
    unsigned count = 1;
    for (; before != NULL; before = before->before) {
        if (is_same_rule(before->request, request))
            return "a loop: the connection has come through the same rule before";
        if (++count > CHAINS_MAX)
            return "a loop, most likely: the connection has come through 8 rules";
    }
    return NULL;
}

/* Whether the chain may get another in front of it: it must not become a circle, nor too long. */
static bool may_continue(const struct chain *chain, const struct chain *before)
{
    unsigned count = 1;
    for (; before != NULL; before = before->before) {
        if (before == chain || ++count > CHAINS_MAX)
            return false;
    }
    return true;
}

static void drop(struct chain *chain)
{
    while (chain != NULL && --chain->references == 0) {
        struct chain *before = chain->before;
        request_unref(chain->request);
        memory_free(chain);
        chain = before;
    }
}

static void set_before(struct chain *chain, struct chain *before)
{
    before->references++;
    chain->before = before;
}

/* ---- what sessions do ---- */

static int begin(struct chain *chain, const char *key, const char **why)
{
    struct chains *chains = chain->chains;
    const struct pair *known = map_find_text(&chains->pairs, key);
    struct chain *before = known != NULL ? known->dialled : NULL;
    *why = object(before, chain->request);
    if (*why != NULL)
        return CULVERT_ERROR_LIMIT;
    struct pair *pair = find_or_make(chains, key);
    if (pair == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    if (pair->asked == NULL) {
        pair->asked = chain;
        snprintf(chain->asked, sizeof(chain->asked), "%s", key);
    }
    if (before != NULL)
        set_before(chain, before);
    return 0;
}

int chain_begin(struct chains *chains, struct request *request, struct chain **chain,
                const char **why)
{
    char key[KEY_SIZE];
    bool is_told = write_key(request->place, request->pair, key);
    struct chain *new = memory_allocate_zero(sizeof(*new));
    *chain = NULL;
    *why = NULL;
    if (new == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    new->chains = chains;
    new->references = 1;
    new->request = request_ref(request);
    int error = 0;
    if (is_told) {
        pthread_mutex_lock(&chains->lock);
        error = begin(new, key, why);
        pthread_mutex_unlock(&chains->lock);
    }
    if (error == 0)
        *chain = new;
    else
        drop(new);
    return error;
}

void chain_dialled(struct chain *chain, const uint8_t place[static MESSAGE_PLACE_SIZE],
                   const char *pair)
{
    char key[KEY_SIZE];
    if (chain == NULL || !write_key(place, pair, key))
        return;
    pthread_mutex_lock(&chain->chains->lock);
    struct pair *known = chain->dialled[0] == '\0' ? find_or_make(chain->chains, key) : NULL;
    if (known != NULL && known->dialled == NULL) {
        known->dialled = chain;
        snprintf(chain->dialled, sizeof(chain->dialled), "%s", key);
        if (known->asked != NULL && known->asked->before == NULL &&
            may_continue(known->asked, chain))
            set_before(known->asked, chain);
    }
    pthread_mutex_unlock(&chain->chains->lock);
}

struct chain *chain_ref(struct chain *chain)
{
    if (chain == NULL)
        return NULL;
    pthread_mutex_lock(&chain->chains->lock);
    chain->references++;
    pthread_mutex_unlock(&chain->chains->lock);
    return chain;
}

void chain_end(struct chain *chain)
{
    if (chain == NULL)
        return;
    struct chains *chains = chain->chains;
    pthread_mutex_lock(&chains->lock);
    leave(chains, chain->asked, false);
    leave(chains, chain->dialled, true);
    drop(chain);
    pthread_mutex_unlock(&chains->lock);
}
