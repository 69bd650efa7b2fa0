/* What a link takes over to another carrier, and which answers it accepts there. */
#include "base/error.h"
#include "tunnel/native_inner.h"
#include "tunnel/test_tunnels.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>

#include <cmocka.h>

#define SLOTS (sizeof(((struct native_tunnel *)NULL)->round_trips) / sizeof(uint64_t))

enum { WINDOW = 60, OLD = 1000 * 1000 * 1000 };

static void begin(struct test_tunnels *pair)
{
    test_tunnels_start(pair, WINDOW);
    test_tunnels_settle(pair);
}

static bool both_are_detached(struct test_tunnels *pair)
{
    return pair->agent.detachments > 0 && pair->gateway.detachments > 0;
}

static void cut(struct test_tunnels *pair)
{
    shutdown(pair->gateway.fd, SHUT_RDWR);
    test_tunnels_run(pair, both_are_detached);
}

static bool agent_is_detached_twice(struct test_tunnels *pair)
{
    return pair->agent.detachments == 2;
}

static bool agent_has_lost(struct test_tunnels *pair)
{
    return pair->agent.lost != 0;
}

static bool gateway_took_it(struct test_tunnels *pair)
{
    return pair->gateway.tunnel->link.epoch == 2;
}

/* A new carrier may be another way: nothing that was measured or awaited on the old one counts. */
static void nothing_of_the_old_carrier_counts_on_the_new_one(void **state)
{
    (void)state;
    struct test_tunnels pair;
    begin(&pair);
    struct native_tunnel *tunnels[] = {pair.agent.tunnel, pair.gateway.tunnel};
    for (int i = 0; i < 2; i++) {
        for (size_t slot = 0; slot < SLOTS; slot++)
            tunnels[i]->round_trips[slot] = OLD;
        tunnels[i]->ping_pending = 1;
        tunnels[i]->blocked_since = 1;
        tunnels[i]->ping_wanted = true;
        tunnels[i]->pong_due = true;
        tunnels[i]->last_ping = 1;
        tunnels[i]->last_taken = 1;
    }
    test_tunnels_rejoin(&pair);
    struct native_tunnel *agent = pair.agent.tunnel;
    assert_int_equal(native_round_trip(agent), 0);
    assert_int_equal(agent->ping_pending, 0);
    assert_int_equal(agent->blocked_since, 0);
    assert_false(agent->ping_wanted || agent->pong_due);
    assert_true(agent->last_ping == agent->attached_at && agent->last_taken == agent->last_ping);
    test_tunnels_settle(&pair);
    test_tunnels_run(&pair, gateway_took_it);
    for (size_t slot = 0; slot < SLOTS; slot++)
        assert_int_not_equal(pair.gateway.tunnel->round_trips[slot], OLD);
    assert_true(pair.gateway.tunnel->last_ping != 1 && pair.gateway.tunnel->last_taken != 1);
    test_tunnels_end(&pair);
}

/* The gap is as long as nothing was heard, however many tries there were meanwhile. */
static void a_try_that_fails_does_not_shorten_the_gap(void **state)
{
    (void)state;
    struct test_tunnels pair;
    begin(&pair);
    cut(&pair);
    pair.agent.tunnel->silent_since -= 4000000;
    pair.door.refuses = -1;
    test_tunnels_rejoin(&pair);
    test_tunnels_run(&pair, agent_is_detached_twice);
    test_tunnels_rejoin(&pair);
    test_tunnels_settle(&pair);
    assert_true(pair.agent.tunnel->gap.duration >= 4000000);
    assert_int_equal(pair.agent.tunnel->silent_since, 0);
    test_tunnels_end(&pair);
}

