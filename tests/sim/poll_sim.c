/*
 * Both ends of long poll as they are, over requests that are lost, late, repeated and answered
 * twice: what one end sends the other gets once, in order and whole, as long as it is not told that
 * the carrier is lost; and after the end nothing is left. How to run many seeds, or one: trial.h.
 */
#include "virtual_http.h"
#include "virtual_loop.h"

#include "base/error.h"
#include "carrier/poll_carrier.h"
#include "codec/message.h"

#include <stdio.h>
#include <string.h>

enum { SEEDS = 2000, AGENT = 0, GATEWAY = 1, MOST_BATCH = 200000 };

static const uint64_t second = 1000000;

/* One end, and what it sends. */
struct side {
    struct world *world;
    struct account account;
    struct virtual_loop loop;
    struct carrier *carrier; /* NULL once it is closed */
    uint64_t to_send, sent, received;
    uint64_t batch_ends; /* what was sent up to the last end of a batch that came */
    uint64_t wake;
    uint64_t pause; /* microseconds between batches, at most */
    bool is_reading, is_lost;
    bool is_within; /* the gateway's end tells a body whole, whatever was asked within it */
};

struct world {
    struct trial trial;
    struct virtual_http http;
    struct side sides[2];
    struct poll_server server;
    bool has_server;
    bool is_closing;
    uint64_t close_time;
    uint64_t losses, bytes;
};

static uint8_t byte_at(const struct side *side, uint64_t place)
{
    return (uint8_t)(place * 31 + (place >> 8) * 7 + (side == &side->world->sides[AGENT]));
}

static struct side *peer_of(struct side *side)
{
    return &side->world->sides[side == &side->world->sides[AGENT]];
}

static void send_one(struct side *side)
{
    struct trial *trial = &side->world->trial;
    static uint8_t bytes[MOST_BATCH];
    /* The first that goes up is a handshake in the place of which stands a small batch. */
    uint64_t most = trial_chance(trial, 50) || side->sent == 0 ? 500 : MOST_BATCH;
    uint64_t size = 1 + trial_below(trial, most);
    if (size > side->to_send - side->sent)
        size = side->to_send - side->sent;
    for (uint64_t i = 0; i < size; i++)
        bytes[i] = byte_at(side, side->sent + i);
    struct slice slice;
    struct slice_queue batch = SLICE_QUEUE_NULL;
    TRIAL_CHECK(trial, slice_copy(&side->loop.loop.pool, bytes, (size_t)size, &slice) == 0);
    TRIAL_CHECK(trial, slice_queue_push(&batch, slice) == 0);
    side->sent += size;
    struct carrier *carrier = side->carrier;
    carrier->operations->send(carrier, &batch);
    carrier->operations->flush(carrier);
    slice_queue_deinit(&batch);
}

static void close_side(struct side *side, int error)
{
    struct carrier *carrier = side->carrier;
    side->carrier = NULL;
    side->wake = TRIAL_NEVER;
    carrier_close(carrier, error, NULL);
}

static void act(struct side *side)
{
    struct trial *trial = &side->world->trial;
    side->wake = TRIAL_NEVER;
    if (side->carrier == NULL)
        return;
    if (trial_chance(trial, 20)) {
        side->is_reading = !side->is_reading;
        side->carrier->operations->read(side->carrier, side->is_reading);
    }
    if (side->carrier == NULL)
        return;
    bool is_ready = side->carrier->operations->is_ready(side->carrier);
    if (is_ready && side->sent < side->to_send)
        send_one(side);
    if (side->carrier == NULL)
        return;
    /* If it is not ready it will say when it is. */
    is_ready = side->carrier->operations->is_ready(side->carrier);
    if (is_ready && side->sent < side->to_send)
        side->wake = trial->now + 1 + trial_below(trial, side->pause);
    else if (!side->is_reading)
        side->wake = trial->now + 1000 + trial_below(trial, side->pause);
}

