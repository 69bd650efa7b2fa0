/*
 * What the access list has refused lately, so that asking the same again costs no search. Nothing
 * but refusals is kept; a newer one takes an older one's place, and all of a list are void as soon
 * as another is read.
 */
#ifndef GATEWAY_DENIALS_H
#define GATEWAY_DENIALS_H

#include "policy/policy.h"

enum { DENIALS = 4096 /* a power of two */, DENIALS_SET = 4 };

struct denial {
    uint64_t hash; /* of what was asked; 0: none */
    unsigned line; /* of the rule; 0: none matched */
};

struct denials {
    uint64_t seed;
    struct denial denial[DENIALS]; /* in sets, the newest first */
};

/* `seed` is a random number that peers do not know. */
void denials_init(struct denials *denials, uint64_t seed);

/* What the question to this version of the list is kept under: all that rules can ask for, the key
 * included. Nobody who does not know the seed can make two questions the same. */
uint64_t denials_hash(const struct denials *denials, uint64_t version,
                      const struct policy_request *request);

/* Whether the question was refused, and by which line. */
bool denials_find(const struct denials *denials, uint64_t hash, unsigned *line);
void denials_add(struct denials *denials, uint64_t hash, unsigned line);

#endif
