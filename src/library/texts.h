/*
 * Copies of the texts in a caller's options, which live as long as a handle and are wiped with it.
 * A failure is remembered and checked once, when all are kept.
 */
#ifndef LIBRARY_TEXTS_H
#define LIBRARY_TEXTS_H

#include <stdbool.h>
#include <stddef.h>

struct texts_entry;

struct texts {
    struct texts_entry *newest;
    bool has_failed; /* memory ran out */
};

#define TEXTS_NULL ((struct texts){0})

/* A copy of the text; NULL when it is NULL or memory has run out. */
const char *texts_keep(struct texts *texts, const char *text);
void texts_deinit(struct texts *texts);

#endif
