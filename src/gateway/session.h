/*
 * Sessions: an agent asks for a target behind another agent; policy is asked, the agent is found,
 * and the two streams are joined, over a crossing when the agents' links live on different loops.
 */
#ifndef GATEWAY_SESSION_H
#define GATEWAY_SESSION_H

#include "codec/message.h"
#include "gateway/worker.h"
#include "relay/stream.h"

struct member;

/* Answers a member's open: takes the stream and joins or refuses it. */
void session_request(struct member *member, struct stream *stream, const struct message_open *open);

/* Ends the sessions of a worker. */
void session_abort_all(struct worker *worker, int code, const char *reason);

#endif
