/*
 * For tests: an uplink as it is, in virtual time, over approaches, registrations and tunnels that
 * do what the test says. A program that links this one has no others.
 */
#ifndef UPLINK_WORLD_H
#define UPLINK_WORLD_H

#include "agent/uplink.h"
#include "virtual_loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { UPLINK_WORLD_LINKS = 16, SECOND = 1000 /* milliseconds */ };

struct approach {
    struct approach_request request;
};

struct fake_link {
    struct registration base; /* must be first */
    struct native_tunnel native;
    size_t holds;
    unsigned announced;   /* seconds */
    uint64_t answer_time; /* milliseconds */
    unsigned rejoins, express, cuts;
    int code; /* with which it was closed */
    bool is_resumable, is_undrained, is_closed;
};

struct uplink_world {
    struct trial trial;
    struct account account;
    struct virtual_loop loop;
    struct url urls[2];
    struct agent_config config;
    struct uplink uplink;
    struct approach approach, *current;
    unsigned approaches, cancelled;
    struct carrier carrier;
    unsigned carriers_closed;
    struct fake_link links[UPLINK_WORLD_LINKS];
    size_t link_count;
    int new_error, begin_error, rejoin_error, start_error;
    bool is_not_resumable; /* the links that follow */
    unsigned up, down, detached, leaving, resumed, refused;
    struct tunnel *tunnel; /* of the last `up` or `resumed` */
    int refusal;
    char why[1024];
};

extern struct uplink_world world;

int uplink_world_set_up(void **state);
/* Closes the uplink and asserts that all its links were closed. */
int uplink_world_tear_down(void **state);

/* Starts with so many of the URLs. */
void uplink_world_start(size_t gateways);
/* Goes to the next timer, or by so many milliseconds if that is sooner; returns how many it were.
 */
uint64_t uplink_world_advance(uint64_t most);
void uplink_world_pass(uint64_t milliseconds);
/* Goes to the next try; returns how many milliseconds it was away. */
uint64_t uplink_world_until_try(void);

/* What the try that is under way comes to. */
void uplink_world_answer(struct approach_result result);
void uplink_world_fail_try(enum approach_failure failure);
void uplink_world_be_busy(unsigned seconds);
void uplink_world_give_carrier(bool is_native);

struct fake_link *uplink_world_last_link(void);
/* The gateway says yes to the link's handshake. */
void uplink_world_welcome(struct fake_link *link);
/* The try gets a carrier, and the gateway says yes. */
struct fake_link *uplink_world_register_link(void);
struct fake_link *uplink_world_start_registered(size_t gateways);
/* Its carrier is lost, or the gateway has refused to resume it. */
void uplink_world_detach(struct fake_link *link, int refusal);
/* It is over, or the gateway has refused it. */
void uplink_world_lose(struct fake_link *link, int refusal);
void uplink_world_say_goodbye(struct fake_link *link, unsigned seconds);

#endif
