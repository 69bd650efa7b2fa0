/* Two tunnels on one loop, joined by a carrier. */
#include "base/error.h"
#include "base/reason.h"
#include "carrier/websocket_carrier.h"
#include "net/conn.h"
#include "tunnel/native_inner.h"
#include "tunnel/test_tunnels.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

enum { BULK = 8 * 1024 * 1024, SECOND = 1000 * 1000, KEEPALIVE = TUNNEL_KEEPALIVE * SECOND };

static void carries_bulk_both_ways(void **state)
{
    (void)state;
    struct test_tunnels pair;
    test_tunnels_start(&pair, 0);
    test_tunnels_settle(&pair);
    pair.agent.to_write = BULK;
    pair.gateway.to_write = BULK / 3;
    test_tunnels_open(&pair);
    test_tunnels_run(&pair, test_tunnels_have_finished);
    assert_true(pair.agent.is_opened);
    assert_int_equal(pair.gateway.got, BULK);
    assert_int_equal(pair.agent.got, BULK / 3);
    assert_true(pair.agent.sum_written == pair.gateway.sum_got);
    assert_true(pair.gateway.sum_written == pair.agent.sum_got);
    test_tunnels_end(&pair);
}

static bool agent_was_ponged_twice(struct test_tunnels *pair)
{
    if (pair->agent.pongs == 1)
        tunnel_ping(&pair->agent.tunnel->base);
    return pair->agent.pongs >= 2;
}

static void answers_pings(void **state)
{
    (void)state;
    struct test_tunnels pair;
    test_tunnels_start(&pair, 0);
    test_tunnels_settle(&pair);
    test_tunnels_run(&pair, agent_was_ponged_twice);
    assert_true(pair.agent.tunnel->mux.round_trip > 0);
    test_tunnels_end(&pair);
}

static bool both_have_lost(struct test_tunnels *pair)
{
    return pair->agent.lost != 0 && pair->gateway.lost != 0;
}

static bool gateway_has_lost(struct test_tunnels *pair)
{
    return pair->gateway.lost != 0;
}

static void a_cut_is_noticed_by_both(void **state)
{
    (void)state;
    struct test_tunnels pair;
    test_tunnels_start(&pair, 0);
    test_tunnels_settle(&pair);
    pair.agent.to_write = TEST_PIECE;
    test_tunnels_open(&pair);
    shutdown(pair.gateway.fd, SHUT_RDWR);
    test_tunnels_run(&pair, both_have_lost);
    test_tunnels_end(&pair);
    assert_true(pair.agent.is_reset);
    assert_int_equal(pair.agent.code, REASON_SHUTDOWN);
}

static void garbage_is_a_protocol_error(void **state)
{
    (void)state;
    struct test_tunnels pair;
    test_tunnels_start(&pair, 0);
    test_tunnels_settle(&pair);
    /* An unmasked frame from the client's side. */
    struct conn *conn = websocket_carrier_conn(pair.agent.tunnel->carrier);
    struct iovec vector = {(char[]){(char)0x82, 1, 0}, 3};
    assert_int_equal(conn_write(conn, &vector, 1), 3);
    test_tunnels_run(&pair, gateway_has_lost);
    assert_int_equal(pair.gateway.lost, CULVERT_ERROR_PROTOCOL);
    test_tunnels_end(&pair);
}

static bool agent_was_told(struct test_tunnels *pair)
{
    return pair->agent.goodbyes > 0;
}

static void an_announced_stop_is_told_once(void **state)
{
    (void)state;
    struct test_tunnels pair;
    test_tunnels_start(&pair, 0);
    test_tunnels_settle(&pair);
    tunnel_announce_stop(&pair.gateway.tunnel->base, "it is late", 5);
    test_tunnels_run(&pair, agent_was_told);
    assert_int_equal(pair.agent.goodbyes, 1);
    assert_int_equal(pair.gateway.goodbyes, 0);
    assert_int_equal(pair.agent.lost, 0);
    test_tunnels_end(&pair);
}

/* ---- how far the peer is, and whether it is there ---- */

static bool agent_was_ponged(struct test_tunnels *pair)
{
    return pair->agent.pongs > 0 && pair->agent.tunnel->ping_pending == 0;
}

static void begin(struct test_tunnels *pair)
{
    test_tunnels_start(pair, 0);
    test_tunnels_settle(pair);
    test_tunnels_run(pair, agent_was_ponged);
}

static void only_the_pong_that_waits_counts(void **state)
{
    (void)state;
    struct test_tunnels pair;
    begin(&pair);
    struct native_tunnel *tunnel = pair.agent.tunnel;
    uint64_t now = loop_now(&pair.loop);
    unsigned before = pair.agent.pongs;
    unsigned measured = tunnel->round_trip_next;
    native_take_pong(tunnel, now); /* nobody asked */
    tunnel->ping_pending = now - 10;
    native_take_pong(tunnel, now - 11); /* an old one */
    native_take_pong(tunnel, now + 1);  /* from the future */
    assert_int_equal(pair.agent.pongs, before);
    assert_int_equal(tunnel->round_trip_next, measured);
    assert_int_equal(tunnel->ping_pending, now - 10);
    native_take_pong(tunnel, now - 10);
    assert_int_equal(pair.agent.pongs, before + 1);
    assert_int_equal(tunnel->round_trip_next, measured + 1);
    assert_int_equal(tunnel->ping_pending, 0);
    test_tunnels_end(&pair);
}

