/*
 * Random sessions over a link whose carrier is cut and replaced at random, with nothing but a link
 * and a mux at each end: each byte must arrive once, in order and whole, each end must be told the
 * truth, memory must stay within its bound, and credit must add up at the end. How to run many
 * seeds, or one: trial.h.
 */
#include "sessions.h"
#include "sim.h"

#include "base/error.h"
#include "base/reason.h"

#include <stdio.h>
#include <string.h>

enum {
    MAX_MEMORY = 64 * 1024 * 1024,
    SEEDS = 2000,
};

static const uint64_t second = 1000000;

struct world {
    struct trial trial;
    struct sim_end ends[2];
    struct sim_pipe pipes[2];
    struct sessions sessions;
    unsigned cuts;
    uint64_t cut_time, attach_time;
    size_t most_memory;
};

static struct stream *open_stream(struct sessions *sessions, int side,
                                  const struct message_open *open)
{
    struct world *world = CONTAINER_OF(sessions, struct world, sessions);
    struct mux_stream *stream;
    TRIAL_CHECK(&world->trial, mux_open(&world->ends[side].mux, open, &stream) == 0);
    return mux_stream_base(stream);
}

static void on_peer_opened(struct mux *mux, struct mux_stream *stream,
                           const struct message_open *open)
{
    struct sim_end *end = mux->holder;
    struct world *world = end->holder;
    sessions_peer_opened(&world->sessions, end == &world->ends[1], mux_stream_base(stream), open);
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

static void init_world(struct world *world)
{
    static const uint64_t rates[] = {250000, 2500000, 12500000, 125000000};
    static const uint64_t delays[] = {50, 1000, 20000, 100000};
    struct trial *trial = &world->trial;
    /* In the smaller memory nothing grows and parked slices are compacted; some links may keep so
     * little that they are full most of the time. */
    size_t memory = trial_chance(trial, 30) ? 1024 * 1024 : MAX_MEMORY;
    for (int i = 0; i < 2; i++) {
        sim_pipe_init(&world->pipes[i], rates[trial_below(trial, 4)],
                      delays[trial_below(trial, 4)]);
        sim_end_init(&world->ends[i], &owner, world, i == 0, memory);
        if (trial_chance(trial, 30))
            world->ends[i].link.bound =
                LINK_MAX_DATA_COST + trial_below(trial, 2 * LINK_MAX_DATA_COST);
        world->sessions.pools[i] = &world->ends[i].pool;
    }
    world->sessions.trial = trial;
    world->sessions.open = open_stream;
    sessions_init(&world->sessions);
    sim_connect(&world->ends[0], &world->ends[1], &world->pipes[0], &world->pipes[1]);
    world->attach_time = TRIAL_NEVER;
    world->cuts = (unsigned)trial_below(trial, 8);
    world->cut_time = world->cuts == 0 ? TRIAL_NEVER : trial_below(trial, second);
}

/* Some of what is under way is lost; whether the ends know it at once is left to chance too. */
static void cut(struct world *world)
{
    struct trial *trial = &world->trial;
    bool is_known = trial_chance(trial, 50);
    unsigned dead = 1 + (unsigned)trial_below(trial, 3);
    for (unsigned i = 0; i < 2; i++) {
        if (is_known || (dead & (1U << i)) != 0) {
            sim_pipe_drop(&world->pipes[i]);
            world->pipes[i].is_dead = true;
        }
        if (is_known)
            world->ends[i].is_attached = false;
    }
    world->cut_time = TRIAL_NEVER;
    world->attach_time = trial->now + trial_below(trial, 800000);
}

static void attach(struct world *world)
{
    struct trial *trial = &world->trial;
    enum sim_first first = (enum sim_first)trial_below(trial, 3);
    TRIAL_CHECK(trial, sim_reconnect(&world->ends[0], &world->ends[1], first, trial->now) == 0);
    world->attach_time = TRIAL_NEVER;
    if (--world->cuts > 0)
        world->cut_time = trial->now + trial_below(trial, second);
}

static void check_bounds(struct world *world)
{
    struct trial *trial = &world->trial;
    for (int i = 0; i < 2; i++) {
        struct sim_end *end = &world->ends[i];
        TRIAL_CHECK(trial, end->link.bound <= LINK_MAX_KEPT);
        TRIAL_CHECK(trial, end->link.kept <= end->link.bound + LINK_CONTROL_RESERVE);
        sessions_check_bounds(&world->sessions, i, &end->mux);
        if (end->account.used > world->most_memory)
            world->most_memory = end->account.used;
        TRIAL_CHECK(trial, end->account.used <= MAX_MEMORY);
    }
}

static bool is_over(const struct world *world)
{
    return sessions_are_over(&world->sessions) && world->cut_time == TRIAL_NEVER &&
           world->attach_time == TRIAL_NEVER && list_is_empty(&world->pipes[0].flights) &&
           list_is_empty(&world->pipes[1].flights) && world->ends[0].link.kept == 0 &&
           world->ends[1].link.kept == 0;
}

static uint64_t next_time(const struct world *world)
{
    uint64_t next = sessions_next(&world->sessions);
    trial_earlier(&next, world->cut_time);
    trial_earlier(&next, world->attach_time);
    for (int i = 0; i < 2; i++) {
        trial_earlier(&next, sim_pipe_arrival(&world->pipes[i]));
        trial_earlier(&next, sim_end_timeout(&world->ends[i], world->trial.now));
    }
    return next;
}

static void step(struct world *world)
{
    struct trial *trial = &world->trial;
    if (trial->now >= world->cut_time)
        cut(world);
    if (trial->now >= world->attach_time)
        attach(world);
    for (int i = 0; i < 2; i++)
        TRIAL_CHECK(trial, sim_end_receive(&world->ends[i], trial->now) == 0);
    sessions_run(&world->sessions);
    for (int i = 0; i < 2; i++)
        TRIAL_CHECK(trial, sim_end_send(&world->ends[i], trial->now) == 0);
    check_bounds(world);
}

static void end_world(struct world *world)
{
    struct trial *trial = &world->trial;
    sessions_close(&world->sessions);
    for (int i = 0; i < 2; i++) {
        struct sim_end *end = &world->ends[i];
        mux_abort(&end->mux, REASON_SHUTDOWN, NULL, trial->now);
        TRIAL_CHECK(trial, end->mux.queued == 0 && end->mux.peer_streams == 0);
        TRIAL_CHECK(trial, sim_end_deinit(end) == 0);
        TRIAL_CHECK(trial, end->account.used == 0);
        sim_pipe_drop(&world->pipes[i]);
    }
}

static void run(struct trial *trial)
{
    struct world *world = CONTAINER_OF(trial, struct world, trial);
    init_world(world);
    TRIAL_CHECK(trial, sim_reconnect(&world->ends[0], &world->ends[1], SIM_KNOWS, trial->now) == 0);
    while (!is_over(world)) {
        uint64_t next = next_time(world);
        TRIAL_CHECK(trial, next != TRIAL_NEVER);
        TRIAL_CHECK(trial, next < 1000 * second);
        trial->now = next > trial->now ? next : trial->now + 1;
        step(world);
    }
    sessions_check_credit(&world->sessions);
    end_world(world);
}

int main(int argc, char **argv)
{
    static struct world world;
    uint64_t count = trial_run_all(&world.trial, argc, argv, SEEDS, run);
    if (count > 0)
        printf("%llu seeds, at most %zu KiB in one end\n", (unsigned long long)count,
               world.most_memory / 1024);
    return count > 0 ? 0 : 1;
}
