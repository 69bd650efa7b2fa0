#include "doorway.h"

#include "base/error.h"

enum { PATIENCE = 10 * 1000 * 1000 };

static struct visitor *visitor_of(struct carrier *carrier)
{
    return carrier->holder;
}

static int take_handshake(struct inbound *inbound, const struct message *message,
                          struct slice_queue *payload, size_t size)
{
    struct visitor *visitor = CONTAINER_OF(inbound, struct visitor, inbound);
    struct trial *trial = visitor->line->trial;
    (void)payload;
    (void)size;
    TRIAL_CHECK(trial, message->type == MESSAGE_HANDSHAKE && !visitor->has_handshake);
    visitor->has_handshake = true;
    visitor->handshake = message->handshake;
    visitor->handshake.name = TEXT_NULL; /* the texts are borrowed */
    visitor->handshake.key = TEXT_NULL;
    visitor->decision_time = trial->now;
    if (trial_chance(trial, 50))
        visitor->decision_time += trial_below(trial, 150000);
    struct carrier *carrier = &visitor->line->ends[1].carrier;
    carrier->operations->read(carrier, false);
    return 0;
}

static void on_data(struct carrier *carrier, struct slice piece)
{
    struct visitor *visitor = visitor_of(carrier);
    TRIAL_CHECK(visitor->line->trial, inbound_take(&visitor->inbound, piece) == 0);
}

static void ignore(struct carrier *carrier)
{
    (void)carrier;
}

static void on_lost(struct carrier *carrier, int error, const char *why)
{
    (void)error;
    (void)why;
    visitor_of(carrier)->is_lost = true;
}

static const struct carrier_events events = {
    .data = on_data,
    .message_end = ignore,
    .read_end = ignore,
    .ready = ignore,
    .lost = on_lost,
};

void visitor_begin(struct visitor *visitor, struct line *line)
{
    *visitor = (struct visitor){.line = line, .decision_time = line->trial->now + PATIENCE};
    inbound_init(&visitor->inbound, line->ends[1].pool, take_handshake);
    struct carrier *carrier = &line->ends[1].carrier;
    carrier->events = &events;
    carrier->holder = visitor;
    carrier->operations->read(carrier, true);
}

bool visitor_is_due(const struct visitor *visitor)
{
    return visitor->line != NULL &&
           (visitor->is_lost || visitor->decision_time <= visitor->line->trial->now);
}

struct line *visitor_leave(struct visitor *visitor)
{
    struct line *line = visitor->line;
    visitor->line = NULL;
    inbound_deinit(&visitor->inbound);
    if (visitor->has_handshake && !visitor->is_lost)
        return line;
    carrier_close(&line->ends[1].carrier, CULVERT_ERROR_CLOSED, "lost");
    return NULL;
}
