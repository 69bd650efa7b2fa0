/* The peer that caused an event, so that one peer's events do not fill the queue. */
#ifndef JOURNAL_EVENT_CAUSE_H
#define JOURNAL_EVENT_CAUSE_H

#include "journal/event.h"

enum { EVENT_CAUSE_SIZE = 160 };

/* Writes the name of the source, or for events of agents and links the agent's name. For a peer
 * without a name or a login it writes the group of addresses, or the address without its port. A
 * name and an address are never equal. Returns `out`; "" means that no peer caused the event. */
const char *event_cause(const struct event *event, char out[static EVENT_CAUSE_SIZE]);

#endif
