/*
 * A tunnel is one end of what runs between an agent and a gateway, at work on a loop: streams can
 * be opened through it both ways. What it speaks is its own affair: culvert's own protocol
 * (tunnel/native_tunnel.h) or Hubble 0.1 (tunnel/hubble_tunnel.h). Whoever made it knows; everyone
 * else uses what stands here.
 */
#ifndef TUNNEL_TUNNEL_H
#define TUNNEL_TUNNEL_H

#include "codec/message.h"
#include "net/loop.h"
#include "relay/stream.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    TUNNEL_KEEPALIVE = 20, /* seconds: a side that heard nothing for so long pings */
    TUNNEL_PATIENCE =
        3, /* seconds at least until an unanswered ping means that the carrier is dead */
};

struct tunnel;

enum tunnel_express {
    TUNNEL_EXPRESS_WANTED, /* small messages wait behind others, here or at the gateway: one would
                              help. Told at most every NATIVE_EXPRESS_PAUSE seconds */
    TUNNEL_EXPRESS_UP,   /* small messages go on it from now on, while the first carrier is full */
    TUNNEL_EXPRESS_OVER, /* it is gone; the link goes on */
};

struct tunnel_owner {
    /* The peer opened a stream. The owner joins it with another, holds it, or refuses it before it
     * returns. `open` is borrowed for the call. */
    void (*peer_opened)(struct tunnel *tunnel, struct stream *stream,
                        const struct message_open *open);
    /* The gateway's answer to our handshake, the first or one that resumes (agents only; NULL at a
     * gateway). After a refusal `lost` follows, or `detached` where the link may still be resumed
     * (the gateway is busy, say). */
    void (*welcomed)(struct tunnel *tunnel, const struct message_welcome *welcome);
    /* The peer is about to stop. */
    void (*went_away)(struct tunnel *tunnel, const struct message_goaway *goaway);
    /* What has become of an express carrier (agents only; NULL at a gateway); `why` is a sentence's
     * end for TUNNEL_EXPRESS_OVER, else NULL. */
    void (*express)(struct tunnel *tunnel, enum tunnel_express what, const char *why);
    /* The peer answered a ping. May be NULL. */
    void (*ponged)(struct tunnel *tunnel);
    /* The carrier is dead and already closed, but the link waits for another: its streams stay, and
     * may be opened. Who does not want this leaves it NULL and gets `lost`. Called as `lost` is. */
    void (*detached)(struct tunnel *tunnel, int error, const char *why);
    /* The link is over: the peer ended it or broke the protocol, or its carrier is dead and nothing
     * can be resumed. The carrier is already closed. The owner closes the tunnel. Called in the
     * flush of a turn, never from inside one of the owner's calls. */
    void (*lost)(struct tunnel *tunnel, int error, const char *why);
};

/* What a tunnel makes the process hold. */
struct tunnel_holding {
    size_t bytes; /* that wait for the peer to take them, or came from it and cannot be acted on
                     yet; of what it has not acknowledged, only what waits for long */
    size_t unacknowledged; /* bytes that were sent and are kept until the peer acknowledges them */
    uint64_t silence;      /* microseconds since it last acknowledged any, while there are such */
    bool is_connected;     /* it has a connection */
};

struct tunnel_operations {
    const char *dialect; /* for people: "culvert.1" */
    bool hears_stop;     /* the peer is told by announce_stop, and leaves */
    int (*open)(struct tunnel *tunnel, const struct message_open *open, struct stream **stream);
    void (*ping)(struct tunnel *tunnel);
    void (*announce_stop)(struct tunnel *tunnel, const char *reason, unsigned seconds);
    bool (*is_drained)(const struct tunnel *tunnel);
    void (*measure)(const struct tunnel *tunnel, uint64_t now, struct tunnel_holding *holding);
    size_t (*largest)(struct tunnel *tunnel);
    void (*end_largest)(struct tunnel *tunnel, int code, const char *reason);
    void (*close)(struct tunnel *tunnel, int code, const char *reason);
};

struct tunnel {
    const struct tunnel_operations *operations;
    const struct tunnel_owner *owner;
    void *holder; /* for the owner's use */
    struct loop *loop;
};

/* Opens a stream towards the peer; `open` is copied, and data may be written at once. Returns 0,
 * CULVERT_ERROR_TOO_LARGE, CULVERT_ERROR_NO_MEMORY, CULVERT_ERROR_LIMIT when too much waits to be
 * sent, CULVERT_ERROR_CLOSED. */
static inline int tunnel_open(struct tunnel *tunnel, const struct message_open *open,
                              struct stream **stream)
{
    return tunnel->operations->open(tunnel, open, stream);
}

/* Pings now; `ponged` comes if the peer is there. */
static inline void tunnel_ping(struct tunnel *tunnel)
{
    tunnel->operations->ping(tunnel);
}

/* Tells the peer, if it can, that this process stops within `seconds`; open sessions may finish. */
static inline void tunnel_announce_stop(struct tunnel *tunnel, const char *reason, unsigned seconds)
{
    tunnel->operations->announce_stop(tunnel, reason, seconds);
}

/* Whether the peer has taken in all that is on its way, or there will be nobody to take it: then a
 * close loses nothing. */
static inline bool tunnel_is_drained(const struct tunnel *tunnel)
{
    return tunnel->operations->is_drained(tunnel);
}

/* Costs no look at each stream. `now` in microseconds. */
static inline void tunnel_measure(const struct tunnel *tunnel, uint64_t now,
                                  struct tunnel_holding *holding)
{
    tunnel->operations->measure(tunnel, now, holding);
}

/* The bytes that are held for the stream that holds the most, or by a link whose peer acknowledges
 * nothing if that is more; 0 if none holds any. */
static inline size_t tunnel_largest(struct tunnel *tunnel)
{
    return tunnel->operations->largest(tunnel);
}

/* Ends that stream: its holder gets the reset event, the peer is told. Or the link: `lost` follows.
 */
static inline void tunnel_end_largest(struct tunnel *tunnel, int code, const char *reason)
{
    tunnel->operations->end_largest(tunnel, code, reason);
}

/* Resets all streams but those that have ended both ways with `code`, tells the peer `reason` if it
 * can, closes, and frees itself once the loop has let go and no stream waits for its holder to
 * consume what it delivered. No owner's call follows. */
static inline void tunnel_close(struct tunnel *tunnel, int code, const char *reason)
{
    tunnel->operations->close(tunnel, code, reason);
}

#endif
