/*
 * Random sessions over a link whose carrier is cut and replaced at random: each byte must arrive
 * once, in order and whole, each end must be told the truth, memory must stay within its bound, and
 * credit must add up at the end. `link_mux_sim` runs many seeds, `link_mux_sim SEED` runs one,
 * `link_mux_sim FIRST COUNT` runs some.
 */
#include "sim.h"

#include "base/error.h"
#include "base/reason.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SESSIONS = 16,
    MAX_UNWRITTEN = 128 * 1024, /* what a holder has queued at most */
    MAX_PIECE = 60000,
    MAX_MEMORY = 64 * 1024 * 1024,
    SEEDS = 2000,
    RESET_CODE = 77,
    REFUSE_CODE = 78,
};

static const uint64_t second = 1000000;
static const uint64_t never = UINT64_MAX;

struct session;

/* One end's side of a session: an application that sends, reads and ends as it likes. */
struct half {
    struct session *session;
    struct half *peer;
    struct sim_end *end;
    struct stream *stream; /* NULL before it is opened and after it is closed */
    uint64_t to_send;
    uint64_t sent, written, received;
    struct slice_queue in;
    uint64_t wake;
    uint64_t reset_time;
    uint64_t pause; /* microseconds between actions, at most */
    unsigned hasty; /* per cent of the events it acts upon from within */
    bool reads;     /* otherwise it takes nothing until the reset */
    bool needs_accept, is_done;
    bool finish_called, finished, fin, resets;
};

struct session {
    struct world *world;
    unsigned index;
    struct half half[2]; /* [0] opens */
    bool stays_open;     /* neither side finishes */
    bool is_refused;
};

struct world {
    uint64_t seed;
    uint64_t now;
    struct sim_random random;
    struct sim_end ends[2];
    struct sim_pipe pipes[2];
    struct session sessions[SESSIONS];
    unsigned cuts;
    uint64_t cut_time, attach_time;
    size_t most_memory;
    jmp_buf failed;
};

#define CHECK(world, condition) ((condition) ? (void)0 : fail((world), #condition, __LINE__))

static _Noreturn void fail(struct world *world, const char *what, int line)
{
    fprintf(stderr, "seed %llu failed at %llu us, line %d: %s\nrun it again: link_mux_sim %llu\n",
            (unsigned long long)world->seed, (unsigned long long)world->now, line, what,
            (unsigned long long)world->seed);
    longjmp(world->failed, 1);
}

static uint8_t byte_at(const struct half *half, uint64_t offset)
{
    uint64_t side = half == &half->session->half[1];
    return (uint8_t)(offset * 131 + (offset >> 8) * 17 + half->session->index * 29 + side * 101);
}

static void write_piece(struct half *half)
{
    struct world *world = half->session->world;
    static uint8_t bytes[MAX_PIECE];
    uint64_t most = sim_chance(&world->random, 30) ? 200 : MAX_PIECE;
    uint64_t size = 1 + sim_below(&world->random, most);
    if (size > half->to_send - half->sent)
        size = half->to_send - half->sent;
    for (uint64_t i = 0; i < size; i++)
        bytes[i] = byte_at(half, half->sent + i);
    struct slice slice;
    struct slice_queue queue = SLICE_QUEUE_NULL;
    CHECK(world, slice_copy(&half->end->pool, bytes, (size_t)size, &slice) == 0);
    CHECK(world, slice_queue_push(&queue, slice) == 0);
    half->sent += size;
    half->stream->operations->write(half->stream, &queue);
    slice_queue_deinit(&queue);
}

static void consume(struct half *half)
{
    struct world *world = half->session->world;
    size_t bytes = half->in.bytes;
    if (!half->reads || bytes == 0)
        return;
    if (sim_chance(&world->random, 50))
        bytes = 1 + (size_t)sim_below(&world->random, bytes);
    slice_queue_skip(&half->in, bytes);
    half->stream->operations->consumed(half->stream, bytes);
}

