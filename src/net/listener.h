/*
 * Listening TCP sockets on a loop. When descriptors run out (EMFILE), a spare one is used to answer
 * and close, accepting slows down, and nothing spins.
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

/* Binds and listens at once, accepts nothing yet. `reuse_port` lets several loops share the port
 * (SO_REUSEPORT). IPv6 sockets are IPV6_V6ONLY unless the address is `::` and `dual` is set.
 * Returns 0 or -errno (-EADDRINUSE). */
struct listener_options {
    bool reuse_port;
    bool dual;
};
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
