/* Where a gateway listens, as a user writes it: [HOST:]PORT, IPv6 addresses in brackets. */
#ifndef GATEWAY_GATEWAY_LISTEN_H
#define GATEWAY_GATEWAY_LISTEN_H

#include "gateway/gateway.h"

/* Parses it; an empty host and * stand for every address, port 0 for a free one. Returns 0 or
 * CULVERT_ERROR_INVALID with a sentence in `why`. */
int gateway_listen_parse(const char *string, struct gateway_listen *listen, char *why,
                         size_t why_size);

#endif
