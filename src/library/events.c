#include "library/events.h"

#include "base/error.h"
#include "base/log.h"

#include <jansson.h>

struct culvert_event {
    const char *json;
    json_t *object; /* NULL when memory ran out */
};

static void deliver(void *context, const char *json)
{
    const struct events *events = context;
    struct culvert_event event = {json, json_loads(json, 0, NULL)};
    events->callback(events->context, &event);
    json_decref(event.object);
}

int events_open(struct events *events)
{
    const struct journal_config *config = &events->config;
    char why[512] = "";
    bool are_wanted = events->are_wanted || events->callback != NULL || config->file != NULL ||
                      config->webhook != NULL || config->log;
    if (!are_wanted)
        return 0;
    int error = journal_start(config, &events->journal, why, sizeof(why));
    if (error == 0 && events->callback != NULL) {
        error = journal_add_callback(events->journal, deliver, events);
        if (error != 0)
            events_close(events);
    }
    if (error != 0)
        log_error("cannot report events: %s", why[0] != '\0' ? why : error_text(error));
    return error;
}

void events_close(struct events *events)
{
    journal_stop(events->journal);
    events->journal = NULL;
}

const char *culvert_event_json(const struct culvert_event *event)
{
    return event->json;
}

const char *culvert_event_name(const struct culvert_event *event)
{
    const char *name = culvert_event_text(event, "event");
    return name != NULL ? name : "";
}

const char *culvert_event_text(const struct culvert_event *event, const char *field)
{
    return json_string_value(json_object_get(event->object, field));
}

int64_t culvert_event_integer(const struct culvert_event *event, const char *field)
{
    const json_t *value = json_object_get(event->object, field);
    return json_is_true(value) ? 1 : json_integer_value(value);
}

double culvert_event_number(const struct culvert_event *event, const char *field)
{
    return json_number_value(json_object_get(event->object, field));
}
