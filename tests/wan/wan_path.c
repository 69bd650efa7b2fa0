#include "wan_path.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_LIMIT = 1000 * 1000 };

static const double second = 1e9;

static void append(struct wan_train *train, struct wan_packet *packet)
{
    packet->next = NULL;
    if (train->first == NULL)
        train->first = packet;
    else
        train->last->next = packet;
    train->last = packet;
}

static struct wan_packet *take_first(struct wan_train *train)
{
    struct wan_packet *packet = train->first;
    train->first = packet->next;
    return packet;
}

static void drop_all(struct wan_train *train)
{
    while (train->first != NULL)
        free(take_first(train));
}

void wan_path_init(struct wan_path *path, uint64_t seed)
{
    *path = (struct wan_path){
        .limit = FIRST_LIMIT,
        /* An odd multiple of anything but 0 is not 0, where the generator would stay. */
        .random = (seed + 1) * UINT64_C(0x9E3779B97F4A7C15) | 1,
    };
}

void wan_path_clear(struct wan_path *path)
{
    drop_all(&path->queue);
    drop_all(&path->wire);
    path->waiting = 0;
}

/* Between 0 and 1: xorshift64*, of which the upper bits are good. */
static double next_random(struct wan_path *path)
{
    path->random ^= path->random >> 12;
    path->random ^= path->random << 25;
    path->random ^= path->random >> 27;
    return (double)((path->random * UINT64_C(0x2545F4914F6CDD1D)) >> 11) / (double)(1ULL << 53);
}

void wan_path_take(struct wan_path *path, const uint8_t *data, size_t size, uint64_t now)
{
    if (path->is_blackhole) {
        path->counts.swallowed++;
        return;
    }
    if (path->waiting + size > path->limit) {
        path->counts.overflowed++;
        return;
    }
    struct wan_packet *packet = malloc(sizeof *packet + size);
    if (packet == NULL)
        return;
    packet->time = now;
    packet->size = size;
    memcpy(packet->data, data, size);
    append(&path->queue, packet);
    path->waiting += size;
}

/* When the sender is done with the queue's first packet. What came while it was busy follows at
 * once, however late we look, so that a late look costs no rate. */
static uint64_t sent_first(const struct wan_path *path)
{
    const struct wan_packet *packet = path->queue.first;
    uint64_t start = packet->time > path->sent_last ? packet->time : path->sent_last;
    if (path->rate <= 0)
        return start;
    return start + (uint64_t)((double)packet->size * 8 * second / path->rate);
}

/* What the sender is done with is on the wire, or lost there. */
static void send(struct wan_path *path, uint64_t now)
{
    while (path->queue.first != NULL) {
        uint64_t sent = sent_first(path);
        if (sent > now)
            return;
        struct wan_packet *packet = take_first(&path->queue);
        path->waiting -= packet->size;
        path->sent_last = sent;
        if (path->loss > 0 && next_random(path) < path->loss) {
            path->counts.lost++;
            free(packet);
            continue;
        }
        packet->time = sent + path->delay;
        /* A delay that became shorter lets nobody overtake. */
        if (path->wire.first != NULL && path->wire.last->time > packet->time)
            packet->time = path->wire.last->time;
        append(&path->wire, packet);
    }
}

struct wan_packet *wan_path_give(struct wan_path *path, uint64_t now)
{
    send(path, now);
    while (path->wire.first != NULL && path->wire.first->time <= now) {
        struct wan_packet *packet = take_first(&path->wire);
        if (!path->is_blackhole) {
            path->counts.delivered++;
            return packet;
        }
        path->counts.swallowed++;
        free(packet);
    }
    return NULL;
}

uint64_t wan_path_next(struct wan_path *path, uint64_t now)
{
    send(path, now);
    uint64_t next = path->wire.first != NULL ? path->wire.first->time : UINT64_MAX;
    if (path->queue.first != NULL) {
        uint64_t there = sent_first(path) + path->delay;
        next = there < next ? there : next;
    }
    return next;
}
