#include "lua/question_queue.h"

#include "base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void push(struct question_queue *queue, struct lua_question *question, const char *source,
                 uint64_t since)
{
    *question = (struct lua_question){.request.source = source, .since = since};
    assert_int_equal(question_queue_push(queue, question), 0);
}

static void expect(struct question_queue *queue, const struct lua_question *question)
{
    assert_ptr_equal(question_queue_pop(queue), question);
}

static void test_each_asker_in_turn(void **state)
{
    (void)state;
    struct question_queue queue;
    struct lua_question a[4];
    struct lua_question b[2];
    struct lua_question c;
    question_queue_init(&queue);
    for (unsigned i = 0; i < 4; i++)
        push(&queue, &a[i], "a", i);
    push(&queue, &b[0], "b", 4);
    push(&queue, &b[1], "b", 5);
    expect(&queue, &a[0]);
    expect(&queue, &b[0]);
    expect(&queue, &a[1]);
    /* One that comes late goes neither behind all nor before those whose turn it is. */
    push(&queue, &c, "c", 6);
    expect(&queue, &b[1]);
    expect(&queue, &c);
    expect(&queue, &a[2]);
    expect(&queue, &a[3]);
    assert_null(question_queue_pop(&queue));
    assert_int_equal(queue.count, 0);
}

static void test_nobody_saves_turns(void **state)
{
    (void)state;
    struct question_queue queue;
    struct lua_question a[6];
    struct lua_question b[3];
    question_queue_init(&queue);
    for (unsigned i = 0; i < 4; i++)
        push(&queue, &a[i], "a", i);
    for (unsigned i = 0; i < 3; i++)
        expect(&queue, &a[i]);
    for (unsigned i = 0; i < 3; i++)
        push(&queue, &b[i], "b", i);
    push(&queue, &a[4], "a", 7);
    expect(&queue, &b[0]);
    expect(&queue, &a[3]);
    expect(&queue, &b[1]);
    expect(&queue, &b[2]);
    expect(&queue, &a[4]);
}

static void test_the_oldest(void **state)
{
    (void)state;
    struct question_queue queue;
    struct lua_question questions[3];
    question_queue_init(&queue);
    assert_null(question_queue_oldest(&queue));
    push(&queue, &questions[0], "a", 5);
    push(&queue, &questions[1], "a", 3);
    push(&queue, &questions[2], "b", 4);
    assert_ptr_equal(question_queue_oldest(&queue), &questions[1]);
    question_queue_remove(&queue, &questions[1]);
    assert_ptr_equal(question_queue_oldest(&queue), &questions[2]);
    expect(&queue, &questions[0]);
    expect(&queue, &questions[2]);
}

static void test_the_bound(void **state)
{
    (void)state;
    struct question_queue queue;
    struct lua_question *questions = calloc(LUA_POOL_QUESTIONS + 1, sizeof *questions);
    assert_non_null(questions);
    question_queue_init(&queue);
    for (size_t i = 0; i < LUA_POOL_QUESTIONS; i++)
        push(&queue, &questions[i], i % 2 == 0 ? "a" : "b", i);
    struct lua_question *last = &questions[LUA_POOL_QUESTIONS];
    last->request.source = "a";
    assert_int_equal(question_queue_push(&queue, last), CULVERT_ERROR_LIMIT);
    for (size_t i = 0; i < LUA_POOL_QUESTIONS; i++)
        expect(&queue, &questions[i]);
    assert_int_equal(question_queue_push(&queue, last), 0);
    free(questions);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_asker_in_turn),
        cmocka_unit_test(test_nobody_saves_turns),
        cmocka_unit_test(test_the_oldest),
        cmocka_unit_test(test_the_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
