#include "policy/network.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>

enum { ADDRESS_BITS = 128, MAPPED_BITS = 96 };

/* The piece of the user's rule that is complained about, short enough for a sentence. */
#define PIECE(text) (int)((text).size < 100 ? (text).size : 100), (text).data

bool network_is_mapped(const uint8_t *address)
{
    static const uint8_t mapped_prefix[MAPPED_BITS / 8] = {[10] = 0xff, [11] = 0xff};
    return memcmp(address, mapped_prefix, sizeof mapped_prefix) == 0;
}

bool network_mask(uint8_t *address, unsigned prefix)
{
    bool had_bits = false;
    for (unsigned i = 0; i < HOST_ADDRESS_SIZE; i++) {
        unsigned kept = prefix <= i * 8 ? 0 : prefix - i * 8;
        uint8_t mask = (uint8_t)(kept >= 8 ? 0xffU : 0xff00U >> kept);
        had_bits = had_bits || (address[i] & (uint8_t)~mask) != 0;
        address[i] &= mask;
    }
    return had_bits;
}

bool network_covers(const struct network *network, const uint8_t *address)
{
    uint8_t masked[HOST_ADDRESS_SIZE];
    if (network_is_mapped(address) && network->prefix < MAPPED_BITS)
        return false;
    memcpy(masked, address, sizeof masked);
    network_mask(masked, network->prefix);
    return memcmp(masked, network->address, sizeof masked) == 0;
}

static void network_text(const struct network *network, char *out, size_t size)
{
    const uint8_t *address = network->address;
    if (network_is_mapped(address) && network->prefix >= MAPPED_BITS) {
        snprintf(out, size, "%u.%u.%u.%u/%u", address[12], address[13], address[14], address[15],
                 (unsigned)network->prefix - MAPPED_BITS);
        return;
    }
    size_t used = (size_t)snprintf(out, size, "[");
    for (unsigned i = 0; i < HOST_ADDRESS_SIZE && used < size; i += 2)
        used += (size_t)snprintf(out + used, size - used, "%s%x", i == 0 ? "" : ":",
                                 (unsigned)address[i] << 8 | address[i + 1]);
    if (used < size)
        snprintf(out + used, size - used, "/%u]", network->prefix);
}

void network_split(struct text text, struct network_parts *parts)
{
    *parts = (struct network_parts){.host = text, .bits = TEXT_NULL};
    parts->has_brackets = host_strip_brackets(&parts->host);
    const char *slash =
        parts->host.size > 0 ? memchr(parts->host.data, '/', parts->host.size) : NULL;
    if (slash == NULL)
        return;
    size_t before = (size_t)(slash - parts->host.data);
    parts->has_bits = true;
    parts->bits = (struct text){slash + 1, parts->host.size - before - 1};
    parts->host.size = before;
    parts->has_brackets = parts->has_brackets || host_strip_brackets(&parts->host);
}

int network_parse(const struct network_parts *parts, struct network *network, char *why,
                  size_t why_size)
{
    enum host_kind kind = host_parse(parts->host, network->address);
    uint64_t most = kind == HOST_IPV4 ? ADDRESS_BITS - MAPPED_BITS : ADDRESS_BITS;
    uint64_t prefix = most;
    if (kind != HOST_IPV4 && kind != HOST_IPV6) {
        snprintf(why, why_size, "\"%.*s\" before the / is not an IP address", PIECE(parts->host));
        return CULVERT_ERROR_INVALID;
    }
    if (parts->has_bits && str_parse_number(parts->bits, most, &prefix) != 0) {
        snprintf(why, why_size, "the prefix /%.*s is not a number from 0 to %u", PIECE(parts->bits),
                 (unsigned)most);
        return CULVERT_ERROR_INVALID;
    }
    network->prefix = (uint8_t)(kind == HOST_IPV4 ? prefix + MAPPED_BITS : prefix);
    if (network_mask(network->address, network->prefix)) {
        char right[64];
        network_text(network, right, sizeof right);
        snprintf(why, why_size,
                 "%.*s/%.*s has host bits set; write %s for the network, or the address without "
                 "a prefix",
                 PIECE(parts->host), PIECE(parts->bits), right);
        return CULVERT_ERROR_INVALID;
    }
    return 0;
}
