#include "agent/registration.h"

#include "base/error.h"
#include "base/reason.h"
#include "tunnel/hubble_tunnel.h"
#include "virtual_loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* A registration in virtual time, over tunnels that do what the test says. */

enum { ANSWER_TIME = 4000 /* milliseconds */, WINDOW = 60 /* seconds */ };

static struct {
    struct trial trial;
    struct account account;
    struct virtual_loop loop;
    struct agent_config config;
    struct registration *registration;
    const struct tunnel_owner *owner; /* of the tunnel */
    struct tunnel hubble;
    struct native_tunnel native;
    struct carrier carrier;
    int error; /* of what is done next with a tunnel */
    bool is_not_resumable, is_undrained;
    unsigned cuts, rejoins, added, announced;
    int code; /* with which the tunnel was closed */
    unsigned registered, resumed, detached, lost, expressed, went_away, drained, opened;
    enum registration_state before;
    int lost_error;
} world;

/* ---- the tunnels ---- */

static void announce_stop(struct tunnel *tunnel, const char *reason, unsigned seconds)
{
    (void)tunnel;
    assert_non_null(reason);
    assert_int_equal(seconds, 0);
    world.announced++;
}

static bool is_drained(const struct tunnel *tunnel)
{
    (void)tunnel;
    return !world.is_undrained;
}

static void close_tunnel(struct tunnel *tunnel, int code, const char *reason)
{
    (void)tunnel;
    (void)reason;
    assert_int_equal(world.code, 0);
    world.code = code;
}

static const struct tunnel_operations operations = {
    .announce_stop = announce_stop, .is_drained = is_drained, .close = close_tunnel};

int hubble_tunnel_register(const struct tunnel_owner *owner, void *holder, struct loop *loop,
                           struct carrier *carrier, const char *name, const char *key,
                           struct tunnel **out)
{
    assert_ptr_equal(loop, &world.loop.loop);
    assert_ptr_equal(carrier, &world.carrier);
    assert_string_equal(name, "agent1");
    assert_string_equal(key, "sesame");
    world.owner = owner;
    world.hubble = (struct tunnel){.operations = &operations, .holder = holder};
    if (world.error == 0)
        *out = &world.hubble;
    return world.error;
}

int native_tunnel_new(const struct tunnel_owner *owner, void *holder, struct loop *loop, bool dials,
                      struct native_tunnel **out)
{
    assert_ptr_equal(loop, &world.loop.loop);
    assert_true(dials);
    world.owner = owner;
    world.native.base = (struct tunnel){.operations = &operations, .holder = holder};
    *out = &world.native;
    return 0;
}

int native_tunnel_register(struct native_tunnel *tunnel, struct carrier *carrier,
                           const struct native_credentials *credentials)
{
    assert_ptr_equal(tunnel, &world.native);
    assert_ptr_equal(carrier, &world.carrier);
    assert_string_equal(credentials->name, "agent1");
    assert_string_equal(credentials->key, "sesame");
    assert_int_equal(credentials->boot[0], 7);
    return world.error;
}

void native_tunnel_cut(struct native_tunnel *tunnel, int error, const char *why)
{
    assert_ptr_equal(tunnel, &world.native);
    assert_int_equal(error, world.error);
    assert_non_null(why);
    world.cuts++;
}

bool native_tunnel_can_resume(const struct native_tunnel *tunnel, unsigned *seconds)
{
    assert_ptr_equal(tunnel, &world.native);
    *seconds = WINDOW;
    return !world.is_not_resumable;
}

int native_tunnel_rejoin(struct native_tunnel *tunnel, struct carrier *carrier, const char *name,
                         const char *key, const uint8_t nonce[static CARRIER_NONCE_SIZE])
{
    assert_ptr_equal(tunnel, &world.native);
    assert_ptr_equal(carrier, &world.carrier);
    assert_string_equal(name, "agent1");
    assert_string_equal(key, "sesame");
    assert_int_equal(nonce[0], 3);
    world.rejoins++;
    return world.error;
}

int native_tunnel_add_express(struct native_tunnel *tunnel, struct carrier *carrier,
                              const char *name, const char *key,
                              const uint8_t nonce[static CARRIER_NONCE_SIZE])
{
    assert_ptr_equal(tunnel, &world.native);
    assert_ptr_equal(carrier, &world.carrier);
    assert_string_equal(name, "agent1");
    assert_string_equal(key, "sesame");
    assert_int_equal(nonce[0], 3);
    world.added++;
    return world.error;
}

/* ---- the owner ---- */

static void on_registered(struct registration *registration)
{
    assert_ptr_equal(registration, world.registration);
    world.registered++;
}

static void on_resumed(struct registration *registration)
{
    assert_ptr_equal(registration, world.registration);
    world.resumed++;
}

static void on_detached(struct registration *registration, enum registration_state before,
                        const char *why)
{
    assert_ptr_equal(registration, world.registration);
    assert_string_equal(why, "the test cut it");
    world.detached++;
    world.before = before;
}

