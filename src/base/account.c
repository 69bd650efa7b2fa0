#include "base/account.h"

#include <assert.h>

void account_init(struct account *account, size_t limit)
{
    atomic_init(&account->used, 0);
    account->limit = limit;
}

void account_charge(struct account *account, size_t bytes)
{
    atomic_fetch_add_explicit(&account->used, bytes, memory_order_relaxed);
}

void account_release(struct account *account, size_t bytes)
{
    size_t before = atomic_fetch_sub_explicit(&account->used, bytes, memory_order_relaxed);
    assert(before >= bytes);
    (void)before;
}

enum account_level account_level(const struct account *account)
{
    size_t used = atomic_load_explicit(&account->used, memory_order_relaxed);
    if (used >= account->limit)
        return ACCOUNT_FULL;
    if (used >= account->limit - account->limit / 4)
        return ACCOUNT_TIGHT;
    return ACCOUNT_EASY;
}
