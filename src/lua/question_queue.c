#include "lua/question_queue.h"

#include "base/error.h"

#include <string.h>

static struct lua_question *question_of(struct list_node *node)
{
    return node == NULL ? NULL : CONTAINER_OF(node, struct lua_question, node);
}

void question_queue_init(struct question_queue *queue)
{
    *queue = (struct question_queue){.count = 0};
    list_init(&queue->questions);
}

/* Behind all that its agent has waiting, and no earlier than now. */
static uint64_t find_turn(const struct question_queue *queue, const char *source)
{
    uint64_t turn = queue->turn;
    for (struct list_node *node = list_first(&queue->questions); node != NULL;
         node = list_next(&queue->questions, node)) {
        const struct lua_question *other = question_of(node);
        if (other->turn >= turn && strcmp(other->request.source, source) == 0)
            turn = other->turn + 1;
    }
    return turn;
}

int question_queue_push(struct question_queue *queue, struct lua_question *question)
{
    if (queue->count >= LUA_POOL_QUESTIONS)
        return CULVERT_ERROR_LIMIT;
    question->turn = find_turn(queue, question->request.source);
    struct list_node *behind = queue->questions.root.previous;
    while (behind != &queue->questions.root && question_of(behind)->turn > question->turn)
        behind = behind->previous;
    question->node = (struct list_node){.next = behind->next, .previous = behind};
    behind->next->previous = &question->node;
    behind->next = &question->node;
    queue->count++;
    return 0;
}

void question_queue_remove(struct question_queue *queue, struct lua_question *question)
{
    list_remove(&question->node);
    queue->count--;
}

struct lua_question *question_queue_pop(struct question_queue *queue)
{
    struct lua_question *question = question_of(list_first(&queue->questions));
    if (question == NULL)
        return NULL;
    question_queue_remove(queue, question);
    queue->turn = question->turn;
    return question;
}

struct lua_question *question_queue_oldest(const struct question_queue *queue)
{
    struct lua_question *oldest = NULL;
    for (struct list_node *node = list_first(&queue->questions); node != NULL;
         node = list_next(&queue->questions, node)) {
        struct lua_question *question = question_of(node);
        if (oldest == NULL || question->since < oldest->since)
            oldest = question;
    }
    return oldest;
}
