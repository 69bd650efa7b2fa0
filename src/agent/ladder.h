/*
 * The ladder: which transport the way to one gateway is tried by next, WebSocket or long poll. Each
 * gateway has a ladder of its own. It is pure: times come in, in microseconds of any clock that
 * does not go back.
 *
 * By itself ("auto") an agent stands on WebSocket. What does not let that pass brings it to long
 * poll, where it stays while that works; from time to time WebSocket is tried beside it, after a
 * minute first, then after twice the time, up to half an hour.
 */
#ifndef AGENT_LADDER_H
#define AGENT_LADDER_H

#include <stdbool.h>
#include <stdint.h>

/* What is allowed. */
enum agent_transport {
    AGENT_TRANSPORT_AUTO, /* WebSocket, and long poll where that does not pass */
    AGENT_TRANSPORT_WEBSOCKET,
    AGENT_TRANSPORT_POLL,
};

/* What carries. */
enum ladder_rung {
    LADDER_WEBSOCKET,
    LADDER_POLL,
};

enum ladder_outcome {
    /* No connection, a busy gateway, a name or key refused: that tells nothing about the transport.
     */
    LADDER_UNREACHABLE,
    /* The server or a proxy was there, but what the rung needs did not pass: the upgrade was
     * refused or stripped, the connection closed or silent where the answer to the upgrade or to
     * the handshake should have come; of long poll, that whoever answered does not serve it. */
    LADDER_NOT_PASSED,
    LADDER_REGISTERED, /* or resumed */
};

enum {
    LADDER_SHORT_LIFE = 10 * 1000 * 1000, /* microseconds; a WebSocket cut sooner is suspicious */
    LADDER_SHORT_LIVES = 3,               /* so many in a row are as good as none that passed */
    LADDER_FIRST_RETRY = 60,              /* seconds on long poll before WebSocket is tried */
    LADDER_LAST_RETRY = 30 * 60,          /* seconds; what the doubling comes to */
};

struct ladder {
    enum agent_transport transport;
    enum ladder_rung rung;   /* where it stands */
    unsigned short_lives;    /* of WebSockets, in a row */
    uint64_t first_retry;    /* microseconds */
    uint64_t last_retry;     /* microseconds */
    uint64_t retry_interval; /* microseconds; 0: WebSocket has been well since */
    uint64_t retry_at;       /* when WebSocket is tried again; of no meaning on that rung */
    bool is_poll_proven;     /* long poll has registered since WebSocket last did */
};

/* `retry` is the first interval in seconds, 0: LADDER_FIRST_RETRY; the last is LADDER_LAST_RETRY,
 * or the first if that is more. */
void ladder_init(struct ladder *ladder, enum agent_transport transport, unsigned retry);

/* The rung to try now, while nothing carries. */
enum ladder_rung ladder_next(const struct ladder *ladder, uint64_t now);

/* While long poll carries: when WebSocket is due to be tried beside it; UINT64_MAX: never. */
uint64_t ladder_retry_at(const struct ladder *ladder);

/* A try on `rung` has come to `outcome`. Returns whether the other rung should be tried at the same
 * gateway at once, before it counts as failed. */
bool ladder_tried(struct ladder *ladder, enum ladder_rung rung, enum ladder_outcome outcome,
                  uint64_t now);

/* A carrier that had been registered or resumed was cut, or fell silent, `lifetime` microseconds
 * after that. Not for a link that one side ended by message. */
void ladder_lost(struct ladder *ladder, enum ladder_rung rung, uint64_t lifetime, uint64_t now);

#endif
