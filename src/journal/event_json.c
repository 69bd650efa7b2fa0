#include "base/error.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "journal/event_field.h"
#include "journal/event_record.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

enum {
    TIME_SIZE = 64,
    TEXT_STEP = 1024,
    MICROSECONDS_DIGITS = 15, /* digits of a number of seconds: what is rounded stays round */
};

/* RFC 3339 §5.6 */
static void format_time(const struct timespec *time, char out[static TIME_SIZE])
{
    struct tm utc;
    gmtime_r(&time->tv_sec, &utc);
    snprintf(out, TIME_SIZE, "%04d-%02d-%02dT%02d:%02d:%02d.%06ldZ", utc.tm_year + 1900,
             utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
             time->tv_nsec / 1000);
}

/* The library refuses what is no UTF-8, and what a 0.1 agent calls itself may be anything. */
static json_t *text_value(const char *text)
{
    json_t *value = json_string(text);
    if (value != NULL)
        return value;
    char *repaired = utf8_repair(text);
    if (repaired != NULL)
        value = json_string(repaired);
    memory_free(repaired);
    return value;
}

static json_t *field_value(const struct event *event, const struct event_field *field)
{
    switch (field->kind) {
    case FIELD_TEXT:
        return text_value(event_field_text(event, field));
    case FIELD_NUMBER:
    case FIELD_SESSION:
    case FIELD_REPEATED:
    case FIELD_PORT:
        return json_integer((json_int_t)event_field_number(event, field));
    case FIELD_SECONDS:
        return json_real(event_field_seconds(event, field));
    case FIELD_CODE:
        return json_integer(event_field_int(event, field));
    case FIELD_BOOL:
        return json_boolean(event_field_int(event, field));
    }
    return NULL;
}

static int fill(json_t *object, const struct event_record *record)
{
    char time[TIME_SIZE];
    format_time(&record->time, time);
    /* Takes the values also when it fails; one that is NULL is a failure. */
    int failed = json_object_set_new(object, "event", json_string(event_name(record->event.type)));
    failed |= json_object_set_new(object, "time", json_string(time));
    failed |= json_object_set_new(object, "seq", json_integer((json_int_t)record->number));
    if (record->dropped > 0)
        failed |= json_object_set_new(object, "dropped", json_integer((json_int_t)record->dropped));
    for (size_t i = 0; i < event_field_count && failed == 0; i++) {
        const struct event_field *field = &event_fields[i];
        if (event_has_field(&record->event, field))
            failed = json_object_set_new(object, field->name, field_value(&record->event, field));
    }
    return failed == 0 ? 0 : CULVERT_ERROR_NO_MEMORY;
}

static int append(const char *data, size_t size, void *context)
{
    struct event_text *text = context;
    if (text->capacity - text->size <= size) {
        size_t capacity = 2 * text->capacity + size + TEXT_STEP;
        char *grown = memory_grow(text->data, capacity);
        if (grown == NULL)
            return -1;
        text->data = grown;
        text->capacity = capacity;
    }
    memcpy(text->data + text->size, data, size);
    text->size += size;
    text->data[text->size] = '\0';
    return 0;
}

int event_record_to_json(const struct event_record *record, struct event_text *text)
{
    json_t *object = json_object();
    int error = object == NULL ? CULVERT_ERROR_NO_MEMORY : fill(object, record);
    text->size = 0;
    if (error == 0 && json_dump_callback(object, append, text,
                                         JSON_COMPACT | JSON_ENSURE_ASCII |
                                             JSON_REAL_PRECISION(MICROSECONDS_DIGITS)) != 0)
        error = CULVERT_ERROR_NO_MEMORY;
    json_decref(object);
    return error;
}

size_t event_dropped_json(uint64_t dropped, char out[static EVENT_DROPPED_SIZE])
{
    struct timespec now;
    char time[TIME_SIZE];
    clock_gettime(CLOCK_REALTIME, &now);
    format_time(&now, time);
    int size = snprintf(out, EVENT_DROPPED_SIZE,
                        "{\"event\":\"%s\",\"time\":\"%s\",\"dropped\":%" PRIu64 "}",
                        event_name(EVENT_EVENTS_DROPPED), time, dropped);
    return (size_t)size;
}
