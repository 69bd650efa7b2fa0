#include "journal/room.h"

#include "base/hash.h"
#include "base/memory.h"
#include "journal/event_cause.h"

void room_init(struct room *room, uint64_t seed)
{
    *room = (struct room){.all = {0, 0}};
    map_init(&room->causes, seed);
}

void room_deinit(struct room *room)
{
    size_t cursor = 0;
    for (void *share; (share = map_next(&room->causes, &cursor)) != NULL;)
        memory_free(share);
    map_deinit(&room->causes);
    room->all = room->refusals = (struct room_share){0, 0};
}

bool room_is_refusal(enum event_type type)
{
    return type == EVENT_SESSION_REFUSED || type == EVENT_AUTH_FAILED;
}

struct room_place room_place(const struct event *event, uint64_t seed, size_t bytes)
{
    char cause[EVENT_CAUSE_SIZE];
    struct room_place place = {
        .bytes = bytes < ROOM_BYTES ? (uint32_t)bytes : ROOM_BYTES,
        .is_refusal = room_is_refusal(event->type),
    };
    if (event_cause(event, cause)[0] != '\0')
        place.cause = hash_text(seed, cause);
    return place;
}

static bool fits(const struct room_share *share, uint32_t bytes, uint32_t part)
{
    return share->events < ROOM_EVENTS / part && share->bytes + bytes <= ROOM_BYTES / part;
}

static void add(struct room_share *share, uint32_t bytes)
{
    share->events++;
    share->bytes += bytes;
}

static void subtract(struct room_share *share, uint32_t bytes)
{
    share->events--;
    share->bytes -= bytes;
}

static bool take_of_cause(struct room *room, struct room_place place)
{
    struct room_share *share = map_find(&room->causes, place.cause);
    if (share == NULL) {
        share = memory_allocate_zero(sizeof *share);
        if (share == NULL || map_insert(&room->causes, place.cause, share) != 0) {
            memory_free(share);
            return false;
        }
    }
    if (!fits(share, place.bytes, ROOM_OF_ONE))
        return false;
    add(share, place.bytes);
    return true;
}

static void give_back_of_cause(struct room *room, struct room_place place)
{
    struct room_share *share = map_find(&room->causes, place.cause);
    subtract(share, place.bytes);
    if (share->events == 0)
        memory_free(map_remove(&room->causes, place.cause));
}

bool room_take(struct room *room, struct room_place place)
{
    if (!fits(&room->all, place.bytes, 1) ||
        (place.is_refusal && !fits(&room->refusals, place.bytes, ROOM_OF_REFUSALS)) ||
        (place.cause != 0 && !take_of_cause(room, place)))
        return false;
    add(&room->all, place.bytes);
    if (place.is_refusal)
        add(&room->refusals, place.bytes);
    return true;
}

void room_give_back(struct room *room, struct room_place place)
{
    subtract(&room->all, place.bytes);
    if (place.is_refusal)
        subtract(&room->refusals, place.bytes);
    if (place.cause != 0)
        give_back_of_cause(room, place);
}
