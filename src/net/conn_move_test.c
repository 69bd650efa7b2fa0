/* Connections that go from one loop to another while bytes flow. */
#include "base/error.h"
#include "base/memory.h"
#include "net/test_certificates.h"
#include "net/test_pair.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

enum { LARGE = 8 * 1024 * 1024 };

static struct tls_context *tls_server;
static struct tls_context *tls_client;

static void secure(struct test_pair *pair)
{
    assert_int_equal(conn_secure(pair->ends[0].conn, tls_client, "localhost"), 0);
    assert_int_equal(conn_secure(pair->ends[1].conn, tls_server, NULL), 0);
}

static bool is_secured(const struct test_pair *pair)
{
    return !conn_is_secure(pair->ends[0].conn) ||
           (pair->ends[0].is_secured && pair->ends[1].is_secured);
}

static void move(struct test_end *end, struct loop *loop)
{
    unsigned interest = conn_interest(end->conn);
    struct conn_cargo *cargo = conn_depart(end->conn);
    assert_non_null(cargo);
    assert_int_equal(conn_arrive(cargo, loop, &test_pair_events, end, &end->conn), 0);
    conn_want(end->conn, interest);
}

/* ---- while bytes flow ---- */

struct mover {
    struct test_pair pair;
    struct loop_timer timer;
    unsigned moves;
};

static void move_both(struct loop_timer *timer)
{
    struct mover *mover = timer->holder;
    if (is_secured(&mover->pair)) {
        move(&mover->pair.ends[mover->moves % 2], &mover->pair.loop);
        mover->moves++;
    }
    loop_timer_start(timer, 1);
}

static void moves_while_bytes_flow(bool has_tls)
{
    struct mover mover = {.moves = 0};
    test_pair_open(&mover.pair, LARGE);
    for (int i = 0; i < 2; i++)
        mover.pair.ends[i].read_size = 3000; /* TLS reads ahead of it */
    if (has_tls)
        secure(&mover.pair);
    assert_int_equal(loop_timer_init(&mover.pair.loop, &mover.timer, move_both, &mover), 0);
    loop_timer_start(&mover.timer, 1);
    test_pair_run(&mover.pair);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(mover.pair.ends[i].error, 0);
        assert_int_equal(mover.pair.ends[i].received, LARGE);
        assert_int_equal(conn_is_secure(mover.pair.ends[i].conn), has_tls);
    }
    assert_true(mover.moves > 2);
    loop_timer_close(&mover.timer, NULL);
    test_pair_close(&mover.pair);
}

static void plain_moves_while_bytes_flow(void **state)
{
    (void)state;
    moves_while_bytes_flow(false);
}

static void tls_moves_while_bytes_flow(void **state)
{
    (void)state;
    moves_while_bytes_flow(true);
}

/* ---- to a loop with a pool of its own ---- */

/* What was read ahead on the first loop is told on the second, though nothing more comes. */
static void what_was_read_ahead_goes_along(void **state)
{
    (void)state;
    struct test_pair pair;
    struct test_pair other;
    test_pair_open(&pair, 100000);
    test_pair_open(&other, 0);
    for (int i = 0; i < 2; i++) {
        pair.ends[i].keeps_open = true;
        pair.ends[i].read_size = 3000;
    }
    secure(&pair);
    pair.ends[1].to_receive = 3000;
    pair.ends[1].to_send = 0;
    pair.ends[0].to_receive = 0;
    test_pair_run(&pair);
    struct test_end *end = &pair.ends[1];
    end->pair = &other;
    conn_want(end->conn, 0);
    struct conn_cargo *cargo = conn_depart(end->conn);
    assert_non_null(cargo);
    /* The first loop's pool has everything back: nothing keeps it from ending first. */
    end->conn = NULL;
    assert_int_equal(test_pair_chunks_held(&pair), 0);
    test_pair_close(&pair);

    conn_close(other.ends[0].conn, false);
    conn_close(other.ends[1].conn, false);
    other.ends[0].conn = NULL;
    other.ends[0].keeps_open = true;
    other.ends[0].to_receive = 0;
    other.ends[1] = *end;
    other.ends[1].to_receive = 100000;
    assert_int_equal(
        conn_arrive(cargo, &other.loop, &test_pair_events, &other.ends[1], &other.ends[1].conn), 0);
    conn_want(other.ends[1].conn, CONN_READ);
    test_pair_idle(&other, 50);
    assert_int_equal(other.ends[1].error, 0);
    assert_int_equal(other.ends[1].received, 100000);
    test_pair_close(&other);
}

