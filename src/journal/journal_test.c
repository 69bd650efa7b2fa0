#include "journal/journal.h"

#include "base/log.h"
#include "base/memory.h"
#include "journal/clock.h"
#include "journal/test_receiver.h"

#include <jansson.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { THREADS = 4, EVENTS = 2000, PATIENCE_SECONDS = 60 };

/* What a callback has seen. Its thread is the journal's, until journal_stop has joined it. */
struct watcher {
    sem_t seen;
    sem_t held;
    bool is_holding; /* the first event waits for `held` */
    size_t count;
    json_int_t number; /* of the last one */
    json_int_t dropped;
    char time[64];
    bool is_out_of_order;
};

static void watch(void *context, const char *json)
{
    struct watcher *watcher = context;
    json_t *event = json_loads(json, 0, NULL);
    json_int_t number = json_integer_value(json_object_get(event, "seq"));
    json_int_t dropped = json_integer_value(json_object_get(event, "dropped"));
    const char *time = json_string_value(json_object_get(event, "time"));
    if (time == NULL || number != watcher->number + dropped + 1 || strcmp(time, watcher->time) < 0)
        watcher->is_out_of_order = true;
    snprintf(watcher->time, sizeof watcher->time, "%s", time == NULL ? "" : time);
    watcher->number = number;
    watcher->dropped += dropped;
    bool must_hold = watcher->is_holding && watcher->count == 0;
    watcher->count++;
    json_decref(event);
    sem_post(&watcher->seen);
    if (must_hold)
        sem_wait(&watcher->held);
}

static void watcher_init(struct watcher *watcher)
{
    memset(watcher, 0, sizeof *watcher);
    sem_init(&watcher->seen, 0, 0);
    sem_init(&watcher->held, 0, 0);
}

static void watcher_wait(struct watcher *watcher)
{
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += PATIENCE_SECONDS;
    assert_int_equal(sem_timedwait(&watcher->seen, &limit), 0);
}

static struct journal *start(const struct journal_config *config)
{
    struct journal *journal = NULL;
    char why[256] = "";
    assert_int_equal(journal_start(config, &journal, why, sizeof why), 0);
    return journal;
}

static struct journal *start_watched(struct watcher *watcher)
{
    struct journal *journal = start(&(struct journal_config){.log = true});
    watcher_init(watcher);
    assert_int_equal(journal_add_callback(journal, watch, watcher), 0);
    return journal;
}

static const struct event an_event = {.type = EVENT_SESSION_REFUSED,
                                      .agent = "bob",
                                      .source = "alice",
                                      .key = "secret",
                                      .reason = "no"};

static void *emit_many(void *journal)
{
    for (int i = 0; i < EVENTS; i++)
        journal_emit(journal, &an_event);
    return NULL;
}

static void events_of_all_threads_are_numbered_in_order(void **state)
{
    (void)state;
    struct watcher watcher;
    struct journal *journal = start_watched(&watcher);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, emit_many, journal), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    journal_stop(journal);
    assert_false(watcher.is_out_of_order);
    assert_int_equal(watcher.dropped, 0);
    assert_int_equal(watcher.count, THREADS * EVENTS);
}

static void every_callback_is_called(void **state)
{
    (void)state;
    struct watcher first;
    struct watcher second;
    struct journal *journal = start_watched(&first);
    journal_emit(journal, &an_event);
    watcher_wait(&first);
    watcher_init(&second);
    second.number = 1;
    assert_int_equal(journal_add_callback(journal, watch, &second), 0);
    journal_emit(journal, &an_event);
    watcher_wait(&second);
    memory_fail_after(1);
    assert_true(journal_add_callback(journal, watch, &second) < 0);
    journal_stop(journal);
    assert_int_equal(first.count, 2);
    assert_int_equal(second.count, 1);
    assert_false(first.is_out_of_order || second.is_out_of_order);
}

