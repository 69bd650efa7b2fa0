/*
 * Why a stream ended before its time: the `code` of a reset and of a refused ack on the wire
 * (docs/protocol.md, "Reset codes"). A peer may send a code that is not here; it is then shown as a
 * number.
 */
#ifndef BASE_REASON_H
#define BASE_REASON_H

#include <stdbool.h>

enum reason_code {
    REASON_NONE = 0,
    REASON_RESET = 1,         /* the far socket was reset, or its program died */
    REASON_FORBIDDEN = 2,     /* the gateway's policy, or a key, said no */
    REASON_UNKNOWN_AGENT = 3, /* no agent with this name is connected */
    REASON_DIAL_REFUSED = 4,  /* the target refused the connection */
    REASON_UNREACHABLE = 5,   /* no route, network down */
    REASON_TIMED_OUT = 6,     /* the target, or the agent, did not answer in time */
    REASON_RESOLVE = 7,       /* the target's name has no address */
    REASON_PROTOCOL = 8,      /* the peer broke a rule on this stream, such as data beyond credit */
    REASON_NO_MEMORY = 9,     /* an account was at its limit */
    REASON_LIMIT = 10,        /* too many sessions, or too fast */
    REASON_LINK_LOST = 11,    /* a link on the way was lost */
    REASON_SHUTDOWN = 12,     /* a process on the way is stopping */
    REASON_UNSUPPORTED = 13,  /* the far end does not know this kind of target */
    REASON_NAME_TAKEN = 14,   /* another agent has this name and answers */
    REASON_POLICY_FAILED =
        15,             /* the policy could not be asked: its script failed or was too slow */
    REASON_CLOSED = 16, /* the peer has closed both directions; what it sent before is delivered */
    REASON_NOT_TAKEN = 17, /* data before a reset was not taken in time */
    /* The agent that would dial does not allow the target. Its reason travels with it: peers that
     * do not know the code show it as a number. */
    REASON_NOT_ALLOWED = 18,
};

/* A short text such as "connection refused by the target"; static storage, never NULL. */
const char *reason_text(int code);

/* Whether a reset with this code acts at once at every hop, and drops what came before it. Any
 * other reset, also one with a code that is not known here, takes effect after all data that came
 * before it has been delivered. */
bool reason_is_immediate(int code);

#endif
