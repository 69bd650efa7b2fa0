#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mux/mux_fake.h"

#include "base/error.h"
#include "base/reason.h"

#include <string.h>

static void note(struct fake_holder *holder)
{
    if (holder->hook != NULL)
        holder->hook(holder);
}

static void on_opened(struct stream *stream)
{
    struct fake_holder *holder = stream->holder;
    holder->opened++;
    note(holder);
}

static void on_data(struct stream *stream, struct slice_queue *data)
{
    struct fake_holder *holder = stream->holder;
    holder->received += data->bytes;
    assert_int_equal(0, slice_queue_append(&holder->in, data));
    note(holder);
}

static void on_fin(struct stream *stream)
{
    struct fake_holder *holder = stream->holder;
    holder->fins++;
    note(holder);
}

static void on_reset(struct stream *stream, int code, const char *reason)
{
    struct fake_holder *holder = stream->holder;
    holder->resets++;
    holder->code = code;
    assert_int_equal(0, text_copy(text_of(reason), holder->reason, sizeof holder->reason));
    note(holder);
}

static void on_written(struct stream *stream, size_t bytes)
{
    struct fake_holder *holder = stream->holder;
    holder->written += bytes;
    note(holder);
}

static void on_finished(struct stream *stream)
{
    struct fake_holder *holder = stream->holder;
    holder->finished++;
    note(holder);
}

static const struct stream_events events = {
    .opened = on_opened,
    .data = on_data,
    .fin = on_fin,
    .reset = on_reset,
    .written = on_written,
    .finished = on_finished,
};

static struct fake_holder *hold(struct fake_end *end, struct mux_stream *stream)
{
    assert_true(end->holder_count < FAKE_MAX_HOLDERS);
    struct fake_holder *holder = &end->holders[end->holder_count++];
    *holder = (struct fake_holder){
        .end = end,
        .stream = mux_stream_base(stream),
        .id = stream->id,
        .in = SLICE_QUEUE_NULL,
    };
    holder->stream->events = &events;
    holder->stream->holder = holder;
    return holder;
}

static void on_peer_opened(struct mux *mux, struct mux_stream *stream,
                           const struct message_open *open)
{
    struct fake_end *end = mux->holder;
    struct stream *base = mux_stream_base(stream);
    if (end->refuse_code != 0) {
        base->operations->reset(base, end->refuse_code, "refused here");
        base->operations->close(base);
        return;
    }
    if (end->ignore_opens)
        return;
    struct fake_holder *holder = hold(end, stream);
    assert_int_equal(0, text_copy(open->kind, holder->kind, sizeof holder->kind));
}

static void on_wants_to_send(struct mux *mux)
{
    struct fake_end *end = mux->holder;
    end->asked++;
}

static const struct mux_owner owner = {
    .peer_opened = on_peer_opened,
    .wants_to_send = on_wants_to_send,
};

void fake_end_init(struct fake_end *end, bool dials)
{
    memset(end, 0, sizeof *end);
    account_init(&end->account, SIZE_MAX);
    chunk_pool_init(&end->pool, &end->account);
    assert_int_equal(0, mux_init(&end->mux, &owner, end, dials, 12345, &end->pool, &end->account));
    mux_set_peer_window(&end->mux, MUX_WINDOW);
    mux_set_round_trip(&end->mux, 10000);
    end->now = 1000000;
}

void fake_end_deinit(struct fake_end *end)
{
    mux_abort(&end->mux, REASON_SHUTDOWN, NULL, end->now);
    for (size_t i = 0; i < end->holder_count; i++)
        fake_close(&end->holders[i]);
    assert_int_equal(0, end->mux.queued);
    assert_int_equal(0, end->mux.peer_streams);
    mux_turn_ends(&end->mux);
    mux_deinit(&end->mux);
    mux_deinit(&end->mux);
    assert_int_equal(0, chunk_pool_deinit(&end->pool));
    assert_int_equal(0, end->account.used);
    assert_int_equal(0, end->account.promised);
}

struct fake_holder *fake_open(struct fake_end *end)
{
    struct message_open open = {
        .kind = text_of("tcp"),
        .agent = text_of("agent2"),
        .host = text_of("127.0.0.1"),
        .port = 22,
    };
    struct mux_stream *stream = NULL;
    assert_int_equal(0, mux_open(&end->mux, &open, &stream));
    return hold(end, stream);
}

struct fake_holder *fake_find(struct fake_end *end, uint64_t id)
{
    for (size_t i = 0; i < end->holder_count; i++)
        if (end->holders[i].id == id)
            return &end->holders[i];
    return NULL;
}

void fake_write_pieces(struct fake_holder *holder, size_t size, size_t piece)
{
    static uint8_t pattern[CHUNK_LARGE_SIZE];
    for (size_t i = 0; i < sizeof pattern && pattern[1] == 0; i++)
        pattern[sizeof pattern - 1 - i] = (uint8_t)(sizeof pattern - 1 - i);
    struct slice_queue queue = SLICE_QUEUE_NULL;
    while (size > 0) {
        struct slice slice;
        size_t part = size < piece ? size : piece;
        assert_int_equal(0, slice_copy(&holder->end->pool, pattern, part, &slice));
        assert_int_equal(0, slice_queue_push(&queue, slice));
        size -= part;
    }
    holder->stream->operations->write(holder->stream, &queue);
    assert_int_equal(0, queue.count);
    slice_queue_deinit(&queue);
}

