/*
 * A hostile peer against a mux whose holders send back what they get. The input is a list of
 * messages, each behind a byte with its length, and instructions in between. Whatever comes, the
 * counts add up, what is sent can be decoded, and nothing is left at the end.
 */
#include "base/error.h"
#include "base/reason.h"
#include "mux/hubble_mux_internal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Lengths from here on are instructions. */
enum { FIRST_INSTRUCTION = 0xe0, MAX_PAYLOAD = FIRST_INSTRUCTION };

struct fuzz {
    const uint8_t *data;
    size_t size;
    struct account account;
    struct chunk_pool pool;
    struct hubble_mux mux;
    uint64_t now;
    uint8_t habit; /* what holders do within their events */
    bool is_stopped;
};

/* What a holder knows of its stream is kept in the pointer to it. */
enum { SAW_FIN = 1, SAW_FINISHED = 2 };

static void require(bool condition)
{
    if (!condition)
        abort();
}

static struct fuzz *fuzz_of(struct stream *stream)
{
    return hubble_stream_from(stream)->mux->holder;
}

static uint8_t next_byte(struct fuzz *fuzz)
{
    if (fuzz->size == 0)
        return 0;
    fuzz->size--;
    return *fuzz->data++;
}

/* ---- holders ---- */

static void see(struct stream *stream, uintptr_t what)
{
    uintptr_t seen = (uintptr_t)stream->holder;
    require((seen & what) == 0);
    seen |= what;
    stream->holder = (void *)seen;
    if (seen == (SAW_FIN | SAW_FINISHED))
        stream->operations->close(stream);
}

static void end(struct stream *stream, int code)
{
    stream->operations->reset(stream, code, "because");
    stream->operations->close(stream);
}

static void on_opened(struct stream *stream)
{
    if ((fuzz_of(stream)->habit & 7) == 1)
        end(stream, REASON_RESET);
}

static void on_data(struct stream *stream, struct slice_queue *data)
{
    size_t bytes = data->bytes;
    uint8_t habit = fuzz_of(stream)->habit & 7;
    require(((uintptr_t)stream->holder & SAW_FIN) == 0);
    if (habit == 2) {
        slice_queue_clear(data);
        stream->operations->consumed(stream, bytes);
        return;
    }
    stream->operations->write(stream, data);
    slice_queue_clear(data);
    if (habit == 3)
        stream->operations->finish(stream);
    else if (habit == 4)
        end(stream, REASON_CLOSED);
}

static void on_fin(struct stream *stream)
{
    if ((fuzz_of(stream)->habit & 7) == 5)
        stream->operations->finish(stream);
    see(stream, SAW_FIN);
}

static void on_reset(struct stream *stream, int code, const char *reason)
{
    (void)code;
    (void)reason;
    stream->operations->close(stream);
}

static void on_written(struct stream *stream, size_t bytes)
{
    require(bytes > 0);
    size_t outstanding = hubble_stream_from(stream)->outstanding;
    stream->operations->consumed(stream, bytes < outstanding ? bytes : outstanding);
}

static void on_finished(struct stream *stream)
{
    see(stream, SAW_FINISHED);
}

static const struct stream_events events = {
    .opened = on_opened,
    .data = on_data,
    .fin = on_fin,
    .reset = on_reset,
    .written = on_written,
    .finished = on_finished,
};

/* ---- the owner ---- */

static void on_peer_opened(struct hubble_mux *mux, struct stream *stream,
                           const struct message_open *open)
{
    const struct fuzz *fuzz = mux->holder;
    if (fuzz->habit & 8) {
        stream_refuse(stream, REASON_FORBIDDEN, "no");
        return;
    }
    stream->events = &events;
    stream->holder = NULL;
    if (open->port % 2 == 0)
        stream->operations->accept(stream);
}

static void on_wants_to_send(struct hubble_mux *mux)
{
    (void)mux;
}

static void on_wants_to_read(struct hubble_mux *mux, bool on)
{
    struct fuzz *fuzz = mux->holder;
    require(fuzz->is_stopped == on);
    fuzz->is_stopped = !on;
}

static const struct hubble_mux_owner owner = {
    .peer_opened = on_peer_opened,
    .wants_to_send = on_wants_to_send,
    .wants_to_read = on_wants_to_read,
    .wants_ping = on_wants_to_send,
};

/* ---- what comes ---- */

static void receive(struct fuzz *fuzz, size_t size)
{
    struct message message;
    struct hubble_payload payload;
    struct slice_queue queue = SLICE_QUEUE_NULL;
    struct slice slice;
    uint8_t bytes[MAX_PAYLOAD];
    if (size > fuzz->size)
        size = fuzz->size;
    int error = hubble_decode(fuzz->data, size, &message, &payload);
    if (error == 0 && payload.size > 0) {
        hubble_payload_copy(&payload, bytes);
        if (slice_copy(&fuzz->pool, bytes, payload.size, &slice) == 0)
            error = slice_queue_push(&queue, slice);
    }
    if (error == 0)
        hubble_mux_receive(&fuzz->mux, &message, &queue, fuzz->now);
    slice_queue_deinit(&queue);
    fuzz->data += size;
    fuzz->size -= size;
}

