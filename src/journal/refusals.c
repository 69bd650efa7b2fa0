#include "journal/refusals.h"

#include "base/error.h"
#include "base/memory.h"
#include "journal/event_cause.h"

#include <stdio.h>
#include <string.h>

enum { KEY_SIZE = EVENT_CAUSE_SIZE + 1 };

/* A second of one cause. */
struct refusal_window {
    struct list_node node;
    int64_t end;
    unsigned shown;
    uint64_t held;
    struct event_record *record;
    char key[KEY_SIZE]; /* the type and the cause; "": for all further causes */
};

static size_t index_of(enum event_type type)
{
    return type == EVENT_AUTH_FAILED;
}

int refusals_init(struct refusals *refusals, uint64_t seed)
{
    *refusals = (struct refusals){.holding = 0};
    map_init(&refusals->by_cause, seed);
    list_init(&refusals->windows);
    for (size_t i = 0; i < 2; i++) {
        refusals->others[i] = memory_allocate_zero(sizeof *refusals->others[i]);
        if (refusals->others[i] == NULL) {
            refusals_deinit(refusals);
            return CULVERT_ERROR_NO_MEMORY;
        }
    }
    return 0;
}

/* Removes a window and takes its sum. */
static void close_window(struct refusals *refusals, struct refusal_window *window,
                         struct refusals_sum *sum)
{
    list_remove(&window->node);
    refusals->holding -= window->held > 0;
    *sum = (struct refusals_sum){window->record, window->held};
    if (window->record != NULL)
        window->record->event.repeated = window->held;
    if (window->key[0] != '\0') {
        map_remove_text(&refusals->by_cause, window->key);
        memory_free(window);
    } else {
        *window = (struct refusal_window){.held = 0};
    }
}

void refusals_deinit(struct refusals *refusals)
{
    struct refusals_sum sum;
    while (refusals->windows.root.next != NULL && refusals_take(refusals, INT64_MAX, &sum))
        memory_free(sum.record);
    map_deinit(&refusals->by_cause);
    for (size_t i = 0; i < 2; i++)
        memory_free(refusals->others[i]);
    *refusals = (struct refusals){.holding = 0};
}

/* Returns the event's window; NULL if there are too many or there is no memory. */
static struct refusal_window *own_window(struct refusals *refusals, const struct event *event)
{
    char cause[EVENT_CAUSE_SIZE];
    char key[KEY_SIZE];
    snprintf(key, sizeof key, "%c%s", event->type == EVENT_AUTH_FAILED ? 'a' : 's',
             event_cause(event, cause));
    struct refusal_window *window = map_find_text(&refusals->by_cause, key);
    if (window != NULL || refusals->by_cause.count >= REFUSALS_CAUSES)
        return window;
    window = memory_allocate_zero(sizeof *window);
    if (window == NULL)
        return NULL;
    memcpy(window->key, key, sizeof window->key);
    if (map_insert_text(&refusals->by_cause, window->key, window) == 0)
        return window;
    memory_free(window);
    return NULL;
}

static struct event_record *record_of(const struct refusal_window *window,
                                      const struct event *event)
{
    struct event others = {
        .type = event->type,
        .code = event->code,
        .reason = "refusals of further agents and networks",
    };
    return event_record_create(window->key[0] != '\0' ? event : &others);
}

bool refusals_hold(struct refusals *refusals, const struct event *event, int64_t now)
{
    struct refusal_window *window = own_window(refusals, event);
    if (window == NULL)
        window = refusals->others[index_of(event->type)];
    if (!list_node_is_linked(&window->node)) {
        window->end = now + REFUSALS_SECOND;
        list_append(&refusals->windows, &window->node);
    }
    if (window->shown < REFUSALS_SHOWN) {
        window->shown++;
        return false;
    }
    if (window->record == NULL)
        window->record = record_of(window, event);
    refusals->holding += window->held == 0;
    window->held++;
    return true;
}

bool refusals_take(struct refusals *refusals, int64_t now, struct refusals_sum *sum)
{
    struct list_node *node = list_first(&refusals->windows);
    if (node == NULL)
        return false;
    struct refusal_window *window = CONTAINER_OF(node, struct refusal_window, node);
    if (now < window->end)
        return false;
    close_window(refusals, window, sum);
    return true;
}

int64_t refusals_due(const struct refusals *refusals)
{
    if (refusals->holding == 0)
        return 0;
    const struct list_node *node = refusals->windows.root.next;
    return CONTAINER_OF(node, const struct refusal_window, node)->end;
}
