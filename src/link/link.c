#include "link/link.h"

#include "base/error.h"
#include "base/memory.h"

#include <assert.h>
#include <string.h>

enum { FIRST_CAPACITY = 16 };

static bool settle(struct parking *parking, struct chunk_pool *pool);

void link_init(struct link *link, struct chunk_pool *pool, struct account *account)
{
    *link = (struct link){
        .account = account,
        .next = 1,
        .bound = LINK_MIN_KEPT,
        .smallest_trip = UINT64_MAX,
        .expected = 1,
        .parking = {.settle = settle},
    };
    slice_arena_init(&link->arena, pool);
}

static struct link_entry *slot_at(const struct link *link, uint32_t index)
{
    return &link->ring[(link->start + index) & (link->capacity - 1)];
}

/* Whether the bodies from `index` to `end` that share a chunk use little of it; `count` is how many
 * they are. */
static bool is_waste(const struct link *link, uint32_t index, uint32_t end, uint32_t *count)
{
    const struct chunk *chunk = slot_at(link, index)->body.chunk;
    size_t bytes = 0;
    for (*count = 0; index + *count < end; (*count)++) {
        const struct slice *body = &slot_at(link, index + *count)->body;
        if (body->chunk != chunk && body->size > 0)
            break;
        bytes += body->size;
    }
    return chunk != NULL && bytes < chunk->size - chunk->size / 4;
}

/* Bodies that wait long for their acknowledgement shall not pin the chunks that they were read
 * into. */
static bool settle(struct parking *parking, struct chunk_pool *pool)
{
    struct link *link = CONTAINER_OF(parking, struct link, parking);
    int error = 0;
    while (error == 0 && link->settled < link->marked) {
        uint32_t count = 0;
        bool waste = is_waste(link, link->settled, link->marked, &count);
        for (uint32_t i = 0; waste && error == 0 && i < count; i++)
            error = slice_settle(&slot_at(link, link->settled + i)->body, pool);
        if (error == 0)
            link->settled += count;
    }
    link->marked = link->count;
    return link->settled < link->count;
}

/* Drops the oldest entries. */
static void release(struct link *link, uint32_t count)
{
    size_t freed = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct link_entry *entry = slot_at(link, i);
        freed += entry->head.size + entry->body.size + LINK_MESSAGE_COST;
        slice_drop(&entry->head);
        slice_drop(&entry->body);
    }
    if (count > 0)
        link->start = (link->start + count) & (link->capacity - 1);
    link->count -= count;
    link->settled -= link->settled < count ? link->settled : count;
    link->marked -= link->marked < count ? link->marked : count;
    link->kept -= freed;
    if (link->count == 0)
        slice_arena_rest(&link->arena);
}

void link_deinit(struct link *link)
{
    release(link, link->count);
    parking_leave(&link->parking);
    link->unsent = 0;
    slice_arena_deinit(&link->arena);
    memory_free(link->ring);
    link->ring = NULL;
    link->capacity = 0;
}

bool link_has_room(const struct link *link)
{
    return link->kept + LINK_MAX_DATA_COST <= link->bound;
}

/* A control message of any size goes in without passing the limit; a small one of data as well. */
static bool has_room_up_to(const struct link *link, size_t limit)
{
    return link->kept + MESSAGE_MAX_CONTROL + LINK_MESSAGE_COST <= limit;
}

bool link_has_control_room(const struct link *link)
{
    return has_room_up_to(link, link->bound + LINK_CONTROL_RESERVE);
}

bool link_has_small_room(const struct link *link)
{
    return has_room_up_to(link, link->bound + LINK_CONTROL_RESERVE / 2);
}