static void the_least_round_trip_counts(void **state)
{
    (void)state;
    struct test_tunnels pair;
    begin(&pair);
    struct native_tunnel *tunnel = pair.agent.tunnel;
    size_t slots = sizeof(tunnel->round_trips) / sizeof(tunnel->round_trips[0]);
    memset(tunnel->round_trips, 0, sizeof(tunnel->round_trips));
    assert_int_equal(native_round_trip(tunnel), 0); /* none was measured */
    static const uint64_t trips[] = {700, 300, 500};
    uint64_t now = loop_now(&pair.loop);
    for (size_t i = 0; i < 3; i++) {
        tunnel->ping_pending = now - trips[i];
        native_take_pong(tunnel, now - trips[i]);
    }
    assert_int_equal(native_round_trip(tunnel), 300);
    assert_int_equal(tunnel->mux.round_trip, 300);
    /* A pong within the same microsecond is no missing measure. */
    tunnel->ping_pending = now;
    native_take_pong(tunnel, now);
    assert_int_equal(native_round_trip(tunnel), 1);
    /* They are forgotten one by one. */
    for (size_t i = 0; i < slots; i++) {
        tunnel->ping_pending = now - 900;
        native_take_pong(tunnel, now - 900);
    }
    assert_int_equal(native_round_trip(tunnel), 900);
    test_tunnels_end(&pair);
}

/* As if nothing had been heard for so long when the timer fires. Returns the first failure. */
static int failure_after(struct native_tunnel *tunnel, uint64_t silence)
{
    tunnel->last_heard = loop_now(tunnel->base.loop) - silence;
    tunnel->last_ping = tunnel->last_heard;
    native_timer_fired(&tunnel->timer);
    return tunnel->failure;
}

static void a_gateway_gives_a_silent_agent_up(void **state)
{
    (void)state;
    struct test_tunnels pair;
    begin(&pair);
    struct native_tunnel *tunnel = pair.gateway.tunnel;
    tunnel->ping_pending = loop_now(&pair.loop);
    assert_int_equal(failure_after(tunnel, 3 * (uint64_t)KEEPALIVE - 1), 0);
    assert_int_equal(failure_after(tunnel, 3 * (uint64_t)KEEPALIVE), CULVERT_ERROR_TIMED_OUT);
    test_tunnels_run(&pair, gateway_has_lost);
    assert_int_equal(pair.gateway.lost, CULVERT_ERROR_TIMED_OUT);
    test_tunnels_end(&pair);
}

static void an_agent_gives_up_only_a_gateway_that_was_asked(void **state)
{
    (void)state;
    struct test_tunnels pair;
    begin(&pair);
    struct native_tunnel *tunnel = pair.agent.tunnel;
    const uint64_t patience = (uint64_t)TUNNEL_PATIENCE * SECOND;
    assert_int_equal(failure_after(tunnel, 10 * patience), 0);
    assert_true(tunnel->ping_wanted);
    /* Asked a little less than its patience ago, and then as long ago. */
    memset(tunnel->round_trips, 0, sizeof(tunnel->round_trips));
    tunnel->ping_pending = loop_now(&pair.loop) - patience + 1;
    assert_int_equal(failure_after(tunnel, 10 * patience), 0);
    tunnel->ping_pending--;
    assert_int_equal(failure_after(tunnel, patience - 1), 0); /* it was heard since */
    assert_int_equal(failure_after(tunnel, patience), CULVERT_ERROR_TIMED_OUT);
    test_tunnels_end(&pair);
}

static void a_far_gateway_gets_more_time_within_a_bound(void **state)
{
    (void)state;
    static const struct {
        uint64_t round_trip, patience; /* microseconds */
    } cases[] = {
        {0, (uint64_t)TUNNEL_PATIENCE * SECOND},
        {(uint64_t)TUNNEL_PATIENCE * SECOND / 4 + 100, (uint64_t)TUNNEL_PATIENCE * SECOND + 400},
        {60 * (uint64_t)SECOND, 6 * (uint64_t)SECOND},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct test_tunnels pair;
        begin(&pair);
        struct native_tunnel *tunnel = pair.agent.tunnel;
        memset(tunnel->round_trips, 0, sizeof(tunnel->round_trips));
        tunnel->round_trips[0] = cases[i].round_trip;
        tunnel->ping_pending = loop_now(&pair.loop) - 20 * (uint64_t)SECOND;
        assert_int_equal(failure_after(tunnel, cases[i].patience - 1), 0);
        assert_int_equal(failure_after(tunnel, cases[i].patience), CULVERT_ERROR_TIMED_OUT);
        test_tunnels_end(&pair);
    }
}

