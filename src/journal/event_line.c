#include "journal/event_field.h"
#include "journal/event_record.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct line {
    char *data;
    size_t left; /* the final zero included */
};

static void add_character(struct line *line, char c)
{
    if (line->left <= 1)
        return;
    *line->data++ = c;
    *line->data = '\0';
    line->left--;
}

__attribute__((format(printf, 2, 3))) static void add(struct line *line, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(line->data, line->left, format, arguments);
    va_end(arguments);
    size_t written = size < 0 ? 0 : (size_t)size;
    if (written >= line->left)
        written = line->left - 1;
    line->data += written;
    line->left -= written;
}

/* So that no value can pass for the field behind it. */
static bool needs_quotes(const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text <= ' ' || *text > '~' || strchr("\"\\=", *text) != NULL)
            return true;
    }
    return false;
}

static void add_text(struct line *line, const char *text)
{
    if (!needs_quotes(text)) {
        add(line, "%s", text);
        return;
    }
    add_character(line, '"');
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            add_character(line, '\\');
        add_character(line, *text);
    }
    add_character(line, '"');
}

static void add_field(struct line *line, const struct event *event, const struct event_field *field)
{
    add(line, " %s=", field->name);
    switch (field->kind) {
    case FIELD_TEXT:
        add_text(line, event_field_text(event, field));
        break;
    case FIELD_NUMBER:
    case FIELD_SESSION:
    case FIELD_REPEATED:
    case FIELD_PORT:
        add(line, "%" PRIu64, event_field_number(event, field));
        break;
    case FIELD_SECONDS:
        add(line, "%.3f", event_field_seconds(event, field));
        break;
    case FIELD_CODE:
        add(line, "%d", event_field_int(event, field));
        break;
    case FIELD_BOOL:
        add(line, event_field_int(event, field) ? "true" : "false");
        break;
    }
}

void event_record_to_line(const struct event_record *record, char *out, size_t size)
{
    struct line line = {out, size};
    add(&line, "%s seq=%" PRIu64, event_name(record->event.type), record->number);
    if (record->dropped > 0)
        add(&line, " dropped=%" PRIu64, record->dropped);
    for (size_t i = 0; i < event_field_count; i++) {
        if (event_has_field(&record->event, &event_fields[i]))
            add_field(&line, &record->event, &event_fields[i]);
    }
}
