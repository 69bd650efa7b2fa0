#include "base/test_slices.h"

#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

int test_slices_set_up(void **state)
{
    static struct test_slices fixture;
    account_init(&fixture.account, SIZE_MAX);
    chunk_pool_init(&fixture.pool, &fixture.account);
    *state = &fixture;
    return 0;
}

int test_slices_tear_down(void **state)
{
    struct test_slices *fixture = *state;
    memory_fail_after(0);
    return chunk_pool_deinit(&fixture->pool) == 0 && fixture->account.used == 0 ? 0 : -1;
}

size_t test_slices_read(const struct slice_queue *queue, char *out)
{
    struct iovec vectors[4096];
    size_t size = 0;
    int count = slice_queue_vectors(queue, vectors, 4096);
    for (int i = 0; i < count; i++) {
        memcpy(out + size, vectors[i].iov_base, vectors[i].iov_len);
        size += vectors[i].iov_len;
    }
    return size;
}

void test_slices_assert(const struct slice_queue *queue, const char *text)
{
    char out[4096];
    assert_int_equal(test_slices_read(queue, out), strlen(text));
    assert_memory_equal(out, text, strlen(text));
    assert_int_equal(queue->bytes, strlen(text));
}