static void a_ping_is_due_by_what_is_known_of_the_peer(void **state)
{
    (void)state;
    struct test_tunnels pair;
    begin(&pair);
    struct native_tunnel *tunnels[] = {pair.agent.tunnel, pair.gateway.tunnel};
    for (int i = 0; i < 2; i++) {
        struct native_tunnel *tunnel = tunnels[i];
        bool dials = i == 0;
        uint64_t now = loop_now(&pair.loop);
        assert_int_equal(tunnel->link.count, 0);
        tunnel->ping_pending = 0;
        /* A message came, and nothing for a second since: an agent asks, a gateway does not. */
        tunnel->ping_wanted = false;
        tunnel->last_taken = now - SECOND;
        (void)failure_after(tunnel, SECOND);
        assert_int_equal(tunnel->ping_wanted, dials);
        /* Later it asks less often, but as often as the keepalive. */
        tunnel->ping_wanted = false;
        tunnel->last_taken = now - 5 * (uint64_t)SECOND;
        (void)failure_after(tunnel, 2 * SECOND);
        assert_false(tunnel->ping_wanted);
        tunnel->last_taken = now - 60 * (uint64_t)SECOND;
        (void)failure_after(tunnel, KEEPALIVE - 1);
        assert_false(tunnel->ping_wanted);
        (void)failure_after(tunnel, KEEPALIVE);
        assert_true(tunnel->ping_wanted);
        /* Not while an answer is awaited. */
        tunnel->ping_wanted = false;
        tunnel->ping_pending = now;
        (void)failure_after(tunnel, KEEPALIVE);
        assert_false(tunnel->ping_wanted);
        tunnel->ping_pending = 0;
    }
    /* While messages wait for their acknowledgement it is a second at both. */
    pair.gateway.tunnel->link.count = 1;
    (void)failure_after(pair.gateway.tunnel, SECOND - 1);
    assert_false(pair.gateway.tunnel->ping_wanted);
    (void)failure_after(pair.gateway.tunnel, SECOND);
    assert_true(pair.gateway.tunnel->ping_wanted);
    pair.gateway.tunnel->link.count = 0;
    test_tunnels_end(&pair);
}

/* ---- a carrier that takes nothing ---- */

static uint64_t unacknowledged_for;

static bool no(const struct carrier *carrier)
{
    (void)carrier;
    return false;
}

static uint64_t unacknowledged(const struct carrier *carrier)
{
    (void)carrier;
    return unacknowledged_for;
}

/* Whether an agent whose carrier has taken nothing, and which has heard nothing, for so long gives
 * it up. */
static bool gives_up_blocked(bool knows, uint64_t unanswered, uint64_t since)
{
    struct test_tunnels pair;
    begin(&pair);
    struct native_tunnel *tunnel = pair.agent.tunnel;
    const struct carrier_operations *before = tunnel->carrier->operations;
    struct carrier_operations blocked = *before;
    blocked.is_ready = no;
    blocked.unacknowledged = knows ? unacknowledged : NULL;
    unacknowledged_for = unanswered;
    tunnel->carrier->operations = &blocked;
    tunnel->blocked_since = loop_now(&pair.loop) - since;
    bool is_given_up = failure_after(tunnel, since) != 0;
    tunnel->carrier->operations = before;
    test_tunnels_end(&pair);
    return is_given_up;
}

static void a_carrier_that_takes_nothing_gets_more_time_while_the_peer_acknowledges(void **state)
{
    (void)state;
    const uint64_t patience = (uint64_t)TUNNEL_PATIENCE * SECOND;
    const uint64_t longest = 10 * (uint64_t)SECOND;
    /* Where the system does not tell. */
    assert_false(gives_up_blocked(false, 0, longest - 1));
    assert_true(gives_up_blocked(false, 0, longest));
    /* The peer's system is silent as well. */
    assert_false(gives_up_blocked(true, patience, patience - 1));
    assert_true(gives_up_blocked(true, patience, patience));
    /* It acknowledges. */
    assert_false(gives_up_blocked(true, patience - 1, patience));
    assert_false(gives_up_blocked(true, 0, longest - 1));
    assert_true(gives_up_blocked(true, 0, longest));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(carries_bulk_both_ways),
        cmocka_unit_test(answers_pings),
        cmocka_unit_test(a_cut_is_noticed_by_both),
        cmocka_unit_test(garbage_is_a_protocol_error),
        cmocka_unit_test(an_announced_stop_is_told_once),
        cmocka_unit_test(only_the_pong_that_waits_counts),
        cmocka_unit_test(the_least_round_trip_counts),
        cmocka_unit_test(a_gateway_gives_a_silent_agent_up),
        cmocka_unit_test(an_agent_gives_up_only_a_gateway_that_was_asked),
        cmocka_unit_test(a_far_gateway_gets_more_time_within_a_bound),
        cmocka_unit_test(a_ping_is_due_by_what_is_known_of_the_peer),
        cmocka_unit_test(a_carrier_that_takes_nothing_gets_more_time_while_the_peer_acknowledges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
