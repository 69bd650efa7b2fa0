/* The gateway's URL as an agent names it: ws://host[:port][/path] or wss://... (RFC 3986, RFC 6455
 * §3); poll+http:// or poll+https:// where it is to be reached by long poll. */
#ifndef CODEC_URL_H
#define CODEC_URL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct url {
    char scheme[16];
    char host[256];    /* an IPv6 address without its brackets */
    uint16_t port;     /* the scheme's default if it names none */
    char target[1024]; /* path and query, "/" at least */
    bool is_secure;    /* wss, poll+https */
    bool is_poll;      /* poll+http, poll+https */
    bool is_ipv6;      /* the host is an IPv6 literal */
    bool is_loopback;  /* the host is localhost, 127.0.0.0/8 or ::1 */
};

/* Parses ws, wss, poll+http and poll+https URLs. On CULVERT_ERROR_INVALID writes a sentence into
 * `why` that names what is malformed and how it should look (for "ws:/host": two slashes after the
 * scheme). User info, a fragment, spaces, control characters, an unknown scheme are refused. */
int url_parse(const char *string, struct url *url, char *why, size_t why_size);

/* The value of the Host field: brackets where needed, the port if it is not the default.
 * Terminated. */
int url_host_field(const struct url *url, char *out, size_t size);

#endif
