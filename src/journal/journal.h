/*
 * The journal takes events from any thread and gives them to its sinks on a thread of its own: the
 * log, a file of JSON lines, a webhook, callbacks. Each event has a time and a number that goes up
 * by one. The emitter never waits for a sink: the queue is bounded and shared (journal/room.h), and
 * events that do not fit are dropped and counted. A dropped event uses up its number. All sinks get
 * an "events.dropped" with the number of missing events in their place. Refusals of one cause are
 * aggregated (journal/refusals.h).
 */
#ifndef JOURNAL_JOURNAL_H
#define JOURNAL_JOURNAL_H

#include "journal/event.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    JOURNAL_WEBHOOK_BATCH = 100, /* in one POST */
    JOURNAL_FLUSH_TIME = 2000,   /* milliseconds that journal_stop gives the sinks */
};

struct journal;

/* Called on the journal's thread with one event as a JSON object in one line (docs/events.md),
 * which is the journal's; must not block. */
typedef void journal_callback(void *context, const char *json);

struct journal_config {
    bool log;                   /* write events to the log, at info */
    const char *file;           /* append JSON lines to this file; NULL: none */
    const char *webhook;        /* POST JSON to this URL; NULL: none */
    const char *webhook_secret; /* of the HMAC-SHA256 signature; NULL: none */
    /* The file with that secret. It is read again when it has changed. NULL: none. */
    const char *webhook_secret_file;
};

/* Starts the threads. Texts are copied. Returns 0, or an error with a sentence in `why` (a file
 * that cannot be opened, a URL that is none, no libcurl). */
int journal_start(const struct journal_config *config, struct journal **out, char *why,
                  size_t why_size);

/* Adds a callback for the events that are shown from now on. 0 or CULVERT_ERROR_NO_MEMORY. Like the
 * removal it waits for callbacks that are running, so it is not to be called from one. */
int journal_add_callback(struct journal *journal, journal_callback *callback, void *context);

/* Takes a callback off that was added with the same context; it does not run any more. */
void journal_remove_callback(struct journal *journal, journal_callback *callback, void *context);

/* Any thread; copies what it needs. Costs no system call but the wake-up of a thread that sleeps.
 * Nothing happens where `journal` is NULL or has nobody to tell. */
void journal_emit(struct journal *journal, const struct event *event);

/* Any thread: opens the file anew, by its name (after logrotate has moved it). NULL: nothing. */
void journal_reopen(struct journal *journal);

/* Gives the sinks JOURNAL_FLUSH_TIME for what is left, then ends the threads and frees. Nobody may
 * emit any more. NULL: nothing. */
void journal_stop(struct journal *journal);

#endif
