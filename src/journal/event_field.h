/* The fields of struct event as a table, in the order in which they are shown. */
#ifndef JOURNAL_EVENT_FIELD_H
#define JOURNAL_EVENT_FIELD_H

#include "journal/event.h"

#include <stdbool.h>
#include <stddef.h>

enum event_field_kind {
    FIELD_TEXT,
    FIELD_NUMBER,   /* uint64_t */
    FIELD_SESSION,  /* uint64_t, shown unless it is 0 */
    FIELD_REPEATED, /* uint64_t, shown from 2 on */
    FIELD_PORT,
    FIELD_SECONDS,
    FIELD_CODE,
    FIELD_BOOL,
};

struct event_field {
    const char *name;
    enum event_field_kind kind;
    size_t offset;
    unsigned types; /* a bit for each enum event_type that may have it */
};

extern const struct event_field event_fields[];
extern const size_t event_field_count;

/* Whether it is to be shown. */
bool event_has_field(const struct event *event, const struct event_field *field);

static inline const void *event_field_value(const struct event *event,
                                            const struct event_field *field)
{
    return (const char *)event + field->offset;
}

/* The value, by the field's kind: of FIELD_TEXT; of those that are whole numbers; of FIELD_CODE and
 * FIELD_BOOL; of FIELD_SECONDS, in whole microseconds. */
const char *event_field_text(const struct event *event, const struct event_field *field);
uint64_t event_field_number(const struct event *event, const struct event_field *field);
int event_field_int(const struct event *event, const struct event_field *field);
double event_field_seconds(const struct event *event, const struct event_field *field);

#endif
