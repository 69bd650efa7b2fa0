#include "tunnel_world.h"

#include "base/error.h"
#include "base/reason.h"

#include <string.h>

static struct world *world_of(struct tunnel *tunnel)
{
    return tunnel->holder;
}

static struct side *side_of(struct tunnel *tunnel)
{
    struct world *world = world_of(tunnel);
    return &world->sides[tunnel->loop == &world->sides[WORLD_GATEWAY].loop.loop];
}

/* ---- links ---- */

void world_end_link(struct world *world, int which)
{
    struct side *side = &world->sides[which];
    struct native_tunnel *tunnel = side->tunnel;
    side->tunnel = NULL;
    side->give_up_time = TRIAL_NEVER;
    world->sessions.has_lost = true;
    tunnel_close(&tunnel->base, REASON_LINK_LOST, "given up");
    world->tally.lost++;
}

void world_dial_soon(struct world *world)
{
    uint64_t time = world->trial.now + trial_below(&world->trial, 600000);
    trial_earlier(&world->dial_time, time);
}

static const struct tunnel_owner owner;

/* Some links may keep so little that they are full most of the time. */
static void begin_link(struct world *world, int which)
{
    struct side *side = &world->sides[which];
    struct trial *trial = &world->trial;
    bool dials = which == WORLD_AGENT;
    TRIAL_CHECK(trial,
                native_tunnel_new(&owner, world, &side->loop.loop, dials, &side->tunnel) == 0);
    if (trial_chance(trial, 30))
        side->tunnel->link.bound = LINK_MAX_DATA_COST + trial_below(trial, 2 * LINK_MAX_DATA_COST);
}

static void on_peer_opened(struct tunnel *tunnel, struct stream *stream,
                           const struct message_open *open)
{
    struct world *world = world_of(tunnel);
    sessions_peer_opened(&world->sessions, side_of(tunnel) == &world->sides[WORLD_GATEWAY], stream,
                         open);
}

static void on_welcomed(struct tunnel *tunnel, const struct message_welcome *welcome)
{
    struct world *world = world_of(tunnel);
    struct native_tunnel *native = world->sides[WORLD_AGENT].tunnel;
    TRIAL_CHECK(&world->trial, &native->base == tunnel);
    if (!welcome->ok)
        return;
    TRIAL_CHECK(&world->trial, welcome->epoch == native->link.epoch);
    world->sides[WORLD_AGENT].give_up_time = TRIAL_NEVER;
    world->tally.replayed += native->gap.messages;
    TRIAL_CHECK(&world->trial, native->gap.messages <= native->link.count);
}

static void on_went_away(struct tunnel *tunnel, const struct message_goaway *goaway)
{
    struct world *world = world_of(tunnel);
    struct side *side = side_of(tunnel);
    /* Each once and in order; those of a link that was given up are lost. */
    TRIAL_CHECK(&world->trial, goaway->seconds > side->stops_heard);
    TRIAL_CHECK(&world->trial, side != &world->sides[WORLD_AGENT] ||
                                   goaway->seconds <= world->sides[WORLD_GATEWAY].stops_announced);
    side->stops_heard = goaway->seconds;
}

void world_express_soon(struct world *world)
{
    uint64_t time = world->trial.now + 1 + trial_below(&world->trial, 100000);
    trial_earlier(&world->express_time, time);
}

static void on_express(struct tunnel *tunnel, enum tunnel_express what, const char *why)
{
    struct world *world = world_of(tunnel);
    struct side *side = side_of(tunnel);
    TRIAL_CHECK(&world->trial, side->tunnel->express.is_up == (what == TUNNEL_EXPRESS_UP));
    TRIAL_CHECK(&world->trial, (why != NULL) == (what == TUNNEL_EXPRESS_OVER));
    if (what == TUNNEL_EXPRESS_WANTED && side == &world->sides[WORLD_AGENT])
        world_express_soon(world);
}

static void on_detached(struct tunnel *tunnel, int error, const char *why)
{
    struct world *world = world_of(tunnel);
    struct side *side = side_of(tunnel);
    TRIAL_CHECK(&world->trial, error != 0 && why != NULL && &side->tunnel->base == tunnel);
    TRIAL_CHECK(&world->trial, side->tunnel->carrier == NULL && world->resume_seconds > 0);
    if (side->give_up_time == TRIAL_NEVER)
        side->give_up_time = world->trial.now + world->resume_seconds * WORLD_SECOND;
    if (side == &world->sides[WORLD_AGENT])
        world_dial_soon(world);
}

