#include "link/link.h"

#include "base/error.h"
#include "base/memory.h"

#include <assert.h>
#include <string.h>

enum { FIRST_CAPACITY = 64 };

void link_init(struct link *link, struct chunk_pool *pool, struct account *account)
{
    *link = (struct link){
        .account = account,
        .next = 1,
        .expected = 1,
        .bound = LINK_MIN_KEPT,
    };
    slice_arena_init(&link->arena, pool);
}

static struct link_entry *entry_at(const struct link *link, uint32_t index)
{
    return &link->ring[(link->start + index) & (link->capacity - 1)];
}

static size_t cost_of(const struct link_entry *entry)
{
    return entry->head.size + entry->body.size + LINK_MESSAGE_COST;
}

/* Frees the oldest `count` entries. */
static void forget(struct link *link, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct link_entry *entry = entry_at(link, i);
        link->kept -= cost_of(entry);
        slice_drop(&entry->head);
        slice_drop(&entry->body);
    }
    if (link->capacity > 0)
        link->start = (link->start + count) & (link->capacity - 1);
    link->count -= count;
    if (link->count == 0)
        slice_arena_rest(&link->arena);
}

void link_deinit(struct link *link)
{
    forget(link, link->count);
    slice_arena_deinit(&link->arena);
    memory_free(link->ring);
    link->ring = NULL;
    link->capacity = 0;
}

/* ---- sending ---- */

bool link_has_room(const struct link *link)
{
    return link->kept < link->bound;
}

