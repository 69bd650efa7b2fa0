/*
 * Whether the holder of a name still answers, asked by logins that want the name. A member is
 * pinged for that once a second at most, and an answer is for all who wait for it. One that does
 * not answer is ended, and so the name is free. A login of the same agent, as its key and boot
 * prove, does not wait: the member is left at once.
 */
#ifndef GATEWAY_PROBE_H
#define GATEWAY_PROBE_H

#include "base/list.h"
#include "codec/message.h"
#include "gateway/registry.h"
#include "net/loop.h"

#include <stdbool.h>
#include <stdint.h>

struct gateway;
struct member;
struct worker;

enum {
    PROBE_TIME = 2000,     /* milliseconds that a member has to answer */
    PROBE_INTERVAL = 1000, /* milliseconds between the pings of a member, at least */
};

/* A question of one login. */
struct probe {
    struct loop_message message; /* to the member's worker and back */
    struct list_node node;
    struct gateway *gateway;
    struct member_ref member;
    unsigned asker;                  /* worker to answer to */
    uint64_t visitor;                /* who asks */
    int64_t key_id;                  /* of the login */
    uint8_t boot[MESSAGE_BOOT_SIZE]; /* of the login; zeros: none */
    bool is_alive;                   /* the answer */
    /* Runs on the asker; owns the probe. */
    void (*answered)(struct worker *worker, struct probe *probe);
};

/* A member's part. */
struct probes {
    struct list waiting; /* none while the member is detached or was left */
    uint64_t next;       /* microseconds: not to be pinged before */
    bool is_out;         /* a ping is, and its time runs */
};

void probes_init(struct probes *probes);

/* Asks; `answered` follows. */
void probe_send(struct probe *probe);

/* Pings the member now, and ends it if it does not answer in time. */
void probe_ping(struct member *member);
/* The member has answered a ping. */
void probe_ponged(struct member *member);
/* Its timer has fired: it is to be pinged, or has not answered in time. */
void probe_timer_fired(struct member *member);
/* Answers all who wait; a ping that is out is for nobody any more. The caller has the timer. */
void probe_answer(struct member *member, bool is_alive);

#endif