static void on_data(struct carrier *carrier, struct slice piece)
{
    struct side *side = carrier->holder;
    struct side *peer = peer_of(side);
    struct trial *trial = &side->world->trial;
    TRIAL_CHECK(trial, side->carrier == carrier && piece.size > 0);
    TRIAL_CHECK(trial, side->is_reading || side->is_within);
    bool same = true;
    for (size_t i = 0; i < piece.size; i++)
        same &= piece.data[i] == byte_at(peer, side->received + i);
    TRIAL_CHECK(trial, same);
    side->received += piece.size;
    TRIAL_CHECK(trial, side->received <= peer->sent);
    slice_drop(&piece);
    side->is_within = side == &side->world->sides[GATEWAY];
    if (trial_chance(trial, 3)) {
        side->is_reading = false;
        carrier->operations->read(carrier, false);
        side->wake = trial->now + trial_below(trial, side->pause);
    }
}

static void on_message_end(struct carrier *carrier)
{
    struct side *side = carrier->holder;
    TRIAL_CHECK(&side->world->trial, side->received > side->batch_ends);
    side->batch_ends = side->received;
    side->is_within = false;
}

static void ignore(struct carrier *carrier)
{
    (void)carrier;
}

static void on_ready(struct carrier *carrier)
{
    struct side *side = carrier->holder;
    struct trial *trial = &side->world->trial;
    TRIAL_CHECK(trial, side->carrier == carrier && carrier->operations->is_ready(carrier));
    trial_earlier(&side->wake, trial->now + trial_below(trial, side->pause));
}

static void on_lost(struct carrier *carrier, int error, const char *why)
{
    struct side *side = carrier->holder;
    struct world *world = side->world;
    TRIAL_CHECK(&world->trial, side->carrier == carrier && why != NULL);
    /* A body that was divided after it had been taken whole is refused. */
    TRIAL_CHECK(&world->trial, error != CULVERT_ERROR_NO_MEMORY &&
                                   (error != CULVERT_ERROR_PROTOCOL || world->http.limit > 0));
    /* For no other reason than that nothing came through, or the other end's close. */
    TRIAL_CHECK(&world->trial, world->http.lossy > 0 || world->is_closing);
    side->is_lost = true;
    world->is_closing = true;
    world->losses++;
    close_side(side, error);
}

static const struct carrier_events events = {
    .data = on_data,
    .message_end = on_message_end,
    .read_end = ignore,
    .ready = on_ready,
    .lost = on_lost,
};

static void on_reads(struct poll_server *server, bool on)
{
    struct world *world = CONTAINER_OF(server, struct world, server);
    virtual_http_reads(&world->http, on);
}

static void on_over(struct poll_server *server)
{
    struct world *world = CONTAINER_OF(server, struct world, server);
    TRIAL_CHECK(&world->trial, world->sides[GATEWAY].carrier == NULL && world->has_server);
    world->has_server = false;
    virtual_http_forget(&world->http);
    poll_server_deinit(server, NULL);
}

static const struct poll_server_owner server_owner = {.reads = on_reads, .over = on_over};

static void attach(struct side *side, struct carrier *carrier)
{
    side->carrier = carrier;
    carrier->events = &events;
    carrier->holder = side;
    side->is_reading = true;
    carrier->operations->read(carrier, true);
    side->wake = side->world->trial.now;
}

static void init_agent(struct world *world)
{
    struct trial *trial = &world->trial;
    struct poll_carrier_parts parts = {.id = "00112233445566778899aabbccddeeff"};
    struct carrier *carrier = NULL;
    parts.requests = virtual_http_requests(&world->http);
    TRIAL_CHECK(trial, http_request_new(parts.requests, &parts.up) == 0);
    TRIAL_CHECK(trial, http_request_new(parts.requests, &parts.down) == 0);
    struct loop *loop = &world->sides[AGENT].loop.loop;
    TRIAL_CHECK(trial, poll_carrier_new(loop, &parts, &carrier) == 0);
    attach(&world->sides[AGENT], carrier);
}

