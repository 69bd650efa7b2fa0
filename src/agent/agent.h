/*
 * The agent: registers a name at a gateway, forwards local ports to targets behind other agents,
 * and dials targets for them. It runs on one thread; what is marked "any thread" may be called from
 * others while it runs. A process may have several.
 */
#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H

#include "agent/gateways.h"
#include "agent/ladder.h"
#include "agent/rule.h"
#include "codec/url.h"
#include "journal/journal.h"
#include "net/asker.h"
#include "net/proxy.h"
#include "policy/whitelist.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { AGENT_KEY_SIZE = 257 /* of a key with its zero */ };

enum agent_dialect {
    AGENT_DIALECT_AUTO, /* native; Hubble 0.1 where the server knows no other and there is no key */
    AGENT_DIALECT_NATIVE, /* never anything else */
    AGENT_DIALECT_HUBBLE, /* Hubble 0.1 alone */
};

struct agent_config {
    const struct url *urls;         /* of equal gateways, or the preferred one first */
    size_t url_count;               /* 1 to GATEWAYS_MAX */
    bool url_random;                /* any order will do */
    enum agent_transport transport; /* where the URL does not say itself that it is for long poll */
    unsigned retry_preferred; /* seconds before an earlier URL, or WebSocket instead of long poll,
                                 is tried again; 0: the default */
    const char *name;
    const char *key;      /* "" when there is none; shorter than AGENT_KEY_SIZE */
    const char *key_file; /* where it was read, to be read again when it changes; NULL: no file */
    const char *ca;       /* a PEM file, read again like the key; or NULL for the system's */
    bool insecure;
    const struct proxy_settings *proxies; /* on the way to the gateway; NULL: none */
    const char *proxy_user_file; /* where their login was read, read again like the key; or NULL */
    enum agent_dialect dialect;
    struct whitelist whitelist; /* complete: defaults are applied by the caller */
    const struct rule *rules;
    size_t rule_count;
    size_t max_memory;               /* bytes; SIZE_MAX: no limit */
    struct asker_limits dial_limits; /* what others may have dialled at a time */
    unsigned dial_timeout;           /* seconds; 0: 10 */

    const char *forwards_file;  /* JSON list of forwards, read at start and on SIGHUP; or NULL */
    const char *state_file;     /* keeps the API's forwards; or NULL */
    const char *api;            /* "HOST:PORT" or "unix:PATH"; NULL: no API */
    const char *api_token_file; /* NULL: a token is made in the state directory */

    bool takes_signals; /* SIGTERM, SIGINT and SIGHUP are the agent's: a program of its own */
    bool announces; /* says on standard output what is open and registered, as culvert(1) does */
    struct journal *journal; /* where events go; may be NULL. Borrowed */
    /* On the agent's thread: it is registered, or is not any more. May be NULL. */
    void (*link_changed)(void *context, bool is_up);
    void *link_context;
};

struct agent;

/* The first gateway to which the agent's key or a rule's would cross the network in clear, or NULL;
 * a proxy on another machine makes a network of the way to a gateway on loopback. */
const struct url *agent_exposes_key(const struct agent_config *config);

/* Whether transport, dialect and URLs go together. Returns 0, or CULVERT_ERROR_INVALID with a
 * sentence in `why`. */
int agent_check_transport(const struct agent_config *config, char *why, size_t why_size);

/* Opens the ports and gets ready to dial. The config is copied but for what it points to, which
 * must live as long as the agent; the whitelist is taken over, also when it fails (our own
 * listeners are added to it). Returns an enum exit_code; 0: *agent is there, to be run. What is
 * wrong was logged. */
int agent_open(const struct agent_config *config, struct agent **agent);

/* Runs on the calling thread until a signal, agent_stop, or a final refusal; once. Returns an enum
 * exit_code. */
int agent_run(struct agent *agent);

/* After agent_run (or without it), when no other thread uses it any more. */
void agent_free(struct agent *agent);

/* Any thread: sessions get `seconds` to finish, then agent_run returns. Again with 0: at once. No
 * effect once it has returned. */
void agent_stop(struct agent *agent, unsigned seconds);

/* Any thread but the agent's own; waits for its loop to do it, or does it itself when the agent
 * does not run yet. Adds a forward and opens its port; the state file keeps it. BIND must be an
 * address, `localhost` or `*`. Returns 0 and its id, and the port that it listens on in
 * rule->local_port; CULVERT_ERROR_INVALID, -EADDRINUSE and the like, CULVERT_ERROR_EXISTS,
 * CULVERT_ERROR_LIMIT, CULVERT_ERROR_STORE when the state file cannot be written,
 * CULVERT_ERROR_CLOSED when the agent is stopping; with a sentence in `why`. */
int agent_add_forward(struct agent *agent, struct rule *rule, uint64_t *id, char *why,
                      size_t why_size);
/* The same for its end; sessions that are open go on. CULVERT_ERROR_NOT_FOUND,
 * CULVERT_ERROR_CLOSED, CULVERT_ERROR_STORE (it has ended all the same). */
int agent_remove_forward(struct agent *agent, uint64_t id);

#endif
