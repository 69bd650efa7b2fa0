/*
 * An agent and a gateway, each with the native tunnel as it is, over lines that break, stall, go
 * silent, are replaced while they still work and again before the handshake is answered; whose
 * handshakes overtake one another, are refused, and whose links are given up. Some have an express
 * line as well. Sessions from both sides go on over all of it, and what they are told is checked,
 * as are memory and credit. How to run many seeds, or one: trial.h.
 */
#include "tunnel_world.h"

#include "base/error.h"
#include "base/reason.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

enum { MAX_MEMORY = 64 * 1024 * 1024, SEEDS = 2000 };

/* ---- what happens to them ---- */

/* To all lines alike: they are one agent's. */
static void harm_lines(struct world *world)
{
    struct trial *trial = &world->trial;
    uint64_t what = trial_below(trial, 14);
    uint64_t hold_up =
        trial_below(trial, trial_chance(trial, 20) ? 12 * WORLD_SECOND : WORLD_SECOND / 2);
    int which = (int)trial_below(trial, 2);
    struct list_node *node = list_first(&world->lines);
    for (; node != NULL; node = list_next(&world->lines, node)) {
        struct line *line = CONTAINER_OF(node, struct line, node);
        if (what < 8)
            line_break(line);
        else if (what < 10)
            line_hold_up(line, hold_up);
        else
            line_silence(line, which);
        if (what == 13)
            line_silence(line, 1 - which);
    }
}

static void harm_link(struct world *world)
{
    struct trial *trial = &world->trial;
    int which = (int)trial_below(trial, 2);
    struct side *side = &world->sides[which];
    bool is_begun = side->tunnel != NULL && side->tunnel->link.epoch > 0;
    switch (trial_below(trial, 10)) {
    case 0:
        if (side->tunnel != NULL)
            world_end_link(world, which);
        if (which == WORLD_AGENT)
            world_dial_soon(world);
        break;
    case 1:
    case 2:
        if (is_begun)
            tunnel_announce_stop(&side->tunnel->base, "soon", (unsigned)++side->stops_announced);
        break;
    case 3:
        if (is_begun)
            sessions_relieve(&world->sessions, &side->tunnel->base);
        break;
    case 4:
        if (is_begun)
            tunnel_ping(&side->tunnel->base);
        break;
    case 5:
    case 6:
    case 7:
        world_express_soon(world);
        break;
    default: /* the agent's address changes, say */
        world_dial_soon(world);
        break;
    }
}

static void happen(struct world *world)
{
    struct trial *trial = &world->trial;
    if (trial_chance(trial, 60))
        harm_lines(world);
    else
        harm_link(world);
    world->events--;
    world->event_time =
        world->events > 0 ? trial->now + trial_below(trial, world->tempo) : TRIAL_NEVER;
}

static void init_world(struct world *world)
{
    struct trial *trial = &world->trial;
    static const unsigned windows[] = {0, 1, 3, 60, 60, 60};
    static const uint64_t tempos[] = {20000, 200000, 1000000, 1000000};
    size_t memory = trial_chance(trial, 30) ? 1024 * 1024 : MAX_MEMORY;
    for (int i = 0; i < 2; i++) {
        struct side *side = &world->sides[i];
        memset(side, 0, sizeof *side);
        account_init(&side->account, memory);
        virtual_loop_init(&side->loop, trial, &side->account);
        side->give_up_time = TRIAL_NEVER;
        world->sessions.pools[i] = &side->loop.loop.pool;
    }
    list_init(&world->lines);
    memset(world->visitors, 0, sizeof world->visitors);
    world->resume_seconds = windows[trial_below(trial, sizeof windows / sizeof windows[0])];
    world->tempo = tempos[trial_below(trial, sizeof tempos / sizeof tempos[0])];
    world->events = (unsigned)trial_below(trial, 16);
    world->event_time = world->events > 0 ? trial_below(trial, WORLD_SECOND) : TRIAL_NEVER;
    world->dial_time = trial->now;
    world->connect_time = TRIAL_NEVER;
    world->express_time = TRIAL_NEVER;
    world->sessions.trial = trial;
    world->sessions.open = world_open_stream;
    sessions_init(&world->sessions);
}

