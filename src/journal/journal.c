#include "journal/journal.h"

#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "journal/clock.h"
#include "journal/event_record.h"
#include "journal/file_sink.h"
#include "journal/refusals.h"
#include "journal/room.h"
#include "journal/thread.h"
#include "journal/webhook.h"

#include <openssl/rand.h>
#include <stdio.h>

enum {
    TURN = 128,       /* events between two looks at the queue */
    LINE_SIZE = 1024, /* of the log */
    NAME_BYTES = 8,   /* random ones in a run's name */
};

struct callback {
    struct callback *next;
    journal_callback *call;
    void *context;
};

struct journal {
    bool log;
    uint64_t seed;
    struct file_sink *file;
    struct webhook *webhook;
    pthread_t thread;

    pthread_mutex_t calls; /* guards the callbacks, also while they run */
    struct callback *callbacks;
    _Atomic bool has_callbacks;

    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t wake;
    struct event_record *first;
    struct event_record **end;
    struct room room; /* includes events that the thread has taken and not finished */
    struct refusals refusals;
    uint64_t number;  /* of the event emitted last */
    uint64_t dropped; /* events since the last that got through */
    bool is_sleeping;
    bool must_reopen;
    int64_t deadline; /* 0: it is not asked to stop */

    /* The thread's */
    struct event_text json;
    uint64_t shown;   /* the number of the last one */
    uint64_t unshown; /* events of which there was no memory to make JSON, since the last */
};

/* What the thread takes out of the queue for one turn. */
struct turn {
    struct event_record *records;
    uint64_t dropped; /* events behind them */
    struct timespec time;
    bool must_reopen;
    bool is_last;
};

/* Without anybody to tell, an event costs nothing. */
static bool is_heard(const struct journal *journal)
{
    return journal->file != NULL || journal->webhook != NULL || journal->has_callbacks ||
           (journal->log && log_is_on(LOG_INFO));
}

/* With the mutex held. Numbers the event, which stands for so many, and takes the record; NULL: it
 * is dropped. */
static void append(struct journal *journal, struct event_record *record, uint64_t stands_for)
{
    if (journal->is_sleeping)
        pthread_cond_signal(&journal->wake);
    if (record != NULL) {
        record->place = room_place(&record->event, journal->seed, record->size);
        if (!room_take(&journal->room, record->place)) {
            memory_free(record);
            record = NULL;
        }
    }
    if (record == NULL) {
        journal->number += stands_for;
        journal->dropped += stands_for;
        return;
    }
    if (journal->dropped > 0)
        journal->number++; /* of events.dropped */
    record->number = ++journal->number;
    record->dropped = journal->dropped;
    journal->dropped = 0;
    clock_gettime(CLOCK_REALTIME, &record->time);
    *journal->end = record;
    journal->end = &record->next;
}

/* Turns sums of refusals into events when their second is over. The caller holds the mutex. */
static void append_sums(struct journal *journal, int64_t now)
{
    struct refusals_sum sum;
    while (refusals_take(&journal->refusals, now, &sum)) {
        if (sum.count > 0)
            append(journal, sum.record, sum.count);
    }
}

/* Allocates no memory for a refusal that is held back, except for the first of its second. */
static void emit_refusal(struct journal *journal, const struct event *event)
{
    int64_t now = clock_milliseconds();
    pthread_mutex_lock(&journal->mutex);
    append_sums(journal, now);
    bool was_holding = refusals_due(&journal->refusals) != 0;
    if (!refusals_hold(&journal->refusals, event, now))
        append(journal, event_record_create(event), 1);
    else if (!was_holding && journal->is_sleeping)
        pthread_cond_signal(&journal->wake); /* to wake when the second is over */
    pthread_mutex_unlock(&journal->mutex);
}

void journal_emit(struct journal *journal, const struct event *event)
{
    if (journal == NULL || !is_heard(journal))
        return;
    if (room_is_refusal(event->type)) {
        emit_refusal(journal, event);
        return;
    }
    struct event_record *record = event_record_create(event);
    pthread_mutex_lock(&journal->mutex);
    append(journal, record, 1);
    pthread_mutex_unlock(&journal->mutex);
}

void journal_reopen(struct journal *journal)
{
    if (journal == NULL)
        return;
    pthread_mutex_lock(&journal->mutex);
    journal->must_reopen = true;
    pthread_cond_signal(&journal->wake);
    pthread_mutex_unlock(&journal->mutex);
}