static void on_lost(struct registration *registration, int error, const char *why)
{
    assert_ptr_equal(registration, world.registration);
    assert_non_null(why);
    world.lost++;
    world.lost_error = error;
}

static void on_express(struct registration *registration, enum tunnel_express what, const char *why)
{
    assert_ptr_equal(registration, world.registration);
    assert_int_equal(what, TUNNEL_EXPRESS_OVER);
    assert_string_equal(why, "because");
    world.expressed++;
}

static void on_went_away(struct registration *registration, const struct message_goaway *goaway)
{
    assert_ptr_equal(registration, world.registration);
    assert_int_equal(goaway->seconds, 9);
    world.went_away++;
}

static void on_drained(struct registration *registration)
{
    assert_ptr_equal(registration, world.registration);
    world.drained++;
}

static void on_peer_opened(struct registration *registration, struct stream *stream,
                           const struct message_open *open)
{
    assert_ptr_equal(registration, world.registration);
    assert_null(stream);
    assert_int_equal(open->port, 22);
    world.opened++;
}

static const struct registration_owner owner = {
    .registered = on_registered,
    .resumed = on_resumed,
    .detached = on_detached,
    .lost = on_lost,
    .express = on_express,
    .went_away = on_went_away,
    .drained = on_drained,
    .peer_opened = on_peer_opened,
};

/* ---- what happens ---- */

static const uint8_t boot[MESSAGE_BOOT_SIZE] = {7};
static const uint8_t nonce[CARRIER_NONCE_SIZE] = {3};

static int set_up(void **state)
{
    (void)state;
    memset(&world, 0, sizeof world);
    world.trial.now = 1000 * 1000;
    account_init(&world.account, SIZE_MAX);
    virtual_loop_init(&world.loop, &world.trial, &world.account);
    world.config = (struct agent_config){.name = "agent1", .key = "sesame"};
    return registration_new(&owner, NULL, &world.loop.loop, &world.config, &world.registration);
}

static int tear_down(void **state)
{
    (void)state;
    bool has_tunnel = world.registration->tunnel != NULL;
    registration_close(world.registration, REASON_SHUTDOWN, "the test is over");
    assert_int_equal(world.code, has_tunnel ? REASON_SHUTDOWN : 0);
    return virtual_loop_deinit(&world.loop) == 0 ? 0 : -1;
}

static void begin(bool is_native)
{
    assert_int_equal(
        registration_begin(world.registration, &world.carrier, is_native, boot, ANSWER_TIME), 0);
}

static void pass(uint64_t milliseconds)
{
    uint64_t end = world.trial.now + milliseconds * 1000;
    while (virtual_loop_next(&world.loop) <= end) {
        world.trial.now = virtual_loop_next(&world.loop);
        virtual_loop_turn(&world.loop);
    }
    world.trial.now = end;
}

static struct tunnel *tunnel(void)
{
    return world.registration->tunnel;
}

static void welcome(int code)
{
    const struct message_welcome welcome = {.ok = code == 0, .code = code};
    world.owner->welcomed(tunnel(), &welcome);
}

static void cut(void)
{
    world.owner->detached(tunnel(), CULVERT_ERROR_CLOSED, "the test cut it");
}

static void begin_registered(void)
{
    begin(true);
    welcome(0);
    assert_int_equal(world.registered, 1);
}

static void rejoin(void)
{
    assert_int_equal(registration_rejoin(world.registration, &world.carrier, nonce), 0);
    assert_int_equal(world.registration->state, REGISTRATION_REJOINING);
}

static void expect_lost_after(uint64_t milliseconds)
{
    pass(milliseconds - 1);
    assert_int_equal(world.lost, 0);
    pass(1);
    assert_int_equal(world.lost, 1);
    assert_int_equal(world.lost_error, CULVERT_ERROR_TIMED_OUT);
}

static void test_a_server_that_does_not_answer(void **state)
{
    (void)state;
    begin(true);
    expect_lost_after(ANSWER_TIME);
}

static void test_a_server_of_hubble_that_does_not_answer(void **state)
{
    (void)state;
    begin(false);
    assert_null(world.registration->native);
    assert_false(registration_can_resume(world.registration));
    expect_lost_after(ANSWER_TIME);
}

static void test_an_answer_in_time(void **state)
{
    (void)state;
    begin(true);
    pass(ANSWER_TIME - 1);
    welcome(0);
    assert_int_equal(world.registration->state, REGISTRATION_UP);
    assert_int_equal(world.registration->carried_since, world.trial.now);
    assert_int_equal(virtual_loop_next(&world.loop), TRIAL_NEVER);
    assert_true(registration_can_resume(world.registration));
    world.is_not_resumable = true;
    assert_false(registration_can_resume(world.registration));
}

static void test_a_refusal(void **state)
{
    (void)state;
    begin(true);
    welcome(REASON_FORBIDDEN);
    assert_int_equal(world.registration->refusal, REASON_FORBIDDEN);
    assert_int_equal(world.registration->state, REGISTRATION_ASKED);
    world.owner->lost(tunnel(), CULVERT_ERROR_REFUSED, "refused");
    assert_int_equal(world.registered, 0);
    assert_int_equal(world.lost_error, CULVERT_ERROR_REFUSED);
}

