/*
 * What an agent does at its memory limit (--max-memory): it gives cached chunks back, and while
 * that is not enough one round after the other resets a session, or ends a link that keeps much
 * which its gateway does not acknowledge (base/payer.h). Payers are the agents that ask for
 * sessions, by their names; the sessions of local clients have one payer together, and so have the
 * links.
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
    struct loop_timer watch; /* of which sessions move, while memory is tight */
    bool is_watching;
};

/* All is borrowed. Returns 0 or an error, which leaves what relief_deinit undoes. */
int relief_init(struct relief *relief, struct loop *loop, struct session_table *sessions,
                const struct uplink *uplink, struct payers *payers);
/* After the loop has ended, before it is deinitialised. */
void relief_deinit(struct relief *relief);

#endif
