#include "gateway/crossing.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/reason.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { REASON_SIZE = 96 };

struct crossing;
struct end;

/* What one end has to tell the other. */
struct news {
    struct slice_queue data;
    size_t consumed;
    bool accepted;
    bool fin;
    bool is_reset;
    int code;
    bool has_reason;
    char reason[REASON_SIZE];
};

struct parcel {
    struct loop_message message;
    struct end *to;
    struct news news;
    bool is_last; /* lies inside the crossing */
};

struct end {
    struct stream stream;
    struct crossing *crossing;
    struct loop *loop;
    struct loop_task task;
    struct news news;   /* gathered in this turn, for the other end */
    struct parcel last; /* what tells the other end of a reset when memory has run out */
    bool is_over;       /* reset or closed: tells its holder nothing more */
    bool is_closed;
};

struct crossing {
    struct end ends[2];
    _Atomic unsigned references; /* one for each open end, one for each message under way */
};

static void unref(struct crossing *crossing)
{
    if (atomic_fetch_sub(&crossing->references, 1) == 1)
        memory_free(crossing);
}

static struct end *other_end(struct end *end)
{
    struct crossing *crossing = end->crossing;
    return end == &crossing->ends[0] ? &crossing->ends[1] : &crossing->ends[0];
}

/* ---- arriving ---- */

static void deliver(struct end *end, struct news *news)
{
    struct stream *stream = &end->stream;
    if (news->accepted && !end->is_over)
        stream->events->opened(stream);
    if (news->data.bytes > 0 && !end->is_over)
        stream->events->data(stream, &news->data);
    if (news->consumed > 0 && !end->is_over)
        stream->events->written(stream, news->consumed);
    if (news->fin && !end->is_over)
        stream->events->fin(stream);
    if (news->is_reset && !end->is_over) {
        end->is_over = true;
        stream->events->reset(stream, news->code, news->has_reason ? news->reason : NULL);
    }
}

static void parcel_arrived(struct loop *loop, struct loop_message *message)
{
    struct parcel *parcel = CONTAINER_OF(message, struct parcel, message);
    struct crossing *crossing = parcel->to->crossing;
    (void)loop;
    /* An end without events was refused before it was joined. */
    if (parcel->to->stream.events != NULL)
        deliver(parcel->to, &parcel->news);
    slice_queue_deinit(&parcel->news.data);
    if (!parcel->is_last)
        memory_free(parcel);
    unref(crossing);
}

/* ---- leaving ---- */

static bool has_news(const struct news *news)
{
    return news->data.bytes > 0 || news->consumed > 0 || news->accepted || news->fin ||
           news->is_reset;
}

static void send_parcel(struct end *end, struct parcel *parcel)
{
    parcel->to = other_end(end);
    parcel->message.run = parcel_arrived;
    parcel->news = end->news;
    memset(&end->news, 0, sizeof(end->news));
    atomic_fetch_add(&end->crossing->references, 1);
    loop_post(parcel->to->loop, &parcel->message);
}

/* Out of memory: both ends are reset; the parcel for that is always there, and nothing is sent
 * after it. */
static void send_last(struct end *end)
{
    slice_queue_deinit(&end->news.data);
    memset(&end->news, 0, sizeof(end->news));
    end->news.is_reset = true;
    end->news.code = REASON_NO_MEMORY;
    end->last.is_last = true;
    send_parcel(end, &end->last);
    if (end->is_over)
        return;
    end->is_over = true;
    end->stream.events->reset(&end->stream, REASON_NO_MEMORY, NULL);
}

static void post(struct end *end)
{
    if (end->last.is_last)
        return;
    struct parcel *parcel = memory_allocate_zero(sizeof(*parcel));
    if (parcel == NULL) {
        send_last(end);
        return;
    }
    send_parcel(end, parcel);
}

static void turn_ends(struct loop_task *task)
{
    struct end *end = CONTAINER_OF(task, struct end, task);
    bool fin = end->news.fin;
    if (has_news(&end->news))
        post(end);
    if (fin && !end->is_over)
        end->stream.events->finished(&end->stream);
    if (end->is_closed && !list_node_is_linked(&end->task.node)) {
        slice_queue_deinit(&end->news.data);
        unref(end->crossing);
    }
}

static struct end *end_of(struct stream *stream)
{
    return CONTAINER_OF(stream, struct end, stream);
}

static void tell_later(struct end *end)
{
    loop_defer(end->loop, &end->task);
}

static void accept_stream(struct stream *stream)
{
    struct end *end = end_of(stream);
    end->news.accepted = true;
    tell_later(end);
}

static void write_data(struct stream *stream, struct slice_queue *data)
{
    struct end *end = end_of(stream);
    if (slice_queue_append(&end->news.data, data) != 0) {
        slice_queue_clear(data);
        end->news.is_reset = true;
        end->news.code = REASON_NO_MEMORY;
    }
    tell_later(end);
}

static void finish(struct stream *stream)
{
    struct end *end = end_of(stream);
    end->news.fin = true;
    tell_later(end);
}

static void reset(struct stream *stream, int code, const char *reason)
{
    struct end *end = end_of(stream);
    end->is_over = true;
    slice_queue_clear(&end->news.data);
    end->news.fin = false;
    end->news.is_reset = true;
    end->news.code = code;
    end->news.has_reason = reason != NULL;
    if (reason != NULL)
        snprintf(end->news.reason, sizeof(end->news.reason), "%s", reason);
    tell_later(end);
}

static void consumed(struct stream *stream, size_t bytes)
{
    struct end *end = end_of(stream);
    end->news.consumed += bytes;
    tell_later(end);
}

static void close_end(struct stream *stream)
{
    struct end *end = end_of(stream);
    end->is_over = true;
    end->is_closed = true;
    tell_later(end); /* the reference is dropped behind the last news */
}

static const struct stream_operations operations = {
    .accept = accept_stream,
    .write = write_data,
    .finish = finish,
    .reset = reset,
    .consumed = consumed,
    .close = close_end,
};

int crossing_new(struct loop *near_loop, struct loop *far_loop, struct stream **near,
                 struct stream **far)
{
    struct crossing *crossing = memory_allocate_zero(sizeof(*crossing));
    if (crossing == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    crossing->references = 2;
    struct loop *loops[] = {near_loop, far_loop};
    for (int i = 0; i < 2; i++) {
        struct end *end = &crossing->ends[i];
        end->stream.operations = &operations;
        end->crossing = crossing;
        end->loop = loops[i];
        end->task.run = turn_ends;
    }
    *near = &crossing->ends[0].stream;
    *far = &crossing->ends[1].stream;
    return 0;
}
