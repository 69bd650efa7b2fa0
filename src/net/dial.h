/*
 * Dialling: a host name is resolved (net/resolver.h; a number or `localhost` at once), each address
 * may be refused by a filter, the rest are tried in turn, the next one 250 ms after the last if it
 * has not answered yet (RFC 8305), until one connects or the time is over. Or a proxy is asked to
 * do it. A dial that somebody else asks for counts against the asker while it is pending.
 */
#ifndef NET_DIAL_H
#define NET_DIAL_H

#include "net/asker.h"
#include "net/loop.h"
#include "net/proxy.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct dial;

struct dial_request {
    const char *host; /* a name or a numeric address; copied */
    uint16_t port;
    unsigned timeout; /* milliseconds for all of it */
    /* Who asks, and is charged until `done` or the cancellation; NULL: the program itself. */
    struct asker *asker;
    /* Whether this very address may be dialled; NULL allows all. If all are refused the result is
     * CULVERT_ERROR_REFUSED. For a numeric host it is asked from inside dial_start. The unspecified
     * address is shown as the loopback address that the kernel makes of it. */
    bool (*filter)(void *holder, const struct sockaddr_storage *address);
    /* Called once, never from inside dial_start: a connected descriptor (taken by the callee) and
     * 0, or -1 and an error: -ECONNREFUSED..., CULVERT_ERROR_RESOLVE, CULVERT_ERROR_TIMED_OUT,
     * CULVERT_ERROR_REFUSED, CULVERT_ERROR_LIMIT (no descriptor is left for the asker). */
    void (*done)(void *holder, int fd, int error);
    void *holder;
    /* NULL or PROXY_NONE: dialled from here. Else this proxy dials the host, which is not resolved
     * here and is not shown to the filter (socks5: libcurl resolves it). Copied. */
    const struct proxy *proxy;
    /* When a proxy is in the way and it fails, a sentence about it; may be NULL. */
    char *why;
    size_t why_size;
};

/* Returns 0 or an error, such as CULVERT_ERROR_LIMIT when the asker has as many pending dials as it
 * may; then `done` is not called. */
int dial_start(struct loop *loop, const struct dial_request *request, struct dial **dial);
/* Ends what has connected meanwhile with a RST. `done` will not be called. Not to be used once
 * `done` was: the dial is gone then. */
void dial_cancel(struct dial *dial);

#endif
