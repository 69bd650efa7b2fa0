#include "line.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

/* Part of a batch. */
struct piece {
    struct list_node node;
    uint64_t arrives;
    bool is_last; /* of its batch */
    size_t size;
    uint8_t bytes[];
};

static struct line_end *peer_of(const struct line_end *end)
{
    struct line *line = end->line;
    return &line->ends[end == &line->ends[0]];
}

static void drop_pieces(struct line_end *end)
{
    struct list_node *node;
    while ((node = list_pop(&end->pieces)) != NULL)
        free(CONTAINER_OF(node, struct piece, node));
}

static uint64_t line_time(const struct line *line, size_t bytes)
{
    return bytes * UINT64_C(1000000000) / line->rate;
}

/* When the end takes more. */
static uint64_t ready_time(const struct line_end *end)
{
    const struct line *line = end->line;
    uint64_t now = line->trial->now;
    if (end->stuck > LINE_NOT_SENT)
        return TRIAL_NEVER;
    uint64_t buffered = line_time(line, LINE_NOT_SENT);
    return end->free_at < now * 1000 + buffered ? now : (end->free_at - buffered) / 1000 + 1;
}

static bool is_ready(const struct carrier *carrier)
{
    const struct line_end *end = CONTAINER_OF(carrier, const struct line_end, carrier);
    return ready_time(end) <= end->line->trial->now;
}

static void put_piece(struct line_end *from, const uint8_t *bytes, size_t size, bool is_last)
{
    struct line *line = from->line;
    struct line_end *to = peer_of(from);
    uint64_t now = line->trial->now * 1000;
    from->free_at = (from->free_at > now ? from->free_at : now) + line_time(line, size);
    struct piece *piece = malloc(sizeof *piece + size);
    TRIAL_CHECK(line->trial, piece != NULL);
    piece->node = (struct list_node){NULL, NULL};
    piece->arrives = (from->free_at + 999) / 1000 + line->delay;
    piece->is_last = is_last;
    piece->size = size;
    memcpy(piece->bytes, bytes, size);
    list_append(&to->pieces, &piece->node);
}

static void send_batch(struct carrier *carrier, struct slice_queue *batch)
{
    struct line_end *end = line_end_of(carrier);
    struct trial *trial = end->line->trial;
    TRIAL_CHECK(trial, !end->is_closed && is_ready(carrier) && batch->bytes > 0);
    size_t size = batch->bytes, filled = 0;
    uint8_t *bytes = malloc(size);
    TRIAL_CHECK(trial, bytes != NULL);
    while (batch->count > 0) {
        struct slice slice = slice_queue_take(batch, SIZE_MAX);
        memcpy(bytes + filled, slice.data, slice.size);
        filled += slice.size;
        slice_drop(&slice);
    }
    if (peer_of(end)->is_deaf || peer_of(end)->is_closed) {
        end->stuck += size;
    } else {
        size_t most = trial_chance(trial, 50) ? size : 1 + (size_t)trial_below(trial, size);
        for (size_t at = 0, part; at < size; at += part) {
            part = size - at < most ? size - at : most;
            put_piece(end, bytes + at, part, at + part == size);
        }
    }
    free(bytes);
    if (!is_ready(carrier))
        end->is_full = true;
}

static void flush_sent(struct carrier *carrier)
{
    (void)carrier;
}

static size_t batch_limit(const struct carrier *carrier)
{
    return CONTAINER_OF(carrier, const struct line_end, carrier)->line->batch;
}

static bool is_long(const struct carrier *carrier, uint64_t round_trip)
{
    (void)carrier;
    (void)round_trip;
    return true;
}

static void ping(struct carrier *carrier)
{
    (void)carrier;
}

static void turn_reading(struct carrier *carrier, bool on)
{
    line_end_of(carrier)->is_reading = on;
}

static struct carrier_cargo *depart(struct carrier *carrier)
{
    (void)carrier;
    return NULL;
}

/* The other end gets all that was sent before it learns of the close, or, after a reset, less. */
static void close_end(struct carrier *carrier, int error, const char *reason)
{
    struct line_end *end = line_end_of(carrier), *peer = peer_of(end);
    struct line *line = end->line;
    (void)error;
    (void)reason;
    TRIAL_CHECK(line->trial, !end->is_closed);
    end->is_closed = true;
    drop_pieces(end);
    if (end->reading != NULL)
        chunk_unref(end->reading);
    end->reading = NULL;
    if (peer->is_deaf || peer->is_closed)
        return;
    uint64_t last = end->free_at / 1000 + 1;
    if (last < line->trial->now || trial_chance(line->trial, 20))
        last = line->trial->now;
    if (last < peer->held_till)
        last = peer->held_till;
    trial_earlier(&peer->lost_time, last + line->delay);
}

static const struct carrier_operations operations = {
    .send = send_batch,
    .flush = flush_sent,
    .is_ready = is_ready,
    .batch_limit = batch_limit,
    .is_long = is_long,
    .ping = ping,
    .read = turn_reading,
    .depart = depart,
    .close = close_end,
};

