#include "mux/internal.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/reason.h"

#include <assert.h>
#include <string.h>

int mux_init(struct mux *mux, const struct mux_owner *owner, void *holder, bool dials,
             uint64_t seed, struct chunk_pool *pool, struct account *account)
{
    *mux = (struct mux){
        .largest_data = MESSAGE_MAX_DATA,
        .owner = owner,
        .holder = holder,
        .pool = pool,
        .account = account,
        .control = SLICE_QUEUE_NULL,
        .next_id = dials ? 1 : 2,
        .patience = (uint64_t)MUX_RESET_PATIENCE * 1000000,
    };
    map_init(&mux->streams, seed);
    list_init(&mux->fresh);
    list_init(&mux->busy);
    list_init(&mux->credits);
    list_init(&mux->notices);
    list_init(&mux->news);
    list_init(&mux->resetting);
    list_init(&mux->ended);
    list_init(&mux->dead);
    slice_arena_init(&mux->arena, pool);
    return 0;
}

/* Those that have a last message to be sent come back when it is. */
static void free_all(struct list *list)
{
    struct list_node *node;
    while ((node = list_pop(list)) != NULL) {
        struct mux_stream *stream = CONTAINER_OF(node, struct mux_stream, scheduled);
        if (!list_node_is_linked(&stream->notice))
            memory_free(stream);
    }
}

/* Leaves the streams to their holders, whose close frees them. */
static void release_all(struct list *list)
{
    struct list_node *node;
    while ((node = list_pop(list)) != NULL)
        CONTAINER_OF(node, struct mux_stream, scheduled)->mux = NULL;
}

void mux_abort(struct mux *mux, int code, const char *reason, uint64_t now)
{
    if (mux->failure == 0)
        mux->failure = CULVERT_ERROR_CLOSED;
    mux->asked = true;
    mux_forget_control(mux);

    /* Handlers may end other streams, which takes them off the map and off this list. */
    struct list doomed;
    list_init(&doomed);
    size_t cursor = 0;
    struct mux_stream *stream;
    while ((stream = map_next(&mux->streams, &cursor)) != NULL) {
        if (stream->is_resetting && !reason_is_immediate(code))
            continue;
        list_remove(&stream->scheduled);
        list_append(&doomed, &stream->scheduled);
    }
    while (!list_is_empty(&doomed)) {
        stream = CONTAINER_OF(list_first(&doomed), struct mux_stream, scheduled);
        /* Both directions have ended: what was delivered may still be on its way to the far side
         * of the relay, and the link's end does not concern it. */
        if (stream->fin_sent && stream->fin_received)
            mux_stream_detach(stream, &mux->ended);
        else
            mux_stream_take_reset(stream, code, reason, now);
    }
    mux_report_news(mux, now);
    mux->asked = false;
}

bool mux_is_empty(const struct mux *mux)
{
    return mux->streams.count == 0;
}

void mux_deinit(struct mux *mux)
{
    assert(mux->streams.count == 0 && list_is_empty(&mux->notices));
    slice_queue_deinit(&mux->control);
    slice_arena_deinit(&mux->arena);
    release_all(&mux->news);
    release_all(&mux->ended);
    free_all(&mux->dead);
    map_deinit(&mux->streams);
}

void mux_set_peer_window(struct mux *mux, uint32_t window)
{
    mux->peer_window = window;
}

void mux_set_round_trip(struct mux *mux, uint64_t microseconds)
{
    mux->round_trip = microseconds;
}

void mux_set_patience(struct mux *mux, uint64_t microseconds)
{
    uint64_t least = (uint64_t)MUX_RESET_PATIENCE * 1000000;
    mux->patience = microseconds > least ? microseconds : least;
}

void mux_limit_data(struct mux *mux, size_t bytes)
{
    if (bytes < MUX_SMALLEST_DATA)
        bytes = MUX_SMALLEST_DATA;
    mux->largest_data = bytes < MESSAGE_MAX_DATA ? bytes : MESSAGE_MAX_DATA;
}

