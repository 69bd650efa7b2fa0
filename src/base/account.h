/*
 * An account counts bytes of memory against a limit. One account stands for the process
 * (--max-memory). It counts allocated bytes, and separately promised bytes: the growth of windows,
 * which peers may fill later. Promises prevent further promises, but only allocated bytes can reach
 * the limit. Counting is atomic, so all loops share one account.
 */
#ifndef BASE_ACCOUNT_H
#define BASE_ACCOUNT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct account {
    _Atomic size_t used;     /* bytes that are allocated */
    _Atomic size_t promised; /* bytes */
    size_t limit;            /* bytes; SIZE_MAX means no limit */
};

/* Of what is allocated. */
enum account_level {
    ACCOUNT_EASY,  /* below three quarters of the limit */
    ACCOUNT_TIGHT, /* nothing grows, what is parked is compacted */
    ACCOUNT_FULL,  /* at the limit: the largest holder is reset */
};

void account_init(struct account *account, size_t limit);

/* Adds bytes, also beyond the limit (a socket's data that is already here must live somewhere);
 * the level tells. */
void account_charge(struct account *account, size_t bytes);
void account_release(struct account *account, size_t bytes);
enum account_level account_level(const struct account *account);

/* Promise bytes, and take promises back. Call account_may_promise before a promise. */
void account_promise(struct account *account, size_t bytes);
void account_take_back(struct account *account, size_t bytes);
/* Whether allocated and promised bytes together are below three quarters of the limit. */
bool account_may_promise(const struct account *account);

#endif