struct line *line_new(struct trial *trial, struct chunk_pool *const pools[2])
{
    static const uint64_t rates[] = {250000, 2500000, 12500000, 125000000};
    static const uint64_t delays[] = {50, 1000, 20000, 100000};
    struct line *line = calloc(1, sizeof *line);
    if (line == NULL)
        return NULL;
    line->trial = trial;
    line->rate = rates[trial_below(trial, 4)];
    line->delay = delays[trial_below(trial, 4)];
    line->batch = (size_t)32 * 1024 << trial_below(trial, 5);
    for (size_t i = 0; i < sizeof line->nonce; i++)
        line->nonce[i] = (uint8_t)trial_random(trial);
    for (int i = 0; i < 2; i++) {
        struct line_end *end = &line->ends[i];
        end->carrier.operations = &operations;
        end->line = line;
        end->pool = pools[i];
        end->lost_time = TRIAL_NEVER;
        list_init(&end->pieces);
    }
    return line;
}

void line_free(struct line *line)
{
    free(line);
}

void line_silence(struct line *line, int end)
{
    struct line_end *to = &line->ends[end], *from = &line->ends[1 - end];
    to->is_deaf = true;
    to->lost_time = TRIAL_NEVER;
    drop_pieces(to);
    from->stuck = 0;
}

void line_break(struct line *line)
{
    struct trial *trial = line->trial;
    for (int i = 0; i < 2; i++) {
        struct line_end *end = &line->ends[i];
        uint64_t soon = trial->now + trial_below(trial, 3 * line->delay + 2000);
        if (!end->is_closed && !end->is_deaf)
            trial_earlier(&end->lost_time, trial_chance(trial, 50) ? trial->now : soon);
    }
}

void line_hold_up(struct line *line, uint64_t duration)
{
    for (int i = 0; i < 2; i++)
        line->ends[i].held_till = line->trial->now + duration;
}

static uint64_t arrival(const struct line_end *end)
{
    struct list_node *node = list_first(&end->pieces);
    if (node == NULL || !end->is_reading || end->is_closed)
        return TRIAL_NEVER;
    uint64_t arrives = CONTAINER_OF(node, struct piece, node)->arrives;
    return arrives > end->held_till ? arrives : end->held_till;
}

static uint64_t end_next(const struct line_end *end)
{
    if (end->is_closed)
        return TRIAL_NEVER;
    uint64_t next = arrival(end);
    trial_earlier(&next, end->lost_time);
    if (end->is_full)
        trial_earlier(&next, ready_time(end));
    return next;
}

uint64_t line_next(const struct line *line)
{
    uint64_t next = end_next(&line->ends[0]);
    trial_earlier(&next, end_next(&line->ends[1]));
    return next;
}

bool line_is_quiet(const struct line *line)
{
    return list_is_empty(&line->ends[0].pieces) && list_is_empty(&line->ends[1].pieces);
}

/* Many pieces lie one behind another in a large chunk, as a socket is read. */
static void read_piece(struct line_end *end, const struct piece *piece)
{
    struct trial *trial = end->line->trial;
    size_t done = 0;
    while (done < piece->size && !end->is_closed && end->is_reading) {
        if (end->reading == NULL || end->read == end->reading->size) {
            if (end->reading != NULL)
                chunk_unref(end->reading);
            end->read = 0;
            end->reading = chunk_pool_get(end->pool, CHUNK_LARGE);
            TRIAL_CHECK(trial, end->reading != NULL);
        }
        size_t room = end->reading->size - end->read;
        size_t part = piece->size - done < room ? piece->size - done : room;
        uint8_t *place = end->reading->data + end->read;
        memcpy(place, piece->bytes + done, part);
        chunk_ref(end->reading);
        end->read += part;
        done += part;
        end->carrier.events->data(&end->carrier, (struct slice){end->reading, place, part});
    }
    if (piece->is_last && !end->is_closed && end->is_reading)
        end->carrier.events->message_end(&end->carrier);
}

static void run_end(struct line_end *end)
{
    uint64_t now = end->line->trial->now;
    bool has_read = false;
    while (arrival(end) <= now && end->lost_time > now) {
        struct list_node *node = list_pop(&end->pieces);
        struct piece *piece = CONTAINER_OF(node, struct piece, node);
        has_read = true;
        read_piece(end, piece);
        free(piece);
    }
    if (has_read && !end->is_closed)
        end->carrier.events->read_end(&end->carrier);
    if (!end->is_closed && end->lost_time <= now) {
        end->lost_time = TRIAL_NEVER;
        end->is_deaf = true;
        drop_pieces(end);
        end->carrier.events->lost(&end->carrier, CULVERT_ERROR_CLOSED, "the line broke");
    }
    if (!end->is_closed && end->is_full && ready_time(end) <= now) {
        end->is_full = false;
        end->carrier.events->ready(&end->carrier);
    }
}

void line_run(struct line *line)
{
    run_end(&line->ends[0]);
    run_end(&line->ends[1]);
}
