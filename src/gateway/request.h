/*
 * What somebody asked for: the facts about a session that policy is asked with, that are sent on to
 * the answering agent, and that its events tell. One allocation; shared between loops by counted
 * references, and never changed after it was made.
 */
#ifndef GATEWAY_REQUEST_H
#define GATEWAY_REQUEST_H

#include "codec/message.h"
#include "journal/event.h"
#include "policy/policy.h"

#include <stdatomic.h>

struct request {
    _Atomic unsigned references;
    uint64_t session;           /* a number that no other has */
    struct policy_request asks; /* its key may be seen by policy and by an agent of Hubble 0.1 */
    const char *client;         /* the asking client's address, as the asking agent says */
    const char *guid;           /* its name in Hubble 0.1, or "" */
    const char *pair;           /* the addresses of the client's connection, or "" */
    uint8_t place[MESSAGE_PLACE_SIZE]; /* where they are; zeros: not known */
    char texts[];
};

/* Who asks. */
struct request_source {
    const char *name;     /* "" for someone without one */
    const char *user;     /* may be "" */
    const char *address;  /* of the agent */
    const uint8_t *place; /* MESSAGE_PLACE_SIZE bytes; NULL: not known */
};

/* Returns one reference, or NULL with `code`, an enum reason_code, and a sentence in *why: the open
 * cannot be meant, or memory has run out. */
struct request *request_new(uint64_t session, const struct request_source *source,
                            const struct message_open *open, int *code, const char **why);
struct request *request_ref(struct request *request);
void request_unref(struct request *request);

/* The open that the answering agent gets: who asks is what the gateway knows, not what was sent. */
struct message_open request_open(const struct request *request);

/* An event about this session, its own fields still to be filled in. */
struct event request_event(const struct request *request, enum event_type type);

#endif