/* A callback that blocks holds up nobody but the journal. */
static void a_full_queue_drops_and_counts(void **state)
{
    (void)state;
    struct watcher watcher;
    struct journal *journal = start_watched(&watcher);
    watcher.is_holding = true;
    journal_emit(journal, &an_event);
    watcher_wait(&watcher);
    for (int i = 0; i < JOURNAL_QUEUE + 9; i++)
        journal_emit(journal, &an_event);
    sem_post(&watcher.held);
    for (int i = 1; i < JOURNAL_QUEUE; i++)
        watcher_wait(&watcher);
    journal_emit(journal, &an_event);
    journal_stop(journal);
    assert_int_equal(watcher.count, JOURNAL_QUEUE + 1);
    assert_false(watcher.is_out_of_order);
    assert_int_equal(watcher.dropped, 10);
}

static void large_events_are_bounded_in_bytes(void **state)
{
    (void)state;
    static char text[EVENT_TEXT_SIZE + 1];
    struct watcher watcher;
    struct journal *journal = start_watched(&watcher);
    memset(text, 'a', EVENT_TEXT_SIZE);
    struct event large = {
        .type = EVENT_AUTH_FAILED, .agent = text, .address = text, .user = text, .reason = text};
    watcher.is_holding = true;
    journal_emit(journal, &an_event);
    watcher_wait(&watcher);
    for (int i = 0; i < JOURNAL_QUEUE - 1; i++)
        journal_emit(journal, &large);
    sem_post(&watcher.held);
    journal_stop(journal);
    assert_false(watcher.is_out_of_order);
    assert_in_range(watcher.count, JOURNAL_QUEUE_BYTES / (6 * EVENT_TEXT_SIZE),
                    JOURNAL_QUEUE_BYTES / (4 * EVENT_TEXT_SIZE));
}

static void an_event_without_memory_is_counted(void **state)
{
    (void)state;
    struct watcher watcher;
    struct journal *journal = start_watched(&watcher);
    memory_fail_after(1);
    journal_emit(journal, &an_event);
    assert_false(memory_fail_is_pending());
    journal_emit(journal, &an_event);
    watcher_wait(&watcher);
    journal_stop(journal);
    assert_false(watcher.is_out_of_order);
    assert_int_equal(watcher.dropped, 1);
    assert_int_equal(watcher.number, 2);
}

static void without_a_journal_nothing_happens(void **state)
{
    (void)state;
    journal_emit(NULL, &an_event);
    journal_reopen(NULL);
    journal_stop(NULL);
}

static void expect_lines(const char *path, int expected)
{
    int lines = 0;
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    for (int c; (c = fgetc(file)) != EOF;)
        lines += c == '\n';
    fclose(file);
    assert_int_equal(lines, expected);
}

static void a_file_is_opened_anew(void **state)
{
    (void)state;
    char directory[] = "/tmp/culvert-journal-XXXXXX";
    char path[64];
    char moved[64];
    struct watcher watcher;
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/events", directory);
    snprintf(moved, sizeof moved, "%s/moved", directory);
    struct journal *journal = start(&(struct journal_config){.file = path});
    watcher_init(&watcher);
    assert_int_equal(journal_add_callback(journal, watch, &watcher), 0);
    journal_emit(journal, &an_event);
    watcher_wait(&watcher);
    assert_int_equal(rename(path, moved), 0);
    journal_reopen(journal);
    while (access(path, F_OK) != 0) /* the journal's thread makes it */
        sched_yield();
    journal_emit(journal, &an_event);
    journal_emit(journal, &an_event);
    journal_stop(journal);
    expect_lines(moved, 1);
    expect_lines(path, 2);
    unlink(path);
    unlink(moved);
    assert_int_equal(rmdir(directory), 0);
}

