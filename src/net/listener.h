/*
 * Listening TCP sockets on a loop, or unix sockets, which only their owner may connect to. When
 * descriptors run out (EMFILE), a spare one is used to answer and close, accepting slows down, and
 * nothing spins.
 */
#ifndef NET_LISTENER_H
#define NET_LISTENER_H

#include "net/loop.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct listener;

struct listener_events {
    /* A connection: takes the descriptor (non-blocking, close-on-exec). */
    void (*accepted)(struct listener *listener, int fd);
};

struct listener_options {
    bool reuse_port; /* several loops share the port (SO_REUSEPORT) */
    /* With reuse_port, for the first of them: a port in use is an error all the same, which
     * SO_REUSEPORT would hide if the other process is the same user's. */
    bool probe;
    bool leaves_reserve; /* connections must leave descriptors for the process itself
                            (net/descriptors.h), as if it had none for them */
    bool dual;           /* `::` accepts IPv4 too; other IPv6 sockets are IPV6_V6ONLY */
};

/* Binds and listens at once, accepts nothing yet. Port 0 takes a free one: read it with
 * listener_port and bind further listeners to it. Returns 0, CULVERT_ERROR_NO_MEMORY or -errno
 * (-EADDRINUSE). */
int listener_new(struct loop *loop, const struct sockaddr *address, socklen_t size,
                 const struct listener_options *options, const struct listener_events *events,
                 void *holder, struct listener **listener);

/* Starts or pauses accepting. */
void listener_accept(struct listener *listener, bool on);
void listener_close(struct listener *listener);
void *listener_holder(const struct listener *listener);
/* The real port and address, after bind. */
uint16_t listener_port(const struct listener *listener);
void listener_text(const struct listener *listener, char *out, size_t size);

#endif
