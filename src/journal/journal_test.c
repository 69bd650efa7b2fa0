#include "journal/journal.h"

#include "base/log.h"
#include "base/memory.h"
#include "journal/clock.h"
#include "journal/refusals.h"
#include "journal/room.h"
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

enum {
    THREADS = 4,
    EVENTS = 1000 /* all of them fit into the share of one source */,
    PATIENCE_SECONDS = 60
};

/* What a callback has seen. Its thread is the journal's, until journal_stop has joined it. */
struct watcher {
    sem_t seen;
    sem_t held;
    sem_t told;
    bool is_holding; /* the first event waits for `held` */
    bool is_slow;    /* it waits until nobody waits for the journal any more */
    size_t count;
    size_t notices;    /* of them events.dropped */
    json_int_t number; /* of the last one */
    json_int_t dropped;
    json_int_t refused; /* session.refused, as many as they stand for */
    char time[64];
    bool is_out_of_order;
};

static int wait_milliseconds(sem_t *semaphore, long milliseconds)
{
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_nsec += milliseconds % 1000 * 1000000;
    limit.tv_sec += milliseconds / 1000 + limit.tv_nsec / 1000000000;
    limit.tv_nsec %= 1000000000;
    return sem_timedwait(semaphore, &limit);
}

static void watch(void *context, const char *json)
{
    struct watcher *watcher = context;
    json_t *event = json_loads(json, 0, NULL);
    json_int_t number = json_integer_value(json_object_get(event, "seq"));
    json_int_t dropped = json_integer_value(json_object_get(event, "dropped"));
    const char *time = json_string_value(json_object_get(event, "time"));
    const char *name = json_string_value(json_object_get(event, "event"));
    json_int_t repeated = json_integer_value(json_object_get(event, "repeated"));
    if (time == NULL || number != watcher->number + dropped + 1 || strcmp(time, watcher->time) < 0)
        watcher->is_out_of_order = true;
    snprintf(watcher->time, sizeof watcher->time, "%s", time == NULL ? "" : time);
    watcher->number = number;
    watcher->dropped += dropped;
    bool must_hold = watcher->is_holding && watcher->count == 0;
    watcher->count++;
    bool is_notice = name != NULL && strcmp(name, "events.dropped") == 0;
    watcher->notices += is_notice;
    if (name != NULL && strcmp(name, "session.refused") == 0)
        watcher->refused += repeated > 0 ? repeated : 1;
    json_decref(event);
    sem_post(&watcher->seen);
    if (is_notice)
        sem_post(&watcher->told);
    if (must_hold)
        sem_wait(&watcher->held);
    else if (watcher->is_slow && watcher->count == 1)
        wait_milliseconds(&watcher->held, JOURNAL_FLUSH_TIME + 500);
}

static void watcher_init(struct watcher *watcher)
{
    memset(watcher, 0, sizeof *watcher);
    sem_init(&watcher->seen, 0, 0);
    sem_init(&watcher->held, 0, 0);
    sem_init(&watcher->told, 0, 0);
}

