#include "journal/journal.h"

#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "journal/clock.h"
#include "journal/event_record.h"
#include "journal/file_sink.h"
#include "journal/thread.h"
#include "journal/webhook.h"

#include <inttypes.h>
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
    size_t count; /* with those that the thread has taken and not finished */
    size_t bytes;
    uint64_t number;  /* of the event emitted last */
    uint64_t dropped; /* events since the last that got through */
    bool is_sleeping;
    bool must_reopen;
    int64_t deadline; /* 0: it is not asked to stop */

    /* The thread's */
    struct event_text json;
    uint64_t unshown; /* events of which there was no memory to make JSON, since the last */
};

/* What the thread takes out of the queue for one turn. */
struct turn {
    struct event_record *records;
    size_t count;
    size_t bytes;
    bool must_reopen;
    bool is_last;
};

/* Without anybody to tell, an event costs nothing. */
static bool is_heard(const struct journal *journal)
{
    return journal->file != NULL || journal->webhook != NULL || journal->has_callbacks ||
           (journal->log && log_is_on(LOG_INFO));
}

void journal_emit(struct journal *journal, const struct event *event)
{
    if (journal == NULL || !is_heard(journal))
        return;
    struct event_record *record = event_record_create(event);
    pthread_mutex_lock(&journal->mutex);
    journal->number++;
    if (record != NULL && journal->count < JOURNAL_QUEUE &&
        journal->bytes + record->size <= JOURNAL_QUEUE_BYTES) {
        clock_gettime(CLOCK_REALTIME, &record->time);
        record->number = journal->number;
        record->dropped = journal->dropped;
        journal->dropped = 0;
        journal->count++;
        journal->bytes += record->size;
        *journal->end = record;
        journal->end = &record->next;
        record = NULL;
        if (journal->is_sleeping)
            pthread_cond_signal(&journal->wake);
    } else {
        journal->dropped++;
    }
    pthread_mutex_unlock(&journal->mutex);
    memory_free(record);
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
    return journal->first != NULL || journal->must_reopen || journal->deadline != 0;
}

/* Waits with the mutex held, for the file's next attempt too. */
static void sleep_until_work(struct journal *journal, int64_t next_try)
{
    journal->is_sleeping = true;
    if (next_try == 0) {
        while (!has_work(journal))
            pthread_cond_wait(&journal->wake, &journal->mutex);
    } else {
        struct timespec limit = clock_moment(next_try);
        int error = 0;
        while (!has_work(journal) && error == 0)
            error = pthread_cond_timedwait(&journal->wake, &journal->mutex, &limit);
    }
    journal->is_sleeping = false;
}

/* Waits for something to do and takes it; what the turn before had taken is done. */
static void take(struct journal *journal, struct turn *turn)
{
    int64_t next_try = journal->file == NULL ? 0 : file_sink_next_try(journal->file);
    pthread_mutex_lock(&journal->mutex);
    journal->count -= turn->count;
    journal->bytes -= turn->bytes;
    sleep_until_work(journal, next_try);
    *turn = (struct turn){.records = journal->first, .must_reopen = journal->must_reopen};
    journal->must_reopen = false;
    struct event_record **end = &turn->records;
    while (*end != NULL && turn->count < TURN) {
        turn->count++;
        turn->bytes += (*end)->size;
        end = &(*end)->next;
    }
    journal->first = *end;
    *end = NULL;
    if (journal->first == NULL)
        journal->end = &journal->first;
    turn->is_last = journal->deadline != 0 &&
                    (journal->first == NULL || clock_milliseconds() >= journal->deadline);
    pthread_mutex_unlock(&journal->mutex);
}

static void show_as_json(struct journal *journal, struct event_record *record)
{
    if (event_record_to_json(record, &journal->json) != 0) {
        journal->unshown += record->dropped + 1;
        return;
    }
    const struct event_text *json = &journal->json;
    if (journal->file != NULL)
        file_sink_add(journal->file, json->data, json->size);
    if (journal->webhook != NULL)
        webhook_push(journal->webhook, json->data, json->size);
    for (const struct callback *callback = journal->callbacks; callback != NULL;
         callback = callback->next)
        callback->call(callback->context, json->data);
}

static void show(struct journal *journal, struct event_record *record)
{
    char line[LINE_SIZE];
    record->dropped += journal->unshown;
    journal->unshown = 0;
    if (record->dropped > 0)
        log_warning("%" PRIu64 " events were dropped before number %" PRIu64, record->dropped,
                    record->number);
    if (journal->log && log_is_on(LOG_INFO)) {
        event_record_to_line(record, line, sizeof line);
        log_info("%s", line);
    }
    if (journal->file != NULL || journal->webhook != NULL || journal->callbacks != NULL)
        show_as_json(journal, record);
}

static void free_records(struct event_record *record)
{
    while (record != NULL) {
        struct event_record *next = record->next;
        memory_free(record);
        record = next;
    }
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
        pthread_mutex_unlock(&journal->calls);
        free_records(turn.records);
        if (journal->file != NULL && turn.must_reopen)
            file_sink_reopen(journal->file, clock_milliseconds());
        else if (journal->file != NULL)
            file_sink_flush(journal->file, clock_milliseconds());
    }
    return NULL;
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
    if (RAND_bytes(random, sizeof random) != 1) {
        snprintf(why, why_size, "cannot start the webhook: no random numbers");
        return CULVERT_ERROR_UNSUPPORTED;
    }
    for (size_t i = 0; i < sizeof random; i++)
        snprintf(name + 2 * i, 3, "%02x", random[i]);
    return webhook_start(config->webhook, config->webhook_secret, name, &journal->webhook, why,
                         why_size);
}

static void free_journal(struct journal *journal, int64_t deadline)
{
    webhook_stop(journal->webhook, deadline);
    file_sink_close(journal->file);
    free_records(journal->first);
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
    uint64_t lost = journal->dropped + journal->unshown;
    for (const struct event_record *record = journal->first; record != NULL; record = record->next)
        lost += record->dropped + 1;
    if (lost > 0)
        log_warning("%" PRIu64 " events were dropped at the end", lost);
    free_journal(journal, deadline);
}
