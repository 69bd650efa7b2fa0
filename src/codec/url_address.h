/* The address literals of a URL's host (RFC 3986 §3.2.2), read strictly: what some resolvers take
 * as well, such as 127.1 or 010.0.0.1, is not one. */
#ifndef CODEC_URL_ADDRESS_H
#define CODEC_URL_ADDRESS_H

#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

bool url_parse_ipv4(struct text text, uint8_t address[static 4]);

/* Without brackets and without a zone. */
bool url_parse_ipv6(struct text text, uint8_t address[static 16]);

#endif
