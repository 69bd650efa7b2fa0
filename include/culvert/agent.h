/*
 * An agent inside your program: what `culvert agent` is on the command line. The options mean what
 * those of the same name mean there (culvert-agent(1)).
 */
#ifndef CULVERT_AGENT_H
#define CULVERT_AGENT_H

#include <culvert/culvert.h>
#include <culvert/event.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct culvert_agent;

enum culvert_dialect {
    CULVERT_DIALECT_AUTO,   /* culvert's; Hubble 0.1 where the server knows no other and there is no
                               key */
    CULVERT_DIALECT_NATIVE, /* culvert's, never anything else */
    CULVERT_DIALECT_HUBBLE, /* Hubble 0.1 */
};

enum culvert_transport {
    CULVERT_TRANSPORT_AUTO, /* WebSocket; long poll where that does not pass */
    CULVERT_TRANSPORT_WEBSOCKET,
    CULVERT_TRANSPORT_POLL, /* HTTP long poll */
};

struct culvert_agent_options {
    size_t size; /* sizeof(struct culvert_agent_options) */

    const char *url;  /* the gateway: "wss://HOST[:PORT]" or "ws://...", by long poll only:
                         "poll+https://..." or "poll+http://..." */
    const char *name; /* that others reach this agent by */
    const char *key;  /* NULL: none */
    const char *ca;   /* a PEM file of CAs to trust; NULL: the system's */
    bool insecure;    /* do not verify the gateway's certificate; let keys cross ws:// in clear */
    enum culvert_dialect dialect;

    /* What other agents may have dialled here: "HOST:PORT", "HOST:*", "CIDR:LO-HI", or "*". None:
     * nothing. */
    const char *const *allow;
    size_t allow_count;

    size_t max_memory; /* bytes for data on its way; 0: half of the machine's memory */

    /* The REST API, if it is wanted; beside it the functions below work as ever. */
    const char *api;            /* "HOST:PORT" or "unix:PATH" */
    const char *api_token_file; /* NULL: a token in the user's state directory */
    const char *state_file;     /* keeps forwards, and brings them back at the next start */

    /* Where its events go; each as wanted. */
    culvert_event_callback *on_event;
    void *event_context;               /* given to on_event */
    const char *events_file;           /* append JSON lines to this file */
    const char *events_webhook;        /* POST JSON to this http or https URL */
    const char *events_webhook_secret; /* sign the POSTs with HMAC-SHA256 */
    bool events_log;                   /* write them to the log as well */

    /* Other gateways behind `url`, at most 31: the agent registers at the first that answers, and
     * at the next when that is lost. */
    const char *const *more_urls;
    size_t more_url_count;
    bool url_random; /* none is preferred: each agent tries them in an order of its own */

    enum culvert_transport transport;
    unsigned retry_preferred; /* seconds before an earlier URL, or WebSocket instead of long poll,
                                 is tried again, then after twice the time; 0: 60 */

    /* The proxy that leads to the gateway. */
    const char *proxy;      /* "[http|https|socks5|socks5h://][USER:PASSWORD@]HOST[:PORT]" */
    const char *proxy_user; /* "USER:PASSWORD", rather than in the URL */
    const char *proxy_ca;   /* a PEM file of CAs to trust for an https proxy; NULL: the system's */
    bool proxy_environment; /* without `proxy`: the one that https_proxy, http_proxy, all_proxy and
                               no_proxy name; else none */

    /* Limits of what is dialled for other agents; 0: the default. */
    unsigned dial_timeout;          /* seconds for a target, its name's look-up included; 10 */
    unsigned max_dials;             /* targets dialled at a time; 2048 */
    unsigned max_dials_per_agent;   /* and for one agent; 512 */
    unsigned max_lookups;           /* names looked up at a time; 16 */
    unsigned max_lookups_per_agent; /* and for one agent; 4 */
};

/* Checks the options and runs: from here on the agent tries to register, and to register again
 * whenever the connection is lost. It does not wait for the first time. CULVERT_OK, and *agent is
 * to be freed; else *agent is left alone. CULVERT_INVALID, CULVERT_NO_MEMORY, CULVERT_UNSUPPORTED,
 * CULVERT_FAILED. */
CULVERT_API int culvert_agent_start(const struct culvert_agent_options *options,
                                    struct culvert_agent **agent, char *why, size_t why_size);

/* Waits until the agent is registered at the gateway, at most so long; negative: for ever.
 * CULVERT_OK; CULVERT_TIMED_OUT; CULVERT_REFUSED if the gateway does not take its key or name, and
 * CULVERT_STOPPED: then the agent has ended. */
CULVERT_API int culvert_agent_wait_registered(struct culvert_agent *agent, int milliseconds,
                                              char *why, size_t why_size);

/* Whether it is registered now. */
CULVERT_API bool culvert_agent_is_registered(struct culvert_agent *agent);

/*
 * Opens a local port whose connections go to a target behind another agent. `rule` is
 * "[BIND:]LPORT:[KEY@]AGENT:HOST:PORT", as on the command line: "2222:agent2:127.0.0.1:22" makes
 * port 2222 of loopback port 22 of agent2's machine; LPORT 0 takes a free port.
 *
 * When it returns CULVERT_OK the port is open, *id names the forward and *port is its real port
 * (either may be NULL). Connections that come while the agent is not registered wait for it.
 * CULVERT_INVALID, CULVERT_NO_PORT, CULVERT_EXISTS, CULVERT_LIMIT, CULVERT_NO_MEMORY,
 * CULVERT_STOPPED.
 */
CULVERT_API int culvert_agent_add_forward(struct culvert_agent *agent, const char *rule,
                                          uint64_t *id, uint16_t *port, char *why, size_t why_size);

/* Closes the forward's port. Its open sessions go on. CULVERT_OK, CULVERT_NOT_FOUND,
 * CULVERT_STOPPED. */
CULVERT_API int culvert_agent_remove_forward(struct culvert_agent *agent, uint64_t id);

/* Closes all ports; open sessions get `seconds` to finish. Does not wait for that. Called again
 * with 0: at once. */
CULVERT_API void culvert_agent_stop(struct culvert_agent *agent, unsigned seconds);

/* Waits until the agent has ended, at most so long; negative: for ever. CULVERT_OK,
 * CULVERT_TIMED_OUT; CULVERT_REFUSED or CULVERT_FAILED if it ended by itself. */
CULVERT_API int culvert_agent_wait(struct culvert_agent *agent, int milliseconds);

/* Ends the agent, at once if it still runs, waits for its threads, and frees it. NULL is allowed.
 */
CULVERT_API void culvert_agent_free(struct culvert_agent *agent);

#ifdef __cplusplus
}
#endif

#endif
