/* Two tunnels on one loop, joined by a carrier. */
#include "base/error.h"
#include "base/reason.h"
#include "net/conn.h"
#include "tunnel/test_tunnels.h"
#include "tunnel/websocket_carrier.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>

#include <cmocka.h>

enum { BULK = 8 * 1024 * 1024 };

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(carries_bulk_both_ways),
        cmocka_unit_test(answers_pings),
        cmocka_unit_test(a_cut_is_noticed_by_both),
        cmocka_unit_test(garbage_is_a_protocol_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
