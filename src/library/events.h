/* The journal of a handle, and how its events reach the program around it. */
#ifndef LIBRARY_EVENTS_H
#define LIBRARY_EVENTS_H

#include "journal/journal.h"

#include <culvert/event.h>
#include <stdbool.h>

/* All texts are borrowed. */
struct events {
    struct journal_config config;
    culvert_event_callback *callback;
    void *context;
    bool are_wanted;         /* by whatever else */
    struct journal *journal; /* NULL when nobody wants events */
};

/* Starts a journal if anybody wants events. What is wrong is logged. Returns 0 or an error. */
int events_open(struct events *events);
/* When nobody emits any more; also if it was not opened. */
void events_close(struct events *events);

#endif