static int grow_ring(struct link *link)
{
    uint32_t capacity = link->capacity == 0 ? FIRST_CAPACITY : 2 * link->capacity;
    struct link_entry *ring = memory_allocate(capacity * sizeof(*ring));
    if (ring == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    for (uint32_t i = 0; i < link->count; i++)
        ring[i] = *slot_at(link, i);
    memory_free(link->ring);
    link->ring = ring;
    link->capacity = capacity;
    link->start = 0;
    return 0;
}

/* A small body goes behind the head, so that one slice is the whole message and no chunk is pinned
 * for it. Takes the body, unless it fails. */
static int fill_entry(struct link *link, struct link_entry *entry, const uint8_t *head,
                      size_t head_size, struct slice body)
{
    bool is_copied = body.size < LINK_COPY_LIMIT;
    size_t size = head_size + (is_copied ? body.size : 0);
    *entry = (struct link_entry){SLICE_NULL, SLICE_NULL};
    if (size == 0) {
        entry->head = body;
        return 0;
    }
    uint8_t *room = slice_arena_reserve(&link->arena, size);
    if (room == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    if (head_size > 0)
        memcpy(room, head, head_size);
    if (is_copied && body.size > 0)
        memcpy(room + head_size, body.data, body.size);
    entry->head = slice_arena_commit(&link->arena, size);
    if (is_copied)
        slice_drop(&body);
    else
        entry->body = body;
    return 0;
}

int link_append(struct link *link, const uint8_t *head, size_t head_size, struct slice body,
                bool is_urgent, uint64_t now)
{
    assert(head_size <= LINK_HEAD_SIZE && head_size + body.size > 0);
    size_t cost = head_size + body.size + LINK_MESSAGE_COST;
    int result = CULVERT_ERROR_LIMIT;
    if (link->kept + cost > link->bound + (is_urgent ? LINK_CONTROL_RESERVE : 0))
        goto out;
    result = link->count < link->capacity ? 0 : grow_ring(link);
    if (result == 0)
        result = fill_entry(link, slot_at(link, link->count), head, head_size, body);
    if (result != 0)
        goto out;
    if (link->probe == 0) {
        link->probe = link->next;
        link->probe_time = now;
    }
    if (link->count == 0)
        link->quiet_since = now;
    link->count++;
    link->unsent++;
    link->next++;
    link->kept += cost;
    if (slot_at(link, link->count - 1)->body.size > 0)
        parking_enter(&link->parking, link->arena.pool);
    if (!link_has_room(link))
        link->was_full = true;
    return 0;
out:
    slice_drop(&body);
    return result;
}

const struct link_entry *link_unsent(const struct link *link, uint32_t index)
{
    return index < link->unsent ? slot_at(link, link->count - link->unsent + index) : NULL;
}

void link_sent(struct link *link, uint32_t count)
{
    assert(count <= link->unsent);
    link->unsent -= count;
}

/*
 * One message at a time is a probe: the time until it is acknowledged is a round trip of data. If
 * the bound was hit within that time, then the sender's rate times the round trip is more than the
 * bound, and it is doubled. But a round trip that is long only because what we sent waits in queues
 * on the way, or for a slow peer, is no reason: with more under way it would only become longer. So
 * it must be at most four times the least that was seen on this carrier, which lets the bound end
 * at a few times of what the empty path needs; or so short that nobody notices, because on a fast
 * path the least is the best case of two processes that run at the same moment.
 *
 * Without memory to spare nothing grows, and what has grown goes back as it is acknowledged: never
 * below what is kept now, or control would find its reserve gone.
 */
static void take_probe(struct link *link, uint64_t now)
{
    uint64_t round_trip = now - link->probe_time;
    bool was_full = link->was_full;
    link->probe = 0;
    link->was_full = false;
    if (round_trip < link->smallest_trip)
        link->smallest_trip = round_trip;
    if (account_level(link->account) != ACCOUNT_EASY) {
        size_t least = link->kept > LINK_MIN_KEPT ? link->kept : LINK_MIN_KEPT;
        size_t half = link->bound / 2 > least ? link->bound / 2 : least;
        if (half < link->bound)
            link->bound = half;
        return;
    }
    bool is_quick = round_trip <= LINK_QUICK_TRIP || round_trip / 4 <= link->smallest_trip;
    if (was_full && is_quick)
        link->bound = link->bound < LINK_MAX_KEPT / 2 ? 2 * link->bound : LINK_MAX_KEPT;
}

/* How many of the entries kept `count` acknowledges; -1 if it cannot be. */
static int64_t count_acknowledged(const struct link *link, uint64_t count)
{
    uint64_t before = link->next - 1 - link->count;
    uint64_t sent = link->next - 1 - link->unsent;
    return count < before || count > sent ? -1 : (int64_t)(count - before);
}

int link_acknowledged(struct link *link, uint64_t count, uint64_t now)
{
    int64_t entries = count_acknowledged(link, count);
    if (entries < 0)
        return CULVERT_ERROR_PROTOCOL;
    release(link, (uint32_t)entries);
    if (entries > 0)
        link->quiet_since = now;
    if (link->probe != 0 && link->probe <= count)
        take_probe(link, now);
    return 0;
}

/* ---- what comes early ---- */

static uint64_t *early_word(struct link *link, uint64_t number)
{
    return &link->early[number % LINK_EARLY_WINDOW / 64];
}

static uint64_t early_bit(uint64_t number)
{
    return UINT64_C(1) << (number % 64);
}

/* Whether it has been acted on. */
static bool is_taken(struct link *link, uint64_t number)
{
    if (number <= link->received)
        return true;
    return number - link->received <= LINK_EARLY_WINDOW &&
           (*early_word(link, number) & early_bit(number)) != 0;
}

int link_take_early(struct link *link, uint64_t number, uint64_t before)
{
    if (number == 0 || before >= number)
        return CULVERT_ERROR_PROTOCOL;
    if (is_taken(link, number) || number - link->received > LINK_EARLY_WINDOW ||
        !is_taken(link, before))
        return 0;
    *early_word(link, number) |= early_bit(number);
    return 1;
}

/* All numbers above `received` up to `last` come in their places: returns whether the last had come
 * early. */
static bool forget_early(struct link *link, uint64_t last)
{
    bool was_early = is_taken(link, last);
    uint64_t number = link->received + 1;
    for (; number <= last && number - link->received <= LINK_EARLY_WINDOW; number++)
        *early_word(link, number) &= ~early_bit(number);
    return was_early;
}

/* ---- what comes in its place ---- */

/* Counts the messages from link->expected to `last`. */
static int take_up_to(struct link *link, uint64_t last, size_t bytes, uint64_t now)
{
    if (link->expected > link->received + 1)
        return CULVERT_ERROR_PROTOCOL;
    link->expected = last + 1;
    if (last <= link->received)
        return 0;
    if (link->received == link->reported)
        link->unreported_since = now;
    bool was_early = forget_early(link, last);
    link->received = last;
    link->unreported_bytes += bytes + LINK_MESSAGE_COST;
    return was_early ? 0 : 1;
}

int link_take(struct link *link, size_t bytes, uint64_t now)
{
    return take_up_to(link, link->expected, bytes, now);
}

int link_take_skip(struct link *link, uint64_t messages, uint64_t now)
{
    if (messages == 0 || messages >= UINT64_MAX - link->expected)
        return CULVERT_ERROR_PROTOCOL;
    return take_up_to(link, link->expected + messages - 1, 0, now);
}

bool link_report_is_due(const struct link *link, uint64_t now)
{
    return link->received != link->reported &&
           (link->unreported_bytes >= LINK_RECEIVED_BYTES || now >= link_timeout(link));
}

void link_reported(struct link *link)
{
    link->reported = link->received;
    link->unreported_bytes = 0;
}

uint64_t link_timeout(const struct link *link)
{
    if (link->received == link->reported)
        return UINT64_MAX;
    return link->unreported_since + LINK_RECEIVED_DELAY;
}

int link_attach(struct link *link, uint64_t epoch, uint64_t peer_first, uint64_t peer_received)
{
    if (epoch <= link->epoch)
        return CULVERT_ERROR_REFUSED;
    int64_t entries = count_acknowledged(link, peer_received);
    if (entries < 0 || peer_first == 0 || peer_first > link->received + 1)
        return CULVERT_ERROR_PROTOCOL;
    release(link, (uint32_t)entries);
    link->unsent = link->count;
    link->epoch = epoch;
    link->expected = peer_first;
    /* A round trip over the gap between two carriers says nothing, and the paths may differ. */
    link->probe = 0;
    link->was_full = false;
    link->smallest_trip = UINT64_MAX;
    link_reported(link);
    return 0;
}

uint64_t link_first(const struct link *link)
{
    return link->next - link->count;
}
