/* For tests: bytes that end where an unreadable page begins, so that reading one too many is a
 * fault. */
#ifndef CODEC_GUARDED_PAGE_H
#define CODEC_GUARDED_PAGE_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct guarded_page {
    uint8_t *bytes;
    size_t capacity;
};

enum { GUARDED_PAGE_SIZE = 64 * 1024 }; /* a multiple of every page size in use */

static inline struct guarded_page guarded_page_new(size_t capacity)
{
    struct guarded_page page;
    page.capacity = (capacity + GUARDED_PAGE_SIZE - 1) / GUARDED_PAGE_SIZE * GUARDED_PAGE_SIZE;
    page.bytes = mmap(NULL, page.capacity + GUARDED_PAGE_SIZE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page.bytes == MAP_FAILED ||
        mprotect(page.bytes + page.capacity, GUARDED_PAGE_SIZE, PROT_NONE) != 0)
        abort();
    return page;
}

static inline void guarded_page_free(struct guarded_page *page)
{
    munmap(page->bytes, page->capacity + GUARDED_PAGE_SIZE);
}

/* A copy of the bytes, at most `capacity`, that ends at the unreadable page. */
static inline uint8_t *guarded_page_put(struct guarded_page *page, const void *data, size_t size)
{
    if (size > page->capacity)
        abort();
    uint8_t *start = page->bytes + page->capacity - size;
    if (size > 0)
        memcpy(start, data, size);
    return start;
}

#endif
