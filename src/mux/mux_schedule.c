#include "mux/internal.h"

#include "base/error.h"

#include <assert.h>

enum {
    MAX_IDLE_SLOTS = 8, /* an idle stream does not keep a larger ring */
    MAX_LOOKS = 32,     /* at streams that were idle, for a small message among them */
};

static bool has_something(const struct mux_stream *stream)
{
    if (stream->out.count > 0)
        return stream->send.available > 0;
    return stream->fin_wanted && !stream->fin_sent;
}

/* Of the data message that the stream would send next; 0 if that is a fin. */
static size_t next_size(struct mux_stream *stream)
{
    const struct slice *first = slice_queue_first(&stream->out);
    if (first == NULL)
        return 0;
    size_t limit = stream->mux->largest_data;
    size_t size = first->size < limit ? first->size : limit;
    return size < stream->send.available ? size : (size_t)stream->send.available;
}

static void line_up(struct mux_stream *stream, bool is_fresh)
{
    struct mux *mux = stream->mux;
    list_remove(&stream->scheduled);
    list_append(is_fresh ? &mux->fresh : &mux->busy, &stream->scheduled);
}

void mux_schedule(struct mux_stream *stream, bool was_idle)
{
    if (!has_something(stream) || stream->is_dead || stream->mux->failure != 0)
        return;
    if (!list_node_is_linked(&stream->scheduled)) {
        stream->deficit = MUX_QUANTUM;
        line_up(stream, was_idle);
    } else if (stream->lingers && was_idle && next_size(stream) <= stream->deficit) {
        /* It paused before its quantum was used up, which is what an interactive stream does. */
        stream->lingers = false;
        line_up(stream, true);
    }
    mux_wake(stream->mux);
}

/* The stream is first in line and has nothing that it may send. As in fq_codel (RFC 8290 §4.2) it
 * goes behind the busy ones first: were it forgotten at once, a stream that fills and empties its
 * queue all the time would count as idle each time and starve them. */
static void pause(struct mux_stream *stream)
{
    struct mux *mux = stream->mux;
    list_remove(&stream->scheduled);
    stream->lingers = !stream->lingers && !list_is_empty(&mux->busy);
    if (stream->lingers)
        line_up(stream, false);
    else if (stream->out.count == 0 && stream->out.capacity > MAX_IDLE_SLOTS)
        slice_queue_deinit(&stream->out);
}

/* The next stream in deficit round-robin (Shreedhar and Varghese, 1995), or NULL. */
static struct mux_stream *choose(struct mux *mux)
{
    for (;;) {
        struct list_node *node = list_first(&mux->fresh);
        if (node == NULL)
            node = list_first(&mux->busy);
        if (node == NULL)
            return NULL;
        struct mux_stream *stream = CONTAINER_OF(node, struct mux_stream, scheduled);
        if (!has_something(stream)) {
            pause(stream);
            continue;
        }
        if (stream->lingers) {
            stream->lingers = false;
            stream->deficit = MUX_QUANTUM;
        }
        if (next_size(stream) <= stream->deficit)
            return stream;
        stream->deficit += MUX_QUANTUM;
        line_up(stream, false);
    }
}

/* A stream that was idle and whose next message is small data, or NULL. It need not be the first in
 * line. */
static struct mux_stream *choose_small(struct mux *mux)
{
    struct list_node *next, *node = list_first(&mux->fresh);
    for (unsigned looks = 0; node != NULL && looks < MAX_LOOKS; node = next, looks++) {
        struct mux_stream *stream = CONTAINER_OF(node, struct mux_stream, scheduled);
        size_t size = next_size(stream);
        next = list_next(&mux->fresh, node);
        if (!has_something(stream))
            pause(stream);
        else if (size > 0 && size <= MUX_SMALL_DATA && size <= stream->deficit)
            return stream;
    }
    return NULL;
}

bool mux_has_small(struct mux *mux)
{
    return choose_small(mux) != NULL;
}

/* Returns 1, 0 if there is none, or an error. */
static int pull_control(struct mux *mux, struct mux_output *output)
{
    int result = mux_pull_control(mux, &output->body);
    output->head_size = 0;
    output->mark = NULL;
    output->is_control = true;
    return result;
}

/* Encodes a message that always fits into the head. */
static void put_head(struct mux_output *output, const struct message *message)
{
    int size = message_encode(message, output->head, sizeof output->head);
    assert(size > 0);
    output->head_size = (size_t)size;
    output->body = SLICE_NULL;
    output->mark = NULL;
    output->is_control = true;
}

static bool pull_credit(struct mux *mux, struct mux_output *output, uint64_t now)
{
    struct list_node *node;
    while ((node = list_pop(&mux->credits)) != NULL) {
        struct mux_stream *stream = CONTAINER_OF(node, struct mux_stream, credited);
        size_t consumed = (size_t)stream->consumed;
        stream->consumed = 0;
        if (!credit_receiver_consumed(&stream->receive, consumed, now, mux->round_trip,
                                      mux->account))
            continue;
        struct message message = {
            .type = MESSAGE_CREDIT,
            .sid = stream->id,
            .credit = credit_receiver_take_due(&stream->receive),
        };
        put_head(output, &message);
        return true;
    }
    return false;
}

static void pull_fin(struct mux_stream *stream, struct mux_output *output)
{
    struct message message = {.type = MESSAGE_FIN, .sid = stream->id};
    put_head(output, &message);
    stream->fin_sent = true;
    list_remove(&stream->scheduled);
    slice_queue_deinit(&stream->out);
    if (stream->stream.events != NULL)
        stream->stream.events->finished(&stream->stream);
}

static bool pull_data(struct mux *mux, enum mux_may may, struct mux_output *output)
{
    struct mux_stream *stream = may == MUX_MAY_ALL ? choose(mux) : choose_small(mux);
    if (stream == NULL)
        return false;
    size_t size = next_size(stream);
    if (size == 0) {
        pull_fin(stream, output);
        return true;
    }
    size_t before = mux_stream_cost(stream);
    output->body = slice_queue_take(&stream->out, size);
    output->head_size = message_encode_data_header(stream->id, (uint32_t)size, output->head);
    output->mark = &stream->mark;
    output->is_control = false;
    mux->queued = mux->queued - before + mux_stream_cost(stream);
    credit_sender_spend(&stream->send, size);
    stream->deficit -= (uint32_t)size;
    if (stream->stream.events != NULL)
        stream->stream.events->written(&stream->stream, size);
    return true;
}

int mux_hold(struct mux *mux, uint64_t now)
{
    mux->asked = false;
    mux_report_news(mux, now);
    return mux->failure;
}

int mux_pull(struct mux *mux, enum mux_may may, struct mux_output *output, uint64_t now)
{
    int error = mux_hold(mux, now);
    if (error != 0)
        return error;
    int result = pull_control(mux, output);
    if (result != 0)
        return result;
    if (pull_credit(mux, output, now))
        return 1;
    return may != MUX_MAY_CONTROL && pull_data(mux, may, output) ? 1 : 0;
}
