#include "journal/event.h"

#include "journal/event_field.h"

#include <math.h>

#define TYPE(type) (1U << (type))
#define SESSIONS \
    (TYPE(EVENT_SESSION_OPENED) | TYPE(EVENT_SESSION_REFUSED) | TYPE(EVENT_SESSION_CLOSED))
#define ALL         (~0U)
#define SECONDS_MAX 1e12

const struct event_field event_fields[] = {
    {"agent", FIELD_TEXT, offsetof(struct event, agent), ALL},
    {"address", FIELD_TEXT, offsetof(struct event, address), ALL},
    {"user", FIELD_TEXT, offsetof(struct event, user), ALL},
    {"dialect", FIELD_TEXT, offsetof(struct event, dialect), ALL},
    {"session", FIELD_SESSION, offsetof(struct event, session), SESSIONS},
    {"source", FIELD_TEXT, offsetof(struct event, source), ALL},
    {"source_user", FIELD_TEXT, offsetof(struct event, source_user), ALL},
    {"source_address", FIELD_TEXT, offsetof(struct event, source_address), ALL},
    {"client", FIELD_TEXT, offsetof(struct event, client), ALL},
    {"kind", FIELD_TEXT, offsetof(struct event, kind), ALL},
    {"host", FIELD_TEXT, offsetof(struct event, host), ALL},
    {"port", FIELD_PORT, offsetof(struct event, port), SESSIONS},
    {"key_sha256", FIELD_TEXT, offsetof(struct event, key), ALL},
    {"sent", FIELD_NUMBER, offsetof(struct event, sent), TYPE(EVENT_SESSION_CLOSED)},
    {"received", FIELD_NUMBER, offsetof(struct event, received), TYPE(EVENT_SESSION_CLOSED)},
    {"seconds", FIELD_SECONDS, offsetof(struct event, seconds),
     TYPE(EVENT_SESSION_CLOSED) | TYPE(EVENT_AGENT_UNREGISTERED) | TYPE(EVENT_LINK_RESUMED)},
    {"replayed", FIELD_NUMBER, offsetof(struct event, replayed), TYPE(EVENT_LINK_RESUMED)},
    {"replayed_bytes", FIELD_NUMBER, offsetof(struct event, replayed_bytes),
     TYPE(EVENT_LINK_RESUMED)},
    {"ended_by", FIELD_TEXT, offsetof(struct event, ended_by), ALL},
    {"code", FIELD_CODE, offsetof(struct event, code),
     TYPE(EVENT_SESSION_REFUSED) | TYPE(EVENT_SESSION_CLOSED) | TYPE(EVENT_AUTH_FAILED)},
    {"file", FIELD_TEXT, offsetof(struct event, file), ALL},
    {"ok", FIELD_BOOL, offsetof(struct event, ok), TYPE(EVENT_POLICY_RELOADED)},
    {"repeated", FIELD_REPEATED, offsetof(struct event, repeated),
     TYPE(EVENT_SESSION_REFUSED) | TYPE(EVENT_AUTH_FAILED)},
    {"reason", FIELD_TEXT, offsetof(struct event, reason), ALL},
};

const size_t event_field_count = sizeof event_fields / sizeof event_fields[0];

const char *event_name(enum event_type type)
{
    static const char *const names[] = {
        [EVENT_AGENT_REGISTERED] = "agent.registered",
        [EVENT_AGENT_UNREGISTERED] = "agent.unregistered",
        [EVENT_LINK_LOST] = "link.lost",
        [EVENT_LINK_RESUMED] = "link.resumed",
        [EVENT_SESSION_OPENED] = "session.opened",
        [EVENT_SESSION_REFUSED] = "session.refused",
        [EVENT_SESSION_CLOSED] = "session.closed",
        [EVENT_AUTH_FAILED] = "auth.failed",
        [EVENT_POLICY_RELOADED] = "policy.reloaded",
        [EVENT_EVENTS_DROPPED] = "events.dropped",
    };
    return names[type];
}

const char *event_field_text(const struct event *event, const struct event_field *field)
{
    return *(const char *const *)event_field_value(event, field);
}

bool event_has_field(const struct event *event, const struct event_field *field)
{
    if ((field->types & TYPE(event->type)) == 0)
        return false;
    if (field->kind == FIELD_TEXT) {
        const char *text = event_field_text(event, field);
        return text != NULL && text[0] != '\0';
    }
    if (field->kind == FIELD_SESSION)
        return event_field_number(event, field) > 0;
    return field->kind != FIELD_REPEATED || event_field_number(event, field) > 1;
}

uint64_t event_field_number(const struct event *event, const struct event_field *field)
{
    const void *value = event_field_value(event, field);
    return field->kind == FIELD_PORT ? *(const uint16_t *)value : *(const uint64_t *)value;
}

int event_field_int(const struct event *event, const struct event_field *field)
{
    return *(const int *)event_field_value(event, field);
}

double event_field_seconds(const struct event *event, const struct event_field *field)
{
    double seconds = *(const double *)event_field_value(event, field);
    if (!isfinite(seconds) || seconds <= 0 || seconds > SECONDS_MAX)
        return 0;
    return (double)(uint64_t)(seconds * 1e6 + 0.5) / 1e6;
}
