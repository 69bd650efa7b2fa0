#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/chunk.h"
#include "base/memory.h"

#include <pthread.h>
#include <string.h>

enum { LARGE_BLOCK = CHUNK_LARGE_SIZE + (int)offsetof(struct chunk, data) };

static void a_chunk_is_charged_and_released(void **state)
{
    (void)state;
    struct account account;
    struct chunk_pool pool;
    account_init(&account, SIZE_MAX);
    chunk_pool_init(&pool, &account);
    struct chunk *small = chunk_pool_get(&pool, CHUNK_SMALL);
    struct chunk *large = chunk_pool_get(&pool, CHUNK_LARGE);
    assert_int_equal(small->size, CHUNK_SMALL_SIZE - offsetof(struct chunk, data));
    assert_int_equal(large->size, CHUNK_LARGE_SIZE);
    memset(small->data, 1, small->size);
    memset(large->data, 1, large->size);
    assert_int_equal(account.used, CHUNK_SMALL_SIZE + LARGE_BLOCK);
    assert_int_equal(pool.live, 2);
    chunk_unref(small);
    chunk_unref(large);
    assert_int_equal(account.used, CHUNK_SMALL_SIZE + LARGE_BLOCK);
    assert_ptr_equal(chunk_pool_get(&pool, CHUNK_LARGE), large);
    chunk_unref(large);
    chunk_pool_trim(&pool);
    assert_int_equal(account.used, 0);
    assert_int_equal(chunk_pool_deinit(&pool), 0);
}

static void a_pool_knows_that_it_has_shrunk(void **state)
{
    enum { COUNT = 16 };
    (void)state;
    struct account account;
    struct chunk_pool pool;
    struct chunk *chunks[COUNT];
    account_init(&account, SIZE_MAX);
    chunk_pool_init(&pool, &account);
    for (int i = 0; i < COUNT; i++)
        chunks[i] = chunk_pool_get(&pool, CHUNK_LARGE);
    for (int i = 0; i < COUNT / 2; i++) {
        assert_false(chunk_pool_has_shrunk(&pool));
        chunk_unref(chunks[i]);
    }
    assert_true(chunk_pool_has_shrunk(&pool));
    assert_false(chunk_pool_has_shrunk(&pool));
    for (int i = COUNT / 2; i < COUNT; i++)
        chunk_unref(chunks[i]);
    assert_true(chunk_pool_has_shrunk(&pool));
    chunk_unref(chunk_pool_get(&pool, CHUNK_LARGE));
    assert_false(chunk_pool_has_shrunk(&pool));
    assert_int_equal(chunk_pool_deinit(&pool), 0);
}

static void an_exact_chunk_is_not_kept(void **state)
{
    (void)state;
    struct account account;
    struct chunk_pool pool;
    account_init(&account, SIZE_MAX);
    chunk_pool_init(&pool, &account);
    struct chunk *chunk = chunk_pool_get_exact(&pool, 10000);
    assert_int_equal(chunk->size, 10000);
    assert_int_equal(account.used, offsetof(struct chunk, data) + 10000);
    memset(chunk->data, 1, chunk->size);
    chunk_unref(chunk);
    assert_int_equal(account.used, 0);
    assert_int_equal(chunk_pool_deinit(&pool), 0);
}

static void references_are_counted(void **state)
{
    (void)state;
    struct account account;
    struct chunk_pool pool;
    account_init(&account, SIZE_MAX);
    chunk_pool_init(&pool, &account);
    struct chunk *chunk = chunk_pool_get(&pool, CHUNK_SMALL);
    assert_true(chunk_is_exclusive(chunk));
    chunk_ref(chunk);
    assert_false(chunk_is_exclusive(chunk));
    assert_int_equal(chunk_pool_deinit(&pool), 1);
    chunk_unref(chunk);
    assert_true(chunk_is_exclusive(chunk));
    assert_int_equal(pool.free_count[CHUNK_SMALL], 0);
    chunk_unref(chunk);
    assert_int_equal(pool.free_count[CHUNK_SMALL], 1);
    assert_int_equal(chunk_pool_deinit(&pool), 0);
}

static void the_cache_is_bounded(void **state)
{
    (void)state;
    enum { COUNT = 300 };
    struct account account;
    struct chunk_pool pool;
    struct chunk *small[COUNT];
    struct chunk *large[COUNT / 10];
    account_init(&account, SIZE_MAX);
    chunk_pool_init(&pool, &account);
    for (int i = 0; i < COUNT; i++)
        small[i] = chunk_pool_get(&pool, CHUNK_SMALL);
    for (int i = 0; i < COUNT / 10; i++)
        large[i] = chunk_pool_get(&pool, CHUNK_LARGE);
    for (int i = 0; i < COUNT; i++)
        chunk_unref(small[i]);
    for (int i = 0; i < COUNT / 10; i++)
        chunk_unref(large[i]);
    assert_int_equal(pool.free_count[CHUNK_SMALL], 256);
    assert_int_equal(pool.free_count[CHUNK_LARGE], CHUNK_LARGE_CACHED);
    assert_int_equal(pool.live, CHUNK_SMALL_CACHED + CHUNK_LARGE_CACHED);
    assert_int_equal(account.used,
                     CHUNK_SMALL_CACHED * CHUNK_SMALL_SIZE + CHUNK_LARGE_CACHED * LARGE_BLOCK);
    assert_int_equal(chunk_pool_deinit(&pool), 0);
    assert_int_equal(account.used, 0);
}

