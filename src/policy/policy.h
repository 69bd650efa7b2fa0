/*
 * The one question that stands before every session, whatever way it came in: may FROM reach this
 * target? And its answer, which always has a reason.
 */
#ifndef POLICY_POLICY_H
#define POLICY_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { POLICY_REASON_SIZE = 256 };

/* The name of one who has none: a rendezvous client, an HTTP request. No agent can be called so. */
#define POLICY_NOBODY "-"

/* All texts are terminated and none is NULL. */
struct policy_request {
    const char *source;  /* the asking agent, authenticated, or POLICY_NOBODY */
    const char *user;    /* the owner noted with the asking agent's key, or "" */
    const char *address; /* the asking agent's network address, "192.0.2.1:4711" */
    const char *kind;    /* "tcp" */
    const char *agent;   /* the agent that would dial */
    const char *host;    /* without brackets */
    uint16_t port;
    const char *key; /* the connection key that the rule named, or "". Never to be logged */
};

struct policy_verdict {
    bool allowed;
    bool failed;                     /* not allowed, because the module could not answer */
    char reason[POLICY_REASON_SIZE]; /* for the log, the event and the asking agent; no secret */
};

/* Sets the verdict; `reason` as for printf, cut if it is too long. */
void policy_allow(struct policy_verdict *verdict, const char *reason, ...)
    __attribute__((format(printf, 2, 3)));
void policy_refuse(struct policy_verdict *verdict, const char *reason, ...)
    __attribute__((format(printf, 2, 3)));
void policy_fail(struct policy_verdict *verdict, const char *reason, ...)
    __attribute__((format(printf, 2, 3)));

/* Whether the value of a name, host or key is one that `pattern` names: `*` stands for any run of
 * characters, `?` for any one, all else for itself. Takes time proportional to the product of the
 * lengths at worst. */
bool policy_matches(const char *pattern, const char *value);
/* The same; adds the number of its steps to *work, a few nanoseconds each. */
bool policy_match(const char *pattern, const char *value, size_t *work);

#endif