static void test_a_handshake_that_cannot_be_sent(void **state)
{
    (void)state;
    world.error = CULVERT_ERROR_NO_MEMORY;
    assert_int_equal(
        registration_begin(world.registration, &world.carrier, false, boot, ANSWER_TIME),
        CULVERT_ERROR_NO_MEMORY);
    assert_null(world.registration->tunnel);
    begin(true); /* `lost` tells later */
    assert_int_equal(world.cuts, 1);
}

/* The time counts from the loss; tries that fail do not make it longer. */
static void test_the_window_to_be_resumed_in(void **state)
{
    (void)state;
    begin_registered();
    pass(12345);
    cut();
    assert_int_equal(world.before, REGISTRATION_UP);
    for (int i = 0; i < 3; i++) {
        pass(10 * 1000);
        rejoin();
        if (i == 1)
            welcome(REASON_LIMIT);
        cut();
        assert_int_equal(world.before, REGISTRATION_REJOINING);
        assert_int_equal(world.registration->state, REGISTRATION_DETACHED);
        assert_int_equal(world.registration->refusal, i == 1 ? REASON_LIMIT : 0);
    }
    expect_lost_after((WINDOW - 30) * 1000);
    assert_int_equal(world.detached, 4);
}

static void test_each_loss_has_the_whole_window(void **state)
{
    (void)state;
    begin_registered();
    cut();
    pass((WINDOW - 1) * 1000);
    rejoin();
    pass(500);
    welcome(0);
    assert_int_equal(world.resumed, 1);
    assert_int_equal(world.registered, 1);
    assert_int_equal(world.registration->carried_since, world.trial.now);
    assert_int_equal(virtual_loop_next(&world.loop), TRIAL_NEVER);
    pass(3600 * 1000);
    cut();
    expect_lost_after(WINDOW * 1000);
}

static void test_a_carrier_that_is_not_taken(void **state)
{
    (void)state;
    begin_registered();
    cut();
    world.error = CULVERT_ERROR_NO_MEMORY;
    assert_int_equal(registration_rejoin(world.registration, &world.carrier, nonce),
                     CULVERT_ERROR_NO_MEMORY);
    assert_int_equal(world.registration->state, REGISTRATION_DETACHED);
    assert_int_equal(registration_add_express(world.registration, &world.carrier, nonce),
                     CULVERT_ERROR_NO_MEMORY);
    world.error = 0;
    assert_int_equal(registration_add_express(world.registration, &world.carrier, nonce), 0);
    assert_int_equal(world.added, 2);
}

static void test_it_is_drained_when_nothing_is_under_way(void **state)
{
    (void)state;
    begin_registered();
    world.native.mux.streams.count = 1;
    registration_drain(world.registration, "the test leaves");
    assert_int_equal(world.announced, 1);
    pass(10 * REGISTRATION_DRAIN_LOOK);
    world.native.mux.streams.count = 0;
    world.is_undrained = true;
    pass(10 * REGISTRATION_DRAIN_LOOK);
    assert_int_equal(world.drained, 0);
    world.is_undrained = false;
    pass(REGISTRATION_DRAIN_LOOK);
    assert_int_equal(world.drained, 1);
    assert_int_equal(virtual_loop_next(&world.loop), TRIAL_NEVER);
}

/* The handshake of a carrier that was under way then. */
static void test_it_is_resumed_while_it_drains(void **state)
{
    (void)state;
    begin_registered();
    rejoin();
    registration_drain(world.registration, "the test leaves");
    welcome(0);
    pass(REGISTRATION_DRAIN_LOOK);
    assert_int_equal(world.drained, 1);
}

static void test_what_the_tunnel_tells_is_passed_on(void **state)
{
    const struct message_goaway goaway = {.seconds = 9};
    const struct message_open open = {.port = 22};
    (void)state;
    begin_registered();
    world.owner->went_away(tunnel(), &goaway);
    world.owner->express(tunnel(), TUNNEL_EXPRESS_OVER, "because");
    world.owner->peer_opened(tunnel(), NULL, &open);
    assert_int_equal(world.went_away + world.expressed + world.opened, 3);
}

static void test_it_is_closed_before_it_has_begun(void **state)
{
    (void)state;
    assert_null(world.registration->tunnel);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_server_that_does_not_answer),
        TEST(test_a_server_of_hubble_that_does_not_answer),
        TEST(test_an_answer_in_time),
        TEST(test_a_refusal),
        TEST(test_a_handshake_that_cannot_be_sent),
        TEST(test_the_window_to_be_resumed_in),
        TEST(test_each_loss_has_the_whole_window),
        TEST(test_a_carrier_that_is_not_taken),
        TEST(test_it_is_drained_when_nothing_is_under_way),
        TEST(test_it_is_resumed_while_it_drains),
        TEST(test_what_the_tunnel_tells_is_passed_on),
        TEST(test_it_is_closed_before_it_has_begun),
    };
    return cmocka_run_group_tests_name("registration", tests, NULL, NULL);
}
