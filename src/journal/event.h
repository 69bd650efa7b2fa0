/* What has happened, for those who run culvert: an event, and how it looks as JSON
 * (docs/events.md). */
#ifndef JOURNAL_EVENT_H
#define JOURNAL_EVENT_H

#include <stdint.h>

enum event_type {
    EVENT_AGENT_REGISTERED,   /* "agent.registered" */
    EVENT_AGENT_UNREGISTERED, /* "agent.unregistered" */
    EVENT_SESSION_OPENED,     /* "session.opened" */
    EVENT_SESSION_REFUSED,    /* "session.refused" */
    EVENT_SESSION_CLOSED,     /* "session.closed" */
    EVENT_AUTH_FAILED,        /* "auth.failed" */
    EVENT_POLICY_RELOADED,    /* "policy.reloaded" */
};

/*
 * Texts may be NULL and are then left out, as are numbers for which the type has no use. Which
 * type has which fields:
 *
 *   agent.*           agent, address, user, dialect; unregistered: reason, seconds
 *   session.*         session, source, source_address, client, user, agent, kind, host, port,
 * key_hash opened: reason (why it was allowed) refused: code, reason closed: sent, received,
 * seconds, ended_by, code, reason auth.failed       agent, address, code, reason policy.reloaded
 * file, ok, reason (what is wrong)
 */
struct event {
    enum event_type type;
    const char *agent;          /* who registers; of a session: who dials */
    const char *address;        /* of the agent that registers */
    const char *user;           /* the owner noted with the key */
    const char *dialect;        /* "culvert.1", "hubble 0.1" */
    uint64_t session;           /* a number that no other session of this process has */
    const char *source;         /* the asking agent */
    const char *source_address; /* its network address */
    const char *client;         /* the asking client's, as that agent says */
    const char *kind;
    const char *host;
    uint16_t port;
    const char *key;      /* the connection key: only its hash leaves journal_emit ("key_sha256",
                             64 digits of hexadecimal); NULL or "": left out */
    uint64_t sent;        /* bytes from the source to the target */
    uint64_t received;    /* and back */
    double seconds;       /* that it lasted */
    const char *ended_by; /* "source", "target", "gateway" */
    int code;             /* enum reason_code; shown as its number */
    const char *reason;
    const char *file;
    int ok;
};

/* "session.opened" */
const char *event_name(enum event_type type);

#endif
