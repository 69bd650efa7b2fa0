/* The agent: registers a name at a gateway, forwards local ports to targets behind other agents,
 * and dials targets for them. */
#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H

#include "agent/rule.h"
#include "codec/url.h"
#include "policy/whitelist.h"

#include <stdbool.h>
#include <stddef.h>

struct agent_config {
    struct url url;
    const char *name;
    const char *key; /* "" when there is none */
    const char *ca;  /* a PEM file, or NULL for the system's */
    bool insecure;
    struct whitelist whitelist; /* complete: defaults are applied by the caller */
    const struct rule *rules;
    size_t rule_count;
    size_t max_memory; /* bytes; SIZE_MAX: no limit */
};

/* Runs until SIGTERM or SIGINT. Returns an enum exit_code. The config is borrowed; the whitelist is
 * added to (our own listeners). */
int agent_run(struct agent_config *config);

#endif
