/* For tests of slices: a pool that must get all its chunks back, and a look at a whole queue. */
#ifndef BASE_TEST_SLICES_H
#define BASE_TEST_SLICES_H

#include "base/slice.h"

struct test_slices {
    struct account account;
    struct chunk_pool pool;
};

/* A fixture of cmocka. The second fails if a chunk has not been given back. */
int test_slices_set_up(void **state);
int test_slices_tear_down(void **state);

/* Copies all bytes of the queue to `out`, and takes none. Returns how many. */
size_t test_slices_read(const struct slice_queue *queue, char *out);
/* The queue holds exactly this text. */
void test_slices_assert(const struct slice_queue *queue, const char *text);

#endif
