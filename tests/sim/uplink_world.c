#include "uplink_world.h"

#include "base/error.h"
#include "base/reason.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct uplink_world world;

/* ---- below the uplink ---- */

int approach_start(struct loop *loop, const struct approach_request *request, struct approach **out,
                   char *why, size_t why_size)
{
    assert_ptr_equal(loop, &world.loop.loop);
    assert_null(world.current);
    world.approaches++;
    world.approach.request = *request;
    if (world.start_error != 0) {
        snprintf(why, why_size, "it cannot be begun");
        return world.start_error;
    }
    *out = world.current = &world.approach;
    return 0;
}

void approach_cancel(struct approach *approach)
{
    if (approach == NULL)
        return;
    assert_ptr_equal(approach, world.current);
    world.current = NULL;
    world.cancelled++;
}

void gateway_denial_cancel(struct gateway_denial *denial)
{
    assert_non_null(denial);
}

static void close_carrier(struct carrier *carrier, int error, const char *reason)
{
    (void)carrier;
    (void)reason;
    assert_int_not_equal(error, 0);
    world.carriers_closed++;
}

static const struct carrier_operations carrier_operations = {.close = close_carrier};

static struct fake_link *of_tunnel(const struct tunnel *tunnel)
{
    for (size_t i = 0; i < world.link_count; i++)
        if (world.links[i].base.tunnel == tunnel)
            return &world.links[i];
    fail_msg("the tunnel of no link");
    return NULL;
}

static void announce_stop(struct tunnel *tunnel, const char *reason, unsigned seconds)
{
    (void)reason;
    of_tunnel(tunnel)->announced = seconds;
}

static bool is_drained(const struct tunnel *tunnel)
{
    return !of_tunnel(tunnel)->is_undrained;
}

static size_t largest(struct tunnel *tunnel)
{
    return of_tunnel(tunnel)->holds;
}

static const struct tunnel_operations tunnel_operations = {
    .announce_stop = announce_stop, .is_drained = is_drained, .largest = largest};

bool native_tunnel_can_resume(const struct native_tunnel *tunnel, unsigned *seconds)
{
    *seconds = 60;
    return CONTAINER_OF(tunnel, struct fake_link, native)->is_resumable;
}

void native_tunnel_cut(struct native_tunnel *tunnel, int error, const char *why)
{
    (void)error;
    assert_non_null(why);
    CONTAINER_OF(tunnel, struct fake_link, native)->cuts++;
}

int registration_new(const struct registration_owner *owner, void *holder, struct loop *loop,
                     const struct agent_config *config, struct registration **out)
{
    if (world.new_error != 0)
        return world.new_error;
    assert_true(world.link_count < UPLINK_WORLD_LINKS);
    struct fake_link *link = &world.links[world.link_count++];
    link->base =
        (struct registration){.owner = owner, .holder = holder, .loop = loop, .config = config};
    link->is_resumable = !world.is_not_resumable;
    *out = &link->base;
    return 0;
}

int registration_begin(struct registration *registration, struct carrier *carrier, bool is_native,
                       const uint8_t boot[static MESSAGE_BOOT_SIZE], uint64_t answer_time)
{
    struct fake_link *link = (struct fake_link *)registration;
    assert_ptr_equal(carrier, &world.carrier);
    assert_memory_equal(boot, world.uplink.boot, MESSAGE_BOOT_SIZE);
    if (world.begin_error != 0)
        return world.begin_error;
    link->answer_time = answer_time;
    registration->tunnel = &link->native.base;
    registration->tunnel->operations = &tunnel_operations;
    registration->native = is_native ? &link->native : NULL;
    return 0;
}

bool registration_can_resume(const struct registration *registration)
{
    return registration->native != NULL && ((const struct fake_link *)registration)->is_resumable;
}

int registration_rejoin(struct registration *registration, struct carrier *carrier,
                        const uint8_t nonce[static CARRIER_NONCE_SIZE])
{
    (void)nonce;
    assert_ptr_equal(carrier, &world.carrier);
    if (world.rejoin_error != 0)
        return world.rejoin_error;
    ((struct fake_link *)registration)->rejoins++;
    registration->state = REGISTRATION_REJOINING;
    registration->refusal = 0;
    return 0;
}

int registration_add_express(struct registration *registration, struct carrier *carrier,
                             const uint8_t nonce[static CARRIER_NONCE_SIZE])
{
    (void)nonce;
    assert_ptr_equal(carrier, &world.carrier);
    ((struct fake_link *)registration)->express++;
    return 0;
}

void registration_drain(struct registration *registration, const char *why)
{
    assert_non_null(why);
    registration->is_draining = true;
}

void registration_close(struct registration *registration, int code, const char *why)
{
    struct fake_link *link = (struct fake_link *)registration;
    (void)why;
    assert_false(link->is_closed);
    link->is_closed = true;
    link->code = code;
}

/* ---- above it ---- */

static void on_up(struct uplink *uplink, struct tunnel *tunnel)
{
    assert_ptr_equal(uplink, &world.uplink);
    world.up++;
    world.tunnel = tunnel;
}

static void on_detached(struct uplink *uplink, const char *why)
{
    assert_ptr_equal(uplink, &world.uplink);
    assert_non_null(why);
    world.detached++;
}

static void on_leaving(struct uplink *uplink)
{
    assert_ptr_equal(uplink, &world.uplink);
    world.leaving++;
}