static void close_half(struct half *half)
{
    slice_queue_deinit(&half->in);
    half->stream->operations->close(half->stream);
    half->stream = NULL;
    half->is_done = true;
    half->wake = never;
}

static void reset_half(struct half *half, int code)
{
    half->resets = true;
    half->stream->operations->reset(half->stream, code, "at random");
    close_half(half);
}

static void answer(struct half *half)
{
    half->needs_accept = false;
    if (half->session->is_refused)
        reset_half(half, REFUSE_CODE);
    else
        half->stream->operations->accept(half->stream);
}

/* Whatever the application may do now. */
static void act(struct half *half)
{
    struct world *world = half->session->world;
    half->wake = never;
    if (half->stream == NULL)
        return;
    if (world->now >= half->reset_time) {
        reset_half(half, RESET_CODE);
        return;
    }
    if (half->needs_accept)
        answer(half);
    if (half->stream == NULL)
        return;
    consume(half);
    while (half->sent < half->to_send && half->sent - half->written < MAX_UNWRITTEN) {
        write_piece(half);
        if (sim_chance(&world->random, 20))
            break;
    }
    if (half->sent == half->to_send && !half->finish_called && !half->session->stays_open) {
        half->finish_called = true;
        half->stream->operations->finish(half->stream);
    }
    if (half->finished && half->fin && half->in.bytes == 0) {
        close_half(half);
        return;
    }
    bool can_send = half->sent < half->to_send && half->sent - half->written < MAX_UNWRITTEN;
    if (can_send || (half->reads && half->in.bytes > 0))
        half->wake = world->now + 1 + sim_below(&world->random, half->pause);
    else if (half->reset_time != never)
        half->wake = half->reset_time;
}

/* Behind each event: at once, from within it, or later. */
static void notice(struct half *half)
{
    struct world *world = half->session->world;
    if (sim_chance(&world->random, half->hasty)) {
        act(half);
        return;
    }
    uint64_t wake = world->now + sim_below(&world->random, half->pause);
    if (wake < half->wake)
        half->wake = wake;
}

static void on_opened(struct stream *stream)
{
    struct half *half = stream->holder;
    struct world *world = half->session->world;
    CHECK(world, half == &half->session->half[0] && half->received == 0 && !half->fin);
    CHECK(world, half->peer->end != NULL && !half->session->is_refused);
    notice(half);
}

static void on_data(struct stream *stream, struct slice_queue *data)
{
    struct half *half = stream->holder;
    struct world *world = half->session->world;
    CHECK(world, !half->fin && data->bytes > 0);
    while (data->count > 0) {
        struct slice slice = slice_queue_take(data, SIZE_MAX);
        bool same = true;
        for (size_t i = 0; i < slice.size; i++)
            same &= slice.data[i] == byte_at(half->peer, half->received + i);
        half->received += slice.size;
        CHECK(world, slice_queue_push(&half->in, slice) == 0);
        CHECK(world, same);
    }
    CHECK(world, half->received <= half->peer->sent);
    notice(half);
}

static void on_fin(struct stream *stream)
{
    struct half *half = stream->holder;
    struct world *world = half->session->world;
    CHECK(world, !half->fin && half->peer->finish_called);
    CHECK(world, half->received == half->peer->to_send);
    half->fin = true;
    notice(half);
}

static void on_reset(struct stream *stream, int code, const char *reason)
{
    struct half *half = stream->holder;
    struct world *world = half->session->world;
    CHECK(world, half->peer->resets && reason != NULL && strcmp(reason, "at random") == 0);
    CHECK(world, code == (half->session->is_refused ? REFUSE_CODE : RESET_CODE) ||
                     (code == RESET_CODE && half->session->is_refused));
    close_half(half);
}

static void on_written(struct stream *stream, size_t bytes)
{
    struct half *half = stream->holder;
    struct world *world = half->session->world;
    half->written += bytes;
    CHECK(world, half->written <= half->sent);
    notice(half);
}

