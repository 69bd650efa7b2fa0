/*
 * A member is a registered agent: its name, its link, and what it is allowed per second. It belongs
 * to one worker. When the link's carrier is lost the member waits for another for as long as the
 * config's resume window says; its name and sessions stay until then. One that was left by its
 * agent has no name any more: its sessions go on, and no more are opened on it either way.
 */
#ifndef GATEWAY_MEMBER_H
#define GATEWAY_MEMBER_H

#include "carrier/carrier.h"
#include "gateway/probe.h"
#include "gateway/refusal_budget.h"
#include "gateway/worker.h"
#include "net/address.h"
#include "store/store.h"
#include "tunnel/link_proof.h"
#include "tunnel/tunnel.h"

enum {
    MEMBER_OPENS_PER_SECOND = 30000,
    MEMBER_LEFT = 16,            /* links that were left under one name, at most */
    MEMBER_LEFT_LOOK = 5 * 1000, /* milliseconds between looks whether one still has sessions */
    MEMBER_LEFT_PATIENCE = 60,   /* seconds for what they sent last to be acknowledged */
};

struct asking_agent;
struct payer;
struct dialect;
struct native_tunnel;

struct member {
    struct tunnel *tunnel;
    struct worker *worker;
    uint64_t id;
    char name[STORE_NAME_SIZE]; /* "" for an agent of Hubble 0.1 without one */
    char user[STORE_NAME_SIZE];
    char address[ADDRESS_TEXT_SIZE];
    struct payer *payer;             /* for the memory that it makes us hold */
    int64_t key_id;                  /* 0: registered without a key */
    char link[LINK_NAME_TEXT_SIZE];  /* the link's name in the registry of links; "": it has none */
    uint8_t boot[MESSAGE_BOOT_SIZE]; /* of the agent's process; zeros: it gave none */
    uint8_t place[MESSAGE_PLACE_SIZE]; /* where its addresses are; zeros: it does not tell */
    char left[STORE_NAME_SIZE + 8]; /* its place among the links that were left; "": it was not */
    uint64_t left_since;            /* microseconds */
    struct probes probes;           /* of those who want its name */
    uint64_t detached;   /* microseconds: since when its link has no carrier; 0: it has one */
    struct list waiting; /* sessions that were opened towards it since then, oldest first */
    /* The probes'; while it is detached the window's and the sessions'; once it was left the look
     * at its sessions. */
    struct loop_timer timer;
    bool is_awake; /* has answered since it was told that the gateway stops */
    struct loop_task burial;
    uint64_t open_second;
    unsigned opens;
    struct refusal_budget refusals;
    unsigned questions;          /* of its sessions that wait for the policy script */
    struct asking_agent *asking; /* its questions that wait for the access list; NULL: none */
    uint64_t since;              /* microseconds */
    bool is_over;
};

struct member_login {
    uint64_t id;
    const char *name;
    const char *user;
    int64_t key_id;
    const char *address;
    const uint8_t *host; /* the same, HOST_ADDRESS_SIZE bytes */
    const struct dialect *dialect;
    const struct message_handshake *handshake;
};

/* Makes a member whose name is already claimed for `login->id`; takes the carrier on success and
 * welcomes the agent. */
int member_new(struct worker *worker, const struct member_login *login, struct carrier *carrier);

static inline struct member_ref member_ref(const struct member *member)
{
    return (struct member_ref){member->worker->loop.index, member->id};
}

struct member *member_find(struct worker *worker, uint64_t id);

/*
 * Its link gets another carrier, which it takes on success; the login's proof has been checked.
 * CULVERT_ERROR_REFUSED: a later carrier has come before this one, and nothing has changed. Other
 * errors have ended the member.
 */
int member_resume(struct member *member, const struct member_login *login, struct carrier *carrier);

/* Puts a session that was opened towards a detached member on the list of those that wait for it.
 */
void member_await(struct member *member, struct list_node *session);

/* Its tunnel if its link can be resumed, else NULL. */
struct native_tunnel *member_resumable(const struct member *member);

/* Ends it: the name is free, its sessions are reset with `code`, the agent is told `reason`. */
void member_end(struct member *member, int code, const char *reason);

/* Tells the agent, if it can, that the gateway stops within `seconds`. */
void member_drain(struct member *member, const char *reason, unsigned seconds);

static inline bool member_has_left(const struct member *member)
{
    return member->left[0] != '\0';
}

/* The same agent has registered again: leaves the link, and ends it if the agent does not answer on
 * it any more. */
void member_replace(struct member *member);

#endif
