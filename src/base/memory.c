#include "base/memory.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local size_t until_failure;

static bool fails_now(void)
{
    if (__builtin_expect(until_failure == 0, 1))
        return false;
    until_failure--;
    return until_failure == 0;
}

void *memory_allocate(size_t size)
{
    return fails_now() ? NULL : malloc(size);
}

void *memory_allocate_zero(size_t size)
{
    return fails_now() ? NULL : calloc(1, size);
}

void *memory_grow(void *memory, size_t size)
{
    return fails_now() ? NULL : realloc(memory, size);
}

void memory_free(void *memory)
{
    free(memory);
}

void memory_give_back(void)
{
    malloc_trim(0);
}

char *memory_copy_text(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = memory_allocate(size);
    if (copy != NULL)
        memcpy(copy, text, size);
    return copy;
}

void memory_fail_after(size_t n)
{
    until_failure = n;
}

bool memory_fail_is_pending(void)
{
    return until_failure != 0;
}
