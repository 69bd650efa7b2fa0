/*
 * The header of the PROXY protocol, versions 1 and 2 (HAProxy's proxy-protocol.txt §2): what a
 * proxy puts before a connection's bytes to say whose connection it is.
 */
#ifndef CODEC_PROXY_HEADER_H
#define CODEC_PROXY_HEADER_H

#include <stddef.h>
#include <stdint.h>

enum {
    PROXY_HEADER_TEXT_SIZE = 107, /* of version 1 at most, with its line's end (§2.1) */
    PROXY_HEADER_MAX_SIZE = 4096, /* of version 2, whose own limit of 64 KiB nobody needs */
};

enum proxy_header_kind {
    PROXY_HEADER_NONE, /* the proxy's own connection, or it does not know whose, or no TCP */
    PROXY_HEADER_IPV4,
    PROXY_HEADER_IPV6,
};

struct proxy_header {
    enum proxy_header_kind kind;
    uint8_t source[16]; /* in network order; an IPv4 address in the first four. Zeroes for NONE */
    uint16_t source_port;
};

/* Parses the header that `data` begins with. Returns 0 and sets `header` and its size `used`;
 * CULVERT_NEED_MORE while all there is may be a header's beginning (so nothing is);
 * CULVERT_ERROR_NOT_FOUND when there is none, CULVERT_ERROR_PROTOCOL for a malformed one, or
 * CULVERT_ERROR_TOO_LARGE. */
int proxy_header_parse(const uint8_t *data, size_t size, struct proxy_header *header, size_t *used);

/* The same about the signature alone: 0, CULVERT_NEED_MORE or CULVERT_ERROR_NOT_FOUND. */
int proxy_header_find(const uint8_t *data, size_t size);

#endif
