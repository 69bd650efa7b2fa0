#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mux/hubble_mux_fake.h"

#include "base/error.h"
#include "base/reason.h"

#include <stdio.h>
#include <string.h>

enum { MAX_SHOWN = 16 };

/* ---- what was told ---- */

static void note(struct hubble_fake_holder *holder, const char *event, const char *detail)
{
    struct hubble_fake *end = holder->end;
    size_t used = strlen(end->told);
    size_t room = sizeof end->told - used;
    int size = snprintf(end->told + used, room, "%s %s%s; ", holder->guid, event, detail);
    assert_true((size_t)size < room);
    if (holder->hook != NULL)
        holder->hook(holder);
}

static void note_number(struct hubble_fake_holder *holder, const char *event, size_t number)
{
    char detail[32];
    snprintf(detail, sizeof detail, " %zu", number);
    note(holder, event, detail);
}

static void on_opened(struct stream *stream)
{
    note(stream->holder, "opened", "");
}

static void on_data(struct stream *stream, struct slice_queue *data)
{
    struct hubble_fake_holder *holder = stream->holder;
    size_t size = data->bytes;
    char text[MAX_SHOWN + 2] = " ";
    const struct slice *first = slice_queue_first(data);
    if (size <= MAX_SHOWN)
        assert_int_equal(0, text_copy((struct text){(const char *)first->data, first->size},
                                      text + 1, sizeof text - 1));
    assert_int_equal(0, slice_queue_append(&holder->in, data));
    if (!holder->end->keeps)
        hubble_fake_consume(holder);
    if (size <= MAX_SHOWN)
        note(holder, "data", text);
    else
        note_number(holder, "data", size);
}

static void on_fin(struct stream *stream)
{
    note(stream->holder, "fin", "");
}

static void on_reset(struct stream *stream, int code, const char *reason)
{
    struct hubble_fake_holder *holder = stream->holder;
    holder->resets++;
    assert_int_equal(0, text_copy(text_of(reason), holder->reason, sizeof holder->reason));
    note_number(holder, "reset", (size_t)code);
}

static void on_written(struct stream *stream, size_t bytes)
{
    assert_true(bytes > 0);
    note_number(stream->holder, "written", bytes);
}

static void on_finished(struct stream *stream)
{
    note(stream->holder, "finished", "");
}

static const struct stream_events events = {
    .opened = on_opened,
    .data = on_data,
    .fin = on_fin,
    .reset = on_reset,
    .written = on_written,
    .finished = on_finished,
};

const char *hubble_fake_told(struct hubble_fake *end)
{
    static char copy[HUBBLE_FAKE_TEXT];
    memcpy(copy, end->told, sizeof copy);
    end->told[0] = '\0';
    return copy;
}

/* ---- the owner ---- */

static struct hubble_fake_holder *hold(struct hubble_fake *end, struct stream *stream)
{
    assert_true(end->holder_count < HUBBLE_FAKE_HOLDERS);
    struct hubble_fake_holder *holder = &end->holders[end->holder_count++];
    *holder = (struct hubble_fake_holder){.end = end, .stream = stream, .in = SLICE_QUEUE_NULL};
    assert_int_equal(0, text_copy(hubble_stream_guid(hubble_stream_from(stream)), holder->guid,
                                  sizeof holder->guid));
    stream->events = &events;
    stream->holder = holder;
    return holder;
}

static void on_peer_opened(struct hubble_mux *mux, struct stream *stream,
                           const struct message_open *open)
{
    struct hubble_fake *end = mux->holder;
    assert_true(text_equals(open->guid, hubble_stream_from(stream)->guid));
    assert_int_equal(0, text_copy(open->host, end->host, sizeof end->host));
    if (end->refuse != 0)
        stream_refuse(stream, end->refuse, "refused here");
    else if (!end->ignores_opens)
        hold(end, stream);
}

static void on_wants_to_send(struct hubble_mux *mux)
{
    struct hubble_fake *end = mux->holder;
    end->asked++;
}

static void on_wants_to_read(struct hubble_mux *mux, bool on)
{
    struct hubble_fake *end = mux->holder;
    assert_int_equal(end->is_stopped, on);
    end->is_stopped = !on;
}

static void on_wants_ping(struct hubble_mux *mux)
{
    struct hubble_fake *end = mux->holder;
    end->pings++;
}

static const struct hubble_mux_owner owner = {
    .peer_opened = on_peer_opened,
    .wants_to_send = on_wants_to_send,
    .wants_to_read = on_wants_to_read,
    .wants_ping = on_wants_ping,
};

void hubble_fake_init(struct hubble_fake *end, enum hubble_role role)
{
    static const uint64_t seed[2] = {12345, 67890};
    memset(end, 0, sizeof *end);
    account_init(&end->account, SIZE_MAX);
    chunk_pool_init(&end->pool, &end->account);
    assert_int_equal(
        0, hubble_mux_init(&end->mux, &owner, end, role, seed, &end->pool, &end->account));
    end->now = 1000000;
}

