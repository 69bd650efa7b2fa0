/*
 * Events: what happens at a gateway or an agent, one by one. docs/events.md lists them with their
 * fields.
 */
#ifndef CULVERT_EVENT_H
#define CULVERT_EVENT_H

#include <culvert/culvert.h>

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct culvert_event;

/* Gets the events of one handle in their order, one at a time, on a thread of that handle's own.
 * The event and all texts in it live until the callback returns. It may block (sessions never wait
 * for it), but meanwhile events queue, and those that do not fit are dropped: `seq` then has a gap,
 * and "events.dropped" says how many are missing.
 * It may call functions of the library, except those that wait for or free its own handle. */
typedef void culvert_event_callback(void *context, const struct culvert_event *event);

/* What happened, such as "session.opened". */
CULVERT_API const char *culvert_event_name(const struct culvert_event *event);

/* All of it: a JSON object in one line. */
CULVERT_API const char *culvert_event_json(const struct culvert_event *event);

/* A field that is a text, such as "agent" or "reason"; NULL if the event has no such text. */
CULVERT_API const char *culvert_event_text(const struct culvert_event *event, const char *field);

/* A field that is a whole number, such as "seq", "port" or "sent"; 0 if the event has no such
 * number. */
CULVERT_API int64_t culvert_event_integer(const struct culvert_event *event, const char *field);

/* A field that is any number, such as "seconds"; 0 if the event has no such number. */
CULVERT_API double culvert_event_number(const struct culvert_event *event, const char *field);

#ifdef __cplusplus
}
#endif

#endif
