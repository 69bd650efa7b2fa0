/*
 * From an agent's open to a session or a refusal: the facts, the policy, and the wait for its
 * answer. A question to a long access list is worked on for a while, and then again in later turns
 * of the loop; agents whose questions wait are served in turn, so that one who asks what is hard to
 * answer holds up itself.
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
    ASKING_QUESTIONS = 256, /* that one agent may have waiting for the script */
    ASKING_WAITING = 4096,  /* and for the access list */
    ASKING_TURN = 1000,     /* microseconds of one turn for all questions to the access list */
    ASKING_SLICE = 200,     /* for one of them, until the next agent's turn */
    ASKING_WORK = 10000,    /* steps of a question between two looks at the clock */
};

/* The questions to the access list that wait, of all the agents of a worker. */
struct asking_queue {
    struct list agents; /* the next one first */
    struct loop_task task;
    uint64_t turn;  /* in which questions were worked on last */
    uint64_t spent; /* microseconds in it */
};

void asking_queue_init(struct asking_queue *queue);
/* Refuses all that wait; repeatable. */
void asking_queue_deinit(struct asking_queue *queue);

/* Refuses a member's open without a look at what it asks for: takes the stream. */
void asking_turn_away(struct member *member, struct stream *stream, int code, const char *why);

/* Answers a member's open: takes the stream. */
void asking_begin(struct member *member, struct stream *stream, const struct message_open *open);

/* The member ends: what of its questions waits and has brought data already is still answered. */
void asking_leave(struct member *member);

#endif