void hubble_fake_deinit(struct hubble_fake *end)
{
    hubble_mux_abort(&end->mux, REASON_SHUTDOWN, NULL, end->now);
    for (size_t i = 0; i < end->holder_count; i++)
        hubble_fake_close(&end->holders[i]);
    assert_int_equal(0, end->mux.queued);
    assert_int_equal(0, end->mux.outstanding);
    assert_int_equal(0, end->mux.full_streams);
    assert_int_equal(0, end->mux.peer_streams);
    assert_int_equal(0, end->mux.given_up);
    hubble_mux_turn_ends(&end->mux, end->now);
    assert_true(list_is_empty(&end->mux.streams));
    hubble_mux_deinit(&end->mux);
    hubble_mux_deinit(&end->mux);
    assert_int_equal(0, chunk_pool_deinit(&end->pool));
    assert_int_equal(0, end->account.used);
}

struct hubble_fake_holder *hubble_fake_open(struct hubble_fake *end, const char *guid)
{
    struct message_open open = {
        .kind = text_of("tcp"),
        .agent = text_of("west"),
        .host = text_of("h"),
        .port = 22,
        .guid = text_of(guid),
    };
    struct stream *stream = NULL;
    assert_int_equal(0, hubble_mux_open(&end->mux, &open, end->now, &stream));
    return hold(end, stream);
}

struct hubble_fake_holder *hubble_fake_find(struct hubble_fake *end, const char *guid)
{
    for (size_t i = end->holder_count; i > 0; i--)
        if (strcmp(end->holders[i - 1].guid, guid) == 0)
            return &end->holders[i - 1];
    return NULL;
}

/* ---- the peer ---- */

int hubble_fake_receive(struct hubble_fake *end, const struct message *message, const void *data,
                        size_t size)
{
    struct slice_queue payload = SLICE_QUEUE_NULL;
    if (size > 0) {
        struct slice slice;
        assert_int_equal(0, slice_copy(&end->pool, data, size, &slice));
        assert_int_equal(0, slice_queue_push(&payload, slice));
    }
    int result = hubble_mux_receive(&end->mux, message, &payload, end->now);
    assert_int_equal(0, payload.count);
    slice_queue_deinit(&payload);
    return result;
}

/* A hook may have aborted the mux. */
static void receive(struct hubble_fake *end, const struct message *message, const void *data,
                    size_t size)
{
    int result = hubble_fake_receive(end, message, data, size);
    assert_true(result == 0 || result == CULVERT_ERROR_CLOSED);
}

void hubble_fake_peer_opens_host(struct hubble_fake *end, const char *guid, const char *host)
{
    struct message message = {
        .type = MESSAGE_OPEN,
        .guid = text_of(guid),
        .open = {.kind = text_of("tcp"), .agent = text_of("west"), .host = text_of(host)},
    };
    receive(end, &message, NULL, 0);
}

void hubble_fake_peer_opens(struct hubble_fake *end, const char *guid)
{
    hubble_fake_peer_opens_host(end, guid, "h");
}

void hubble_fake_peer_sends(struct hubble_fake *end, const char *guid, int64_t order,
                            const char *text)
{
    struct message message = {.type = MESSAGE_DATA, .guid = text_of(guid), .order = order};
    receive(end, &message, text, strlen(text));
}

void hubble_fake_peer_sends_size(struct hubble_fake *end, const char *guid, int64_t order,
                                 size_t size)
{
    static const uint8_t zeros[CHUNK_LARGE_SIZE];
    assert_true(size <= sizeof zeros);
    struct message message = {.type = MESSAGE_DATA, .guid = text_of(guid), .order = order};
    receive(end, &message, zeros, size);
}

void hubble_fake_peer_ends(struct hubble_fake *end, const char *guid)
{
    struct message message = {
        .type = end->mux.role == HUBBLE_GATEWAY ? MESSAGE_FIN : MESSAGE_RESET,
        .guid = text_of(guid),
    };
    receive(end, &message, NULL, 0);
}

void hubble_fake_peer_answers(struct hubble_fake *end, const char *guid, const char *refusal)
{
    struct message message = {
        .type = MESSAGE_ACK,
        .guid = text_of(guid),
        .ack = {.ok = refusal == NULL, .code = 4, .message = text_of(refusal)},
    };
    receive(end, &message, NULL, 0);
}

/* ---- the holder ---- */

void hubble_fake_accept(struct hubble_fake_holder *holder)
{
    holder->stream->operations->accept(holder->stream);
}

