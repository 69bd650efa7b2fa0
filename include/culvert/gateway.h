/*
 * A gateway inside your program: what `culvert gateway` is on the command line. The options mean
 * what those of the same name mean there (culvert-gateway(1)).
 */
#ifndef CULVERT_GATEWAY_H
#define CULVERT_GATEWAY_H

#include <culvert/culvert.h>
#include <culvert/event.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct culvert_gateway;

struct culvert_gateway_options {
    size_t size; /* sizeof(struct culvert_gateway_options) */

    /* "[HOST:]PORT"s; none: ":8080". Port 0 takes a free one. */
    const char *const *listens;
    size_t listen_count;

    const char *tls_certificate; /* a PEM file; together with tls_key */
    const char *tls_key;         /* a PEM file that only its owner may read */

    /* Who may reach whom: at least one is to be set, and all that are set must allow. */
    bool grant;            /* everybody everything */
    bool deny;             /* nobody anything */
    const char *acl;       /* a file of rules */
    const char *script;    /* a Lua script, run by processes of `program` */
    const char *program;   /* the culvert program; NULL: the one installed with this library */
    unsigned lua_workers;  /* how many of those processes; 0: 4 */
    unsigned auth_timeout; /* milliseconds the script has for an answer; 0: 5000 */

    bool open;          /* agents need no key */
    bool legacy_hubble; /* agents of Hubble 0.1 are served as well */
    const char *data;  /* the directory with the agents' keys; NULL: where `culvert key` has them */
    unsigned threads;  /* event loops; 0: one a core */
    size_t max_memory; /* bytes for data on its way; 0: half of the machine's memory */

    /* Where its events go; each as wanted. */
    culvert_event_callback *on_event;
    void *event_context;               /* given to on_event */
    const char *events_file;           /* append JSON lines to this file */
    const char *events_webhook;        /* POST JSON to this http or https URL */
    const char *events_webhook_secret; /* sign the POSTs with HMAC-SHA256 */
    bool events_log;                   /* write them to the log as well */

    /* Reverse proxies in front of the gateway, as "ADDRESS[/BITS]": who the client is, is believed
     * when they say it. None: nobody is. */
    const char *const *trusted_proxies;
    size_t trusted_proxy_count;

    int handshakes_per_second; /* agents that may log in a second; 0: 1000; negative: no limit */

    /* Seconds that the link of an agent whose connection was lost waits for it, with its sessions,
     * at most 86400; 0: 60; negative: it does not wait. */
    int resume_window;

    /* The user that the script runs as if the program is root. NULL: culvert-lua if it exists,
     * otherwise nobody. */
    const char *lua_user;
};

/* Opens all that the options name and runs. When it returns CULVERT_OK the gateway accepts
 * connections, and *gateway is to be freed; else *gateway is left alone. CULVERT_INVALID,
 * CULVERT_NO_PORT, CULVERT_NO_MEMORY, CULVERT_UNSUPPORTED, CULVERT_FAILED. */
CULVERT_API int culvert_gateway_start(const struct culvert_gateway_options *options,
                                      struct culvert_gateway **gateway, char *why, size_t why_size);

/* The port that the index-th of `listens` really is; 0 if there is no such. */
CULVERT_API uint16_t culvert_gateway_port(const struct culvert_gateway *gateway, size_t index);

/* Its address and port as text, such as "127.0.0.1:8080"; NULL if there is no such. Lives as long
 * as the handle. */
CULVERT_API const char *culvert_gateway_address(const struct culvert_gateway *gateway,
                                                size_t index);

/* Has certificate, rules and script read again and the events' file opened anew; does not wait for
 * it. What cannot be read stays as it was, which the log tells. */
CULVERT_API void culvert_gateway_reload(struct culvert_gateway *gateway);

/* Closes the ports and tells the agents; open sessions get `seconds` to finish. Does not wait for
 * that. Called again, the earlier end counts. */
CULVERT_API void culvert_gateway_stop(struct culvert_gateway *gateway, unsigned seconds);

/* Waits until the gateway has ended, at most so long; negative: for ever. CULVERT_OK,
 * CULVERT_TIMED_OUT; CULVERT_FAILED if it ended by itself, for which the log has the reason. */
CULVERT_API int culvert_gateway_wait(struct culvert_gateway *gateway, int milliseconds);

/* Ends the gateway, at once if it still runs, waits for its threads, and frees it. NULL is
 * allowed. */
CULVERT_API void culvert_gateway_free(struct culvert_gateway *gateway);

#ifdef __cplusplus
}
#endif

#endif
