/*
 * Turns an agent's open into a session or a refusal: collects the facts, asks the policy, and waits
 * for its answer. A question to the access list that takes long is suspended and continued in later
 * turns of the loop. Agents with waiting questions are served in turn, so that an agent with
 * expensive questions delays only itself.
 */
#ifndef GATEWAY_ASKING_H
#define GATEWAY_ASKING_H

#include "base/list.h"
#include "codec/message.h"
#include "net/loop.h"
#include "relay/stream.h"

struct member;
struct worker;

enum {
    ASKING_QUESTIONS = 256, /* of one agent that may wait for the script */
    ASKING_WAITING = 4096,  /* of one agent that may wait for the access list */
    ASKING_TURN = 1000,     /* microseconds of one turn for all questions to the access list */
    ASKING_SLICE = 200,     /* microseconds for one question, before the next agent is served */
    ASKING_WORK = 10000,    /* steps of a question between two looks at the clock */
};

/* The waiting questions to the access list, of all agents of a worker. */
struct asking_queue {
    struct list agents; /* the next one first */
    struct loop_task task;
    uint64_t turn;  /* the last turn that worked on questions */
    uint64_t spent; /* microseconds in it */
};

void asking_queue_init(struct asking_queue *queue);
/* Refuses all waiting questions; repeatable. */
void asking_queue_deinit(struct asking_queue *queue);

/* Refuses a member's open without reading its target. Takes the stream. */
void asking_turn_away(struct member *member, struct stream *stream, int code, const char *why);

/* Answers a member's open. Takes the stream. */
void asking_begin(struct member *member, struct stream *stream, const struct message_open *open);

/* The member ends. Its waiting questions are still answered if their streams have brought data. */
void asking_leave(struct member *member);

#endif
