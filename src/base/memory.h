/*
 * The heap, behind one door so that a test can make any allocation fail. Everything that is
 * allocated here is given back here.
 */
#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

/* As malloc, calloc(1, size), realloc and free; NULL when memory has run out. */
void *memory_allocate(size_t size);
void *memory_allocate_zero(size_t size);
void *memory_grow(void *memory, size_t size);
void memory_free(void *memory);

/* Gives pages of which nothing is in use back to the system. Takes milliseconds for a large heap.
 */
void memory_give_back(void);

/* A copy of a terminated string; NULL when memory has run out. */
char *memory_copy_text(const char *text);

/* For tests: the calling thread's n-th allocation from now (1 is the next) fails, those before and
 * after it do not; 0 takes the order back. */
void memory_fail_after(size_t n);

/* Whether the failure that was asked for is still to come: a loop over n is done when it is. */
bool memory_fail_is_pending(void);

#endif
