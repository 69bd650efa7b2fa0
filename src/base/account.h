/*
 * An account counts bytes of memory against a limit. One account stands for the process
 * (--max-memory); every chunk and every window that grows is charged to it. Charging is atomic, so
 * all loops share one account.
 */
#ifndef BASE_ACCOUNT_H
#define BASE_ACCOUNT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct account {
    _Atomic size_t used;
    size_t limit; /* bytes; SIZE_MAX means no limit */
};

enum account_level {
    ACCOUNT_EASY,  /* below three quarters of the limit: windows may grow */
    ACCOUNT_TIGHT, /* nothing grows, what is parked is compacted */
    ACCOUNT_FULL,  /* at the limit: the largest holder is reset */
};

void account_init(struct account *account, size_t limit);

/* Adds bytes, also beyond the limit (a socket's data that is already here must live somewhere);
 * the level tells. */
void account_charge(struct account *account, size_t bytes);
void account_release(struct account *account, size_t bytes);
enum account_level account_level(const struct account *account);

#endif
