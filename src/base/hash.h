/* A keyed hash, SipHash-1-3 (Aumasson, Bernstein: "SipHash: a fast short-input PRF"): nobody who
 * does not know the seed can choose inputs that collide. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t hash_number(uint64_t seed, uint64_t number);
uint64_t hash_bytes(uint64_t seed, const void *data, size_t size);
/* Without the zero at its end. */
uint64_t hash_text(uint64_t seed, const char *text);

#endif
