/*
 * A visitor is a connection that has not logged in: it is bounded in bytes, in time and in number,
 * and it holds nobody up. It goes through a proxy's header, TLS, the HTTP head, the upgrade, the
 * handshake, the key, and the name; then it is a member, or closed.
 */
#ifndef GATEWAY_VISITOR_H
#define GATEWAY_VISITOR_H

#include "carrier/carrier.h"
#include "carrier/upgrade.h"
#include "gateway/front.h"
#include "gateway/member.h"
#include "gateway/resume.h"
#include "gateway/strangers.h"
#include "http/head_reader.h"
#include "net/conn.h"
#include "store/watch.h"
#include "tunnel/hubble_inbound.h"
#include "tunnel/inbound.h"

struct visitor {
    struct worker *worker;
    uint64_t id; /* becomes the member's */
    struct list_node node;
    struct loop_task burial;
    uint64_t since;
    struct stranger stranger;  /* while it has a connection of its own */
    struct poll_session *poll; /* whose carrier is its; NULL: none's */
    struct conn *conn;         /* until the upgrade */
    struct carrier *carrier;   /* after it */
    struct front front;
    struct head_reader reader;
    const struct dialect *dialect; /* from the upgrade on */
    union {
        struct inbound native;
        struct hubble_inbound hubble;
    } inbound;
    const char *address; /* the front's */
    uint8_t nonce[CARRIER_NONCE_SIZE];
    /* after the handshake */
    char name[STORE_NAME_SIZE];
    char user[STORE_NAME_SIZE];
    int64_t key_id;
    uint64_t epoch, first;
    uint32_t window;
    uint8_t boot[MESSAGE_BOOT_SIZE]; /* of the agent's process; zeros: none was sent */
    uint8_t place[MESSAGE_PLACE_SIZE];
    struct resumption *resumption; /* whose proof is right; NULL: a new link is wanted */
    unsigned claims;               /* tries to get the name */
    bool has_handshake;            /* one came; nothing more is taken before the answer */
    bool is_over;
};

/* A new connection at a listener; takes the descriptor. */
void visitor_new(struct worker *worker, int fd);

/* A connection on which HTTP was spoken before, at the head of a further request; takes it and the
 * reader. Both may be NULL, for someone who is to get a carrier at once. `front` is copied. NULL:
 * out of memory, and the connection is closed. */
struct visitor *visitor_adopt(struct worker *worker, struct conn *conn, const struct front *front,
                              struct head_reader *reader);

/* Acts on the head of a request, in the reader, that is `used` bytes long. */
void visitor_take_request(struct visitor *visitor, const struct http1_head *head, size_t used);

/* Its connection, which it gives up, is somebody else's to count from now on. */
struct conn *visitor_give_conn(struct visitor *visitor);

/* Whether its handshake, whose head names this link if it names any, is taken up now: 0, or the
 * seconds to come back after. */
unsigned visitor_ask_admission(struct visitor *visitor, const char *link);

/* Its handshake will come by this carrier, which it takes. */
void visitor_take_carrier(struct visitor *visitor, struct carrier *carrier,
                          const struct dialect *dialect);

/* Closes and forgets it. */
void visitor_end(struct visitor *visitor, int error, const char *why);

struct visitor *visitor_find(struct worker *worker, uint64_t id);

#endif
