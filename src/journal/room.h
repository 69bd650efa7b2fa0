/*
 * Divides the room of a bounded queue of events. Any peer can cause refusals at any rate, so they
 * get at most half of it. All events of one cause (journal/event_cause.h) get at most a quarter.
 * Events of accepted agents and sessions use the rest.
 */
#ifndef JOURNAL_ROOM_H
#define JOURNAL_ROOM_H

#include "base/map.h"
#include "journal/event.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    ROOM_EVENTS = 16384,
    ROOM_BYTES = 16 * 1024 * 1024,
    ROOM_OF_REFUSALS = 2, /* a half */
    ROOM_OF_ONE = 4,      /* a quarter */
};

struct room_share {
    uint32_t events;
    uint32_t bytes;
};

struct room {
    struct room_share all;
    struct room_share refusals;
    struct map causes; /* the causes that have events in the queue: struct room_share */
};

/* The room that an event takes. */
struct room_place {
    uint64_t cause; /* a hash; 0: no peer */
    uint32_t bytes;
    bool is_refusal;
};

void room_init(struct room *room, uint64_t seed);
/* Frees all places; repeatable. */
void room_deinit(struct room *room);

/* Whether events of this type are refusals. */
bool room_is_refusal(enum event_type type);

/* Returns the place of an event of `bytes` bytes. `seed` is a random number that peers do not know.
 */
struct room_place room_place(const struct event *event, uint64_t seed, size_t bytes);

/* Takes a place. Returns false if there is no room for this event, or no memory. */
bool room_take(struct room *room, struct room_place place);
void room_give_back(struct room *room, struct room_place place);

#endif
