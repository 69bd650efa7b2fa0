/*
 * Inlets: ways in. An inlet accepts and hands its owner a stream for each connection.
 */
#ifndef ENDS_INLET_H
#define ENDS_INLET_H

#include "net/loop.h"
#include "relay/stream.h"

#include <stddef.h>
#include <stdint.h>

struct inlet;

/* Who has connected. */
struct inlet_client {
    char address[64];               /* "127.0.0.1:50110" */
    char pair[STREAM_DIALLED_SIZE]; /* its address and the one that it connected to, as the dialler
                                       has them (address_pair_text); "": not known */
};

struct inlet_events {
    /* A connection, as a stream that the owner takes; `client` is borrowed. */
    void (*accepted)(struct inlet *inlet, struct stream *stream, const struct inlet_client *client);
};

/*
 * A TCP inlet. `bind` is NULL for loopback (127.0.0.1 and ::1, the same port on both; ::1 is left
 * out on a machine without IPv6), an address, a name such as localhost, or `*` for all. Port 0
 * picks a free one. Binds and listens at once; accepting starts with inlet_accept. Returns 0,
 * -EADDRINUSE and the like, CULVERT_ERROR_RESOLVE.
 */
int inlet_tcp(struct loop *loop, const char *bind, uint16_t port, const struct inlet_events *events,
              void *holder, struct inlet **inlet);

void inlet_accept(struct inlet *inlet, bool on);
void inlet_close(struct inlet *inlet);
void *inlet_holder(const struct inlet *inlet);
/* "127.0.0.1:2222": the first address it is bound to, with the real port. */
void inlet_text(const struct inlet *inlet, char *out, size_t size);
uint16_t inlet_port(const struct inlet *inlet);

#endif