static void not_every_link_can_be_resumed(void **state)
{
    (void)state;
    struct test_tunnels pair;
    unsigned seconds = 0;
    begin(&pair);
    struct native_tunnel *tunnel = pair.agent.tunnel;
    assert_true(native_tunnel_can_resume(tunnel, &seconds));
    /* An owner that cannot do without a carrier. */
    const struct tunnel_owner *before = tunnel->base.owner;
    struct tunnel_owner owner = *before;
    owner.detached = NULL;
    tunnel->base.owner = &owner;
    assert_false(native_tunnel_can_resume(tunnel, &seconds));
    tunnel->base.owner = before;
    tunnel->resume_seconds = 0;
    assert_false(native_tunnel_can_resume(tunnel, &seconds));
    tunnel->resume_seconds = 1;
    /* A lost carrier is no lost link; a peer's word or a fault is, and is worse. */
    native_tunnel_cut(tunnel, CULVERT_ERROR_TIMED_OUT, "the test cuts");
    assert_true(native_tunnel_can_resume(tunnel, &seconds));
    native_tunnel_fail(tunnel, CULVERT_ERROR_PROTOCOL, "the test fails");
    assert_false(native_tunnel_can_resume(tunnel, &seconds));
    assert_int_equal(tunnel->failure, CULVERT_ERROR_PROTOCOL);
    native_tunnel_cut(tunnel, CULVERT_ERROR_TIMED_OUT, "the test cuts");
    assert_int_equal(tunnel->failure, CULVERT_ERROR_PROTOCOL); /* the worse one stays */
    assert_false(native_tunnel_can_resume(tunnel, &seconds));
    test_tunnels_run(&pair, agent_has_lost);
    assert_int_equal(pair.agent.lost, CULVERT_ERROR_PROTOCOL);
    test_tunnels_end(&pair);
}

/* What the agent makes of this answer to its second handshake. */
static int welcomed_with(struct test_tunnels *pair, struct message message)
{
    return native_take_welcome(pair->agent.tunnel, &message);
}

static void a_welcome_must_be_for_this_link_and_try(void **state)
{
    (void)state;
    struct test_tunnels pair;
    begin(&pair);
    cut(&pair);
    pair.door.is_silent = true;
    test_tunnels_rejoin(&pair);
    struct message good = native_make_welcome(pair.gateway.tunnel, NULL);
    good.welcome.epoch = 2;
    struct message bad = good;
    bad.welcome.epoch = 1;
    assert_int_equal(welcomed_with(&pair, bad), CULVERT_ERROR_PROTOCOL);
    bad.welcome.epoch = 3;
    assert_int_equal(welcomed_with(&pair, bad), CULVERT_ERROR_PROTOCOL);
    bad = good;
    bad.welcome.link[sizeof(bad.welcome.link) - 1] ^= 1;
    assert_int_equal(welcomed_with(&pair, bad), CULVERT_ERROR_PROTOCOL);
    bad = good;
    bad.type = MESSAGE_PONG;
    assert_int_equal(welcomed_with(&pair, bad), CULVERT_ERROR_PROTOCOL);
    bad = good;
    bad.is_handshake_ack = false;
    assert_int_equal(welcomed_with(&pair, bad), CULVERT_ERROR_PROTOCOL);
    assert_true(pair.agent.tunnel->expects_welcome);
    assert_int_equal(pair.welcomes, 1);
    assert_int_equal(welcomed_with(&pair, good), 0);
    assert_int_equal(pair.welcomes, 2);
    assert_memory_equal(pair.agent.tunnel->identity.link, pair.door.identity.link,
                        sizeof(pair.door.identity.link));
    /* The secret is told once; a later welcome has none. */
    assert_memory_equal(pair.agent.tunnel->identity.secret, pair.door.identity.secret,
                        sizeof(pair.door.identity.secret));
    test_tunnels_end(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_of_the_old_carrier_counts_on_the_new_one),
        cmocka_unit_test(a_try_that_fails_does_not_shorten_the_gap),
        cmocka_unit_test(not_every_link_can_be_resumed),
        cmocka_unit_test(a_welcome_must_be_for_this_link_and_try),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