static void init_world(struct world *world)
{
    static const uint64_t sizes[] = {0, 1000, 300000, 2000000};
    static const uint64_t pauses[] = {1, 20000, 2000000};
    static const unsigned losses[] = {0, 5, 20};
    struct trial *trial = &world->trial;
    for (int i = 0; i < 2; i++) {
        struct side *side = &world->sides[i];
        memset(side, 0, sizeof *side);
        side->world = world;
        account_init(&side->account, SIZE_MAX);
        virtual_loop_init(&side->loop, trial, &side->account);
        side->to_send = sizes[trial_below(trial, 4)];
        side->pause = pauses[trial_below(trial, 3)];
    }
    world->http = (struct virtual_http){
        .trial = trial,
        .loop = &world->sides[AGENT].loop.loop,
        .gateway = &world->sides[GATEWAY].loop.loop,
        .server = &world->server,
        .lossy = losses[trial_below(trial, 3)],
        .limit = trial_chance(trial, 30) ? VIRTUAL_HTTP_LEAST : 0,
        .is_read = true,
        .tally = world->http.tally,
    };
    list_init(&world->http.exchanges);
    world->is_closing = false;
    world->close_time = trial_chance(trial, 20) ? trial_below(trial, 5 * second) : TRIAL_NEVER;
    TRIAL_CHECK(trial, poll_server_init(&world->server, world->http.gateway, &server_owner) == 0);
    world->has_server = true;
    attach(&world->sides[GATEWAY], &world->server.carrier);
    init_agent(world);
}

static bool has_all(struct side *side)
{
    struct side *peer = peer_of(side);
    return side->received == peer->to_send && side->batch_ends == side->received &&
           side->carrier != NULL;
}

static void close_one(struct world *world)
{
    struct trial *trial = &world->trial;
    struct side *side = &world->sides[trial_below(trial, 2)];
    world->close_time = TRIAL_NEVER;
    world->is_closing = true;
    if (side->carrier != NULL)
        close_side(side, 0);
}

static uint64_t next_time(const struct world *world)
{
    uint64_t next = virtual_http_next(&world->http);
    trial_earlier(&next, world->close_time);
    for (int i = 0; i < 2; i++) {
        trial_earlier(&next, world->sides[i].wake);
        trial_earlier(&next, virtual_loop_next(&world->sides[i].loop));
    }
    return next;
}

static void step(struct world *world)
{
    struct trial *trial = &world->trial;
    virtual_http_run(&world->http);
    for (int i = 0; i < 2; i++) {
        struct side *side = &world->sides[i];
        if (side->wake <= trial->now)
            act(side);
        virtual_loop_turn(&side->loop);
    }
    if (trial->now >= world->close_time)
        close_one(world);
    else if (!world->is_closing && has_all(&world->sides[0]) && has_all(&world->sides[1]))
        close_one(world);
}

static void end_world(struct world *world)
{
    struct trial *trial = &world->trial;
    for (int i = 0; i < 2; i++) {
        struct side *side = &world->sides[i];
        TRIAL_CHECK(trial, virtual_loop_deinit(&side->loop) == 0);
        TRIAL_CHECK(trial, side->account.used == 0);
        world->bytes += side->received;
    }
    virtual_http_end(&world->http);
}

static void run(struct trial *trial)
{
    struct world *world = CONTAINER_OF(trial, struct world, trial);
    init_world(world);
    while (world->sides[0].carrier != NULL || world->sides[1].carrier != NULL ||
           world->has_server) {
        uint64_t next = next_time(world);
        TRIAL_CHECK(trial, next != TRIAL_NEVER);
        TRIAL_CHECK(trial, next < 2000 * second);
        trial->now = next > trial->now ? next : trial->now + 1;
        step(world);
    }
    end_world(world);
}

int main(int argc, char **argv)
{
    static struct world world;
    uint64_t count = trial_run_all(&world.trial, argc, argv, SEEDS, run);
    if (count == 0)
        return 1;
    printf("%llu seeds: %llu bytes, %llu requests or answers lost, %llu sent twice, %llu out of "
           "place, %llu too large, %llu ends told of the loss of their carrier\n",
           (unsigned long long)count, (unsigned long long)world.bytes,
           (unsigned long long)world.http.tally.lost, (unsigned long long)world.http.tally.repeated,
           (unsigned long long)world.http.tally.refused,
           (unsigned long long)world.http.tally.too_large, (unsigned long long)world.losses);
    return 0;
}
