/*
 * A hostile peer against a mux whose holders read, write and end as the input says: the input is a
 * list of instructions, each a byte and its arguments. Whatever comes, credit adds up and nothing
 * is left at the end.
 */
#include "base/error.h"
#include "base/reason.h"
#include "mux/mux.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_STREAMS = 16 };

struct fuzz {
    const uint8_t *data;
    size_t size;
    struct account account;
    struct chunk_pool pool;
    struct mux mux;
    struct stream *streams[MAX_STREAMS];
    uint64_t now;
    uint8_t habit; /* what holders do within their events */
};

static void require(bool condition)
{
    if (!condition)
        abort();
}

static uint8_t next_byte(struct fuzz *fuzz)
{
    if (fuzz->size == 0)
        return 0;
    fuzz->size--;
    return *fuzz->data++;
}

static struct fuzz *fuzz_of(struct stream *stream)
{
    return stream->holder;
}

static void forget(struct stream *stream)
{
    struct fuzz *fuzz = fuzz_of(stream);
    for (size_t i = 0; i < MAX_STREAMS; i++)
        if (fuzz->streams[i] == stream)
            fuzz->streams[i] = NULL;
    stream->operations->close(stream);
}

static void write_some(struct stream *stream, size_t size)
{
    static const uint8_t zeros[4096];
    struct slice slice;
    struct slice_queue queue = SLICE_QUEUE_NULL;
    if (slice_copy(&fuzz_of(stream)->pool, zeros, size, &slice) == 0 &&
        slice_queue_push(&queue, slice) == 0)
        stream->operations->write(stream, &queue);
    slice_queue_deinit(&queue);
}

static void on_event(struct stream *stream)
{
    switch (fuzz_of(stream)->habit & 7) {
    case 1:
        forget(stream);
        break;
    case 2:
        stream->operations->reset(stream, 1, "because");
        forget(stream);
        break;
    case 3:
        write_some(stream, 100);
        break;
    case 4:
        stream->operations->finish(stream);
        break;
    default:
        break;
    }
}

static void on_data(struct stream *stream, struct slice_queue *queue)
{
    size_t bytes = queue->bytes;
    slice_queue_clear(queue);
    if ((fuzz_of(stream)->habit & 8) == 0)
        stream->operations->consumed(stream, bytes);
    on_event(stream);
}

static void on_reset(struct stream *stream, int code, const char *reason)
{
    (void)code;
    (void)reason;
    forget(stream);
}

static void on_written(struct stream *stream, size_t bytes)
{
    require(bytes > 0);
    on_event(stream);
}

static const struct stream_events events = {
    .opened = on_event,
    .data = on_data,
    .fin = on_event,
    .reset = on_reset,
    .written = on_written,
    .finished = on_event,
};

static void hold(struct fuzz *fuzz, struct mux_stream *made)
{
    struct stream *stream = mux_stream_base(made);
    for (size_t i = 0; i < MAX_STREAMS; i++) {
        if (fuzz->streams[i] != NULL)
            continue;
        fuzz->streams[i] = stream;
        stream->events = &events;
        stream->holder = fuzz;
        return;
    }
    stream->operations->reset(stream, 2, NULL);
    stream->operations->close(stream);
}

static void on_peer_opened(struct mux *mux, struct mux_stream *stream,
                           const struct message_open *open)
{
    (void)open;
    hold(mux->holder, stream);
}

static void on_wants_to_send(struct mux *mux)
{
    (void)mux;
}

static const struct mux_owner owner = {on_peer_opened, on_wants_to_send};