static void on_lost(struct tunnel *tunnel, int error, const char *why)
{
    struct world *world = world_of(tunnel);
    struct side *side = side_of(tunnel);
    TRIAL_CHECK(&world->trial, error != CULVERT_ERROR_PROTOCOL && error != CULVERT_ERROR_TOO_LARGE);
    TRIAL_CHECK(&world->trial, error != CULVERT_ERROR_LIMIT && why != NULL);
    TRIAL_CHECK(&world->trial, &side->tunnel->base == tunnel);
    /* One that holds more than any of its streams is ended by sessions_relieve. */
    TRIAL_CHECK(&world->trial, error != CULVERT_ERROR_NO_MEMORY || strcmp(why, "at random") == 0);
    world_end_link(world, side == &world->sides[WORLD_GATEWAY]);
    if (side == &world->sides[WORLD_AGENT])
        world_dial_soon(world);
}

static const struct tunnel_owner owner = {
    .peer_opened = on_peer_opened,
    .welcomed = on_welcomed,
    .went_away = on_went_away,
    .express = on_express,
    .detached = on_detached,
    .lost = on_lost,
};

struct stream *world_open_stream(struct sessions *sessions, int which,
                                 const struct message_open *open)
{
    struct world *world = CONTAINER_OF(sessions, struct world, sessions);
    struct native_tunnel *tunnel = world->sides[which].tunnel;
    struct stream *stream = NULL;
    /* An agent's streams wait outside until it is registered. */
    if (tunnel == NULL || tunnel->link.epoch == 0)
        return NULL;
    int error = tunnel_open(&tunnel->base, open, &stream);
    TRIAL_CHECK(&world->trial, error == 0 || error == CULVERT_ERROR_CLOSED);
    return error == 0 ? stream : NULL;
}

/* ---- the gateway ---- */

static void visit(struct world *world, struct line *line)
{
    size_t i = 0;
    while (i < WORLD_LINES && world->visitors[i].line != NULL)
        i++;
    TRIAL_CHECK(&world->trial, i < WORLD_LINES);
    visitor_begin(&world->visitors[i], line);
}

static void refuse(struct world *world, struct carrier *carrier, int code)
{
    struct message message = {.type = MESSAGE_ACK, .is_handshake_ack = true, .is_known = true};
    message.welcome.code = code;
    message.welcome.message = text_of("not now");
    uint8_t encoded[MESSAGE_MAX_CONTROL];
    int size = message_encode(&message, encoded, sizeof encoded);
    struct slice slice;
    struct slice_queue batch = SLICE_QUEUE_NULL;
    struct chunk_pool *pool = &world->sides[WORLD_GATEWAY].loop.loop.pool;
    TRIAL_CHECK(&world->trial, size > 0 && slice_copy(pool, encoded, (size_t)size, &slice) == 0);
    TRIAL_CHECK(&world->trial, slice_queue_push(&batch, slice) == 0);
    carrier->operations->send(carrier, &batch);
    slice_queue_deinit(&batch);
    carrier_close(carrier, 0, "refused");
    world->tally.refused++;
}

static void welcome(struct world *world, struct carrier *carrier,
                    const struct message_handshake *handshake)
{
    struct side *side = &world->sides[WORLD_GATEWAY];
    if (side->tunnel != NULL)
        world_end_link(world, WORLD_GATEWAY);
    struct trial *trial = &world->trial;
    TRIAL_CHECK(trial, link_identity_new(&world->identity) == 0);
    TRIAL_CHECK(trial,
                native_tunnel_new(&owner, world, &side->loop.loop, false, &side->tunnel) == 0);
    TRIAL_CHECK(trial, native_tunnel_welcome(side->tunnel, carrier, handshake, &world->identity,
                                             world->resume_seconds) == 0);
    world->tally.links++;
}

/* Beside the carrier that the link has; only if that is still the one that was meant. */
static void take_express(struct world *world, struct carrier *carrier,
                         const struct message_handshake *handshake)
{
    struct native_tunnel *tunnel = world->sides[WORLD_GATEWAY].tunnel;
    bool is_meant = tunnel->is_fresh && handshake->epoch == tunnel->link.epoch;
    int error = native_tunnel_take_express(tunnel, carrier, handshake);
    TRIAL_CHECK(&world->trial, error == 0 || error == CULVERT_ERROR_REFUSED);
    TRIAL_CHECK(&world->trial, error != 0 || is_meant);
    if (error != 0)
        refuse(world, carrier, REASON_LINK_LOST);
    else
        world->tally.express++;
}

