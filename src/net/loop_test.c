#include "net/loop.h"

#include "base/error.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SENDERS = 4, POSTS_PER_SENDER = 20000 };

static struct account account;

static void start_loop(struct loop *loop)
{
    account_init(&account, SIZE_MAX);
    assert_int_equal(loop_init(loop, 0, &account), 0);
}

static void end_loop(struct loop *loop)
{
    loop_deinit(loop);
    assert_int_equal(account.used, 0);
}

/* Mailbox */

struct letter {
    struct loop_message message;
    unsigned sender;
    unsigned number;
};

struct post_office {
    struct loop loop;
    unsigned next[SENDERS];
    unsigned received;
};

struct sender {
    struct post_office *office;
    unsigned index;
    pthread_t thread;
};

static void receive_letter(struct loop *loop, struct loop_message *message)
{
    struct post_office *office = loop->holder;
    struct letter *letter = CONTAINER_OF(message, struct letter, message);

    assert_int_equal(letter->number, office->next[letter->sender]);
    office->next[letter->sender]++;
    office->received++;
    free(letter);
    if (office->received == SENDERS * POSTS_PER_SENDER)
        loop_stop(loop);
}

static void *send_letters(void *context)
{
    const struct sender *sender = context;

    for (unsigned i = 0; i < POSTS_PER_SENDER; i++) {
        struct letter *letter = malloc(sizeof(*letter));
        if (letter == NULL)
            abort();
        letter->message.run = receive_letter;
        letter->sender = sender->index;
        letter->number = i;
        loop_post(&sender->office->loop, &letter->message);
    }
    return NULL;
}

static void test_mailbox_keeps_each_senders_order(void **state)
{
    (void)state;
    struct post_office office = {.received = 0};
    struct sender senders[SENDERS];

    start_loop(&office.loop);
    office.loop.holder = &office;
    for (unsigned i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){.office = &office, .index = i};
        assert_int_equal(pthread_create(&senders[i].thread, NULL, send_letters, &senders[i]), 0);
    }
    loop_run(&office.loop);
    for (unsigned i = 0; i < SENDERS; i++)
        pthread_join(senders[i].thread, NULL);
    assert_int_equal(office.received, SENDERS * POSTS_PER_SENDER);
    end_loop(&office.loop);
}

static void count_letter(struct loop *loop, struct loop_message *message)
{
    unsigned *count = loop->holder;
    (void)message;
    (*count)++;
}

static void test_deinit_runs_what_is_in_the_mailbox(void **state)
{
    (void)state;
    struct loop loop;
    struct loop_message messages[3];
    unsigned count = 0;

    start_loop(&loop);
    loop.holder = &count;
    for (size_t i = 0; i < 3; i++) {
        messages[i].run = count_letter;
        loop_post(&loop, &messages[i]);
    }
    end_loop(&loop);
    assert_int_equal(count, 3);
}

static void *stop_loop(void *context)
{
    loop_stop(context);
    return NULL;
}

static void test_another_thread_stops_the_loop(void **state)
{
    (void)state;
    struct loop loop;
    pthread_t thread;

    start_loop(&loop);
    assert_int_equal(pthread_create(&thread, NULL, stop_loop, &loop), 0);
    assert_int_equal(loop_run(&loop), 0);
    pthread_join(thread, NULL);
    end_loop(&loop);
}

/* Tasks */

struct diary {
    struct loop loop;
    char entries[32];
    struct loop_task first;
    struct loop_task second;
    struct loop_task grave;
    struct loop_task later;
    struct loop_timer timer;
    unsigned fired;
};

static void write_entry(struct diary *diary, char entry)
{
    size_t length = strlen(diary->entries);
    assert_true(length + 1 < sizeof(diary->entries));
    diary->entries[length] = entry;
}

static void run_first(struct loop_task *task)
{
    struct diary *diary = CONTAINER_OF(task, struct diary, first);
    write_entry(diary, '1');
    loop_defer(&diary->loop, &diary->second);
    loop_defer(&diary->loop, &diary->second);
}

static void run_second(struct loop_task *task)
{
    write_entry(CONTAINER_OF(task, struct diary, second), '2');
}

static void run_grave(struct loop_task *task)
{
    struct diary *diary = CONTAINER_OF(task, struct diary, grave);
    write_entry(diary, 'g');
    loop_defer(&diary->loop, &diary->second);
}

static void run_later(struct loop_task *task)
{
    struct diary *diary = CONTAINER_OF(task, struct diary, later);
    write_entry(diary, 'l');
    if (strlen(diary->entries) < 8)
        loop_defer_next(&diary->loop, &diary->later);
    else
        loop_stop(&diary->loop);
}

static void start_diary(struct diary *diary)
{
    memset(diary, 0, sizeof(*diary));
    start_loop(&diary->loop);
    diary->first.run = run_first;
    diary->second.run = run_second;
    diary->grave.run = run_grave;
    diary->later.run = run_later;
}

static void test_burial_comes_after_all_tasks(void **state)
{
    (void)state;
    struct diary diary;

    start_diary(&diary);
    loop_bury(&diary.loop, &diary.grave);
    loop_defer(&diary.loop, &diary.first);
    loop_defer_next(&diary.loop, &diary.later);
    loop_run(&diary.loop);
    /* What was put off comes in the next turn, each time one turn later, not at once. */
    assert_string_equal(diary.entries, "l12g2lll");
    end_loop(&diary.loop);
}

