#include "base/hash.h"

#include <string.h>

static uint64_t rotate(uint64_t word, int bits)
{
    return (word << bits) | (word >> (64 - bits));
}

struct sip {
    uint64_t v[4];
};

static void sip_round(struct sip *sip)
{
    uint64_t *v = sip->v;
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

static struct sip sip_start(uint64_t seed)
{
    /* The second half of the key is the first one, stirred. */
    uint64_t second = rotate(seed, 29) * UINT64_C(0x9e3779b97f4a7c15);
    return (struct sip){{
        seed ^ UINT64_C(0x736f6d6570736575),
        second ^ UINT64_C(0x646f72616e646f6d),
        seed ^ UINT64_C(0x6c7967656e657261),
        second ^ UINT64_C(0x7465646279746573),
    }};
}

static void sip_word(struct sip *sip, uint64_t word)
{
    sip->v[3] ^= word;
    sip_round(sip);
    sip->v[0] ^= word;
}

static uint64_t sip_end(struct sip *sip)
{
    sip->v[2] ^= 0xff;
    sip_round(sip);
    sip_round(sip);
    sip_round(sip);
    return sip->v[0] ^ sip->v[1] ^ sip->v[2] ^ sip->v[3];
}

uint64_t hash_number(uint64_t seed, uint64_t number)
{
    struct sip sip = sip_start(seed);
    sip_word(&sip, number);
    return sip_end(&sip);
}

uint64_t hash_bytes(uint64_t seed, const void *data, size_t size)
{
    struct sip sip = sip_start(seed);
    const uint8_t *text = data;
    uint64_t last = (uint64_t)size << 56;
    for (; size >= sizeof(uint64_t); size -= sizeof(uint64_t), text += sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, text, sizeof(word));
        sip_word(&sip, word);
    }
    uint64_t rest = 0;
    if (size > 0)
        memcpy(&rest, text, size);
    sip_word(&sip, last | rest);
    return sip_end(&sip);
}

uint64_t hash_text(uint64_t seed, const char *text)
{
    return hash_bytes(seed, text, strlen(text));
}
