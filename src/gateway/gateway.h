/* The gateway: agents register there, and it joins their sessions. */
#ifndef GATEWAY_GATEWAY_H
#define GATEWAY_GATEWAY_H

#include "journal/journal.h"
#include "policy/network.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where nobody says otherwise. */
enum {
    GATEWAY_HANDSHAKES = 1000,  /* a second */
    GATEWAY_RESUME_WINDOW = 60, /* seconds */
};

struct gateway_listen {
    char host[256]; /* "" for all addresses; a name or a numeric address without brackets */
    uint16_t port;  /* 0: a free one */
};

struct gateway_config {
    const struct gateway_listen *listens;
    size_t listen_count;
    const char *tls_certificate; /* both or neither NULL */
    const char *tls_key;
    const struct network *trusted; /* proxies that are believed whose connection they pass on */
    size_t trusted_count;
    bool grant;            /* policy: every session is allowed */
    bool deny;             /* policy: none is; wins */
    const char *acl;       /* policy: a file of rules (policy/acl.h); or NULL */
    const char *script;    /* policy: a Lua script (lua/lua_pool.h); or NULL */
    const char *program;   /* culvert's own binary, for the script's workers */
    unsigned lua_workers;  /* processes */
    const char *lua_user;  /* that they run as (lua/worker_user.h); or NULL */
    unsigned auth_timeout; /* milliseconds that the script has for an answer */
    bool open;             /* agents need no key */
    bool legacy_hubble;    /* Hubble 0.1 is served as well */
    bool is_original;  /* it stands in the place of Hubble 0.1's proxy, and answers plain HTTP alike
                        */
    const char *data;  /* directory of the store; NULL: the default */
    unsigned threads;  /* event loops, at least 1 */
    size_t max_memory; /* bytes; SIZE_MAX: no limit */
    unsigned handshakes;    /* at most so many a second are taken up, to 1,000,000; 0: no limit */
    bool limit_loopback;    /* the limits by address hold for loopback as well */
    unsigned resume_window; /* seconds that a link waits for another carrier; 0: not at all */
    unsigned drain;         /* seconds that open sessions get to finish after a signal */

    /* SIGTERM, SIGINT and SIGHUP are the gateway's (a program of its own), also when it has ended
     * (net/signals.h). */
    bool takes_signals;
    struct journal *journal; /* where events go; may be NULL. Borrowed */
};

struct gateway;

/* Opens what the config names and listens. The config and all that it points to must live as long
 * as the gateway. Returns an enum exit_code; 0: *out is there, to be run. What is wrong was
 * logged. */
int gateway_open(const struct gateway_config *config, struct gateway **out);

/* Once: runs, on the calling thread and its own others, until a signal or gateway_stop. Returns an
 * enum exit_code. */
int gateway_run(struct gateway *gateway);

/* After gateway_run (or without it). */
void gateway_free(struct gateway *gateway);

/* Any thread: the index-th of the config's listens, as it really is: its port, and its address with
 * the port as text. 0 and NULL if there is no such. */
uint16_t gateway_port(const struct gateway *gateway, size_t index);
const char *gateway_address(const struct gateway *gateway, size_t index);

/* Any thread: no new sessions; those that are open get `seconds` to finish, then gateway_run
 * returns. Asked again, the earlier end counts. Before gateway_run it returns soon after it was
 * called, after it nothing happens. */
void gateway_stop(struct gateway *gateway, unsigned seconds);
/* Any thread: reads the certificate, the access list and the script again, and opens the events'
 * file anew; what SIGHUP does. */
void gateway_reload(struct gateway *gateway);

#endif
