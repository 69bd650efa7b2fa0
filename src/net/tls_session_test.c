#include "net/conn.h"
#include "net/test_certificates.h"
#include "net/test_pair.h"
#include "net/tls.h"
#include "net/tls_session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include <cmocka.h>

enum {
    RECORD_HEAD = 5,      /* RFC 8446 §5.2: type, version, length */
    RECORD_TAIL = 1 + 16, /* the inner type and the tag of AES-GCM or ChaCha20-Poly1305 */
    RECORD_FULL = 16384,
    PATIENCE = 30000, /* milliseconds */
};

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

/* Reads encrypted bytes from the socket. */
static void read_raw(struct test_pair *pair, uint8_t *data, size_t size)
{
    size_t got = 0;
    for (int waited = 0; got < size && waited < PATIENCE; waited++) {
        ssize_t count = recv(conn_descriptor(pair->ends[1].conn), data + got, size - got, 0);
        if (count > 0)
            got += (size_t)count;
        else
            test_pair_idle(pair, 1);
    }
    assert_int_equal(got, size);
}

/* Returns the number of payload bytes in the next record. */
static size_t read_record(struct test_pair *pair)
{
    static uint8_t data[2 * RECORD_FULL];
    read_raw(pair, data, RECORD_HEAD);
    size_t size = (size_t)data[3] << 8 | data[4];
    assert_in_range(size, RECORD_TAIL, sizeof(data));
    read_raw(pair, data, size);
    return size - RECORD_TAIL;
}

static void test_records_are_filled_across_vectors(void **state)
{
    (void)state;
    static char data[20000];
    struct iovec vectors[] = {{data, 20}, {data, sizeof(data)}, {data, 20}, {data, sizeof(data)}};
    struct test_pair pair;
    struct tls_context *server = NULL, *client = NULL;
    test_certificates_contexts(&server, &client);
    test_pair_open(&pair, 1000);
    pair.ends[0].keeps_open = pair.ends[1].keeps_open = true;
    assert_int_equal(conn_secure(pair.ends[0].conn, client, "localhost"), 0);
    assert_int_equal(conn_secure(pair.ends[1].conn, server, NULL), 0);
    test_pair_run(&pair);
    conn_want(pair.ends[1].conn, 0);
    assert_int_equal(conn_write(pair.ends[0].conn, vectors, 4), 40040);
    assert_int_equal(read_record(&pair), RECORD_FULL);
    assert_int_equal(read_record(&pair), RECORD_FULL);
    assert_int_equal(read_record(&pair), 40040 - 2 * RECORD_FULL);
    tls_context_unref(server);
    tls_context_unref(client);
    test_pair_close(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_session_is_charged_while_it_lives),
        cmocka_unit_test(test_a_session_costs_less_than_its_handshake),
        cmocka_unit_test(test_records_are_filled_across_vectors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