static void a_failed_allocation_charges_nothing(void **state)
{
    (void)state;
    struct account account;
    struct chunk_pool pool;
    account_init(&account, SIZE_MAX);
    chunk_pool_init(&pool, &account);
    memory_fail_after(1);
    assert_null(chunk_pool_get(&pool, CHUNK_LARGE));
    assert_int_equal(account.used, 0);
    assert_int_equal(pool.live, 0);
    struct chunk *chunk = chunk_pool_get(&pool, CHUNK_LARGE);
    assert_non_null(chunk);
    chunk_unref(chunk);
    assert_int_equal(chunk_pool_deinit(&pool), 0);
}

enum { THREADS = 4, ROUNDS = 2000 };

struct foreign {
    pthread_t thread;
    struct chunk *chunks[ROUNDS];
};

static void *drop_all(void *context)
{
    struct foreign *foreign = context;
    for (int i = 0; i < ROUNDS; i++)
        chunk_unref(foreign->chunks[i]);
    return NULL;
}

/* Half of the chunks are shared by all threads, so that any of them may be the last. */
static void foreign_threads_send_chunks_home(void **state)
{
    (void)state;
    static struct foreign foreign[THREADS];
    struct account account;
    struct chunk_pool pool;
    account_init(&account, SIZE_MAX);
    chunk_pool_init(&pool, &account);
    for (int i = 0; i < ROUNDS; i++) {
        struct chunk *shared = chunk_pool_get(&pool, CHUNK_SMALL);
        for (int t = 0; t < THREADS; t++) {
            if (i % 2 == 0) {
                foreign[t].chunks[i] = chunk_pool_get(&pool, CHUNK_SMALL);
            } else {
                foreign[t].chunks[i] = shared;
                chunk_ref(shared);
            }
        }
        chunk_unref(shared);
    }
    for (int t = 0; t < THREADS; t++)
        assert_int_equal(pthread_create(&foreign[t].thread, NULL, drop_all, &foreign[t]), 0);
    for (int i = 0; i < ROUNDS; i++)
        chunk_unref(chunk_pool_get(&pool, CHUNK_SMALL));
    for (int t = 0; t < THREADS; t++)
        pthread_join(foreign[t].thread, NULL);
    assert_int_equal(chunk_pool_deinit(&pool), 0);
    assert_int_equal(account.used, 0);
}

static void *take_over(void *context)
{
    struct chunk_pool *pool = context;
    chunk_pool_own(pool);
    struct chunk *chunk = chunk_pool_get(pool, CHUNK_SMALL);
    chunk_unref(chunk);
    return pool->returned == NULL && pool->free_count[CHUNK_SMALL] == 1 ? pool : NULL;
}

static void another_thread_may_own_the_pool(void **state)
{
    (void)state;
    struct account account;
    struct chunk_pool pool;
    pthread_t thread;
    void *result = NULL;
    account_init(&account, SIZE_MAX);
    chunk_pool_init(&pool, &account);
    assert_int_equal(pthread_create(&thread, NULL, take_over, &pool), 0);
    pthread_join(thread, &result);
    assert_ptr_equal(result, &pool);
    chunk_pool_own(&pool);
    assert_int_equal(chunk_pool_deinit(&pool), 0);
}

static void an_account_knows_its_level(void **state)
{
    (void)state;
    struct account account;
    account_init(&account, 1000);
    account_charge(&account, 749);
    assert_int_equal(account_level(&account), ACCOUNT_EASY);
    account_charge(&account, 1);
    assert_int_equal(account_level(&account), ACCOUNT_TIGHT);
    account_charge(&account, 250);
    assert_int_equal(account_level(&account), ACCOUNT_FULL);
    account_charge(&account, 5000);
    assert_int_equal(account_level(&account), ACCOUNT_FULL);
    account_release(&account, 6000);
    assert_int_equal(account_level(&account), ACCOUNT_EASY);
    account_init(&account, SIZE_MAX);
    account_charge(&account, SIZE_MAX / 2);
    assert_int_equal(account_level(&account), ACCOUNT_EASY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chunk_is_charged_and_released),
        cmocka_unit_test(references_are_counted),
        cmocka_unit_test(the_cache_is_bounded),
        cmocka_unit_test(a_failed_allocation_charges_nothing),
        cmocka_unit_test(a_pool_knows_that_it_has_shrunk),
        cmocka_unit_test(an_exact_chunk_is_not_kept),
        cmocka_unit_test(foreign_threads_send_chunks_home),
        cmocka_unit_test(another_thread_may_own_the_pool),
        cmocka_unit_test(an_account_knows_its_level),
    };
    return cmocka_run_group_tests_name("chunk", tests, NULL, NULL);
}
