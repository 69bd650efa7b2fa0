/* The gateway: agents register there, and it joins their sessions. */
#ifndef GATEWAY_GATEWAY_H
#define GATEWAY_GATEWAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gateway_listen {
    char host[256]; /* "" for all addresses; a name or a numeric address without brackets */
    uint16_t port;  /* 0: a free one */
};

struct gateway_config {
    const struct gateway_listen *listens;
    size_t listen_count;
    const char *tls_certificate; /* both or neither NULL */
    const char *tls_key;
    bool grant;        /* policy: every session is allowed */
    bool deny;         /* policy: none is; wins */
    bool open;         /* agents need no key */
    const char *data;  /* directory of the store; NULL: the default */
    unsigned threads;  /* event loops, at least 1 */
    size_t max_memory; /* bytes; SIZE_MAX: no limit */
};

/* Runs until SIGTERM or SIGINT. Returns an enum exit_code. */
int gateway_run(const struct gateway_config *config);

#endif
