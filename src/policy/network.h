/* Networks of addresses, as ADDRESS or ADDRESS/BITS (RFC 4632 §3.1, RFC 4291 §2.3). */
#ifndef POLICY_NETWORK_H
#define POLICY_NETWORK_H

#include "policy/host.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct network {
    uint8_t address[HOST_ADDRESS_SIZE]; /* IPv4 as mapped */
    uint8_t prefix;                     /* bits of 128 */
};

/* HOST, ADDRESS/BITS, [ADDRESS], [ADDRESS/BITS] or [ADDRESS]/BITS, taken apart. */
struct network_parts {
    struct text host; /* without brackets; what it is has not been looked at */
    struct text bits; /* behind the slash */
    bool has_bits;
    bool has_brackets;
};

void network_split(struct text text, struct network_parts *parts);

/* The network of parts whose host is an address. CULVERT_ERROR_INVALID with a sentence in `why`. */
int network_parse(const struct network_parts *parts, struct network *network, char *why,
                  size_t why_size);

/* Whether the address lies in the network. IPv6's [::]/0 does not hold IPv4 as well. */
bool network_covers(const struct network *network, const uint8_t *address);

/* Clears the bits after the prefix. Returns whether any was set. */
bool network_mask(uint8_t *address, unsigned prefix);

/* Whether the address is an IPv4 one (RFC 4291 §2.5.5.2). */
bool network_is_mapped(const uint8_t *address);

#endif
