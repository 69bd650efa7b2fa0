#include "journal/event_cause.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* No name has a control character. */
#define GROUP   "\001"
#define ADDRESS "\002"

static bool is_given(const char *text)
{
    return text != NULL && text[0] != '\0';
}

/* The agent's name in auth.failed is the unverified claim of a stranger. */
static const char *name_of(const struct event *event)
{
    if (is_given(event->source))
        return event->source;
    bool is_agents_own = event->type == EVENT_AGENT_REGISTERED ||
                         event->type == EVENT_AGENT_UNREGISTERED ||
                         event->type == EVENT_LINK_LOST || event->type == EVENT_LINK_RESUMED;
    return is_agents_own && is_given(event->agent) ? event->agent : NULL;
}

const char *event_cause(const struct event *event, char out[static EVENT_CAUSE_SIZE])
{
    const char *name = name_of(event);
    const char *address = is_given(event->source_address) ? event->source_address : event->address;
    if (name != NULL) {
        snprintf(out, EVENT_CAUSE_SIZE, "%s", name);
    } else if (event->origin != 0) {
        snprintf(out, EVENT_CAUSE_SIZE, GROUP "%" PRIx64, event->origin);
    } else if (is_given(address)) {
        const char *port = strrchr(address, ':');
        int size = port != NULL ? (int)(port - address) : EVENT_CAUSE_SIZE;
        snprintf(out, EVENT_CAUSE_SIZE, ADDRESS "%.*s", size, address);
    } else {
        out[0] = '\0';
    }
    return out;
}