static int grow_ring(struct link *link)
{
    uint32_t capacity = link->capacity == 0 ? FIRST_CAPACITY : 2 * link->capacity;
    struct link_entry *ring = memory_allocate(capacity * sizeof(*ring));
    if (ring == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    for (uint32_t i = 0; i < link->count; i++)
        ring[i] = *entry_at(link, i);
    memory_free(link->ring);
    link->ring = ring;
    link->capacity = capacity;
    link->start = 0;
    return 0;
}

/* A small body goes behind its head, so that one slice is the message and no large chunk is pinned.
 */
static int make_entry(struct link *link, const uint8_t *head, size_t head_size, struct slice *body,
                      struct link_entry *entry)
{
    bool copies = body->size < LINK_COPY_LIMIT;
    size_t size = head_size + (copies ? body->size : 0);
    *entry = (struct link_entry){SLICE_NULL, SLICE_NULL};
    if (size > 0) {
        uint8_t *room = slice_arena_reserve(&link->arena, size);
        if (room == NULL)
            return CULVERT_ERROR_NO_MEMORY;
        if (head_size > 0)
            memcpy(room, head, head_size);
        if (copies && body->size > 0)
            memcpy(room + head_size, body->data, body->size);
        entry->head = slice_arena_commit(&link->arena, size);
    }
    if (copies)
        slice_drop(body);
    else
        entry->body = *body;
    return 0;
}

int link_append(struct link *link, const uint8_t *head, size_t head_size, struct slice body,
                bool is_control, uint64_t now)
{
    int error = 0;
    if (is_control && link->kept >= link->bound + LINK_CONTROL_RESERVE)
        error = CULVERT_ERROR_LIMIT;
    if (error == 0 && link->count == link->capacity)
        error = grow_ring(link);
    struct link_entry entry;
    if (error == 0)
        error = make_entry(link, head, head_size, &body, &entry);
    if (error != 0) {
        slice_drop(&body);
        return error;
    }
    *entry_at(link, link->count) = entry;
    link->count++;
    link->unsent++;
    link->kept += cost_of(&entry);
    if (link->probe == 0) {
        link->probe = link->next;
        link->probe_time = now;
        link->was_full = false;
    }
    link->was_full = link->was_full || link->kept >= link->bound;
    link->next++;
    return 0;
}

const struct link_entry *link_unsent(const struct link *link, uint32_t index)
{
    if (index >= link->unsent)
        return NULL;
    return entry_at(link, link->count - link->unsent + index);
}

void link_sent(struct link *link, uint32_t count)
{
    assert(count <= link->unsent);
    link->unsent -= count;
}

/* ---- being acknowledged ---- */

/*
 * The bound hit while the peer answers as fast as it ever did means that the line holds more than
 * we keep, so it grows. A peer that answers late is itself the slow part: keeping more for it would
 * only add to the delay.
 */
static void measure(struct link *link, uint64_t acknowledged, uint64_t now)
{
    if (link->probe == 0 || acknowledged < link->probe)
        return;
    uint64_t trip = now - link->probe_time;
    if (trip < LINK_MIN_TRIP)
        trip = LINK_MIN_TRIP;
    if (link->smallest_trip == 0 || trip < link->smallest_trip)
        link->smallest_trip = trip;
    bool is_prompt = trip <= 4 * link->smallest_trip;
    if (link->was_full && is_prompt && link->bound < LINK_MAX_KEPT &&
        account_level(link->account) == ACCOUNT_EASY)
        link->bound *= 2;
    link->probe = 0;
}

int link_acknowledged(struct link *link, uint64_t count, uint64_t now)
{
    uint64_t oldest = link->next - link->count; /* number of the first entry kept */
    uint64_t sent = link->next - link->unsent - 1;
    if (count > sent || count + 1 < oldest)
        return CULVERT_ERROR_PROTOCOL;
    measure(link, count, now);
    forget(link, (uint32_t)(count + 1 - oldest));
    return 0;
}

/* ---- receiving ---- */

static void note_unreported(struct link *link, size_t bytes, uint64_t now)
{
    if (link->received == link->reported)
        link->unreported_since = now;
    link->unreported_bytes += bytes;
}

int link_take(struct link *link, size_t bytes, uint64_t now)
{
    uint64_t number = link->expected;
    if (number > link->received + 1)
        return CULVERT_ERROR_PROTOCOL;
    link->expected++;
    if (number <= link->received)
        return 0;
    note_unreported(link, bytes, now);
    link->received = number;
    return 1;
}

int link_take_skip(struct link *link, uint64_t messages, uint64_t now)
{
    uint64_t first = link->expected;
    if (messages == 0 || first > link->received + 1 || messages > UINT64_MAX - first)
        return CULVERT_ERROR_PROTOCOL;
    uint64_t last = first + messages - 1;
    link->expected = last + 1;
    if (last <= link->received)
        return 0;
    note_unreported(link, LINK_MESSAGE_COST, now);
    link->received = last;
    return 1;
}

bool link_report_is_due(const struct link *link, uint64_t now)
{
    return link->received != link->reported &&
           (link->unreported_bytes >= LINK_RECEIVED_BYTES ||
            now >= link->unreported_since + LINK_RECEIVED_DELAY);
}

void link_reported(struct link *link)
{
    link->reported = link->received;
    link->unreported_bytes = 0;
}

uint64_t link_timeout(const struct link *link)
{
    return link->received == link->reported ? UINT64_MAX
                                            : link->unreported_since + LINK_RECEIVED_DELAY;
}

/* ---- carriers ---- */

int link_attach(struct link *link, uint64_t epoch, uint64_t peer_first, uint64_t peer_received)
{
    uint64_t oldest = link->next - link->count;
    if (epoch <= link->epoch)
        return CULVERT_ERROR_REFUSED;
    if (peer_first == 0 || peer_first > link->received + 1)
        return CULVERT_ERROR_PROTOCOL;
    if (peer_received >= link->next || peer_received + 1 < oldest)
        return CULVERT_ERROR_PROTOCOL;
    forget(link, (uint32_t)(peer_received + 1 - oldest));
    link->unsent = link->count;
    link->epoch = epoch;
    link->expected = peer_first;
    link->probe = 0; /* a round trip over two carriers measures nothing */
    link->unreported_bytes = 0;
    link->reported = link->received; /* the handshake says it */
    return 0;
}

uint64_t link_first(const struct link *link)
{
    return link->next - link->unsent;
}