static bool has_early(const struct link *link)
{
    for (size_t i = 0; i < sizeof link->early / sizeof link->early[0]; i++)
        if (link->early[i] != 0)
            return true;
    return false;
}

static void check_bounds(struct world *world)
{
    struct trial *trial = &world->trial;
    for (int i = 0; i < 2; i++) {
        struct side *side = &world->sides[i];
        if (side->account.used > world->most_memory)
            world->most_memory = side->account.used;
        TRIAL_CHECK(trial, side->account.used <= MAX_MEMORY);
        if (side->tunnel == NULL)
            continue;
        const struct link *link = &side->tunnel->link;
        TRIAL_CHECK(trial, link->bound <= LINK_MAX_KEPT);
        TRIAL_CHECK(trial, link->kept <= link->bound + LINK_CONTROL_RESERVE);
        sessions_check_bounds(&world->sessions, i, &side->tunnel->mux);
        world->tally.early += has_early(link);
    }
}

static bool side_is_quiet(const struct side *side)
{
    const struct native_tunnel *tunnel = side->tunnel;
    return tunnel != NULL && tunnel->carrier != NULL && tunnel->is_fresh &&
           tunnel->link.kept == 0 && mux_is_drained(&tunnel->mux) &&
           list_is_empty(&tunnel->mux.credits);
}

static bool is_over(const struct world *world)
{
    if (!sessions_are_over(&world->sessions) || world->event_time != TRIAL_NEVER ||
        world->dial_time != TRIAL_NEVER || world->connect_time != TRIAL_NEVER ||
        world->express_time != TRIAL_NEVER)
        return false;
    if (!side_is_quiet(&world->sides[0]) || !side_is_quiet(&world->sides[1]))
        return false;
    unsigned quiet = 0;
    struct list_node *node = list_first(&world->lines);
    for (; node != NULL; node = list_next(&world->lines, node), quiet++)
        if (!line_is_quiet(CONTAINER_OF(node, struct line, node)))
            return false;
    return quiet == 1 || (quiet == 2 && world->sides[WORLD_AGENT].tunnel->express.is_up);
}

static uint64_t next_time(const struct world *world)
{
    uint64_t next = sessions_next(&world->sessions);
    trial_earlier(&next, world->event_time);
    trial_earlier(&next, world->dial_time);
    trial_earlier(&next, world->connect_time);
    trial_earlier(&next, world->express_time);
    for (int i = 0; i < 2; i++) {
        trial_earlier(&next, world->sides[i].give_up_time);
        trial_earlier(&next, virtual_loop_next(&world->sides[i].loop));
    }
    for (int i = 0; i < WORLD_LINES; i++) {
        const struct visitor *visitor = &world->visitors[i];
        if (visitor->line != NULL)
            trial_earlier(&next, visitor->decision_time);
    }
    struct list_node *node = list_first(&world->lines);
    for (; node != NULL; node = list_next(&world->lines, node))
        trial_earlier(&next, line_next(CONTAINER_OF(node, struct line, node)));
    return next;
}

static void run_lines(struct world *world)
{
    struct list_node *node = list_first(&world->lines), *next;
    for (; node != NULL; node = next) {
        struct line *line = CONTAINER_OF(node, struct line, node);
        next = list_next(&world->lines, node);
        line_run(line);
        if (!line->ends[0].is_closed || !line->ends[1].is_closed)
            continue;
        list_remove(node);
        line_free(line);
    }
}

static void run_visitors(struct world *world)
{
    for (int i = 0; i < WORLD_LINES; i++)
        if (visitor_is_due(&world->visitors[i]))
            world_decide(world, &world->visitors[i]);
}

