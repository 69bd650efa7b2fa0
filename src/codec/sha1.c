#include "codec/sha1.h"

#include <string.h>

static uint32_t rotate_left(uint32_t value, int bits)
{
    return (value << bits) | (value >> (32 - bits));
}

static uint32_t read_word(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 |
           (uint32_t)bytes[3];
}

static void write_word(uint8_t *bytes, uint32_t word)
{
    for (int i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(word >> (24 - 8 * i));
}

/* FIPS 180-4 §4.1.1 and §4.2.1: the function and the constant of round `t`. */
static uint32_t mix(int t, uint32_t b, uint32_t c, uint32_t d)
{
    if (t < 20)
        return ((b & c) ^ (~b & d)) + 0x5a827999;
    if (t < 40)
        return (b ^ c ^ d) + 0x6ed9eba1;
    if (t < 60)
        return ((b & c) ^ (b & d) ^ (c & d)) + 0x8f1bbcdc;
    return (b ^ c ^ d) + 0xca62c1d6;
}

static void hash_block(uint32_t state[static 5], const uint8_t *block)
{
    uint32_t schedule[80];
    for (int t = 0; t < 16; t++)
        schedule[t] = read_word(block + 4 * t);
    for (int t = 16; t < 80; t++)
        schedule[t] =
            rotate_left(schedule[t - 3] ^ schedule[t - 8] ^ schedule[t - 14] ^ schedule[t - 16], 1);

    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    for (int t = 0; t < 80; t++) {
        uint32_t next = rotate_left(a, 5) + mix(t, b, c, d) + e + schedule[t];
        e = d;
        d = c;
        c = rotate_left(b, 30);
        b = a;
        a = next;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
}

void sha1_init(struct sha1 *sha1)
{
    static const uint32_t start[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    memcpy(sha1->state, start, sizeof(start));
    sha1->size = 0;
}

void sha1_update(struct sha1 *sha1, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    while (size > 0) {
        size_t filled = (size_t)(sha1->size % SHA1_BLOCK_SIZE);
        size_t take = SHA1_BLOCK_SIZE - filled < size ? SHA1_BLOCK_SIZE - filled : size;
        memcpy(sha1->block + filled, bytes, take);
        sha1->size += take;
        bytes += take;
        size -= take;
        if (filled + take == SHA1_BLOCK_SIZE)
            hash_block(sha1->state, sha1->block);
    }
}

void sha1_final(struct sha1 *sha1, uint8_t out[static SHA1_SIZE])
{
    /* §5.1.1: a one bit, zeros, and the length in bits as the last eight bytes of a block. */
    static const uint8_t padding[SHA1_BLOCK_SIZE] = {0x80};
    uint64_t bits = sha1->size * 8;
    uint8_t length[8];
    write_word(length, (uint32_t)(bits >> 32));
    write_word(length + 4, (uint32_t)bits);

    size_t filled = (size_t)(sha1->size % SHA1_BLOCK_SIZE);
    sha1_update(sha1, padding, filled < 56 ? 56 - filled : SHA1_BLOCK_SIZE + 56 - filled);
    sha1_update(sha1, length, sizeof(length));
    for (int i = 0; i < 5; i++)
        write_word(out + 4 * i, sha1->state[i]);
}
