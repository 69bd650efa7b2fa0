#include "gateway/denials.h"

#include "base/hash.h"

#include <string.h>

void denials_init(struct denials *denials, uint64_t seed)
{
    *denials = (struct denials){.seed = seed};
}

uint64_t denials_hash(const struct denials *denials, uint64_t version,
                      const struct policy_request *request)
{
    uint64_t hash = hash_number(denials->seed, version);
    hash = hash_text(hash, request->source);
    hash = hash_text(hash, request->agent);
    hash = hash_text(hash, request->host);
    hash = hash_number(hash, request->port);
    hash = hash_text(hash, request->key);
    return hash != 0 ? hash : 1;
}

static size_t set_of(uint64_t hash)
{
    return (size_t)hash % (DENIALS / DENIALS_SET) * DENIALS_SET;
}

bool denials_find(const struct denials *denials, uint64_t hash, unsigned *line)
{
    const struct denial *set = &denials->denial[set_of(hash)];
    for (size_t i = 0; i < DENIALS_SET; i++) {
        if (set[i].hash == hash) {
            *line = set[i].line;
            return true;
        }
    }
    return false;
}

void denials_add(struct denials *denials, uint64_t hash, unsigned line)
{
    struct denial *set = &denials->denial[set_of(hash)];
    memmove(set + 1, set, (DENIALS_SET - 1) * sizeof *set);
    set[0] = (struct denial){hash, line};
}
