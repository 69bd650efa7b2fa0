/* Keys: making them, hashing them, comparing hashes. */
#ifndef STORE_SECRET_H
#define STORE_SECRET_H

#include "store/store.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A new key of 256 random bits and its hash. Returns 0 or -errno. */
int secret_make(char key[static STORE_KEY_TEXT_SIZE], uint8_t hash[static STORE_HASH_SIZE]);

/* SHA-256 (FIPS 180-4). */
void secret_hash(const char *key, size_t size, uint8_t hash[static STORE_HASH_SIZE]);

/* In constant time. */
bool secret_equals(const uint8_t a[static STORE_HASH_SIZE],
                   const uint8_t b[static STORE_HASH_SIZE]);

#endif
