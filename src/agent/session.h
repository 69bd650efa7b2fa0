/* The agent's sessions: a local stream joined with a stream of the link. */
#ifndef AGENT_SESSION_H
#define AGENT_SESSION_H

#include "base/list.h"
#include "net/loop.h"
#include "relay/stream.h"

#include <stddef.h>

struct session_table {
    struct loop *loop;
    struct list sessions;
    size_t count;
    void (*emptied)(struct session_table *table); /* the last session has ended; may be NULL */
};

void session_table_init(struct session_table *table, struct loop *loop);

/* Joins the streams and takes them, also when it fails. `target` names it in the log and outlives
 * the session. */
void session_join(struct session_table *table, struct stream *asking, struct stream *answering,
                  const char *target);

/* The same for a session that a peer asked for; `asked` says who and for what, and is copied. */
void session_answer(struct session_table *table, struct stream *asking, struct stream *answering,
                    const char *asked);

/* Ends all. */
void session_table_abort(struct session_table *table, int code, const char *reason);

#endif