static bool settle(struct parking *parking, struct chunk_pool *pool)
{
    struct mux_stream *stream = CONTAINER_OF(parking, struct mux_stream, parking);
    size_t before = mux_stream_cost(stream);
    bool is_unsettled = slice_queue_settle(&stream->out, pool);
    stream->mux->queued = stream->mux->queued - before + mux_stream_cost(stream);
    return is_unsettled;
}

struct mux_stream *mux_stream_create(struct mux *mux, uint64_t id, bool is_ours, uint64_t now)
{
    struct mux_stream *stream = memory_allocate(sizeof *stream);
    if (stream == NULL)
        return NULL;
    *stream = (struct mux_stream){
        .stream = {.operations = &mux_stream_operations},
        .mux = mux,
        .id = id,
        .out = SLICE_QUEUE_NULL,
        .parking = {.settle = settle},
        .is_ours = is_ours,
    };
    credit_receiver_init(&stream->receive, MUX_WINDOW, now);
    credit_sender_init(&stream->send, mux->peer_window,
                       is_ours ? MUX_EARLY_WINDOW : mux->peer_window);
    if (!is_ours)
        credit_sender_accepted(&stream->send);
    if (map_insert(&mux->streams, id, stream) != 0) {
        memory_free(stream);
        return NULL;
    }
    account_charge(mux->account, MUX_RECORD_COST);
    if (!is_ours)
        mux->peer_streams++;
    return stream;
}

void mux_stream_release_place(struct mux_stream *stream)
{
    if (!stream->is_ours)
        stream->mux->peer_streams--;
}

void mux_stream_detach(struct mux_stream *stream, struct list *list)
{
    struct mux *mux = stream->mux;
    assert(!stream->is_dead);
    stream->is_dead = true;
    map_remove(&mux->streams, stream->id);
    account_release(mux->account, MUX_RECORD_COST);
    if (!list_node_is_linked(&stream->notice))
        mux_stream_release_place(stream);
    list_remove(&stream->credited);
    list_remove(&stream->scheduled);
    list_append(list, &stream->scheduled);
    mux_stream_forget_early(stream);
    mux->queued -= mux_stream_cost(stream);
    parking_leave(&stream->parking);
    slice_queue_deinit(&stream->out);
    if (!stream->end_due) {
        memory_free(stream->reset_reason);
        stream->reset_reason = NULL;
    }
    credit_receiver_deinit(&stream->receive, mux->account);
}

void mux_stream_end(struct mux_stream *stream, int code, const char *reason)
{
    mux_stream_detach(stream, &stream->mux->ended);
    if (stream->stream.events != NULL)
        stream->stream.events->reset(&stream->stream, code, reason);
}

void mux_stream_fail(struct mux_stream *stream, int code, const char *reason)
{
    if (!stream->is_resetting)
        mux_announce_reset(stream, code, reason);
    mux_stream_end(stream, code, reason);
}

int mux_open(struct mux *mux, const struct message_open *open, struct mux_stream **stream)
{
    if (mux->failure != 0)
        return mux->failure;
    /* A burst of our own opens waits for the carrier; it must not cut the link. */
    if (mux->unopened > MUX_MAX_CONTROL / 2)
        return CULVERT_ERROR_LIMIT;

    struct mux_stream *made = mux_stream_create(mux, mux->next_id, true, 0);
    if (made == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    int error = mux_announce_open(made, open);
    if (error != 0) {
        mux_stream_detach(made, &mux->dead);
        return error;
    }
    mux->next_id += 2;
    *stream = made;
    return 0;
}

void mux_turn_ends(struct mux *mux)
{
    free_all(&mux->dead);
    slice_arena_rest(&mux->arena);
}

struct mux_stream *mux_largest(struct mux *mux, size_t *bytes)
{
    struct mux_stream *largest = NULL;
    struct mux_stream *stream;
    size_t cursor = 0;
    *bytes = 0;
    while ((stream = map_next(&mux->streams, &cursor)) != NULL) {
        size_t held = MUX_RECORD_COST + stream->out.bytes + (size_t)mux_stream_outstanding(stream);
        if (held > *bytes) {
            *bytes = held;
            largest = stream;
        }
    }
    return largest;
}