static void watcher_wait(struct watcher *watcher)
{
    assert_int_equal(wait_milliseconds(&watcher->seen, PATIENCE_SECONDS * 1000), 0);
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

static const struct event an_event = {.type = EVENT_SESSION_OPENED,
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

/* Emits this, from so many sources, one event each. */
static void emit_from(struct journal *journal, struct event event, int sources)
{
    char source[16];
    event.source = source;
    for (int i = 0; i < sources; i++) {
        snprintf(source, sizeof source, "s%d", i);
        journal_emit(journal, &event);
    }
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

/* Keeps the journal's thread in its callback, with one event in the queue. */
static struct journal *start_held(struct watcher *watcher)
{
    struct journal *journal = start_watched(watcher);
    watcher->is_holding = true;
    journal_emit(journal, &an_event);
    watcher_wait(watcher);
    return journal;
}

/* A callback that blocks holds up nobody but the journal. What was dropped is told in its place,
 * though no event comes after it. */
static void a_full_queue_drops_and_counts(void **state)
{
    (void)state;
    struct watcher watcher;
    struct journal *journal = start_held(&watcher);
    emit_from(journal, an_event, ROOM_EVENTS + 9);
    sem_post(&watcher.held);
    for (int i = 0; i < ROOM_EVENTS; i++)
        watcher_wait(&watcher);
    assert_int_equal(watcher.notices, 1);
    assert_int_equal(watcher.dropped, 10);
    journal_emit(journal, &an_event);
    journal_stop(journal);
    assert_int_equal(watcher.count, ROOM_EVENTS + 2);
    assert_int_equal(watcher.notices, 1);
    assert_false(watcher.is_out_of_order);
}

/* The callback takes longer than the end may. */
static void what_is_dropped_at_the_end_is_told(void **state)
{
    (void)state;
    enum { SOME = 1000 };
    struct watcher watcher;
    struct journal *journal = start_watched(&watcher);
    watcher.is_slow = true;
    journal_emit(journal, &an_event);
    watcher_wait(&watcher);
    emit_from(journal, an_event, SOME);
    journal_stop(journal);
    assert_int_equal((json_int_t)(watcher.count - watcher.notices) + watcher.dropped, SOME + 1);
    assert_int_equal(watcher.notices, watcher.dropped > 0);
    assert_false(watcher.is_out_of_order);
}

/* What was dropped is told before what comes next. */
static void one_source_leaves_room_for_others(void **state)
{
    (void)state;
    struct watcher watcher;
    struct journal *journal = start_held(&watcher);
    for (int i = 0; i < ROOM_EVENTS; i++)
        journal_emit(journal, &an_event);
    emit_from(journal, an_event, 100);
    sem_post(&watcher.held);
    for (int i = 1; i < ROOM_EVENTS / 4 + 1 + 100; i++)
        watcher_wait(&watcher);
    journal_stop(journal);
    assert_int_equal(watcher.count, ROOM_EVENTS / 4 + 1 + 100);
    assert_int_equal(watcher.notices, 1);
    assert_int_equal(watcher.dropped, 1 + ROOM_EVENTS - ROOM_EVENTS / 4);
    assert_false(watcher.is_out_of_order);
}

static void refusals_of_one_source_are_summed_up(void **state)
{
    (void)state;
    enum { REFUSED = 20000 };
    struct watcher watcher;
    struct event refused = an_event;
    refused.type = EVENT_SESSION_REFUSED;
    struct journal *journal = start_watched(&watcher);
    for (int i = 0; i < REFUSED; i++)
        journal_emit(journal, &refused);
    journal_emit(journal, &an_event);
    /* The sum comes without another event, once the second is over. */
    for (size_t i = 0; i < REFUSALS_SHOWN + 2; i++)
        watcher_wait(&watcher);
    for (int i = 0; i < 3 * REFUSALS_SHOWN; i++)
        journal_emit(journal, &refused);
    journal_stop(journal);
    assert_int_equal(watcher.refused, REFUSED + 3 * REFUSALS_SHOWN);
    assert_true(watcher.count < REFUSED / 4);
    assert_int_equal(watcher.dropped, 0);
    assert_false(watcher.is_out_of_order);
}

static void large_events_are_bounded_in_bytes(void **state)
{
    (void)state;
    static char text[EVENT_TEXT_SIZE + 1];
    struct watcher watcher;
    memset(text, 'a', EVENT_TEXT_SIZE);
    struct event large = {
        .type = EVENT_SESSION_CLOSED, .host = text, .client = text, .agent = text, .reason = text};
    struct journal *journal = start_held(&watcher);
    emit_from(journal, large, ROOM_EVENTS - 1);
    sem_post(&watcher.held);
    assert_int_equal(wait_milliseconds(&watcher.told, PATIENCE_SECONDS * 1000), 0);
    journal_stop(journal);
    assert_false(watcher.is_out_of_order);
    assert_in_range(watcher.count, ROOM_BYTES / (6 * EVENT_TEXT_SIZE),
                    ROOM_BYTES / (4 * EVENT_TEXT_SIZE));
}

static void an_event_without_memory_is_counted(void **state)
{
    (void)state;
    struct watcher watcher;
    struct journal *journal = start_watched(&watcher);
    memory_fail_after(1);
    journal_emit(journal, &an_event);
    assert_false(memory_fail_is_pending());
    watcher_wait(&watcher);
    assert_int_equal(watcher.notices, 1);
    journal_emit(journal, &an_event);
    journal_stop(journal);
    assert_false(watcher.is_out_of_order);
    assert_int_equal(watcher.dropped, 1);
    assert_int_equal(watcher.number, 3);
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
    assert_string_equal(json_string_value(json_object_get(event, "event")), "session.opened");
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
        cmocka_unit_test(what_is_dropped_at_the_end_is_told),
        cmocka_unit_test(one_source_leaves_room_for_others),
        cmocka_unit_test(refusals_of_one_source_are_summed_up),
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