static void write_bytes(struct hubble_fake_holder *holder, const uint8_t *bytes, size_t size,
                        size_t piece)
{
    struct slice_queue queue = SLICE_QUEUE_NULL;
    while (size > 0) {
        struct slice slice;
        size_t part = size < piece ? size : piece;
        assert_int_equal(0, slice_copy(&holder->end->pool, bytes, part, &slice));
        assert_int_equal(0, slice_queue_push(&queue, slice));
        size -= part;
    }
    holder->stream->operations->write(holder->stream, &queue);
    assert_int_equal(0, queue.count);
    slice_queue_deinit(&queue);
}

void hubble_fake_write(struct hubble_fake_holder *holder, const char *text)
{
    write_bytes(holder, (const uint8_t *)text, strlen(text), strlen(text));
}

void hubble_fake_write_size(struct hubble_fake_holder *holder, size_t size, size_t piece)
{
    static const uint8_t zeros[CHUNK_LARGE_SIZE];
    assert_true(piece <= sizeof zeros);
    write_bytes(holder, zeros, size, piece);
}

void hubble_fake_finish(struct hubble_fake_holder *holder)
{
    holder->stream->operations->finish(holder->stream);
}

void hubble_fake_reset(struct hubble_fake_holder *holder, int code, const char *reason)
{
    holder->stream->operations->reset(holder->stream, code, reason);
}

void hubble_fake_consume(struct hubble_fake_holder *holder)
{
    size_t bytes = holder->in.bytes;
    slice_queue_clear(&holder->in);
    holder->stream->operations->consumed(holder->stream, bytes);
}

void hubble_fake_close(struct hubble_fake_holder *holder)
{
    slice_queue_deinit(&holder->in);
    if (holder->stream != NULL)
        holder->stream->operations->close(holder->stream);
    holder->stream = NULL;
}

void hubble_fake_wait(struct hubble_fake *end, double seconds)
{
    uint64_t until = end->now + (uint64_t)(seconds * 1e6);
    uint64_t due;
    while ((due = hubble_mux_deadline(&end->mux)) <= until) {
        if (due > end->now)
            end->now = due;
        hubble_mux_tick(&end->mux, end->now);
    }
    end->now = until;
    hubble_mux_tick(&end->mux, end->now);
    hubble_mux_turn_ends(&end->mux, end->now);
}

/* ---- what was sent ---- */

size_t hubble_fake_pull(struct hubble_fake *end, uint8_t *bytes, size_t room)
{
    struct slice_queue queue = SLICE_QUEUE_NULL;
    int result = hubble_mux_pull(&end->mux, &queue, end->now);
    assert_true(result >= 0);
    assert_int_equal(result == 1, queue.bytes > 0);
    size_t size = queue.bytes;
    assert_true(size <= room);
    while (queue.count > 0) {
        struct slice slice = slice_queue_take(&queue, SIZE_MAX);
        memcpy(bytes, slice.data, slice.size);
        bytes += slice.size;
        slice_drop(&slice);
    }
    slice_queue_deinit(&queue);
    return size;
}

#define TEXT(text) (int)(text).size, (text).data

static void describe(const struct message *message, const struct hubble_payload *payload, char *out,
                     size_t room)
{
    struct text guid = message->guid;
    int used = snprintf(out, room, "%02x %.*s", message->type, TEXT(guid));
    out += used;
    room -= (size_t)used;
    switch (message->type) {
    case MESSAGE_OPEN:
        snprintf(out, room, " %.*s %.*s:%d", TEXT(message->open.agent), TEXT(message->open.host),
                 message->open.port);
        break;
    case MESSAGE_DATA:
        if (payload->size <= MAX_SHOWN)
            snprintf(out, room, " #%d %.*s", (int)message->order, (int)payload->size,
                     (const char *)payload->data);
        else
            snprintf(out, room, " #%d %zu", (int)message->order, payload->size);
        break;
    case MESSAGE_ACK:
        if (message->ack.ok)
            snprintf(out, room, " yes");
        else
            snprintf(out, room, " no %.*s", TEXT(message->ack.message));
        break;
    default:
        break;
    }
}

const char *hubble_fake_sent(struct hubble_fake *end)
{
    static uint8_t bytes[HUBBLE_CHUNK + HUBBLE_MAX_ENCODED];
    size_t size;
    size_t used = 0;
    end->sent[0] = '\0';
    while ((size = hubble_fake_pull(end, bytes, sizeof bytes)) > 0) {
        struct message message;
        struct hubble_payload payload;
        assert_int_equal(0, hubble_decode(bytes, size, &message, &payload));
        describe(&message, &payload, end->sent + used, sizeof end->sent - used);
        used += strlen(end->sent + used);
        assert_true(used + 3 < sizeof end->sent);
        memcpy(end->sent + used, "; ", 3);
        used += 2;
    }
    hubble_mux_turn_ends(&end->mux, end->now);
    return end->sent;
}
