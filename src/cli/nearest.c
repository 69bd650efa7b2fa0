#include "cli/nearest.h"

#include <stdint.h>
#include <string.h>

enum { WORD_MAX = 32 };

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* How many letters must be added, dropped, replaced or swapped with a neighbour to make one word
 * of the other (optimal string alignment). */
static size_t distance(const char *a, size_t a_size, const char *b, size_t b_size)
{
    size_t table[WORD_MAX + 1][WORD_MAX + 1];
    for (size_t i = 0; i <= a_size; i++)
        table[i][0] = i;
    for (size_t j = 0; j <= b_size; j++)
        table[0][j] = j;
    for (size_t i = 1; i <= a_size; i++) {
        for (size_t j = 1; j <= b_size; j++) {
            size_t cost = a[i - 1] == b[j - 1] ? 0 : 1;
            size_t best = smaller(table[i - 1][j], table[i][j - 1]) + 1;
            best = smaller(best, table[i - 1][j - 1] + cost);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = smaller(best, table[i - 2][j - 2] + 1);
            table[i][j] = best;
        }
    }
    return table[a_size][b_size];
}

void nearest_init(struct nearest *nearest, const char *word, size_t size)
{
    *nearest = (struct nearest){.word = word, .size = size, .distance = SIZE_MAX};
}

void nearest_offer(struct nearest *nearest, const char *candidate)
{
    size_t size = strlen(candidate);
    if (size > WORD_MAX || nearest->size > WORD_MAX)
        return;
    size_t found = distance(nearest->word, nearest->size, candidate, size);
    /* The beginning of a word is as near as a slip. */
    if (nearest->size >= 2 && nearest->size < size &&
        memcmp(nearest->word, candidate, nearest->size) == 0)
        found = 1;
    if (found < nearest->distance) {
        nearest->best = candidate;
        nearest->distance = found;
    }
}

const char *nearest_word(const struct nearest *nearest)
{
    size_t most = nearest->size <= 3 ? 1 : nearest->size <= 6 ? 2 : 3;
    return nearest->distance <= most ? nearest->best : NULL;
}
