/*
 * SHA-1 (FIPS 180-4 §6.1), for Sec-WebSocket-Accept only: there it shows that the server has read
 * the handshake, nothing is protected by it. Here so that a plain ws:// process never starts a
 * cryptographic library.
 */
#ifndef CODEC_SHA1_H
#define CODEC_SHA1_H

#include <stddef.h>
#include <stdint.h>

enum { SHA1_SIZE = 20, SHA1_BLOCK_SIZE = 64 };

struct sha1 {
    uint32_t state[5];
    uint64_t size; /* bytes hashed so far */
    uint8_t block[SHA1_BLOCK_SIZE];
};

void sha1_init(struct sha1 *sha1);
void sha1_update(struct sha1 *sha1, const void *data, size_t size);

/* Writes the digest; afterwards only sha1_init may follow. */
void sha1_final(struct sha1 *sha1, uint8_t out[static SHA1_SIZE]);

#endif
