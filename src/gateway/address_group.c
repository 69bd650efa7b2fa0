#include "gateway/address_group.h"

#include <string.h>

enum {
    IPV4_START = 12, /* of an IPv4 address in its mapped one (RFC 4291 §2.5.5.2) */
    IPV4_BYTES = 3,
    IPV6_BYTES = 7,
};

/* The bytes as a number below 2^56, with the family above them. */
static uint64_t pack(uint64_t family, const uint8_t *bytes, size_t count)
{
    uint64_t group = 0;
    for (size_t i = 0; i < count; i++)
        group = group << 8 | bytes[i];
    return family << 56 | group;
}

uint64_t address_group(const uint8_t address[static HOST_ADDRESS_SIZE])
{
    if (network_is_mapped(address))
        return pack(1, address + IPV4_START, IPV4_BYTES);
    return pack(2, address, IPV6_BYTES);
}

bool address_group_is_loopback(const uint8_t address[static HOST_ADDRESS_SIZE])
{
    static const uint8_t loopback[HOST_ADDRESS_SIZE] = {[HOST_ADDRESS_SIZE - 1] = 1};
    if (network_is_mapped(address))
        return address[IPV4_START] == 127;
    return memcmp(address, loopback, HOST_ADDRESS_SIZE) == 0;
}
