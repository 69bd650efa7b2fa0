/*
 * A gateway's and an agent's mux joined by a wire, and holders that do what comes to their mind,
 * from a seed. Whatever they do, bytes arrive in order; whoever ends in order is heard to the last
 * byte by a holder that still listens; and at last nothing is left.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/reason.h"
#include "mux/hubble_mux_internal.h"

#include <stdio.h>
#include <string.h>

enum {
    SEEDS = 60,
    STEPS = 4000,
    MAX_SESSIONS = 400,
    MAX_LIVE = 12,
    MAX_WRITE = 70 * 1024,
    MAX_UNSENT = 256 * 1024,
    MAX_PACKET = HUBBLE_CHUNK + HUBBLE_MAX_ENCODED,
};

struct end;

struct holder {
    struct end *end;
    struct holder *peer; /* NULL until it has learned of the session */
    struct stream *stream;
    char guid[64];
    uint64_t written, sent; /* given to the stream, reported by it */
    uint64_t received, consumed;
    bool is_accepted, has_finished, has_broken_off;
    bool fin, finished;
};

enum packet_kind { PACKET_MESSAGE, PACKET_PING, PACKET_PONG };

struct packet {
    struct list_node node;
    enum packet_kind kind;
    size_t size;
    uint8_t bytes[];
};

struct end {
    struct end *other;
    struct hubble_mux mux;
    struct list wire; /* packets on their way from here */
    struct holder holders[MAX_SESSIONS];
    size_t holder_count;
    bool is_stopped, is_pinging;
};

struct world {
    struct account account;
    struct chunk_pool pool;
    struct end gateway, agent;
    uint64_t random, now;
    int opened, stops;
    bool is_lazy; /* holders write much and take little */
};

static struct world world;

static uint64_t roll(uint64_t sides)
{
    world.random ^= world.random << 13;
    world.random ^= world.random >> 7;
    world.random ^= world.random << 17;
    return (world.random >> 16) % sides;
}

static uint8_t pattern(const struct holder *writer, uint64_t position)
{
    return (uint8_t)(position * 31 + (position >> 8) + (uint8_t)writer->guid[1] +
                     (writer->end == &world.gateway ? 100 : 0));
}

/* ---- holders ---- */

static void close_holder(struct holder *holder)
{
    if (holder->stream != NULL)
        holder->stream->operations->close(holder->stream);
    holder->stream = NULL;
}

static void on_opened(struct stream *stream)
{
    struct holder *holder = stream->holder;
    assert_false(holder->is_accepted);
    assert_int_equal(0, holder->received);
    holder->is_accepted = true;
}

static void on_data(struct stream *stream, struct slice_queue *data)
{
    struct holder *holder = stream->holder;
    assert_non_null(holder->peer);
    assert_false(holder->fin);
    while (data->count > 0) {
        struct slice slice = slice_queue_take(data, SIZE_MAX);
        for (size_t i = 0; i < slice.size; i++)
            assert_int_equal(pattern(holder->peer, holder->received + i), slice.data[i]);
        holder->received += slice.size;
        slice_drop(&slice);
    }
    assert_true(holder->received <= holder->peer->written);
}

static void on_fin(struct stream *stream)
{
    struct holder *holder = stream->holder;
    const struct holder *peer = holder->peer;
    assert_false(holder->fin);
    holder->fin = true;
    /* The session has ended because the other did, in order. */
    if (holder->is_accepted && !holder->has_finished && !peer->has_broken_off)
        assert_true(holder->received == peer->written);
}

static void on_reset(struct stream *stream, int code, const char *reason)
{
    struct holder *holder = stream->holder;
    (void)reason;
    assert_int_not_equal(REASON_PROTOCOL, code);
    assert_int_not_equal(REASON_TIMED_OUT, code);
    if (code == REASON_CLOSED)
        assert_true(holder->fin && holder->consumed == holder->received);
    close_holder(holder);
}

static void on_written(struct stream *stream, size_t bytes)
{
    struct holder *holder = stream->holder;
    holder->sent += bytes;
    assert_true(holder->sent <= holder->written);
}