static void resume(struct world *world, struct line *line,
                   const struct message_handshake *handshake)
{
    struct side *side = &world->sides[WORLD_GATEWAY];
    struct native_tunnel *tunnel = side->tunnel;
    struct carrier *carrier = &line->ends[WORLD_GATEWAY].carrier;
    bool is_known = tunnel != NULL &&
                    memcmp(handshake->link, world->identity.link, sizeof world->identity.link) == 0;
    if (!is_known || world->resume_seconds == 0) {
        refuse(world, carrier, REASON_LINK_LOST);
        return;
    }
    TRIAL_CHECK(&world->trial, link_proof_is_right(world->identity.secret, line->nonce,
                                                   handshake->epoch, handshake->proof));
    if (handshake->is_express) {
        take_express(world, carrier, handshake);
        return;
    }
    uint64_t epoch = tunnel->link.epoch, count = tunnel->link.count;
    bool had_carrier = tunnel->carrier != NULL;
    int error = native_tunnel_resume(tunnel, carrier, handshake);
    TRIAL_CHECK(&world->trial, error == (handshake->epoch > epoch ? 0 : CULVERT_ERROR_REFUSED));
    if (error != 0) {
        TRIAL_CHECK(&world->trial, tunnel->link.epoch == epoch && tunnel->link.count == count);
        TRIAL_CHECK(&world->trial, (tunnel->carrier != NULL) == had_carrier);
        refuse(world, carrier, REASON_LINK_LOST);
        world->tally.late++;
        return;
    }
    side->give_up_time = TRIAL_NEVER;
    world->tally.resumed++;
    world->tally.kept_carrier += had_carrier;
    world->tally.replayed += tunnel->gap.messages;
}

void world_decide(struct world *world, struct visitor *visitor)
{
    struct line *line = visitor_leave(visitor);
    if (line == NULL)
        return;
    struct carrier *carrier = &line->ends[WORLD_GATEWAY].carrier;
    if (trial_chance(&world->trial, 5))
        refuse(world, carrier, REASON_LIMIT);
    else if (visitor->handshake.resumes)
        resume(world, line, &visitor->handshake);
    else
        welcome(world, carrier, &visitor->handshake);
}

/* ---- the agent ---- */

static struct line *connect_line(struct world *world)
{
    struct line *line = line_new(&world->trial, world->sessions.pools);
    TRIAL_CHECK(&world->trial, line != NULL);
    list_append(&world->lines, &line->node);
    visit(world, line);
    return line;
}

void world_express_connected(struct world *world)
{
    struct native_tunnel *tunnel = world->sides[WORLD_AGENT].tunnel;
    world->express_time = TRIAL_NEVER;
    if (tunnel == NULL)
        return;
    struct line *line = connect_line(world);
    struct carrier *carrier = &line->ends[WORLD_AGENT].carrier;
    int error = native_tunnel_add_express(tunnel, carrier, "agent1", NULL, line->nonce);
    TRIAL_CHECK(&world->trial, error == 0 || error == CULVERT_ERROR_CLOSED);
    if (error != 0)
        carrier_close(carrier, error, NULL);
}

void world_connected(struct world *world)
{
    struct trial *trial = &world->trial;
    struct side *side = &world->sides[WORLD_AGENT];
    struct line *line = connect_line(world);
    struct carrier *carrier = &line->ends[WORLD_AGENT].carrier;
    int error;
    unsigned seconds;
    world->connect_time = TRIAL_NEVER;
    if (side->tunnel != NULL && native_tunnel_can_resume(side->tunnel, &seconds)) {
        TRIAL_CHECK(trial, seconds == world->resume_seconds);
        error = native_tunnel_rejoin(side->tunnel, carrier, "agent1", NULL, line->nonce);
    } else {
        if (side->tunnel != NULL)
            world_end_link(world, WORLD_AGENT);
        begin_link(world, WORLD_AGENT);
        error = native_tunnel_register(side->tunnel, carrier,
                                       &(struct native_credentials){.name = "agent1"});
    }
    TRIAL_CHECK(trial, error == 0);
    if (world->events == 0)
        return;
    /* Some are not there when they seem to be; some handshakes are late, or overtaken. */
    if (trial_chance(trial, 10))
        line_silence(line, (int)trial_below(trial, 2));
    bool is_late = trial_chance(trial, 20);
    if (is_late)
        line_hold_up(line, trial_below(trial, 500000));
    if (trial_chance(trial, is_late ? 70 : 15))
        world->dial_time = trial->now + trial_below(trial, 100000);
}

void world_dial(struct world *world)
{
    world->dial_time = TRIAL_NEVER;
    world->connect_time = world->trial.now + 1 + trial_below(&world->trial, 100000);
}