/* ---- what may go wrong ---- */

static void departing_without_memory_changes_nothing(void **state)
{
    (void)state;
    struct test_pair pair;
    test_pair_open(&pair, LARGE / 8);
    for (int i = 0; i < 2; i++) {
        pair.ends[i].keeps_open = true;
        pair.ends[i].read_size = 3000;
    }
    secure(&pair);
    pair.ends[1].to_receive = 3000;
    pair.ends[0].to_receive = 0;
    pair.ends[1].to_send = 0;
    pair.ends[0].to_send = 100000;
    test_pair_run(&pair);
    struct conn_cargo *cargo = NULL;
    size_t n = 0;
    while (cargo == NULL) {
        memory_fail_after(++n);
        cargo = conn_depart(pair.ends[1].conn);
        memory_fail_after(0);
    }
    assert_true(n > 2); /* the cargo, and what was read ahead */
    assert_int_equal(
        conn_arrive(cargo, &pair.loop, &test_pair_events, &pair.ends[1], &pair.ends[1].conn), 0);
    conn_want(pair.ends[1].conn, CONN_READ);
    pair.ends[1].to_receive = 100000;
    test_pair_idle(&pair, 50);
    assert_int_equal(pair.ends[1].received, 100000);
    test_pair_close(&pair);
}

static void arriving_without_memory_closes(void **state)
{
    (void)state;
    bool has_failed = true;
    for (size_t n = 1; has_failed; n++) {
        struct test_pair pair;
        test_pair_open(&pair, 100000);
        for (int i = 0; i < 2; i++) {
            pair.ends[i].keeps_open = true;
            pair.ends[i].read_size = 3000;
        }
        secure(&pair);
        pair.ends[1].to_receive = 3000;
        pair.ends[1].to_send = 0;
        pair.ends[0].to_receive = 0;
        test_pair_run(&pair);
        struct conn_cargo *cargo = conn_depart(pair.ends[1].conn);
        assert_non_null(cargo);
        pair.ends[1].conn = NULL;
        chunk_pool_trim(&pair.loop.pool);
        memory_fail_after(n);
        int error =
            conn_arrive(cargo, &pair.loop, &test_pair_events, &pair.ends[1], &pair.ends[1].conn);
        has_failed = !memory_fail_is_pending();
        memory_fail_after(0);
        assert_int_equal(error, has_failed ? CULVERT_ERROR_NO_MEMORY : 0);
        test_pair_close(&pair);
    }
}

static void what_nobody_takes_up_is_closed(void **state)
{
    (void)state;
    struct test_pair pair;
    char byte;
    test_pair_open(&pair, 1);
    conn_cargo_drop(conn_depart(pair.ends[1].conn));
    pair.ends[1].conn = NULL;
    assert_int_equal(conn_read(pair.ends[0].conn, &byte, 1), 0);
    test_pair_close(&pair);
}

static int set_up(void **state)
{
    (void)state;
    test_certificates_contexts(&tls_server, &tls_client);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tls_context_unref(tls_server);
    tls_context_unref(tls_client);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_moves_while_bytes_flow),
        cmocka_unit_test(tls_moves_while_bytes_flow),
        cmocka_unit_test(what_was_read_ahead_goes_along),
        cmocka_unit_test(departing_without_memory_changes_nothing),
        cmocka_unit_test(arriving_without_memory_closes),
        cmocka_unit_test(what_nobody_takes_up_is_closed),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
