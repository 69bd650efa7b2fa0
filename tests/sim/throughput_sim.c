/*
 * One bulk stream over a line of 100 Mbit/s fills it whatever the round trip, and whatever waits on
 * the line itself, since windows and the link's bound tune themselves; and an echo beside it waits
 * for no more than the carrier has taken in already.
 */
#include "sim.h"

#include "base/reason.h"

#include <stdio.h>
#include <string.h>

enum {
    RATE = 12500000, /* bytes a second */
    UNWRITTEN = 1024 * 1024,
    ECHO_SIZE = 64,
    ECHO_PAUSE = 30000,
};

static const uint64_t second = 1000000;

struct world {
    uint64_t now;
    struct sim_end ends[2];
    struct sim_pipe pipes[2];
    struct stream *bulk;
    struct stream *echo;
    uint64_t sent, written, received;
    uint64_t echo_time;    /* when the next one is sent */
    uint64_t echo_sent;    /* when the last one was sent */
    uint64_t longest_echo; /* since the measurement began */
    unsigned echoes;
};

static struct world *world_of(struct stream *stream)
{
    struct sim_end *end = mux_stream_from(stream)->mux->holder;
    return end->holder;
}

static void ignore(struct stream *stream)
{
    (void)stream;
}

static void ignore_written(struct stream *stream, size_t bytes)
{
    (void)stream;
    (void)bytes;
}

static void on_reset(struct stream *stream, int code, const char *reason)
{
    (void)code;
    (void)reason;
    stream->operations->close(stream);
}

static void on_bulk_written(struct stream *stream, size_t bytes)
{
    world_of(stream)->written += bytes;
}

static void on_bulk_data(struct stream *stream, struct slice_queue *data)
{
    size_t bytes = data->bytes;
    world_of(stream)->received += bytes;
    slice_queue_clear(data);
    stream->operations->consumed(stream, bytes);
}

static void on_echo_data(struct stream *stream, struct slice_queue *data)
{
    size_t bytes = data->bytes;
    stream->operations->write(stream, data);
    stream->operations->consumed(stream, bytes);
}

static void on_answer(struct stream *stream, struct slice_queue *data)
{
    struct world *world = world_of(stream);
    size_t bytes = data->bytes;
    slice_queue_clear(data);
    stream->operations->consumed(stream, bytes);
    uint64_t latency = world->now - world->echo_sent;
    if (latency > world->longest_echo)
        world->longest_echo = latency;
    world->echoes++;
    world->echo_time = world->now + ECHO_PAUSE;
}

static const struct stream_events bulk_source = {ignore,   on_bulk_data,    ignore,
                                                 on_reset, on_bulk_written, ignore};
static const struct stream_events bulk_sink = {ignore,   on_bulk_data,   ignore,
                                               on_reset, ignore_written, ignore};
static const struct stream_events echo_source = {ignore,   on_answer,      ignore,
                                                 on_reset, ignore_written, ignore};
static const struct stream_events echo_sink = {ignore,   on_echo_data,   ignore,
                                               on_reset, ignore_written, ignore};

static void on_peer_opened(struct mux *mux, struct mux_stream *stream,
                           const struct message_open *open)
{
    (void)mux;
    struct stream *base = mux_stream_base(stream);
    base->events = text_equals(open->kind, "bulk") ? &bulk_sink : &echo_sink;
    base->operations->accept(base);
}

static void on_wants_to_send(struct mux *mux)
{
    (void)mux;
}

static const struct mux_owner owner = {on_peer_opened, on_wants_to_send};

static struct stream *open_stream(struct world *world, const char *kind,
                                  const struct stream_events *events)
{
    struct message_open open = {.kind = text_of(kind)};
    struct mux_stream *stream;
    if (mux_open(&world->ends[0].mux, &open, &stream) != 0)
        return NULL;
    stream->stream.events = events;
    return &stream->stream;
}

static void write_bytes(struct world *world, struct stream *stream, size_t size)
{
    static const uint8_t bytes[CHUNK_LARGE_SIZE];
    struct slice slice;
    struct slice_queue queue = SLICE_QUEUE_NULL;
    if (slice_copy(&world->ends[0].pool, bytes, size, &slice) == 0 &&
        slice_queue_push(&queue, slice) == 0)
        stream->operations->write(stream, &queue);
    slice_queue_deinit(&queue);
}

