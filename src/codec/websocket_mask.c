#include "codec/websocket.h"

#include <string.h>

/* 16 bytes are a native vector nearly everywhere; the compiler splits larger ones less well. */
typedef uint64_t mask_block __attribute__((vector_size(16)));

enum { BLOCK_SIZE = sizeof(mask_block) };

/* memcpy, since neither side need be aligned; it becomes one unaligned load or store. */
static mask_block load(const uint8_t *from)
{
    mask_block block;
    memcpy(&block, from, BLOCK_SIZE);
    return block;
}

static void store(uint8_t *to, mask_block block)
{
    memcpy(to, &block, BLOCK_SIZE);
}

void websocket_mask(uint8_t *out, const uint8_t *in, size_t size, const uint8_t mask[4],
                    size_t offset)
{
    uint8_t key[BLOCK_SIZE];
    for (size_t i = 0; i < BLOCK_SIZE; i++)
        key[i] = mask[(offset + i) % 4];
    mask_block key_block = load(key);

    size_t at = 0;
    for (; size - at >= 4 * BLOCK_SIZE; at += 4 * BLOCK_SIZE) {
        mask_block first = load(in + at);
        mask_block second = load(in + at + BLOCK_SIZE);
        mask_block third = load(in + at + 2 * BLOCK_SIZE);
        mask_block fourth = load(in + at + 3 * BLOCK_SIZE);
        store(out + at, first ^ key_block);
        store(out + at + BLOCK_SIZE, second ^ key_block);
        store(out + at + 2 * BLOCK_SIZE, third ^ key_block);
        store(out + at + 3 * BLOCK_SIZE, fourth ^ key_block);
    }
    for (; size - at >= sizeof(uint64_t); at += sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, in + at, sizeof(word));
        word ^= key_block[0];
        memcpy(out + at, &word, sizeof(word));
    }
    for (; at < size; at++)
        out[at] = (uint8_t)(in[at] ^ key[at % BLOCK_SIZE]);
}
