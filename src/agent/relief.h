/*
 * What an agent does at its memory limit (--max-memory). It frees cached chunks. While that is not
 * enough, each round resets a session, or ends a link with much data that its gateway has not
 * acknowledged (base/payer.h). Each asking agent is a payer, by its name; all local clients
 * together are one payer, and so are the links.
 */
#ifndef AGENT_RELIEF_H
#define AGENT_RELIEF_H

#include "agent/session.h"
#include "base/payer.h"
#include "net/loop.h"

#include <stdbool.h>

struct uplink;

struct relief {
    struct loop *loop;
    struct session_table *sessions;
    const struct uplink *uplink;
    struct payers *payers;
    struct payer *links;
    uv_prepare_t prepare;
    struct loop_task round;
    struct loop_timer look_again;
    struct loop_timer watch; /* checks which sessions progress while memory is tight */
    bool is_watching;
};

/* Borrows all arguments. Returns 0 or an error; relief_deinit is needed either way. */
int relief_init(struct relief *relief, struct loop *loop, struct session_table *sessions,
                const struct uplink *uplink, struct payers *payers);
/* After the loop has ended, before it is deinitialised. */
void relief_deinit(struct relief *relief);

#endif
