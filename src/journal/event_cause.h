/* Who has caused an event, so that nobody's events take the room of everybody else's. */
#ifndef JOURNAL_EVENT_CAUSE_H
#define JOURNAL_EVENT_CAUSE_H

#include "journal/event.h"

enum { EVENT_CAUSE_SIZE = 160 };

/* Writes the source's name, for agents and links the agent's; without a name, and for who is not
 * logged in, the group of addresses or the address without its port. A name and an address are
 * never equal. Returns `out`; "" stands for nobody in particular. */
const char *event_cause(const struct event *event, char out[static EVENT_CAUSE_SIZE]);

#endif
