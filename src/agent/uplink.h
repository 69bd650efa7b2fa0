/*
 * The uplink keeps the agent registered at a gateway, for ever. A link whose connection is lost is
 * resumed on another, with its sessions; one that cannot be begins afresh. Which gateway is next
 * (agent/gateways.h), and whether by WebSocket or by long poll (agent/ladder.h), is decided there;
 * one try is an approach (agent/approach.h); a link is a registration (agent/registration.h).
 *
 * While the link is up there may be one try beside it: to register at another gateway before this
 * one is left, to go on by WebSocket instead of long poll, or to get an express carrier.
 */
#ifndef AGENT_UPLINK_H
#define AGENT_UPLINK_H

#include "agent/agent.h"
#include "agent/approach.h"
#include "agent/credentials.h"
#include "agent/gateways.h"
#include "agent/ladder.h"
#include "agent/registration.h"

enum {
    UPLINK_DIAL_TIME = 10 * 1000,   /* milliseconds to connect */
    UPLINK_ANSWER_TIME = 10 * 1000, /* milliseconds for TLS and the upgrade together, and as many
                                       for the answer to the first handshake */
    /* For all of that, where another gateway may answer sooner; the answer to the handshake gets
     * UPLINK_LEAST_ANSWER_TIME of it at least. */
    UPLINK_SHORT_ANSWER_TIME = 4 * 1000,
    UPLINK_LEAST_ANSWER_TIME = 500,
    UPLINK_SHORT_ROUNDS = 3, /* over all gateways with that time; then the way may be slow */
    UPLINK_RESUME_DIAL_TIME = 4 * 1000, /* the same while sessions wait: the next try's first packet
                                           comes sooner than this one's third */
    UPLINK_FIRST_DELAY = 100,           /* of the back-off */
    UPLINK_LAST_DELAY = 30 * 1000,
    UPLINK_RESUME_DELAY = 2 * 1000, /* the longest while sessions wait */
    UPLINK_STABLE = 10, /* seconds after which a link counts as good and the back-off begins anew */
    UPLINK_REDIALS = 30,          /* lost connections in a row that are replaced at once */
    UPLINK_REDIAL_INTERVAL = 500, /* milliseconds for each of more */
    UPLINK_REDIAL_JITTER = 50,    /* milliseconds that "at once" may take */
    UPLINK_SHORTEST_STAY = 1,     /* seconds at a gateway that says goaway at once */
    UPLINK_LEFT = 8, /* links that were left and still serve sessions; the oldest ends for another
                      */
    UPLINK_URL_TEXT_SIZE = 1400,
};

struct uplink;

struct uplink_owner {
    /* Registered afresh: streams may be opened. */
    void (*up)(struct uplink *uplink, struct tunnel *tunnel);
    /* The connection is lost; the link's streams stay, and wait. */
    void (*detached)(struct uplink *uplink, const char *why);
    /* The gateway is about to stop and opens no more sessions; those that are open go on, and the
     * agent will be registered elsewhere. */
    void (*leaving)(struct uplink *uplink);
    /* They go on. Streams may be opened; not (NULL) while the gateway is being left. */
    void (*resumed)(struct uplink *uplink, struct tunnel *tunnel, const struct native_gap *gap);
    /* The link is over; its streams are reset, or end without it when the agent has moved. */
    void (*down)(struct uplink *uplink, const char *why);
    /* The gateway said no for a reason that trying again will not change, and the agent never was
     * registered. */
    void (*refused)(struct uplink *uplink, int code, const char *why);
    /* Another agent wants to reach something here. */
    void (*peer_opened)(struct uplink *uplink, struct stream *stream,
                        const struct message_open *open);
};

/* One gateway. */
struct uplink_place {
    const struct url *url;
    char text[UPLINK_URL_TEXT_SIZE]; /* for people */
    struct ladder ladder;
    struct gateway_denial denial;
};

enum uplink_aim {
    UPLINK_HOME,    /* to be registered: by resuming the link that waits, or afresh */
    UPLINK_RETURN,  /* to register at a preferred gateway while the link to another goes on */
    UPLINK_TRIAL,   /* to go on by WebSocket while long poll carries the link */
    UPLINK_EXPRESS, /* to have a second carrier beside the link's, for small messages */
};

/* A try, from its start until the gateway has answered the handshake. */
struct uplink_try {
    enum uplink_aim aim;
    size_t place;
    enum ladder_rung rung;
    struct approach *approach; /* under way, or NULL */
    bool may_want_tls;         /* it failed, and `why` asks whether the port expects TLS */
};

struct uplink {
    const struct uplink_owner *owner;
    void *holder; /* for the owner's use */
    struct loop *loop;
    struct agent_config *config;
    struct credentials credentials;
    struct uplink_place *places; /* as many as there are URLs */
    struct gateways gateways;
    struct registration *home; /* up, or waiting to be resumed; or NULL */
    struct registration *next; /* its handshake has no answer yet; or NULL */
    struct list leaving;       /* left, but with sessions that go on; the oldest first */
    size_t leaving_count;
    uint8_t boot[MESSAGE_BOOT_SIZE]; /* drawn once: the same on all links of this process */
    struct uplink_try attempt;
    struct loop_timer timer;      /* until the next try to be registered */
    struct loop_timer side_timer; /* until what is done beside a link that is up */
    uint64_t leave_at;            /* microseconds; UINT64_MAX: the gateway is not stopping */
    unsigned failures;            /* in a row */
    unsigned told;    /* seconds that a busy gateway of this round wants us to stay away, or 0 */
    size_t refusals;  /* final ones in a row */
    unsigned redials; /* that may still be at once */
    uint64_t redials_since; /* microseconds, when they were counted */
    bool is_moving;         /* a gateway is looked for though the link is up */
    bool was_up;
    char held_back[320]; /* why WebSocket failed, while the log does not say it yet; or "" */
    bool has_complained; /* the log says that the agent is not, or will not be, registered */
    bool gives_keys;     /* set by the owner: it opens streams with keys that no rule has */
    bool knows_native;   /* a server has accepted culvert.1 before: speak nothing else */
    bool is_closed;
};

/* Returns 0, or an error with a sentence in `why` (a CA file that cannot be read). */
int uplink_init(struct uplink *uplink, const struct uplink_owner *owner, void *holder,
                struct loop *loop, struct agent_config *config, char *why, size_t why_size);
void uplink_start(struct uplink *uplink);
/* Reads the files with keys and authorities again. Links that are up stay as they are. */
void uplink_reload_files(struct uplink *uplink);

/* Whether a server of Hubble 0.1 has the link, or is being asked for one. */
bool uplink_speaks_hubble(const struct uplink *uplink);
/* The URL of the gateway where the agent is registered, or is trying to be. */
const char *uplink_url_text(const struct uplink *uplink);
/* The seconds for which the gateway keeps the link that is up without a connection; 0: not at all.
 */
unsigned uplink_resume_window(const struct uplink *uplink);
/* Of all tunnels the one with the stream that holds the most; NULL if none holds anything. */
struct tunnel *uplink_largest(const struct uplink *uplink);
/* Tells the gateways that we are about to stop. */
void uplink_announce_stop(struct uplink *uplink, unsigned seconds);
/* Whether the gateways have taken in all that we sent, or there is no link. */
bool uplink_is_drained(const struct uplink *uplink);
/* Ends the links, and the try to get one. No event follows. */
void uplink_close(struct uplink *uplink);
/* After the loop has ended. */
void uplink_deinit(struct uplink *uplink);

#endif