static void on_finished(struct stream *stream)
{
    struct holder *holder = stream->holder;
    assert_true(holder->has_finished && !holder->finished);
    assert_true(holder->sent == holder->written);
    holder->finished = true;
}

static const struct stream_events events = {
    .opened = on_opened,
    .data = on_data,
    .fin = on_fin,
    .reset = on_reset,
    .written = on_written,
    .finished = on_finished,
};

static struct holder *hold(struct end *end, struct stream *stream)
{
    assert_true(end->holder_count < MAX_SESSIONS);
    struct holder *holder = &end->holders[end->holder_count++];
    *holder = (struct holder){.end = end, .stream = stream};
    assert_int_equal(0, text_copy(hubble_stream_guid(hubble_stream_from(stream)), holder->guid,
                                  sizeof holder->guid));
    stream->events = &events;
    stream->holder = holder;
    return holder;
}

static void write_some(struct holder *holder, size_t size)
{
    static uint8_t bytes[MAX_WRITE];
    struct slice_queue queue = SLICE_QUEUE_NULL;
    for (size_t i = 0; i < size; i++)
        bytes[i] = pattern(holder, holder->written + i);
    holder->written += size;
    for (size_t done = 0; done < size;) {
        size_t part = 1 + roll(3000);
        if (part > size - done)
            part = size - done;
        struct slice slice;
        assert_int_equal(0, slice_copy(&world.pool, bytes + done, part, &slice));
        assert_int_equal(0, slice_queue_push(&queue, slice));
        done += part;
    }
    holder->stream->operations->write(holder->stream, &queue);
    slice_queue_deinit(&queue);
}

static void consume(struct holder *holder, uint64_t bytes)
{
    holder->consumed += bytes;
    holder->stream->operations->consumed(holder->stream, bytes);
}

static void accept_session(struct holder *holder)
{
    holder->is_accepted = true;
    holder->stream->operations->accept(holder->stream);
}

static void finish(struct holder *holder)
{
    holder->has_finished = true;
    holder->is_accepted = true;
    holder->stream->operations->finish(holder->stream);
}

static void end_session(struct holder *holder)
{
    bool is_orderly = holder->is_accepted && !holder->has_finished && roll(2) == 0;
    holder->has_broken_off = !is_orderly;
    int code = is_orderly ? REASON_CLOSED : REASON_RESET;
    holder->stream->operations->reset(holder->stream, code, "tired");
    close_holder(holder);
}

/* Sooner or later everybody does what a relay would have done. */
static void act(struct holder *holder, bool winds_up)
{
    uint64_t unread = holder->received - holder->consumed;
    bool may_write =
        !holder->has_finished && holder->is_accepted && holder->written - holder->sent < MAX_UNSENT;
    if (holder->fin && holder->finished && unread == 0) {
        close_holder(holder);
        return;
    }
    uint64_t sides = winds_up ? 4 : world.is_lazy ? 200 : 30;
    switch (roll(sides)) {
    case 0:
    case 4:
    case 5:
    case 6:
        if (!holder->is_accepted && hubble_stream_from(holder->stream)->is_ours == false)
            accept_session(holder);
        break;
    case 1:
        if (holder->is_accepted && (winds_up || holder->fin || roll(4) == 0) &&
            !holder->has_finished)
            finish(holder);
        break;
    case 2:
        if (winds_up || roll(10) == 0)
            end_session(holder);
        break;
    case 3:
        consume(holder, unread);
        break;
    default:
        if (may_write && roll(2) == 0)
            write_some(holder, 1 + roll(roll(world.is_lazy ? 2 : 20) == 0 ? MAX_WRITE : 2000));
        else if (!world.is_lazy)
            consume(holder, roll(unread + 1));
        break;
    }
}

/* ---- owners ---- */

static void on_peer_opened(struct hubble_mux *mux, struct stream *stream,
                           const struct message_open *open)
{
    struct end *end = mux->holder;
    if (roll(10) == 0) {
        stream_refuse(stream, REASON_FORBIDDEN, NULL);
        return;
    }
    struct holder *holder = hold(end, stream);
    for (size_t i = 0; i < end->other->holder_count; i++)
        if (text_equals(open->guid, end->other->holders[i].guid))
            holder->peer = &end->other->holders[i];
    assert_non_null(holder->peer);
    holder->peer->peer = holder;
}

