/*
 * A cache of the access list's refusals, so that a repeated question costs no search. It holds only
 * refusals. A new entry replaces an old one. A new version of the list invalidates all entries.
 */
#ifndef GATEWAY_DENIALS_H
#define GATEWAY_DENIALS_H

#include "policy/policy.h"

enum { DENIALS = 4096 /* a power of two */, DENIALS_SET = 4 };

struct denial {
    uint64_t hash; /* of the question; 0: none */
    unsigned line; /* of the rule; 0: none matched */
};

struct denials {
    uint64_t seed;
    struct denial denial[DENIALS]; /* in sets, the newest first */
};

/* `seed` is a random number that peers do not know. */
void denials_init(struct denials *denials, uint64_t seed);

/* Returns the hash of a question to this version of the list. It covers every field that rules
 * compare, the key included. A peer that does not know the seed cannot make two questions collide.
 */
uint64_t denials_hash(const struct denials *denials, uint64_t version,
                      const struct policy_request *request);

/* Whether the question was refused, and by which line. */
bool denials_find(const struct denials *denials, uint64_t hash, unsigned *line);
void denials_add(struct denials *denials, uint64_t hash, unsigned line);

#endif