static void pull(struct fuzz *fuzz)
{
    static uint8_t bytes[HUBBLE_CHUNK + HUBBLE_MAX_ENCODED];
    struct slice_queue queue = SLICE_QUEUE_NULL;
    int result = hubble_mux_pull(&fuzz->mux, &queue, fuzz->now);
    size_t size = 0;
    while (queue.count > 0) {
        struct slice slice = slice_queue_take(&queue, SIZE_MAX);
        require(size + slice.size <= sizeof bytes);
        memcpy(bytes + size, slice.data, slice.size);
        size += slice.size;
        slice_drop(&slice);
    }
    slice_queue_deinit(&queue);
    struct message message;
    struct hubble_payload payload;
    if (result == 1)
        require(hubble_decode(bytes, size, &message, &payload) == 0);
}

static void open_session(struct fuzz *fuzz)
{
    /* Short, so that the peer can guess it. */
    char guid[] = "s0";
    guid[1] = (char)('0' + next_byte(fuzz) % 10);
    struct message_open open = {.kind = {"tcp", 3}, .guid = text_of(guid)};
    struct stream *stream;
    if (hubble_mux_open(&fuzz->mux, &open, fuzz->now, &stream) != 0)
        return;
    stream->events = &events;
    stream->holder = NULL;
    if (fuzz->habit & 16)
        stream->operations->finish(stream);
}

static void follow(struct fuzz *fuzz, uint8_t instruction)
{
    struct hubble_stream *largest;
    fuzz->now += 1;
    switch (instruction % 8) {
    case 0:
        fuzz->habit = next_byte(fuzz);
        break;
    case 1:
        fuzz->now += (uint64_t)next_byte(fuzz) * 250000;
        hubble_mux_tick(&fuzz->mux, fuzz->now);
        break;
    case 2:
        hubble_mux_turn_ends(&fuzz->mux, fuzz->now);
        break;
    case 3:
        hubble_mux_ponged(&fuzz->mux);
        break;
    case 4:
        open_session(fuzz);
        break;
    case 5:
        if (hubble_mux_largest(&fuzz->mux, &largest) > 0)
            hubble_stream_fail(largest, REASON_NO_MEMORY, NULL);
        break;
    default:
        pull(fuzz);
        break;
    }
}

static void check(const struct fuzz *fuzz)
{
    const struct hubble_mux *mux = &fuzz->mux;
    size_t queued = 0;
    size_t outstanding = 0;
    size_t full = 0;
    size_t of_peer = 0;
    size_t given_up = 0;
    for (struct list_node *node = list_first(&mux->streams); node != NULL;
         node = list_next(&mux->streams, node)) {
        const struct hubble_stream *stream = CONTAINER_OF(node, struct hubble_stream, member);
        queued += stream->out.bytes;
        outstanding += stream->outstanding;
        full += stream->is_full;
        of_peer += !stream->is_ours;
        given_up += stream->was_given_up;
        require(!stream->is_over || stream->out.bytes == 0);
    }
    require(queued == mux->queued && outstanding == mux->outstanding && full == mux->full_streams);
    require(of_peer == mux->peer_streams && given_up == mux->given_up);
    require(fuzz->is_stopped == mux->is_stopped);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint64_t seed[2] = {1, 2};
    struct fuzz fuzz = {.data = data, .size = size, .now = 1};
    account_init(&fuzz.account, (size_t)1024 * 1024);
    chunk_pool_init(&fuzz.pool, &fuzz.account);
    enum hubble_role role = next_byte(&fuzz) % 2 == 0 ? HUBBLE_GATEWAY : HUBBLE_AGENT;
    require(hubble_mux_init(&fuzz.mux, &owner, &fuzz, role, seed, &fuzz.pool, &fuzz.account) == 0);
    while (fuzz.size > 0) {
        uint8_t length = next_byte(&fuzz);
        if (length < FIRST_INSTRUCTION)
            receive(&fuzz, length);
        else
            follow(&fuzz, length);
        check(&fuzz);
    }
    hubble_mux_abort(&fuzz.mux, REASON_SHUTDOWN, NULL, fuzz.now);
    hubble_mux_turn_ends(&fuzz.mux, fuzz.now);
    require(list_is_empty(&fuzz.mux.streams));
    hubble_mux_deinit(&fuzz.mux);
    require(chunk_pool_deinit(&fuzz.pool) == 0);
    require(fuzz.account.used == 0);
    return 0;
}
