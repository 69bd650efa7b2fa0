#include "base/account.h"

#include <assert.h>

void account_init(struct account *account, size_t limit)
{
    atomic_init(&account->used, 0);
    atomic_init(&account->promised, 0);
    account->limit = limit;
}

static void add(_Atomic size_t *sum, size_t bytes)
{
    atomic_fetch_add_explicit(sum, bytes, memory_order_relaxed);
}

static void subtract(_Atomic size_t *sum, size_t bytes)
{
    size_t before = atomic_fetch_sub_explicit(sum, bytes, memory_order_relaxed);
    assert(before >= bytes);
    (void)before;
}

static size_t three_quarters(const struct account *account)
{
    return account->limit - account->limit / 4;
}

void account_charge(struct account *account, size_t bytes)
{
    add(&account->used, bytes);
}

void account_release(struct account *account, size_t bytes)
{
    subtract(&account->used, bytes);
}

enum account_level account_level(const struct account *account)
{
    size_t used = atomic_load_explicit(&account->used, memory_order_relaxed);
    if (used >= account->limit)
        return ACCOUNT_FULL;
    if (used >= three_quarters(account))
        return ACCOUNT_TIGHT;
    return ACCOUNT_EASY;
}

void account_promise(struct account *account, size_t bytes)
{
    add(&account->promised, bytes);
}

void account_take_back(struct account *account, size_t bytes)
{
    subtract(&account->promised, bytes);
}

bool account_may_promise(const struct account *account)
{
    size_t used = atomic_load_explicit(&account->used, memory_order_relaxed);
    size_t promised = atomic_load_explicit(&account->promised, memory_order_relaxed);
    return used + promised < three_quarters(account);
}