static void on_finished(struct stream *stream)
{
    struct half *half = stream->holder;
    struct world *world = half->session->world;
    CHECK(world, half->finish_called && !half->finished && half->written == half->to_send);
    half->finished = true;
    notice(half);
}

static const struct stream_events events = {
    .opened = on_opened,
    .data = on_data,
    .fin = on_fin,
    .reset = on_reset,
    .written = on_written,
    .finished = on_finished,
};

static void take_stream(struct half *half, struct sim_end *end, struct mux_stream *stream)
{
    half->end = end;
    half->stream = mux_stream_base(stream);
    half->stream->events = &events;
    half->stream->holder = half;
}

static void on_peer_opened(struct mux *mux, struct mux_stream *stream,
                           const struct message_open *open)
{
    struct sim_end *end = mux->holder;
    struct world *world = end->holder;
    CHECK(world, open->port < SESSIONS);
    struct half *half = &world->sessions[open->port].half[1];
    CHECK(world, half->stream == NULL && !half->is_done && half->peer->end != end);
    take_stream(half, end, stream);
    half->needs_accept = true;
    notice(half);
}

static void on_wants_to_send(struct mux *mux)
{
    struct sim_end *end = mux->holder;
    end->wants_to_send = true;
}

static const struct mux_owner owner = {
    .peer_opened = on_peer_opened,
    .wants_to_send = on_wants_to_send,
};

static void init_half(struct world *world, struct half *half)
{
    struct sim_random *random = &world->random;
    static const uint64_t sizes[] = {0, 1, 1000, 20000, 100000, 400000};
    static const uint64_t pauses[] = {1, 100, 5000, 100000};
    half->in = SLICE_QUEUE_NULL;
    half->wake = never;
    half->reset_time = never;
    half->to_send = sizes[sim_below(random, 6)];
    if (half->to_send > 1)
        half->to_send = 1 + sim_below(random, half->to_send);
    half->pause = pauses[sim_below(random, 4)];
    half->hasty = (unsigned)sim_below(random, 3) * 40;
    half->reads = !sim_chance(random, 10);
    if (!half->reads || sim_chance(random, 15))
        half->reset_time = sim_below(random, 4 * second);
}

static void init_session(struct world *world, unsigned index)
{
    struct session *session = &world->sessions[index];
    *session = (struct session){.world = world, .index = index};
    for (int i = 0; i < 2; i++) {
        struct half *half = &session->half[i];
        init_half(world, half);
        half->session = session;
        half->peer = &session->half[1 - i];
    }
    session->is_refused = sim_chance(&world->random, 8);
    session->stays_open = !session->is_refused && sim_chance(&world->random, 15);
    if (session->stays_open)
        for (int i = 0; i < 2; i++) {
            session->half[i].reads = true;
            session->half[i].reset_time = never;
        }
    /* When it is opened; by whom is seen then. */
    session->half[0].wake = sim_below(&world->random, 2 * second);
}

static void init_world(struct world *world, uint64_t seed)
{
    static const uint64_t rates[] = {250000, 2500000, 12500000, 125000000};
    static const uint64_t delays[] = {50, 1000, 20000, 100000};
    world->seed = seed;
    world->now = 1;
    world->most_memory = 0;
    sim_random_init(&world->random, seed);
    /* In the smaller memory nothing grows and parked slices are compacted. */
    size_t memory = sim_chance(&world->random, 30) ? 1024 * 1024 : MAX_MEMORY;
    for (int i = 0; i < 2; i++) {
        sim_pipe_init(&world->pipes[i], rates[sim_below(&world->random, 4)],
                      delays[sim_below(&world->random, 4)]);
        sim_end_init(&world->ends[i], &owner, world, i == 0, memory);
    }
    for (unsigned i = 0; i < SESSIONS; i++)
        init_session(world, i);
    sim_connect(&world->ends[0], &world->ends[1], &world->pipes[0], &world->pipes[1]);
    world->attach_time = never;
    world->cuts = (unsigned)sim_below(&world->random, 8);
    world->cut_time = world->cuts == 0 ? never : sim_below(&world->random, second);
}

