/* Questions that wait for a worker, in turns: the first of each asking agent, then the second of
 * each, so that one who asks much holds up himself. */
#ifndef LUA_QUESTION_QUEUE_H
#define LUA_QUESTION_QUEUE_H

#include "lua/lua_pool.h"

struct question_queue {
    struct list questions;
    size_t count;
    uint64_t turn; /* of the last one that was taken out */
};

void question_queue_init(struct question_queue *queue);

/* Puts it in, its `since` set. Returns 0, or CULVERT_ERROR_LIMIT with LUA_POOL_QUESTIONS in it. */
int question_queue_push(struct question_queue *queue, struct lua_question *question);
/* Takes the next one out; NULL if none waits. */
struct lua_question *question_queue_pop(struct question_queue *queue);

/* The one that has waited longest; NULL if none waits. */
struct lua_question *question_queue_oldest(const struct question_queue *queue);
/* Takes out one that is in it. */
void question_queue_remove(struct question_queue *queue, struct lua_question *question);

#endif
