/* From an agent's open to a session or a refusal: the facts, the policy, and the wait for a
 * script's answer. */
#ifndef GATEWAY_ASKING_H
#define GATEWAY_ASKING_H

#include "codec/message.h"
#include "relay/stream.h"

struct member;

enum { ASKING_QUESTIONS = 256 /* that one agent may have waiting for the script */ };

/* Refuses a member's open without a look at what it asks for: takes the stream. */
void asking_turn_away(struct member *member, struct stream *stream, int code, const char *why);

/* Answers a member's open: takes the stream. */
void asking_begin(struct member *member, struct stream *stream, const struct message_open *open);

#endif