static void test_cancelled_task_does_not_run(void **state)
{
    (void)state;
    struct diary diary;

    start_diary(&diary);
    loop_defer(&diary.loop, &diary.first);
    loop_defer(&diary.loop, &diary.second);
    loop_task_cancel(&diary.first);
    loop_stop(&diary.loop);
    loop_run(&diary.loop);
    assert_string_equal(diary.entries, "2");
    end_loop(&diary.loop);
}

/* Timers */

static void on_fired(struct loop_timer *timer)
{
    struct diary *diary = timer->holder;
    write_entry(diary, 't');
    if (++diary->fired == 2)
        loop_timer_close(timer, &diary->grave);
    else
        loop_timer_start(timer, 1);
}

static void bury_and_stop(struct loop_task *task)
{
    struct diary *diary = CONTAINER_OF(task, struct diary, grave);
    write_entry(diary, 'g');
    loop_stop(&diary->loop);
}

static void test_timer_fires_restarts_and_is_buried(void **state)
{
    (void)state;
    struct diary diary;

    start_diary(&diary);
    diary.grave.run = bury_and_stop;
    assert_int_equal(loop_timer_init(&diary.loop, &diary.timer, on_fired, &diary), 0);
    uint64_t before = loop_now(&diary.loop);
    loop_timer_start(&diary.timer, 5);
    loop_run(&diary.loop);
    assert_string_equal(diary.entries, "ttg");
    assert_false(diary.timer.is_open);
    assert_true(loop_now(&diary.loop) - before >= 5000);
    end_loop(&diary.loop);
}

static void start_again_at_once(struct loop_timer *timer)
{
    struct diary *diary = timer->holder;
    assert_true(++diary->fired < 1000);
    loop_defer(&diary->loop, &diary->first);
    loop_timer_start(timer, 0);
}

static void close_timer(struct loop_task *task)
{
    struct diary *diary = CONTAINER_OF(task, struct diary, first);
    loop_timer_close(&diary->timer, &diary->grave);
}

static void test_timer_lets_the_turn_end(void **state)
{
    (void)state;
    struct diary diary;

    start_diary(&diary);
    diary.first.run = close_timer;
    diary.grave.run = bury_and_stop;
    loop_timer_init(&diary.loop, &diary.timer, start_again_at_once, &diary);
    loop_timer_start(&diary.timer, 0);
    loop_run(&diary.loop);
    assert_string_equal(diary.entries, "g");
    end_loop(&diary.loop);
}

static void must_not_fire(struct loop_timer *timer)
{
    (void)timer;
    fail();
}

static void test_stopped_timer_does_not_fire(void **state)
{
    (void)state;
    struct diary diary;
    struct loop_timer stopped;

    start_diary(&diary);
    diary.grave.run = bury_and_stop;
    loop_timer_init(&diary.loop, &stopped, must_not_fire, NULL);
    loop_timer_init(&diary.loop, &diary.timer, on_fired, &diary);
    loop_timer_start(&stopped, 1);
    loop_timer_start(&diary.timer, 3);
    loop_timer_stop(&stopped);
    loop_run(&diary.loop);
    loop_timer_close(&stopped, NULL);
    end_loop(&diary.loop);
}

/* Read space */

static void test_read_space_is_used_again_when_nobody_holds_it(void **state)
{
    (void)state;
    struct loop loop;
    size_t size = 0;

    start_loop(&loop);
    uint8_t *first = loop_read_space(&loop, &size);
    assert_non_null(first);
    assert_int_equal(size, CHUNK_LARGE_SIZE);
    struct slice slice = loop_read_commit(&loop, 100);
    struct slice next = loop_read_commit(&loop, 50);
    assert_ptr_equal(slice.data, first);
    assert_ptr_equal(next.data, first + 100);

    uint8_t *second = loop_read_space(&loop, &size);
    assert_true(second >= first + 150);
    assert_true(size >= CHUNK_LARGE_SIZE - 256);
    slice_drop(&slice);
    slice_drop(&next);
    assert_ptr_equal(loop_read_space(&loop, &size), first);
    end_loop(&loop);
}

static void test_read_space_leaves_a_chunk_that_is_nearly_full(void **state)
{
    (void)state;
    struct loop loop;
    size_t size = 0;

    start_loop(&loop);
    assert_non_null(loop_read_space(&loop, &size));
    struct slice slice = loop_read_commit(&loop, CHUNK_LARGE_SIZE - 64 * 1024);
    assert_non_null(loop_read_space(&loop, &size));
    assert_int_equal(size, 64 * 1024);
    struct slice small = loop_read_commit(&loop, 1);
    assert_ptr_equal(small.chunk, slice.chunk);
    assert_non_null(loop_read_space(&loop, &size));
    assert_int_equal(size, CHUNK_LARGE_SIZE);
    assert_ptr_not_equal(loop.read_chunk, slice.chunk);
    slice_drop(&slice);
    slice_drop(&small);
    end_loop(&loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mailbox_keeps_each_senders_order),
        cmocka_unit_test(test_deinit_runs_what_is_in_the_mailbox),
        cmocka_unit_test(test_another_thread_stops_the_loop),
        cmocka_unit_test(test_burial_comes_after_all_tasks),
        cmocka_unit_test(test_cancelled_task_does_not_run),
        cmocka_unit_test(test_timer_fires_restarts_and_is_buried),
        cmocka_unit_test(test_timer_lets_the_turn_end),
        cmocka_unit_test(test_stopped_timer_does_not_fire),
        cmocka_unit_test(test_read_space_is_used_again_when_nobody_holds_it),
        cmocka_unit_test(test_read_space_leaves_a_chunk_that_is_nearly_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