static int receive(struct fuzz *fuzz, uint8_t kind)
{
    static const enum message_type types[] = {MESSAGE_OPEN,  MESSAGE_DATA,   MESSAGE_FIN,
                                              MESSAGE_RESET, MESSAGE_CREDIT, MESSAGE_ACK};
    static const uint8_t zeros[MESSAGE_MAX_DATA];
    struct message message = {.type = types[kind % 6], .sid = next_byte(fuzz)};
    struct slice_queue payload = SLICE_QUEUE_NULL;
    uint8_t argument = next_byte(fuzz);
    struct slice slice;
    switch (message.type) {
    case MESSAGE_DATA:
        if (slice_copy(&fuzz->pool, zeros, (size_t)argument * 257, &slice) == 0)
            slice_queue_push(&payload, slice);
        break;
    case MESSAGE_CREDIT:
        message.credit = UINT64_C(1) << (argument % 31);
        break;
    case MESSAGE_ACK:
        message.ack.ok = argument % 2 == 0;
        break;
    default:
        break;
    }
    int result = mux_receive(&fuzz->mux, &message, &payload, fuzz->now);
    slice_queue_deinit(&payload);
    return result == CULVERT_ERROR_PROTOCOL ? 0 : result;
}

static void pull(struct fuzz *fuzz, enum mux_may may)
{
    struct mux_output output;
    if (mux_pull(&fuzz->mux, may, &output, fuzz->now) == 1)
        slice_drop(&output.body);
}

static void operate(struct fuzz *fuzz, uint8_t what)
{
    struct stream *stream = fuzz->streams[next_byte(fuzz) % MAX_STREAMS];
    if (stream == NULL)
        return;
    switch (what % 5) {
    case 0:
        stream->operations->accept(stream);
        break;
    case 1:
        write_some(stream, 1 + (size_t)next_byte(fuzz) * 16);
        break;
    case 2:
        stream->operations->finish(stream);
        break;
    case 3:
        stream->operations->reset(stream, 3, NULL);
        break;
    default:
        forget(stream);
        break;
    }
}

static void check(struct fuzz *fuzz)
{
    size_t queued = 0;
    size_t cursor = 0;
    struct mux_stream *stream;
    while ((stream = map_next(&fuzz->mux.streams, &cursor)) != NULL) {
        const struct credit_receiver *receive = &stream->receive;
        require(receive->window == receive->outstanding + receive->undelivered + receive->due);
        require(stream->send.available + stream->send.withheld <= UINT64_C(1) << 31);
        queued += stream->out.bytes + (size_t)stream->out.count * MUX_SLICE_COST;
    }
    require(queued == fuzz->mux.queued);
}

static void run(struct fuzz *fuzz)
{
    int result = 0;
    while (fuzz->size > 0 && result == 0) {
        uint8_t instruction = next_byte(fuzz);
        struct message_open open = {.kind = {"tcp", 3}};
        struct mux_stream *made;
        fuzz->now += instruction;
        switch (instruction >> 5) {
        case 0:
        case 1:
        case 2:
            result = receive(fuzz, instruction);
            break;
        case 3:
        case 4:
            operate(fuzz, instruction);
            break;
        case 5:
            pull(fuzz, (enum mux_may)(instruction % 3));
            break;
        case 6:
            if (mux_open(&fuzz->mux, &open, &made) == 0)
                hold(fuzz, made);
            break;
        default:
            fuzz->habit = instruction;
            mux_turn_ends(&fuzz->mux);
            break;
        }
        check(fuzz);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz fuzz = {.data = data, .size = size};
    account_init(&fuzz.account, (size_t)1024 * 1024);
    chunk_pool_init(&fuzz.pool, &fuzz.account);
    require(mux_init(&fuzz.mux, &owner, &fuzz, size % 2 == 0, 1, &fuzz.pool, &fuzz.account) == 0);
    mux_set_peer_window(&fuzz.mux, MUX_EARLY_WINDOW * 2);
    run(&fuzz);
    mux_abort(&fuzz.mux, REASON_SHUTDOWN, NULL, 0);
    for (size_t i = 0; i < MAX_STREAMS; i++)
        if (fuzz.streams[i] != NULL)
            forget(fuzz.streams[i]);
    mux_deinit(&fuzz.mux);
    require(chunk_pool_deinit(&fuzz.pool) == 0);
    require(fuzz.account.used == 0);
    return 0;
}