void fake_write(struct fake_holder *holder, size_t size)
{
    fake_write_pieces(holder, size, CHUNK_LARGE_SIZE);
}

void fake_consume(struct fake_holder *holder)
{
    size_t bytes = holder->in.bytes;
    slice_queue_clear(&holder->in);
    holder->stream->operations->consumed(holder->stream, bytes);
}

void fake_reset(struct fake_holder *holder, int code, const char *reason)
{
    holder->stream->operations->reset(holder->stream, code, reason);
}

void fake_close(struct fake_holder *holder)
{
    slice_queue_deinit(&holder->in);
    if (holder->stream != NULL)
        holder->stream->operations->close(holder->stream);
    holder->stream = NULL;
}

bool fake_pull(struct fake_end *end, struct fake_message *out)
{
    struct mux_output output;
    int result = mux_pull(&end->mux, MUX_MAY_ALL, &output, end->now);
    assert_true(result >= 0);
    if (result == 0)
        return false;
    out->is_control = output.is_control;
    out->size = output.head_size + output.body.size;
    assert_true(out->size <= sizeof out->bytes);
    memcpy(out->bytes, output.head, output.head_size);
    if (output.body.size > 0)
        memcpy(out->bytes + output.head_size, output.body.data, output.body.size);
    slice_drop(&output.body);

    size_t used = 0;
    assert_int_equal(0, message_decode(out->bytes, out->size, &out->message, &used));
    assert_true(out->message.is_counted);
    out->payload = out->bytes + used;
    size_t payload = out->message.type == MESSAGE_DATA ? out->message.payload : 0;
    assert_int_equal(out->size, used + payload);
    return true;
}

void fake_expect(struct fake_end *end, enum message_type type, uint64_t id)
{
    static struct fake_message pulled;
    assert_true(fake_pull(end, &pulled));
    assert_int_equal(type, pulled.message.type);
    assert_int_equal(id, pulled.message.sid);
}

void fake_expect_nothing(struct fake_end *end)
{
    static struct fake_message pulled;
    assert_false(fake_pull(end, &pulled));
}

int fake_receive(struct fake_end *end, const struct message *message, const void *data, size_t size)
{
    struct slice_queue payload = SLICE_QUEUE_NULL;
    if (size > 0) {
        struct slice slice;
        assert_int_equal(0, slice_copy(&end->pool, data, size, &slice));
        assert_int_equal(0, slice_queue_push(&payload, slice));
    }
    int result = mux_receive(&end->mux, message, &payload, end->now);
    assert_int_equal(0, payload.count);
    slice_queue_deinit(&payload);
    return result;
}

int fake_receive_data(struct fake_end *end, uint64_t id, size_t size)
{
    static const uint8_t zeros[MESSAGE_MAX_DATA];
    struct message message = {.type = MESSAGE_DATA, .sid = id, .payload = (uint32_t)size};
    return fake_receive(end, &message, zeros, size);
}

int fake_receive_open(struct fake_end *end, uint64_t id)
{
    struct message message = {
        .type = MESSAGE_OPEN,
        .sid = id,
        .open = {.kind = text_of("tcp"), .agent = text_of("a"), .host = text_of("h"), .port = 1},
    };
    return fake_receive(end, &message, NULL, 0);
}

size_t fake_deliver(struct fake_end *from, struct fake_end *to)
{
    static struct fake_message pulled;
    size_t count = 0;
    while (fake_pull(from, &pulled)) {
        size_t size = pulled.message.type == MESSAGE_DATA ? pulled.message.payload : 0;
        assert_int_equal(0, fake_receive(to, &pulled.message, pulled.payload, size));
        count++;
    }
    return count;
}

void fake_settle(struct fake_end *a, struct fake_end *b)
{
    while (fake_deliver(a, b) + fake_deliver(b, a) > 0) {
    }
    mux_turn_ends(&a->mux);
    mux_turn_ends(&b->mux);
}

struct fake_holder *fake_join(struct fake_end *a, struct fake_end *b, struct fake_holder **far)
{
    struct fake_holder *near = fake_open(a);
    fake_deliver(a, b);
    *far = fake_find(b, near->id);
    assert_non_null(*far);
    (*far)->stream->operations->accept((*far)->stream);
    fake_settle(a, b);
    assert_int_equal(1, near->opened);
    return near;
}

int fake_pair_init(struct fake_pair *pair, void **state)
{
    fake_end_init(&pair->a, true);
    fake_end_init(&pair->b, false);
    *state = pair;
    return 0;
}

int fake_pair_deinit(void **state)
{
    struct fake_pair *pair = *state;
    fake_end_deinit(&pair->a);
    fake_end_deinit(&pair->b);
    return 0;
}
