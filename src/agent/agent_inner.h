/* What the agent consists of, for the files that are parts of it. */
#ifndef AGENT_AGENT_INNER_H
#define AGENT_AGENT_INNER_H

#include "agent/agent.h"
#include "agent/control.h"
#include "agent/forward.h"
#include "agent/relief.h"
#include "agent/session.h"
#include "agent/uplink.h"
#include "net/asker.h"
#include "net/signals.h"

enum { AGENT_WHY_SIZE = 1536 };

struct rest;

struct agent {
    struct agent_config config;
    struct account account;
    struct loop loop;
    struct control control;
    struct session_table sessions;
    struct forward_table forwards;
    struct askers askers; /* other agents, and what is dialled for them */
    struct payers payers; /* for the sessions' memory */
    struct uplink uplink;
    struct relief relief;
    struct signals signals;
    struct loop_timer stop_timer;
    struct rest *rest;    /* NULL without an API */
    const char *dialect;  /* of the link; NULL while there is none */
    bool is_detached;     /* there is one, which waits to be resumed */
    uint64_t registered;  /* microseconds of the loop's clock */
    uint64_t started;     /* microseconds of the loop's clock */
    uint64_t deadline;    /* of the stop, microseconds */
    struct loop_task end; /* of everything, at a turn's end */
    struct control_request stop_request;
    _Atomic unsigned stop_seconds;
    int exit_code;
    bool is_stopping;
    bool has_control, has_uplink, has_relief;
};

/* ---- agent_forwards.c ---- */

/* Opens all that stands in the config. Returns an enum exit_code; what is wrong was logged. */
int agent_open_forwards(struct agent *agent);

/* Reads the forwards file again: adds what is new and removes what is gone. When it is wrong all
 * stays as it is, and that was logged. */
void agent_reload_forwards(struct agent *agent);

/* Adds and removes as agent_add_forward and agent_remove_forward do, on the loop's thread. A rule
 * that is wrong has its part named in *part. */
int agent_make_forward(struct agent *agent, const struct rule *rule, struct forward **forward,
                       enum rule_part *part, char *why, size_t why_size);
int agent_drop_forward(struct agent *agent, uint64_t id, char *why, size_t why_size);

#endif