static void on_wants_to_send(struct hubble_mux *mux)
{
    (void)mux;
}

static void on_wants_to_read(struct hubble_mux *mux, bool on)
{
    struct end *end = mux->holder;
    assert_int_equal(end->is_stopped, on);
    end->is_stopped = !on;
    world.stops += !on;
}

static void put(struct end *end, enum packet_kind kind, const uint8_t *bytes, size_t size)
{
    struct packet *packet = memory_allocate_zero(sizeof *packet + size);
    assert_non_null(packet);
    packet->kind = kind;
    packet->size = size;
    if (size > 0)
        memcpy(packet->bytes, bytes, size);
    list_append(&end->wire, &packet->node);
}

static void on_wants_ping(struct hubble_mux *mux)
{
    struct end *end = mux->holder;
    assert_ptr_equal(end, &world.gateway);
    end->is_pinging = true;
}

static const struct hubble_mux_owner owner = {
    .peer_opened = on_peer_opened,
    .wants_to_send = on_wants_to_send,
    .wants_to_read = on_wants_to_read,
    .wants_ping = on_wants_ping,
};

/* ---- the wire ---- */

static bool pull(struct end *end)
{
    static uint8_t bytes[MAX_PACKET];
    size_t size = 0;
    struct slice_queue queue = SLICE_QUEUE_NULL;
    if (end->is_pinging)
        put(end, PACKET_PING, NULL, 0);
    end->is_pinging = false;
    assert_true(hubble_mux_pull(&end->mux, &queue, world.now) >= 0);
    while (queue.count > 0) {
        struct slice slice = slice_queue_take(&queue, SIZE_MAX);
        memcpy(bytes + size, slice.data, slice.size);
        size += slice.size;
        slice_drop(&slice);
    }
    slice_queue_deinit(&queue);
    if (size > 0)
        put(end, PACKET_MESSAGE, bytes, size);
    return size > 0;
}

static void take(struct end *end, const struct packet *packet)
{
    struct message message;
    struct hubble_payload payload;
    struct slice_queue queue = SLICE_QUEUE_NULL;
    assert_int_equal(0, hubble_decode(packet->bytes, packet->size, &message, &payload));
    assert_int_not_equal(end->mux.role == HUBBLE_GATEWAY ? MESSAGE_RESET : MESSAGE_FIN,
                         message.type);
    if (payload.size > 0) {
        struct slice slice;
        assert_int_equal(0, slice_copy(&world.pool, payload.data, payload.size, &slice));
        assert_int_equal(0, slice_queue_push(&queue, slice));
    }
    assert_int_equal(0, hubble_mux_receive(&end->mux, &message, &queue, world.now));
    slice_queue_deinit(&queue);
}

/* Moves one packet from `end` to the other. */
static bool deliver(struct end *end)
{
    if (list_is_empty(&end->wire) || end->other->is_stopped)
        return false;
    struct packet *packet = CONTAINER_OF(list_pop(&end->wire), struct packet, node);
    if (packet->kind == PACKET_MESSAGE)
        take(end->other, packet);
    else if (packet->kind == PACKET_PING)
        put(end->other, PACKET_PONG, NULL, 0);
    else
        hubble_mux_ponged(&end->other->mux);
    memory_free(packet);
    return true;
}

static void end_turn(struct end *end)
{
    if (hubble_mux_deadline(&end->mux) <= world.now)
        hubble_mux_tick(&end->mux, world.now);
    hubble_mux_turn_ends(&end->mux, world.now);
}

/* ---- the run ---- */

static void open_session(struct end *end)
{
    char guid[32];
    snprintf(guid, sizeof guid, "%c%d", 'a' + (int)roll(26), world.opened++);
    struct message_open open = {
        .kind = text_of("tcp"), .agent = text_of("x"), .host = text_of("h")};
    open.guid = roll(4) == 0 ? TEXT_NULL : text_of(guid);
    struct stream *stream;
    assert_int_equal(0, hubble_mux_open(&end->mux, &open, world.now, &stream));
    hold(end, stream);
}

static size_t count_live(const struct end *end)
{
    size_t count = 0;
    for (size_t i = 0; i < end->holder_count; i++)
        count += end->holders[i].stream != NULL;
    return count;
}