static void on_resumed(struct uplink *uplink, struct tunnel *tunnel, const struct native_gap *gap)
{
    assert_ptr_equal(uplink, &world.uplink);
    assert_non_null(gap);
    world.resumed++;
    world.tunnel = tunnel;
}

static void on_down(struct uplink *uplink, const char *why)
{
    assert_ptr_equal(uplink, &world.uplink);
    assert_non_null(why);
    world.down++;
}

static void on_refused(struct uplink *uplink, int code, const char *why)
{
    assert_ptr_equal(uplink, &world.uplink);
    world.refused++;
    world.refusal = code;
    snprintf(world.why, sizeof world.why, "%s", why);
}

static const struct uplink_owner owner = {
    .up = on_up,
    .down = on_down,
    .leaving = on_leaving,
    .detached = on_detached,
    .resumed = on_resumed,
    .refused = on_refused,
};

/* ---- what happens ---- */

int uplink_world_set_up(void **state)
{
    (void)state;
    memset(&world, 0, sizeof world);
    world.trial.now = 1000 * 1000;
    account_init(&world.account, SIZE_MAX);
    virtual_loop_init(&world.loop, &world.trial, &world.account);
    world.carrier.operations = &carrier_operations;
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(url_parse(i == 0 ? "ws://one.invalid" : "ws://two.invalid/path",
                                   &world.urls[i], world.why, sizeof world.why),
                         0);
    world.config =
        (struct agent_config){.urls = world.urls, .url_count = 1, .name = "agent1", .key = ""};
    return 0;
}

int uplink_world_tear_down(void **state)
{
    (void)state;
    uplink_close(&world.uplink);
    uplink_close(&world.uplink);
    for (size_t i = 0; i < world.link_count; i++)
        assert_true(world.links[i].is_closed);
    uplink_deinit(&world.uplink);
    assert_int_equal(virtual_loop_deinit(&world.loop), 0);
    return 0;
}

void uplink_world_start(size_t gateways)
{
    world.config.url_count = gateways;
    assert_int_equal(uplink_init(&world.uplink, &owner, NULL, &world.loop.loop, &world.config,
                                 world.why, sizeof world.why),
                     0);
    uplink_start(&world.uplink);
}

/* To the next timer, or by so many milliseconds if that is sooner; returns how many it were. */
uint64_t uplink_world_advance(uint64_t most)
{
    uint64_t before = world.trial.now;
    uint64_t next = virtual_loop_next(&world.loop);
    world.trial.now += most * 1000;
    if (next < world.trial.now)
        world.trial.now = next > before ? next : before;
    virtual_loop_turn(&world.loop);
    return (world.trial.now - before) / 1000;
}

void uplink_world_pass(uint64_t milliseconds)
{
    for (uint64_t end = world.trial.now + milliseconds * 1000; world.trial.now < end;)
        uplink_world_advance((end - world.trial.now + 999) / 1000);
}

/* How many milliseconds it is until something is tried. */
uint64_t uplink_world_until_try(void)
{
    uint64_t sum = 0;
    while (world.current == NULL) {
        assert_int_not_equal(virtual_loop_next(&world.loop), TRIAL_NEVER);
        sum += uplink_world_advance(3600 * SECOND);
        assert_true(sum < 3600 * SECOND);
    }
    return sum;
}

void uplink_world_answer(struct approach_result result)
{
    assert_non_null(world.current);
    world.current = NULL;
    if (result.why == NULL)
        result.why = "the test says so";
    world.approach.request.done(world.approach.request.holder, &result);
}

void uplink_world_fail_try(enum approach_failure failure)
{
    uplink_world_answer((struct approach_result){.failure = failure});
}

void uplink_world_be_busy(unsigned seconds)
{
    uplink_world_answer((struct approach_result){.failure = APPROACH_BUSY, .retry_after = seconds});
}

void uplink_world_give_carrier(bool is_native)
{
    uplink_world_answer(
        (struct approach_result){.carrier = &world.carrier, .is_native = is_native});
}

struct fake_link *uplink_world_last_link(void)
{
    assert_true(world.link_count > 0);
    return &world.links[world.link_count - 1];
}

void uplink_world_welcome(struct fake_link *link)
{
    struct registration *registration = &link->base;
    bool is_new = registration->state == REGISTRATION_ASKED;
    registration->state = REGISTRATION_UP;
    registration->carried_since = world.trial.now;
    if (is_new)
        registration->owner->registered(registration);
    else
        registration->owner->resumed(registration);
}

struct fake_link *uplink_world_register_link(void)
{
    uplink_world_give_carrier(true);
    uplink_world_welcome(uplink_world_last_link());
    return uplink_world_last_link();
}

struct fake_link *uplink_world_start_registered(size_t gateways)
{
    uplink_world_start(gateways);
    return uplink_world_register_link();
}

void uplink_world_detach(struct fake_link *link, int refusal)
{
    enum registration_state before = link->base.state;
    link->base.state = REGISTRATION_DETACHED;
    link->base.refusal = refusal;
    link->base.owner->detached(&link->base, before, "the test cut it");
}

void uplink_world_lose(struct fake_link *link, int refusal)
{
    link->base.refusal = refusal;
    link->base.owner->lost(&link->base, refusal != 0 ? CULVERT_ERROR_REFUSED : CULVERT_ERROR_CLOSED,
                           "the test ended it");
}

void uplink_world_say_goodbye(struct fake_link *link, unsigned seconds)
{
    const struct message_goaway goaway = {.seconds = seconds, .reason = text_of("bye")};
    link->base.owner->went_away(&link->base, &goaway);
}
