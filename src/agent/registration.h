/*
 * A registration is one link of the agent to one gateway, from its handshake over the carriers that
 * it loses and goes on with to its end. It knows how far it is; which gateway, which carrier and
 * when is the uplink's affair.
 */
#ifndef AGENT_REGISTRATION_H
#define AGENT_REGISTRATION_H

#include "agent/agent.h"
#include "agent/ladder.h"
#include "tunnel/native_tunnel.h"
#include "tunnel/tunnel.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    REGISTRATION_DRAIN_LOOK = 200, /* milliseconds between looks whether it is drained */
};

enum registration_state {
    REGISTRATION_ASKED,     /* the handshake of a new link is on its way */
    REGISTRATION_UP,        /* streams go */
    REGISTRATION_DETACHED,  /* its carrier is lost, and it waits for another */
    REGISTRATION_REJOINING, /* the handshake that resumes it is on its way */
};

struct registration;

struct registration_owner {
    /* The gateway has taken it: streams may be opened. */
    void (*registered)(struct registration *registration);
    /* It goes on with another carrier; native->gap tells of the time between. */
    void (*resumed)(struct registration *registration);
    /* Its carrier is lost, or one that it was to be resumed on (`before` is
     * REGISTRATION_REJOINING); `refusal` is set if the gateway has refused that. */
    void (*detached)(struct registration *registration, enum registration_state before,
                     const char *why);
    /* It is over, or has not come about (`state` tells); the owner closes it. */
    void (*lost)(struct registration *registration, int error, const char *why);
    /* It would be served by an express carrier, has one, or has lost it. */
    void (*express)(struct registration *registration, enum tunnel_express what, const char *why);
    /* The gateway is about to stop. */
    void (*went_away)(struct registration *registration, const struct message_goaway *goaway);
    /* After registration_drain: it has no sessions any more; the owner closes it. */
    void (*drained)(struct registration *registration);
    /* Another agent wants to reach something here. */
    void (*peer_opened)(struct registration *registration, struct stream *stream,
                        const struct message_open *open);
};

struct registration {
    struct list_node node; /* for the owner's use */
    const struct registration_owner *owner;
    void *holder;
    struct loop *loop;
    const struct agent_config *config;
    size_t place;          /* index of its gateway */
    enum ladder_rung rung; /* what carries it */
    unsigned key_version;  /* of the last accepted key (agent/credentials.h) */
    enum registration_state state;
    struct tunnel *tunnel;
    struct native_tunnel *native; /* the same; NULL for Hubble 0.1 */
    uint64_t carried_since;       /* when it registered or resumed, microseconds */
    int refusal;                  /* the gateway's answer to the last handshake; 0: it was yes */
    bool is_draining;
    bool is_counting; /* the time in which it can be resumed runs */
    struct loop_timer timer;
    struct loop_task burial;
};

/* A registration without a carrier. Returns 0 or CULVERT_ERROR_NO_MEMORY. */
int registration_new(const struct registration_owner *owner, void *holder, struct loop *loop,
                     const struct agent_config *config, struct registration **out);

/* Takes the carrier and asks to be registered; the answer must come within `answer_time`
 * milliseconds. `boot` is the secret of this agent's process, by which a gateway knows that another
 * link under the name is the same agent's. On an error the carrier is still the caller's. */
int registration_begin(struct registration *registration, struct carrier *carrier, bool is_native,
                       const uint8_t boot[static MESSAGE_BOOT_SIZE], uint64_t answer_time);

/* Whether another carrier can resume it. */
bool registration_can_resume(const struct registration *registration);

/* Takes the carrier, in place of the one that it has or had, and asks to be resumed on it. On an
 * error the carrier is still the caller's and nothing has changed. */
int registration_rejoin(struct registration *registration, struct carrier *carrier,
                        const uint8_t nonce[static CARRIER_NONCE_SIZE]);

/* Takes the carrier beside the one that it has, for small messages. On an error the carrier is
 * still the caller's. */
int registration_add_express(struct registration *registration, struct carrier *carrier,
                             const uint8_t nonce[static CARRIER_NONCE_SIZE]);

/* The gateway is left, and told so with `why` in a goaway: it frees the name and opens no further
 * sessions on this link. `drained` follows once none is open. */
void registration_drain(struct registration *registration, const char *why);

/* Resets what is open, tells the gateway if it can, and frees. */
void registration_close(struct registration *registration, int code, const char *why);

#endif
