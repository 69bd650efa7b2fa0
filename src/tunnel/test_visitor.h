/*
 * For tests with threads: a connection that comes in on one of a gateway's loops, is read there
 * until the handshake has come, and then goes on on the loop that its link is on.
 */
#ifndef TUNNEL_TEST_VISITOR_H
#define TUNNEL_TEST_VISITOR_H

#include "carrier/carrier.h"
#include "codec/message.h"
#include "net/loop.h"
#include "net/tls.h"

struct test_visit {
    struct loop *home;             /* where the link is */
    const struct tls_context *tls; /* NULL: a plain connection */
    /* On that loop; takes the carrier, which is paused. The handshake's texts are not there. */
    void (*arrived)(void *holder, struct carrier *carrier,
                    const struct message_handshake *handshake);
    /* On any loop, once and last, whether it arrived or not. */
    void (*gone)(void *holder);
    void *holder;
};

/* The connected descriptor, taken, comes in on `first`. Any thread. What should not fail aborts. */
void test_visitor_send(struct loop *first, int fd, const struct test_visit *visit);

#endif
