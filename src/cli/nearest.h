/* The word that a person probably meant. */
#ifndef CLI_NEAREST_H
#define CLI_NEAREST_H

#include <stddef.h>

struct nearest {
    const char *word; /* as it was typed; borrowed, as the candidates are */
    size_t size;      /* of the word */
    const char *best;
    size_t distance;
};

void nearest_init(struct nearest *nearest, const char *word, size_t size);
void nearest_offer(struct nearest *nearest, const char *candidate);
/* The nearest candidate, or NULL if none is near enough to be meant. */
const char *nearest_word(const struct nearest *nearest);

#endif
