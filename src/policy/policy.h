/* The one question that stands before every session, whatever way it came in: may FROM reach this
 * target? */
#ifndef POLICY_POLICY_H
#define POLICY_POLICY_H

#include <stdbool.h>
#include <stdint.h>

struct policy_request {
    const char *source;  /* the asking agent, authenticated */
    const char *address; /* its network address */
    const char *kind;
    const char *agent; /* the agent that would dial */
    const char *host;
    uint16_t port;
    const char *key; /* the connection key that the rule named, or "" */
};

struct policy_verdict {
    bool allowed;
    const char *reason; /* static; for the log and the answer */
};

/* What the gateway was started with. All that are set must allow; with none set, everything is
 * refused. */
struct policy {
    bool grant;
    bool deny;
};

struct policy_verdict policy_ask(const struct policy *policy, const struct policy_request *request);

#endif
