/*
 * The uplink keeps the agent registered at its gateway: it dials, secures, upgrades, shakes hands,
 * and when the link is lost begins again, with exponential back-off and jitter, for ever.
 */
#ifndef AGENT_UPLINK_H
#define AGENT_UPLINK_H

#include "agent/agent.h"
#include "agent/approach.h"
#include "tunnel/tunnel.h"

enum {
    UPLINK_LOGIN_TIME = 10 * 1000, /* milliseconds for the answer to the handshake */
    UPLINK_FIRST_DELAY = 100,      /* of the back-off */
    UPLINK_LAST_DELAY = 30 * 1000,
    UPLINK_STABLE = 10, /* seconds after which a link counts as good and the back-off begins anew */
};

struct uplink;

struct uplink_owner {
    /* Registered: streams may be opened. */
    void (*up)(struct uplink *uplink, struct tunnel *tunnel);
    /* The link is lost; its streams have been reset. */
    void (*down)(struct uplink *uplink, const char *why);
    /* The gateway said no for a reason that trying again will not change, and the agent never was
     * registered. */
    void (*refused)(struct uplink *uplink, int code, const char *why);
    /* Another agent wants to reach something here. */
    void (*peer_opened)(struct uplink *uplink, struct stream *stream,
                        const struct message_open *open);
};

struct uplink {
    const struct uplink_owner *owner;
    void *holder; /* for the owner's use */
    struct loop *loop;
    struct agent_config *config;
    struct tls_context *tls;   /* wss only */
    char url_text[1400];       /* for people */
    struct loop_timer timer;   /* of the back-off, and of the login */
    struct approach *approach; /* under way, or NULL */
    struct gateway_denial denial;
    struct tunnel *tunnel; /* from the upgrade on */
    uint64_t up_since;     /* 0: not registered */
    unsigned failures;     /* in a row */
    bool is_refused;       /* for good: the owner was told and ends */
    bool was_up;
    bool gives_keys;   /* set by the owner: it opens streams with keys that no rule has */
    bool knows_native; /* the server has taken up culvert.1 before: nothing else is spoken */
    bool is_closed;
};

/* Returns 0, or an error with a sentence in `why` (a CA file that cannot be read). */
int uplink_init(struct uplink *uplink, const struct uplink_owner *owner, void *holder,
                struct loop *loop, struct agent_config *config, char *why, size_t why_size);
void uplink_start(struct uplink *uplink);

/* NULL while there is none. */
struct tunnel *uplink_tunnel(struct uplink *uplink);
/* Tells the gateway that we are about to stop. */
void uplink_announce_stop(struct uplink *uplink, unsigned seconds);
/* Whether the gateway has taken in all that we sent, or there is no link. */
bool uplink_is_drained(const struct uplink *uplink);
/* Ends the link, or the try to get one. No event follows. */
void uplink_close(struct uplink *uplink);
/* After the loop has ended. */
void uplink_deinit(struct uplink *uplink);

#endif