static void run_timers(struct world *world)
{
    for (int i = 0; i < 2; i++) {
        struct side *side = &world->sides[i];
        if (side->give_up_time > world->trial.now)
            continue;
        side->give_up_time = TRIAL_NEVER;
        world_end_link(world, i);
        if (i == WORLD_AGENT)
            world_dial_soon(world);
    }
    if (world->trial.now >= world->event_time)
        happen(world);
    if (world->trial.now >= world->dial_time)
        world_dial(world);
    if (world->trial.now >= world->connect_time)
        world_connected(world);
    if (world->trial.now >= world->express_time)
        world_express_connected(world);
}

static void step(struct world *world)
{
    run_lines(world);
    run_visitors(world);
    run_timers(world);
    sessions_run(&world->sessions);
    for (int i = 0; i < 2; i++)
        virtual_loop_turn(&world->sides[i].loop);
    check_bounds(world);
}

static void end_world(struct world *world)
{
    struct trial *trial = &world->trial;
    sessions_close(&world->sessions);
    for (int i = 0; i < 2; i++) /* what came early has come in its place */
        TRIAL_CHECK(trial, !has_early(&world->sides[i].tunnel->link));
    for (int i = 0; i < 2; i++)
        tunnel_close(&world->sides[i].tunnel->base, REASON_SHUTDOWN, NULL);
    run_lines(world);
    TRIAL_CHECK(trial, list_is_empty(&world->lines));
    for (int i = 0; i < 2; i++) {
        struct side *side = &world->sides[i];
        TRIAL_CHECK(trial, virtual_loop_deinit(&side->loop) == 0);
        TRIAL_CHECK(trial, side->account.used == 0);
    }
}

static void run(struct trial *trial)
{
    struct world *world = CONTAINER_OF(trial, struct world, trial);
    init_world(world);
    while (!is_over(world)) {
        uint64_t next = next_time(world);
        TRIAL_CHECK(trial, next != TRIAL_NEVER);
        TRIAL_CHECK(trial, next < 1000 * WORLD_SECOND);
        trial->now = next > trial->now ? next : trial->now + 1;
        step(world);
    }
    sessions_check_credit(&world->sessions);
    end_world(world);
}

static struct world world;

/* In place of the system's, since a seed must decide everything: whatever asks for random numbers
 * is the tunnels. */
ssize_t getrandom(void *buffer, size_t length, unsigned flags)
{
    (void)flags;
    for (size_t i = 0; i < length; i++)
        ((uint8_t *)buffer)[i] = (uint8_t)(trial_random(&world.trial) >> 24);
    return (ssize_t)length;
}

int main(int argc, char **argv)
{
    uint64_t count = trial_run_all(&world.trial, argc, argv, SEEDS, run);
    const struct tally *tally = &world.tally;
    if (count == 0)
        return 1;
    printf("%llu seeds: %llu links, %llu lost at one end, %llu resumed (%llu over a carrier that "
           "was there), %llu refused, %llu of them late, %llu messages sent again, %llu express "
           "carriers, %llu times something was early, at most %zu KiB in one end\n",
           (unsigned long long)count, (unsigned long long)tally->links,
           (unsigned long long)tally->lost, (unsigned long long)tally->resumed,
           (unsigned long long)tally->kept_carrier, (unsigned long long)tally->refused,
           (unsigned long long)tally->late, (unsigned long long)tally->replayed,
           (unsigned long long)tally->express, (unsigned long long)tally->early,
           world.most_memory / 1024);
    /* The default seeds must have tried all of it. */
    bool is_rich = tally->lost > 0 && tally->resumed > 0 && tally->kept_carrier > 0 &&
                   tally->refused > 0 && tally->late > 0 && tally->replayed > 0 &&
                   tally->express > 0 && tally->early > 0;
    return argc == 1 && !is_rich ? 1 : 0;
}
