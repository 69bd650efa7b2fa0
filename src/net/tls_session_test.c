#include "net/conn.h"
#include "net/test_certificates.h"
#include "net/test_pair.h"
#include "net/tls.h"
#include "net/tls_session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_a_session_is_charged_while_it_lives(void **state)
{
    (void)state;
    struct test_pair pair;
    struct tls_context *context = NULL;
    char why[256];
    assert_int_equal(tls_client_context(NULL, true, &context, why, sizeof why), 0);
    test_pair_open(&pair, 0);
    size_t before = pair.account.used;
    assert_int_equal(conn_secure(pair.ends[0].conn, context, "localhost"), 0);
    assert_true(pair.account.used - before >= TLS_HANDSHAKE_COST);
    conn_close(pair.ends[0].conn, true);
    pair.ends[0].conn = NULL;
    test_pair_idle(&pair, 1);
    chunk_pool_trim(&pair.loop.pool);
    assert_int_equal(pair.account.used, before);
    tls_context_unref(context);
    test_pair_close(&pair);
}

static void test_a_session_costs_less_than_its_handshake(void **state)
{
    (void)state;
    struct test_pair pair;
    struct tls_context *server = NULL, *client = NULL;
    test_certificates_contexts(&server, &client);
    test_pair_open(&pair, 1000);
    pair.ends[0].keeps_open = pair.ends[1].keeps_open = true;
    assert_int_equal(conn_secure(pair.ends[0].conn, client, "localhost"), 0);
    assert_int_equal(conn_secure(pair.ends[1].conn, server, NULL), 0);
    assert_int_equal(pair.account.used, 2 * TLS_HANDSHAKE_COST);
    test_pair_run(&pair);
    chunk_pool_trim(&pair.loop.pool);
    assert_int_equal(pair.account.used, 2 * TLS_SESSION_COST);
    tls_context_unref(server);
    tls_context_unref(client);
    test_pair_close(&pair);
    assert_int_equal(pair.account.used, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_session_is_charged_while_it_lives),
        cmocka_unit_test(test_a_session_costs_less_than_its_handshake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
