/* What has happened, for those who run culvert (docs/events.md). */
#ifndef JOURNAL_EVENT_H
#define JOURNAL_EVENT_H

#include <stdint.h>

enum event_type {
    EVENT_AGENT_REGISTERED,   /* "agent.registered" */
    EVENT_AGENT_UNREGISTERED, /* "agent.unregistered" */
    EVENT_LINK_LOST,          /* "link.lost" */
    EVENT_LINK_RESUMED,       /* "link.resumed" */
    EVENT_SESSION_OPENED,     /* "session.opened" */
    EVENT_SESSION_REFUSED,    /* "session.refused" */
    EVENT_SESSION_CLOSED,     /* "session.closed" */
    EVENT_AUTH_FAILED,        /* "auth.failed" */
    EVENT_POLICY_RELOADED,    /* "policy.reloaded" */
    EVENT_EVENTS_DROPPED,     /* "events.dropped": the journal's own */
};

/* The longest text of a field, in bytes; what is longer is cut. */
enum { EVENT_TEXT_SIZE = 1024 };

/* A text that is NULL or "" is left out of what is shown, and so is a number that the type has no
 * use for. */
struct event {
    enum event_type type;
    const char *agent;       /* agent.*, link.*, auth.failed: who registers; session.*: who dials */
    const char *address;     /* agent.*, link.*, auth.failed: its network address */
    const char *user;        /* agent.*, link.*: the owner noted with the key */
    const char *source_user; /* session.*: the owner noted with the source's key */
    const char *dialect;     /* agent.*, link.*: "culvert.1", "hubble 0.1" */
    uint64_t session;        /* session.*: a number that no other of this process has; 0: none */
    const char *source;      /* session.*: the asking agent */
    const char *source_address; /* session.*: its network address */
    const char *client;         /* session.*: the asking client's, as that agent says */
    const char *kind;           /* session.*: with host and port what is asked for */
    const char *host;
    uint16_t port;
    const char *key;   /* session.*: the connection key. Only its SHA-256 leaves journal_emit,
                          as "key_sha256", 64 digits of hexadecimal */
    uint64_t sent;     /* session.closed: bytes from the source to the target */
    uint64_t received; /* session.closed: and back */
    double seconds;    /* session.closed, agent.unregistered: that it lasted; link.resumed: that
                          there was no connection */
    uint64_t replayed; /* link.resumed: messages that were sent to the peer again */
    uint64_t replayed_bytes; /* and their bytes */
    const char *ended_by;    /* session.closed: "source", "target"; "gateway", "agent" */
    int code;                /* session.refused, session.closed, auth.failed: enum reason_code */
    const char *file;        /* policy.reloaded */
    int ok;                  /* policy.reloaded */
    const char *reason;      /* what the type needs one for; policy.reloaded: what is wrong */
    uint64_t repeated;       /* session.refused, auth.failed: the number of refusals that it stands
                                for, itself included; 0 or 1: itself. Set by the journal */
    uint64_t origin; /* auth.failed: the group of addresses that it came from, whose failures
                        are aggregated; not shown. 0: its address */
};

/* "session.opened" */
const char *event_name(enum event_type type);

#endif
