/*
 * The gateways that an agent was given, and which of them is next. It tries them in rounds: each
 * once, in the order given or a random one; when all of a round have failed it backs off. It is
 * pure: times come in, in microseconds of any clock that does not go back, and one random number at
 * the start.
 *
 * A link that can still be resumed is worth some patience: its gateway alone is dialled for a while
 * before the round goes on to the others. In the order given the first is preferred, since agents
 * at different gateways cannot meet: an agent at a later one looks from time to time whether an
 * earlier one is back.
 */
#ifndef AGENT_GATEWAYS_H
#define AGENT_GATEWAYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    GATEWAYS_MAX = 32,
    GATEWAYS_PATIENCE = 5,          /* seconds for the gateway of a link that can be resumed */
    GATEWAYS_FIRST_RETURN = 60,     /* seconds before an earlier one is tried, then doubling to */
    GATEWAYS_LAST_RETURN = 30 * 60, /* seconds */
    GATEWAYS_LAST_SPREAD = 30,      /* seconds; a stopping gateway opens no sessions any more */
};

struct gateways {
    size_t count;
    bool is_random;
    uint64_t generator;          /* of random numbers */
    uint8_t round[GATEWAYS_MAX]; /* indices, in the order of this round */
    size_t at;                   /* in `round` */
    size_t home;                 /* where it is registered, or was last; `count`: nowhere */
    uint64_t patience_until;
    uint64_t first_return; /* microseconds */
    uint64_t last_return;  /* microseconds */
    uint64_t return_interval;
    uint64_t return_at;
    size_t better; /* the earlier one that is tried next */
};

/* `count` is 1 to GATEWAYS_MAX; `retry` the seconds before an earlier one is tried, 0:
 * GATEWAYS_FIRST_RETURN. */
void gateways_init(struct gateways *gateways, size_t count, bool is_random, unsigned retry,
                   uint64_t random);

/* The gateway to try now, or being tried; after gateways_registered, where we are. 0 to count - 1,
 * in the order of the URLs as given. */
size_t gateways_current(const struct gateways *gateways);

/* The try at the current one has failed; the next is the current one now. Returns whether to back
 * off before it is tried: a round is over, or there is reason to wait for this one. */
bool gateways_failed(struct gateways *gateways, uint64_t now);

/* The current one has taken us, afresh or by resuming. */
void gateways_registered(struct gateways *gateways, uint64_t now);

/* The link to where we are registered (not one that was left before) is cut. A round begins: with
 * the same one, and patience, if the link can be resumed, else with it last. */
void gateways_lost(struct gateways *gateways, bool is_resumable, uint64_t now);

/* The link that was to be resumed is given up, or unknown there; nothing is worth patience now. */
void gateways_given_up(struct gateways *gateways);

/* The gateway says goaway: a round begins, with it last. The new current one is tried while the old
 * link goes on; if it is the only gateway it is the current one again. */
void gateways_leave(struct gateways *gateways);

/* Milliseconds to wait until gateways_leave, of the `seconds` that a goaway names: random, within
 * their first nine tenths, so that each agent can be elsewhere when they are over, and of those the
 * first GATEWAYS_LAST_SPREAD seconds. */
uint64_t gateways_leave_delay(struct gateways *gateways, uint64_t seconds);

/* While registered: when to try whether an earlier gateway is back; UINT64_MAX: never. */
uint64_t gateways_return_at(const struct gateways *gateways);

/* Which; it is tried while the link to the current one goes on. */
size_t gateways_better(const struct gateways *gateways);

/* It has taken us and is the current one, or has not and is left alone for longer. */
void gateways_returned(struct gateways *gateways, uint64_t now);
void gateways_stayed(struct gateways *gateways, uint64_t now);

#endif
