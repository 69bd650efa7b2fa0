/*
 * Sessions: two streams of two agents, joined; over a crossing when the agents' links live on
 * different loops. What happens to them is told to the journal.
 */
#ifndef GATEWAY_SESSION_H
#define GATEWAY_SESSION_H

#include "gateway/request.h"
#include "gateway/worker.h"
#include "relay/stream.h"

enum { SESSION_PATIENCE = 5 }; /* seconds that an open waits for an agent whose link is lost */

/* Opens a stream towards the agent that the request names and joins it with the asking stream,
 * which it takes also when it fails. `request` is borrowed; `verdict` says why it is allowed. */
void session_begin(struct worker *worker, struct request *request, struct stream *asking,
                   const char *verdict);

/* Refuses the asking stream, which it takes, and tells the journal. `request` is borrowed. */
void session_refuse(struct worker *worker, const struct request *request, struct stream *asking,
                    int code, const char *reason);

/* Ends those of a member's waiting sessions whose patience has passed. Returns when the next one's
 * does, in microseconds; UINT64_MAX: none is left. */
uint64_t session_end_waiting(struct list *waiting, uint64_t now);

/* Ends the sessions of a worker. */
void session_abort_all(struct worker *worker, int code, const char *reason);

#endif