static void open_session(struct half *half)
{
    struct world *world = half->session->world;
    struct sim_end *end = &world->ends[sim_below(&world->random, 2)];
    struct message_open open = {
        .kind = text_of("tcp"),
        .agent = text_of("agent2"),
        .host = text_of("127.0.0.1"),
        .port = (uint16_t)half->session->index,
    };
    struct mux_stream *stream;
    CHECK(world, mux_open(&end->mux, &open, &stream) == 0);
    take_stream(half, end, stream);
}

/* Some of what is under way is lost; whether the ends know it at once is left to chance too. */
static void cut(struct world *world)
{
    bool is_known = sim_chance(&world->random, 50);
    unsigned dead = 1 + (unsigned)sim_below(&world->random, 3);
    for (unsigned i = 0; i < 2; i++) {
        if (is_known || (dead & (1U << i)) != 0) {
            sim_pipe_drop(&world->pipes[i]);
            world->pipes[i].is_dead = true;
        }
        if (is_known)
            world->ends[i].is_attached = false;
    }
    world->cut_time = never;
    world->attach_time = world->now + sim_below(&world->random, 800000);
}

static void attach(struct world *world)
{
    bool guesses = sim_chance(&world->random, 50);
    CHECK(world, sim_reconnect(&world->ends[0], &world->ends[1], guesses, world->now) == 0);
    world->attach_time = never;
    if (--world->cuts > 0)
        world->cut_time = world->now + sim_below(&world->random, second);
}

static void check_bounds(struct world *world)
{
    for (int i = 0; i < 2; i++) {
        struct sim_end *end = &world->ends[i];
        CHECK(world, end->link.bound <= LINK_MAX_KEPT);
        CHECK(world, end->link.kept <= end->link.bound + LINK_CONTROL_RESERVE + MESSAGE_MAX_DATA +
                                           LINK_MESSAGE_COST + LINK_HEAD_SIZE);
        CHECK(world, end->mux.control.bytes <= MUX_MAX_CONTROL);
        size_t queued = 0;
        for (int n = 0; n < SESSIONS; n++) {
            for (int side = 0; side < 2; side++) {
                struct half *half = &world->sessions[n].half[side];
                if (half->end != end || half->stream == NULL)
                    continue;
                struct mux_stream *stream = mux_stream_from(half->stream);
                queued += stream->out.bytes + stream->out.count * MUX_STREAM_COST;
                CHECK(world, stream->out.bytes <= MAX_UNWRITTEN + MAX_PIECE);
                CHECK(world,
                      half->in.bytes + stream->receive.outstanding <= stream->receive.window);
            }
        }
        CHECK(world, end->mux.queued == queued);
        if (end->account.used > world->most_memory)
            world->most_memory = end->account.used;
        CHECK(world, end->account.used <= MAX_MEMORY);
    }
}

static bool half_is_at_rest(const struct half *half)
{
    if (half->is_done)
        return true;
    return half->stream != NULL && half->session->stays_open && half->written == half->to_send &&
           half->received == half->peer->to_send && half->in.bytes == 0;
}

static bool is_over(const struct world *world)
{
    for (int i = 0; i < SESSIONS; i++)
        for (int side = 0; side < 2; side++)
            if (!half_is_at_rest(&world->sessions[i].half[side]) &&
                !(side == 1 && world->sessions[i].half[0].is_done &&
                  world->sessions[i].half[1].stream == NULL))
                return false;
    return world->cut_time == never && world->attach_time == never &&
           list_is_empty(&world->pipes[0].flights) && list_is_empty(&world->pipes[1].flights) &&
           world->ends[0].link.kept == 0 && world->ends[1].link.kept == 0;
}

static void earlier(uint64_t *time, uint64_t other)
{
    if (other < *time)
        *time = other;
}