static void run_applications(struct world *world)
{
    while (world->sent - world->written < UNWRITTEN) {
        write_bytes(world, world->bulk, CHUNK_LARGE_SIZE);
        world->sent += CHUNK_LARGE_SIZE;
    }
    if (world->now >= world->echo_time) {
        world->echo_time = UINT64_MAX;
        world->echo_sent = world->now;
        write_bytes(world, world->echo, ECHO_SIZE);
    }
}

static int run_until(struct world *world, uint64_t end)
{
    int result = 0;
    while (result == 0 && world->now < end) {
        uint64_t next = world->echo_time;
        for (int i = 0; i < 2; i++) {
            uint64_t times[] = {sim_pipe_arrival(&world->pipes[i]),
                                sim_end_timeout(&world->ends[i], world->now)};
            for (int n = 0; n < 2; n++)
                next = times[n] < next ? times[n] : next;
        }
        world->now = next > world->now ? next : world->now + 1;
        for (int i = 0; i < 2 && result == 0; i++)
            result = sim_end_receive(&world->ends[i], world->now);
        run_applications(world);
        for (int i = 0; i < 2 && result == 0; i++)
            result = sim_end_send(&world->ends[i], world->now);
    }
    return result;
}

/* `empty_trip` is what pings have measured before there was anything on the line; a queue on it,
 * which TCP fills, makes it longer by so many times. */
static int measure(struct world *world, uint64_t empty_trip, unsigned queue)
{
    uint64_t round_trip = empty_trip * (1 + queue);
    for (int i = 0; i < 2; i++) {
        sim_pipe_init(&world->pipes[i], RATE, round_trip / 2);
        sim_end_init(&world->ends[i], &owner, world, i == 0, SIZE_MAX);
    }
    sim_connect(&world->ends[0], &world->ends[1], &world->pipes[0], &world->pipes[1]);
    for (int i = 0; i < 2; i++)
        mux_set_round_trip(&world->ends[i].mux, empty_trip);
    int result = sim_reconnect(&world->ends[0], &world->ends[1], SIM_KNOWS, 0);
    world->bulk = open_stream(world, "bulk", &bulk_source);
    world->echo = open_stream(world, "echo", &echo_source);
    if (result != 0 || world->bulk == NULL || world->echo == NULL)
        return 1;

    uint64_t start = 20 * round_trip + second;
    uint64_t length = 5 * second;
    if (run_until(world, start) != 0)
        return 1;
    uint64_t before = world->received;
    world->longest_echo = 0;
    world->echoes = 0;
    if (run_until(world, start + length) != 0)
        return 1;

    uint64_t share = (world->received - before) * 100 / (RATE * length / second);
    /* What the carrier has taken in, and the message that it was taking in then. */
    uint64_t waiting = (uint64_t)(SIM_NOT_SENT + MESSAGE_MAX_DATA) * second / RATE;
    uint64_t allowed = round_trip + waiting + 1000;
    printf("round trip %3llu ms, %3llu ms when the line is full: %llu %% of the line, %u echoes, "
           "the longest %llu us of %llu\n",
           (unsigned long long)empty_trip / 1000, (unsigned long long)round_trip / 1000,
           (unsigned long long)share, world->echoes, (unsigned long long)world->longest_echo,
           (unsigned long long)allowed);
    return share >= 90 && world->echoes > 5 && world->longest_echo <= allowed ? 0 : 1;
}

static int finish(struct world *world)
{
    int left = 0;
    for (int i = 0; i < 2; i++) {
        sim_pipe_drop(&world->pipes[i]);
        mux_abort(&world->ends[i].mux, REASON_SHUTDOWN, NULL, 0);
        left |= sim_end_deinit(&world->ends[i]) != 0;
        left |= world->ends[i].account.used != 0;
    }
    return left;
}

int main(void)
{
    static const uint64_t round_trips[] = {10000, 50000, 200000};
    int failed = 0;
    for (unsigned queue = 0; queue <= 3; queue++) {
        for (size_t i = 0; i < sizeof round_trips / sizeof round_trips[0]; i++) {
            static struct world world;
            memset(&world, 0, sizeof world);
            failed |= measure(&world, round_trips[i], queue);
            failed |= finish(&world);
        }
    }
    return failed;
}
