/* A host as a person or a peer writes it: a name or a numeric address. */
#ifndef POLICY_HOST_H
#define POLICY_HOST_H

#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    HOST_ADDRESS_SIZE = 16, /* an IPv6 address; IPv4 stands as IPv4-mapped (RFC 4291 §2.5.5.2) */
    HOST_NAME_SIZE = 256,   /* with its zero */
};

enum host_kind { HOST_INVALID, HOST_NAME, HOST_IPV4, HOST_IPV6 };

/* Tells what `text`, without brackets, is, and for an address its bytes (`address` may be NULL).
 * Names are letters, digits, `-`, `_` and `.` in labels of 1 to 63 (RFC 1035 §2.3.4), with or
 * without a dot at the end. What ends in a number but is no dotted quad (127.1, 0x7f000001) is
 * invalid: a resolver would read it as an address. */
enum host_kind host_parse(struct text text, uint8_t *address);

/* Turns an address into the one that a connection to it reaches, so that rules compare like with
 * like: `::` and `::1` become 127.0.0.1; IPv4-compatible ones (RFC 4291 §2.5.5.1) and those of
 * 64:ff9b::/96 (RFC 6052 §2.1) become the IPv4 address in them; 0.0.0.0 becomes 127.0.0.1. */
void host_canonical(uint8_t address[static HOST_ADDRESS_SIZE]);

/* Writes the canonical form of a host. For an address this is the one that a connection to it
 * reaches, IPv4 as a dotted quad, IPv6 as in RFC 5952; for a name, lower case without the trailing
 * dot. Other text is copied, and cut if it is too long. Returns the kind of host. */
enum host_kind host_canonical_text(struct text host, char out[static HOST_NAME_SIZE]);

/* Whether both are the same name: ASCII case and a dot at the end aside. */
bool host_same_name(struct text a, struct text b);

/* Takes the first part of A:B:C off `rest`, up to the first colon outside brackets, and the colon.
 * Returns whether there was a colon; without one the part is all of it. */
bool host_take_part(struct text *rest, struct text *part);

enum { HOST_PORT_TEXT_SIZE = HOST_NAME_SIZE + 8 };

/* Writes HOST:PORT, an IPv6 address in brackets; a longer host is cut. Returns `out`. */
const char *host_port_text(const char *host, uint16_t port, char out[static HOST_PORT_TEXT_SIZE]);

/* Takes the brackets off; returns whether there were any. */
bool host_strip_brackets(struct text *text);

#endif