static uint64_t next_time(const struct world *world)
{
    uint64_t next = world->cut_time;
    earlier(&next, world->attach_time);
    for (int i = 0; i < 2; i++) {
        earlier(&next, sim_pipe_arrival(&world->pipes[i]));
        earlier(&next, sim_end_timeout(&world->ends[i], world->now));
    }
    for (int i = 0; i < SESSIONS; i++)
        for (int side = 0; side < 2; side++)
            earlier(&next, world->sessions[i].half[side].wake);
    return next;
}

static void run_applications(struct world *world)
{
    for (int i = 0; i < SESSIONS; i++) {
        for (int side = 0; side < 2; side++) {
            struct half *half = &world->sessions[i].half[side];
            if (half->wake > world->now)
                continue;
            if (half->end == NULL)
                open_session(half);
            act(half);
        }
    }
}

static void step(struct world *world)
{
    if (world->now >= world->cut_time)
        cut(world);
    if (world->now >= world->attach_time)
        attach(world);
    for (int i = 0; i < 2; i++)
        CHECK(world, sim_end_receive(&world->ends[i], world->now) == 0);
    run_applications(world);
    for (int i = 0; i < 2; i++)
        CHECK(world, sim_end_send(&world->ends[i], world->now) == 0);
    check_bounds(world);
}

/* Each stream that is still open: what one side may send and what the other waits to grant make up
 * the window. */
static void check_credit(struct world *world)
{
    for (int i = 0; i < SESSIONS; i++) {
        for (int side = 0; side < 2; side++) {
            struct half *half = &world->sessions[i].half[side];
            if (half->stream == NULL)
                continue;
            struct mux_stream *from = mux_stream_from(half->stream);
            struct mux_stream *to = mux_stream_from(half->peer->stream);
            CHECK(world, from->send.withheld == 0);
            CHECK(world, from->send.available == to->receive.outstanding);
            CHECK(world, to->receive.undelivered == to->consumed && to->receive.due == 0);
            CHECK(world, to->receive.window == to->receive.outstanding + to->consumed);
        }
    }
}

static void end_world(struct world *world)
{
    for (int i = 0; i < SESSIONS; i++) {
        for (int side = 0; side < 2; side++) {
            struct half *half = &world->sessions[i].half[side];
            half->peer->resets = true;
            if (half->stream != NULL)
                close_half(half);
        }
    }
    for (int i = 0; i < 2; i++) {
        struct sim_end *end = &world->ends[i];
        mux_abort(&end->mux, REASON_SHUTDOWN, NULL);
        CHECK(world, end->mux.queued == 0 && end->mux.peer_streams == 0);
        CHECK(world, sim_end_deinit(end) == 0);
        CHECK(world, end->account.used == 0);
        sim_pipe_drop(&world->pipes[i]);
    }
}

/* Returns 0, or 1 after having told what failed. */
static int run_seed(struct world *world, uint64_t seed)
{
    memset(world, 0, sizeof *world);
    if (setjmp(world->failed) != 0)
        return 1;
    init_world(world, seed);
    CHECK(world, sim_reconnect(&world->ends[0], &world->ends[1], false, world->now) == 0);
    while (!is_over(world)) {
        uint64_t next = next_time(world);
        CHECK(world, next != never);
        CHECK(world, next < 1000 * second);
        world->now = next > world->now ? next : world->now + 1;
        step(world);
    }
    check_credit(world);
    end_world(world);
    return 0;
}

int main(int argc, char **argv)
{
    static struct world world;
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : argc > 1 ? 1 : SEEDS;
    size_t most_memory = 0;
    for (uint64_t seed = first; seed < first + count; seed++) {
        if (run_seed(&world, seed) != 0)
            return 1;
        if (world.most_memory > most_memory)
            most_memory = world.most_memory;
    }
    printf("%llu seeds, at most %zu KiB in one end\n", (unsigned long long)count,
           most_memory / 1024);
    return 0;
}
