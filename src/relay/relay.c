#include "relay/relay.h"

#include "base/reason.h"

#include <stdio.h>

/* What is shown of a reason; the stream that gave it may be freed before it is told on. */
enum { REASON_TEXT_SIZE = 256 };

static struct relay_side *side_of(struct stream *stream)
{
    return stream->holder;
}

static struct relay_side *other_of(struct relay_side *side)
{
    struct relay *relay = side->relay;
    return side == &relay->side[0] ? &relay->side[1] : &relay->side[0];
}

static void close_both(struct relay *relay)
{
    for (int i = 0; i < 2; i++)
        relay->side[i].stream->operations->close(relay->side[i].stream);
}

static void open_if_answered(struct relay_side *side)
{
    struct relay *relay = side->relay;
    if (relay->is_open || side != &relay->side[1])
        return;
    relay->is_open = true;
    struct stream *asking = relay->side[0].stream;
    if (relay->owner->opened != NULL)
        relay->owner->opened(relay);
    asking->operations->accept(asking);
}

/* Whoever is the first to end, a direction or all, has ended the session. */
static void note_end(struct relay_side *side)
{
    struct relay *relay = side->relay;
    if (relay->ended_by == RELAY_OWNER)
        relay->ended_by = side == &relay->side[0] ? RELAY_ASKING : RELAY_ANSWERING;
}

static void end_if_complete(struct relay *relay)
{
    for (int i = 0; i < 2; i++) {
        if (!relay->side[i].fin || !relay->side[i].finished)
            return;
    }
    relay->is_over = true;
    close_both(relay);
    relay->owner->ended(relay, REASON_NONE, NULL);
}

/* `broken` is the side that has ended by itself, or NULL. */
static void end_early(struct relay *relay, const struct relay_side *broken, int code,
                      const char *reason)
{
    char copy[REASON_TEXT_SIZE];
    if (reason != NULL) {
        snprintf(copy, sizeof(copy), "%s", reason);
        reason = copy;
    }
    /* First of all, so that nothing that follows from the operations comes back in. */
    relay->is_over = true;
    for (int i = 0; i < 2; i++) {
        struct stream *stream = relay->side[i].stream;
        if (&relay->side[i] != broken)
            stream->operations->reset(stream, code, reason);
    }
    close_both(relay);
    relay->owner->ended(relay, code, reason);
}

static void on_opened(struct stream *stream)
{
    struct relay_side *side = side_of(stream);
    if (!side->relay->is_over)
        open_if_answered(side);
}

static void on_data(struct stream *stream, struct slice_queue *data)
{
    struct relay_side *side = side_of(stream);
    if (side->relay->is_over) {
        slice_queue_clear(data);
        return;
    }
    open_if_answered(side);
    side->received += data->bytes;
    struct stream *other = other_of(side)->stream;
    other->operations->write(other, data);
}

static void on_fin(struct stream *stream)
{
    struct relay_side *side = side_of(stream);
    struct relay *relay = side->relay;
    if (relay->is_over || side->fin)
        return;
    open_if_answered(side);
    side->fin = true;
    note_end(side);
    struct stream *other = other_of(side)->stream;
    other->operations->finish(other);
    if (!relay->is_over)
        end_if_complete(relay);
}

static void on_reset(struct stream *stream, int code, const char *reason)
{
    struct relay_side *side = side_of(stream);
    if (side->relay->is_over)
        return;
    note_end(side);
    end_early(side->relay, side, code, reason);
}

static void on_written(struct stream *stream, size_t bytes)
{
    struct relay_side *side = side_of(stream);
    if (side->relay->is_over)
        return;
    side->written += bytes;
    struct stream *other = other_of(side)->stream;
    other->operations->consumed(other, bytes);
}

static void on_finished(struct stream *stream)
{
    struct relay_side *side = side_of(stream);
    if (side->relay->is_over)
        return;
    side->finished = true;
    end_if_complete(side->relay);
}

static const struct stream_events relay_events = {
    .opened = on_opened,
    .data = on_data,
    .fin = on_fin,
    .reset = on_reset,
    .written = on_written,
    .finished = on_finished,
};

void relay_join(struct relay *relay, struct stream *asking, struct stream *answering,
                const struct relay_owner *owner)
{
    *relay = (struct relay){
        .side = {{.stream = asking, .relay = relay}, {.stream = answering, .relay = relay}},
        .owner = owner,
        .ended_by = RELAY_OWNER,
    };
    for (int i = 0; i < 2; i++) {
        relay->side[i].stream->events = &relay_events;
        relay->side[i].stream->holder = &relay->side[i];
    }
    for (int i = 0; i < 2; i++)
        relay->side[i].stream->operations->consumed(relay->side[i].stream, 0);
}

void relay_abort(struct relay *relay, int code, const char *reason)
{
    if (!relay->is_over)
        end_early(relay, NULL, code, reason);
}