int journal_add_callback(struct journal *journal, journal_callback *callback, void *context)
{
    struct callback *added = memory_allocate(sizeof *added);
    if (added == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    pthread_mutex_lock(&journal->calls);
    *added = (struct callback){journal->callbacks, callback, context};
    journal->callbacks = added;
    journal->has_callbacks = true;
    pthread_mutex_unlock(&journal->calls);
    return 0;
}

void journal_remove_callback(struct journal *journal, journal_callback *callback, void *context)
{
    pthread_mutex_lock(&journal->calls);
    struct callback **at = &journal->callbacks;
    while (*at != NULL && ((*at)->call != callback || (*at)->context != context))
        at = &(*at)->next;
    struct callback *removed = *at;
    if (removed != NULL)
        *at = removed->next;
    journal->has_callbacks = journal->callbacks != NULL;
    pthread_mutex_unlock(&journal->calls);
    memory_free(removed);
}

/* With the mutex held. */
static bool has_work(const struct journal *journal)
{
    return journal->first != NULL || journal->dropped > 0 || journal->must_reopen ||
           journal->deadline != 0;
}

/* Returns when the thread must wake without a signal; 0: never. */
static int64_t next_look(const struct journal *journal, int64_t next_try)
{
    int64_t due = refusals_due(&journal->refusals);
    return next_try == 0 || (due != 0 && due < next_try) ? due : next_try;
}

/* Waits for events, for the file's next attempt, or for the end of a second with aggregated
 * refusals. The caller holds the mutex. */
static void sleep_until_work(struct journal *journal, int64_t next_try)
{
    journal->is_sleeping = true;
    while (!has_work(journal)) {
        int64_t look = next_look(journal, next_try);
        if (look == 0) {
            pthread_cond_wait(&journal->wake, &journal->mutex);
        } else if (clock_milliseconds() >= look) {
            break;
        } else {
            struct timespec limit = clock_moment(look);
            pthread_cond_timedwait(&journal->wake, &journal->mutex, &limit);
        }
    }
    journal->is_sleeping = false;
}

/* Removes the events of one turn from the queue. */
static void take_records(struct journal *journal, struct turn *turn)
{
    struct event_record **end = &turn->records;
    *end = journal->first;
    for (size_t count = 0; *end != NULL && count < TURN; count++)
        end = &(*end)->next;
    journal->first = *end;
    *end = NULL;
    if (journal->first != NULL)
        return;
    journal->end = &journal->first;
    turn->dropped = journal->dropped;
    if (journal->dropped == 0)
        return;
    journal->number++; /* of events.dropped */
    journal->dropped = 0;
    clock_gettime(CLOCK_REALTIME, &turn->time);
}

static void free_records(struct event_record *record)
{
    while (record != NULL) {
        struct event_record *next = record->next;
        memory_free(record);
        record = next;
    }
}

/* Waits for something to do and takes it; what the turn before had taken is done. */
static void take(struct journal *journal, struct turn *turn)
{
    int64_t next_try = journal->file == NULL ? 0 : file_sink_next_try(journal->file);
    struct event_record *done = turn->records;
    pthread_mutex_lock(&journal->mutex);
    for (const struct event_record *record = done; record != NULL; record = record->next)
        room_give_back(&journal->room, record->place);
    sleep_until_work(journal, next_try);
    append_sums(journal, journal->deadline != 0 ? INT64_MAX : clock_milliseconds());
    *turn = (struct turn){.must_reopen = journal->must_reopen};
    journal->must_reopen = false;
    take_records(journal, turn);
    turn->is_last = journal->deadline != 0 &&
                    (journal->first == NULL || clock_milliseconds() >= journal->deadline);
    pthread_mutex_unlock(&journal->mutex);
    free_records(done);
}

/* Returns the number of events that a record stands for. */
static uint64_t weight_of(const struct event_record *record)
{
    return record->event.repeated > 1 ? record->event.repeated : 1;
}

static void show_as_json(struct journal *journal, struct event_record *record)
{
    if (event_record_to_json(record, &journal->json) != 0) {
        journal->unshown += record->dropped + weight_of(record);
        return;
    }
    const struct event_text *json = &journal->json;
    if (journal->file != NULL)
        file_sink_add(journal->file, json->data, json->size);
    if (journal->webhook != NULL)
        webhook_push(journal->webhook, json->data, json->size,
                     room_place(&record->event, journal->seed, json->size));
    for (const struct callback *callback = journal->callbacks; callback != NULL;
         callback = callback->next)
        callback->call(callback->context, json->data);
}

static void show_one(struct journal *journal, struct event_record *record)
{
    char line[LINE_SIZE];
    journal->shown = record->number;
    record->dropped += journal->unshown;
    journal->unshown = 0;
    if (record->dropped > 0 || (journal->log && log_is_on(LOG_INFO))) {
        event_record_to_line(record, line, sizeof line);
        if (record->dropped > 0)
            log_warning("%s", line);
        else
            log_info("%s", line);
    }
    if (journal->file != NULL || journal->webhook != NULL || journal->callbacks != NULL)
        show_as_json(journal, record);
}

/* Shows events.dropped, with the number after those of the dropped events. */
static void show_dropped(struct journal *journal, uint64_t count, struct timespec time)
{
    struct event_record notice = {
        .time = time,
        .number = journal->shown + count + 1,
        .dropped = count,
        .event = {.type = EVENT_EVENTS_DROPPED},
    };
    show_one(journal, &notice);
}

static void show(struct journal *journal, struct event_record *record)
{
    uint64_t dropped = record->dropped;
    record->dropped = 0;
    if (dropped > 0)
        show_dropped(journal, dropped, record->time);
    show_one(journal, record);
}

/* When the time is over: counts the events not shown as dropped. */
static void show_rest(struct journal *journal)
{
    struct timespec now;
    uint64_t lost = journal->dropped;
    for (const struct event_record *record = journal->first; record != NULL; record = record->next)
        lost += record->dropped + weight_of(record);
    clock_gettime(CLOCK_REALTIME, &now);
    if (lost > 0 || journal->unshown > 0)
        show_dropped(journal, lost, now);
}

static void *run_thread(void *context)
{
    struct journal *journal = context;
    struct turn turn = {.is_last = false};
    while (!turn.is_last) {
        take(journal, &turn);
        pthread_mutex_lock(&journal->calls);
        for (struct event_record *record = turn.records; record != NULL; record = record->next)
            show(journal, record);
        if (turn.dropped > 0)
            show_dropped(journal, turn.dropped, turn.time);
        if (turn.is_last)
            show_rest(journal);
        pthread_mutex_unlock(&journal->calls);
        if (journal->file != NULL && turn.must_reopen)
            file_sink_reopen(journal->file, clock_milliseconds());
        else if (journal->file != NULL)
            file_sink_flush(journal->file, clock_milliseconds());
    }
    free_records(turn.records);
    return NULL;
}

static int no_random_numbers(char *why, size_t why_size)
{
    snprintf(why, why_size, "cannot start the journal: no random numbers");
    return CULVERT_ERROR_UNSUPPORTED;
}

static int start_refusals(struct journal *journal, char *why, size_t why_size)
{
    if (RAND_bytes((unsigned char *)&journal->seed, sizeof journal->seed) != 1)
        return no_random_numbers(why, why_size);
    room_init(&journal->room, journal->seed);
    int error = refusals_init(&journal->refusals, journal->seed);
    if (error != 0)
        snprintf(why, why_size, "cannot start the journal: %s", error_text(error));
    return error;
}

static int start_sinks(struct journal *journal, const struct journal_config *config, char *why,
                       size_t why_size)
{
    unsigned char random[NAME_BYTES];
    char name[2 * NAME_BYTES + 1] = "";
    int error = 0;
    journal->log = config->log;
    if (config->file != NULL)
        error = file_sink_open(config->file, &journal->file, why, why_size);
    if (error != 0 || config->webhook == NULL)
        return error;
    if (RAND_bytes(random, sizeof random) != 1)
        return no_random_numbers(why, why_size);
    for (size_t i = 0; i < sizeof random; i++)
        snprintf(name + 2 * i, 3, "%02x", random[i]);
    const struct webhook_config webhook = {
        .url = config->webhook,
        .secret = config->webhook_secret,
        .secret_file = config->webhook_secret_file,
        .journal = name,
    };
    return webhook_start(&webhook, &journal->webhook, why, why_size);
}

static void free_journal(struct journal *journal, int64_t deadline)
{
    webhook_stop(journal->webhook, deadline);
    file_sink_close(journal->file);
    free_records(journal->first);
    refusals_deinit(&journal->refusals);
    room_deinit(&journal->room);
    for (struct callback *next, *callback = journal->callbacks; callback != NULL; callback = next) {
        next = callback->next;
        memory_free(callback);
    }
    event_text_deinit(&journal->json);
    pthread_cond_destroy(&journal->wake);
    pthread_mutex_destroy(&journal->mutex);
    pthread_mutex_destroy(&journal->calls);
    memory_free(journal);
}

int journal_start(const struct journal_config *config, struct journal **out, char *why,
                  size_t why_size)
{
    struct journal *journal = memory_allocate_zero(sizeof *journal);
    int error = journal == NULL ? CULVERT_ERROR_NO_MEMORY
                                : thread_init_locks(&journal->mutex, &journal->wake);
    if (error == 0) {
        error = thread_init_locks(&journal->calls, NULL);
        if (error != 0) {
            pthread_cond_destroy(&journal->wake);
            pthread_mutex_destroy(&journal->mutex);
        }
    }
    if (error != 0) {
        memory_free(journal);
        snprintf(why, why_size, "cannot start the journal: %s", error_text(error));
        return error;
    }
    journal->end = &journal->first;
    error = start_refusals(journal, why, why_size);
    if (error == 0)
        error = start_sinks(journal, config, why, why_size);
    if (error == 0) {
        error = thread_start(&journal->thread, run_thread, journal);
        if (error != 0)
            snprintf(why, why_size, "cannot start the journal: %s", error_text(error));
    }
    if (error != 0) {
        free_journal(journal, clock_milliseconds());
        return error;
    }
    *out = journal;
    return 0;
}

void journal_stop(struct journal *journal)
{
    if (journal == NULL)
        return;
    int64_t deadline = clock_milliseconds() + JOURNAL_FLUSH_TIME;
    pthread_mutex_lock(&journal->mutex);
    journal->deadline = deadline;
    pthread_cond_signal(&journal->wake);
    pthread_mutex_unlock(&journal->mutex);
    pthread_join(journal->thread, NULL);
    free_journal(journal, deadline);
}