static void a_webhook_gets_the_same(void **state)
{
    (void)state;
    struct receiver receiver;
    assert_int_equal(receiver_start(&receiver), 0);
    struct journal *journal = start(&(struct journal_config){.webhook = receiver.url});
    journal_emit(journal, &an_event);
    json_t *body = json_loads(receiver_body(&receiver, 0), 0, NULL);
    json_t *event = json_array_get(json_object_get(body, "events"), 0);
    assert_string_equal(json_string_value(json_object_get(event, "event")), "session.refused");
    assert_int_equal(json_integer_value(json_object_get(event, "seq")), 1);
    assert_int_equal(strlen(json_string_value(json_object_get(body, "journal"))), 16);
    json_decref(body);
    journal_stop(journal);
    receiver_stop(&receiver);
}

static void stopping_is_bounded(void **state)
{
    (void)state;
    struct receiver receiver;
    assert_int_equal(receiver_start(&receiver), 0);
    receiver_answer_next(&receiver, RECEIVER_HANGS);
    struct journal *journal = start(&(struct journal_config){.webhook = receiver.url});
    journal_emit(journal, &an_event);
    assert_non_null(receiver_request(&receiver, 0));
    int64_t since = clock_milliseconds();
    journal_stop(journal);
    assert_in_range(clock_milliseconds() - since, JOURNAL_FLUSH_TIME - 10,
                    JOURNAL_FLUSH_TIME + 30000);
    receiver_stop(&receiver);
}

static void what_cannot_be_started(void **state)
{
    (void)state;
    struct journal *journal = NULL;
    char why[256] = "";
    struct journal_config config = {.file = "/nowhere/events"};
    assert_true(journal_start(&config, &journal, why, sizeof why) < 0);
    assert_non_null(strstr(why, "/nowhere/events"));
    config = (struct journal_config){.file = "/dev/null", .webhook = "nonsense"};
    assert_true(journal_start(&config, &journal, why, sizeof why) < 0);
    assert_non_null(strstr(why, "URL"));
    config.webhook = "http://127.0.0.1:1/";
    config.webhook_secret = "s";
    size_t n = 1;
    for (; journal == NULL; n++) {
        memory_fail_after(n);
        why[0] = '\0';
        int error = journal_start(&config, &journal, why, sizeof why);
        assert_int_equal(error == 0, journal != NULL);
        assert_int_equal(error == 0, why[0] == '\0');
    }
    memory_fail_after(0);
    assert_true(n > 4);
    journal_stop(journal);
}

static void a_callback_that_was_removed_sees_nothing_more(void **state)
{
    (void)state;
    struct watcher first, second;
    watcher_init(&first);
    watcher_init(&second);
    struct journal *journal = start_watched(&first);
    assert_int_equal(journal_add_callback(journal, watch, &second), 0);
    journal_emit(journal, &an_event);
    watcher_wait(&first);
    watcher_wait(&second);
    journal_remove_callback(journal, watch, &first);
    journal_remove_callback(journal, watch, &first);
    journal_emit(journal, &an_event);
    watcher_wait(&second);
    journal_stop(journal);
    assert_int_equal(first.count, 1);
    assert_int_equal(second.count, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_of_all_threads_are_numbered_in_order),
        cmocka_unit_test(every_callback_is_called),
        cmocka_unit_test(a_callback_that_was_removed_sees_nothing_more),
        cmocka_unit_test(a_full_queue_drops_and_counts),
        cmocka_unit_test(large_events_are_bounded_in_bytes),
        cmocka_unit_test(an_event_without_memory_is_counted),
        cmocka_unit_test(without_a_journal_nothing_happens),
        cmocka_unit_test(a_file_is_opened_anew),
        cmocka_unit_test(a_webhook_gets_the_same),
        cmocka_unit_test(stopping_is_bounded),
        cmocka_unit_test(what_cannot_be_started),
    };
    log_init(LOG_ERROR + 1, LOG_TEXT, "test");
    return cmocka_run_group_tests_name("journal", tests, NULL, NULL);
}
