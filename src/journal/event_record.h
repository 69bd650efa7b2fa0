/* An event as the journal keeps it: a copy with a time and a number, which can be shown as JSON and
 * as a line of the log. */
#ifndef JOURNAL_EVENT_RECORD_H
#define JOURNAL_EVENT_RECORD_H

#include "journal/event.h"
#include "journal/room.h"

#include <stddef.h>
#include <time.h>

struct event_record {
    struct event_record *next; /* in a queue */
    size_t size;               /* bytes of the whole, its texts included */
    struct room_place place;   /* in the journal's queue */
    struct timespec time;      /* CLOCK_REALTIME */
    uint64_t number;
    uint64_t dropped;   /* events that were lost between the one before and this */
    struct event event; /* its texts are part of the record; `key` is the hash, not the key */
};

/* One allocation with a copy of the event; NULL when memory has run out. The caller frees it with
 * memory_free. */
struct event_record *event_record_create(const struct event *event);

/* A piece of text that grows and is used again. */
struct event_text {
    char *data; /* terminated */
    size_t size;
    size_t capacity;
};

#define EVENT_TEXT_NULL ((struct event_text){NULL, 0, 0})

void event_text_deinit(struct event_text *text);

/* The event as a JSON object in one line, without its end; ASCII alone, so that what a peer has
 * sent can do nothing to a terminal. Returns 0 or CULVERT_ERROR_NO_MEMORY. */
int event_record_to_json(const struct event_record *record, struct event_text *text);

/* The same for people: `agent.registered seq=1 agent=alice dialect="hubble 0.1"`, cut where `size`
 * ends, terminated. Control characters are left to the log. */
void event_record_to_line(const struct event_record *record, char *out, size_t size);

enum { EVENT_DROPPED_SIZE = 160 };

/* Writes the JSON of an events.dropped without a number, for one sink that has lost this many
 * events. Returns its size. */
size_t event_dropped_json(uint64_t dropped, char out[static EVENT_DROPPED_SIZE]);

#endif