static void act_at_random(struct end *end, bool winds_up)
{
    if (end->holder_count == 0)
        return;
    struct holder *holder = &end->holders[roll(end->holder_count)];
    if (holder->stream != NULL)
        act(holder, winds_up);
}

static void step(struct end *end, bool winds_up)
{
    switch (roll(8)) {
    case 0:
        if (!winds_up && roll(4) == 0 && count_live(end) < MAX_LIVE && end->holder_count < 150)
            open_session(end);
        break;
    case 1:
        end_turn(end);
        break;
    case 2:
    case 3:
        pull(end);
        break;
    case 4:
    case 5:
        deliver(end);
        break;
    default:
        for (int i = 0; i < 8; i++)
            act_at_random(end, winds_up);
        break;
    }
}

static void settle(void)
{
    bool moved = true;
    while (moved) {
        moved = false;
        struct end *ends[] = {&world.gateway, &world.agent};
        for (int i = 0; i < 2; i++) {
            while (pull(ends[i]))
                moved = true;
            moved |= deliver(ends[i]);
            end_turn(ends[i]);
        }
    }
}

static void wind_up(void)
{
    for (int i = 0; i < 20000 && count_live(&world.gateway) + count_live(&world.agent) > 0; i++) {
        step(i % 2 == 0 ? &world.gateway : &world.agent, true);
        world.now += 1000;
    }
    assert_int_equal(0, count_live(&world.gateway) + count_live(&world.agent));
    settle();
    /* For late acks of sessions that were refused by nobody. */
    world.now += (uint64_t)HUBBLE_ANSWER_TIME * 1000000;
    settle();
}

static void begin(uint64_t seed)
{
    memset(&world, 0, sizeof world);
    world.random = seed * UINT64_C(0x9e3779b97f4a7c15);
    world.now = 1000000;
    world.is_lazy = seed % 4 == 0;
    account_init(&world.account, SIZE_MAX);
    chunk_pool_init(&world.pool, &world.account);
    struct end *ends[] = {&world.gateway, &world.agent};
    for (int i = 0; i < 2; i++) {
        uint64_t seeds[2] = {roll(UINT32_MAX), roll(UINT32_MAX)};
        ends[i]->other = ends[1 - i];
        list_init(&ends[i]->wire);
        assert_int_equal(0, hubble_mux_init(&ends[i]->mux, &owner, ends[i],
                                            i == 0 ? HUBBLE_GATEWAY : HUBBLE_AGENT, seeds,
                                            &world.pool, &world.account));
    }
}

static void check_nothing_is_left(struct end *end)
{
    assert_int_equal(0, end->mux.sessions.count);
    assert_int_equal(0, end->mux.queued);
    assert_int_equal(0, end->mux.outstanding);
    assert_int_equal(0, end->mux.peer_streams);
    assert_int_equal(0, end->mux.given_up);
    assert_true(hubble_mux_is_drained(&end->mux));
    assert_true(list_is_empty(&end->mux.streams));
    assert_true(list_is_empty(&end->wire));
    assert_true(hubble_mux_deadline(&end->mux) == UINT64_MAX);
    hubble_mux_abort(&end->mux, REASON_SHUTDOWN, NULL, 0);
    hubble_mux_deinit(&end->mux);
}

static void bytes_arrive_in_order_and_whole(void **state)
{
    (void)state;
    uint64_t received = 0;
    int stops = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        begin(seed);
        for (int i = 0; i < STEPS; i++) {
            step(roll(2) == 0 ? &world.gateway : &world.agent, false);
            world.now += roll(3000) == 0 ? 1200000 : roll(1000);
        }
        wind_up();
        for (size_t i = 0; i < world.gateway.holder_count; i++)
            received += world.gateway.holders[i].received;
        stops += world.stops;
        check_nothing_is_left(&world.gateway);
        check_nothing_is_left(&world.agent);
        assert_int_equal(0, chunk_pool_deinit(&world.pool));
    }
    assert_true(received > UINT64_C(100000) * SEEDS);
    assert_true(stops > SEEDS / 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(bytes_arrive_in_order_and_whole)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
