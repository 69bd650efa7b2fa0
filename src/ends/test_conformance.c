#include "ends/test_conformance.h"

#include "base/memory.h"
#include "base/reason.h"
#include "ends/test_user.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    SLOW = 16 * 1024, /* bytes a turn */
    THOUSAND = 1000,
    MEGABYTE = 1024 * 1024,
    GIGABYTE = 1024 * MEGABYTE,
    DEAR_GIGABYTE = 32 * MEGABYTE, /* under a sanitizer, which makes each byte slow */
    SOME = 300 * 1000, /* more than a socket's buffers in these tests, less than the window */
    FEW_TURNS = 5,
};

/* More than the buffers on the way take. */
static const uint64_t ENDLESS = UINT64_MAX / 2;

struct fixture {
    struct test_loop test;
    const struct conformance_outlet *outlet; /* or NULL */
    const struct conformance_inlet *inlet;   /* or NULL */
    void *targets;                           /* of the outlet */
    struct inlet *listening;
    struct stream *accepted; /* nobody has taken it */
    struct inlet_client client;
    struct test_user one;
    struct test_user *joining;
    struct test_user *many; /* THOUSAND, or NULL */
};

/* ---- a connection ---- */

static void on_accepted(struct inlet *inlet, struct stream *stream,
                        const struct inlet_client *client)
{
    struct fixture *fixture = inlet_holder(inlet);
    assert_null(fixture->accepted);
    fixture->accepted = stream;
    fixture->client = *client;
}

static const struct inlet_events inlet_events = {.accepted = on_accepted};

static bool target_has_accepted(void *context)
{
    struct fixture *fixture = context;
    struct test_user *user = fixture->joining;
    if (user->peer < 0)
        user->peer = fixture->outlet->accept(fixture->targets);
    return user->peer >= 0 && user->told.opened > 0;
}

static bool inlet_has_accepted(void *context)
{
    struct fixture *fixture = context;
    return fixture->accepted != NULL;
}

/* A stream with its user, and the outside program. */
static void join(struct fixture *fixture, struct test_user *user)
{
    fixture->joining = user;
    if (fixture->outlet != NULL) {
        test_user_take(user, fixture->outlet->dial(fixture->targets));
        test_loop_spin_until(&fixture->test, target_has_accepted, fixture);
        return;
    }
    int client = fixture->inlet->connect(fixture->listening);
    assert_true(client >= 0);
    test_loop_spin_until(&fixture->test, inlet_has_accepted, fixture);
    test_user_take(user, fixture->accepted);
    fixture->accepted = NULL;
    user->peer = client;
}

static int set_up(void **state)
{
    static struct fixture fixture;
    const struct fixture *described = *state;
    memset(&fixture, 0, sizeof(fixture));
    fixture.outlet = described->outlet;
    fixture.inlet = described->inlet;
    fixture.one.peer = -1;
    test_loop_open(&fixture.test);
    if (fixture.outlet != NULL)
        fixture.targets = fixture.outlet->open(&fixture.test);
    else
        fixture.listening = fixture.inlet->open(&fixture.test, &inlet_events, &fixture);
    if (fixture.listening != NULL)
        inlet_accept(fixture.listening, true);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    test_user_let_go(&fixture->one);
    for (size_t i = 0; fixture->many != NULL && i < THOUSAND; i++)
        test_user_let_go(&fixture->many[i]);
    memory_free(fixture->many);
    if (fixture->listening != NULL)
        inlet_close(fixture->listening);
    if (fixture->outlet != NULL)
        fixture->outlet->close(fixture->targets);
    test_loop_close(&fixture->test);
    return 0;
}

static uint64_t bytes_moved(const struct test_user *user)
{
    return user->offered + user->told.written + user->told.bytes + user->consumed +
           user->peer_sent + user->peer_received;
}

/* Takes the turns of the fixture's one user until no byte moves any more. */
static void turn_until_still(struct fixture *fixture, void (*turn)(struct test_user *user))
{
    uint64_t before;
    do {
        before = bytes_moved(&fixture->one);
        turn(&fixture->one);
        test_loop_idle(&fixture->test);
    } while (bytes_moved(&fixture->one) != before);
}

/* ---- data ---- */

static void nothing_is_sent(void **state)
{
    struct fixture *f = *state;
    struct test_user *one = &f->one;
    join(f, one);
    one->told.stream->operations->finish(one->told.stream);
    test_loop_until(&f->test, test_user_peer_got_end, one);
    test_loop_until_set(&f->test, &one->told.finished);
    shutdown(one->peer, SHUT_WR);
    test_loop_until_set(&f->test, &one->told.fins);
    assert_int_equal(one->told.bytes + one->peer_received + one->told.written, 0);
    assert_int_equal(one->told.resets, 0);
    assert_in_range(test_loop_idle(&f->test), 0, FEW_TURNS);
}

static void send_both_ways(struct fixture *fixture, uint64_t bytes)
{
    struct test_user *one = &fixture->one;
    join(fixture, one);
    one->wanted = one->peer_wanted = bytes;
    test_loop_spin_until(&fixture->test, test_user_all_has_arrived, one);
    one->told.stream->operations->finish(one->told.stream);
    shutdown(one->peer, SHUT_WR);
    test_loop_until_set(&fixture->test, &one->told.fins);
    test_loop_until_set(&fixture->test, &one->told.finished);
    test_loop_until(&fixture->test, test_user_peer_got_end, one);
    assert_int_equal(one->told.written, bytes);
}

static void a_byte_each_way(void **state)
{
    send_both_ways(*state, 1);
}

static void a_gigabyte_each_way(void **state)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    send_both_ways(*state, DEAR_GIGABYTE);
#else
    send_both_ways(*state, GIGABYTE);
#endif
}

static void a_program_that_reads_slowly(void **state)
{
    struct fixture *f = *state;
    struct test_user *one = &f->one;
    join(f, one);
    one->wanted = MEGABYTE;
    one->peer_appetite = SLOW;
    test_loop_until(&f->test, test_user_all_has_arrived, one);
    assert_int_equal(one->told.written, MEGABYTE);
}

/* A stream delivers no more than a window ahead of what is consumed. */
static void a_holder_that_reads_slowly(void **state)
{
    struct fixture *f = *state;
    struct test_user *one = &f->one;
    join(f, one);
    one->peer_wanted = ENDLESS;
    one->appetite = 0;
    turn_until_still(f, test_user_turn);
    assert_in_range(one->told.bytes, 1, MEGABYTE);
    one->peer_wanted = one->peer_sent;
    assert_in_range(test_loop_idle(&f->test), 0, FEW_TURNS);
    one->appetite = SLOW;
    test_loop_until(&f->test, test_user_all_has_arrived, one);
}

/* ---- half-close ---- */

static void the_program_ends_first(void **state)
{
    struct fixture *f = *state;
    struct test_user *one = &f->one;
    join(f, one);
    one->peer_wanted = SOME;
    one->appetite = 0;
    test_loop_until(&f->test, test_user_peer_has_sent, one);
    shutdown(one->peer, SHUT_WR);
    one->appetite = UINT64_MAX;
    test_loop_until_set(&f->test, &one->told.fins);
    assert_int_equal(one->told.bytes, SOME);
    assert_in_range(test_loop_idle(&f->test), 0, FEW_TURNS);
    one->wanted = SOME;
    test_loop_until(&f->test, test_user_all_was_written, one);
    one->told.stream->operations->finish(one->told.stream);
    test_loop_until(&f->test, test_user_peer_got_end, one);
    assert_int_equal(one->peer_received, SOME);
}

static void the_holder_ends_first(void **state)
{
    struct fixture *f = *state;
    struct test_user *one = &f->one;
    join(f, one);
    one->wanted = SOME;
    test_user_write_all(one);
    one->told.stream->operations->finish(one->told.stream);
    test_loop_until(&f->test, test_user_peer_got_end, one);
    assert_int_equal(one->peer_received, SOME);
    assert_in_range(test_loop_idle(&f->test), 0, FEW_TURNS);
    one->peer_wanted = SOME;
    test_loop_until(&f->test, test_user_all_has_arrived, one);
    assert_int_equal(one->told.fins, 0);
    shutdown(one->peer, SHUT_WR);
    test_loop_until_set(&f->test, &one->told.fins);
}

/* ---- reset ---- */

static void the_program_resets_behind_data(void **state)
{
    struct fixture *f = *state;
    struct test_user *one = &f->one;
    join(f, one);
    one->peer_wanted = SOME;
    test_loop_until(&f->test, test_user_peer_has_sent, one);
    test_tcp_abort(one->peer);
    one->peer = -1;
    /* The reset waits for the data before it. */
    one->appetite = 0;
    turn_until_still(f, test_user_turn_holder);
    assert_int_equal(one->told.resets, 0);
    assert_in_range(test_loop_idle(&f->test), 0, FEW_TURNS);
    one->appetite = SLOW;
    test_loop_until(&f->test, test_user_holder_got_reset, one);
    assert_int_equal(one->consumed, SOME);
    assert_int_equal(one->told.code, REASON_RESET);
    assert_int_equal(one->told.fins, 0);
}

/* Bytes reported as written arrive, even if the program must make room for them first. */
static void the_holder_resets_behind_data(void **state)
{
    struct fixture *f = *state;
    struct test_user *one = &f->one;
    join(f, one);
    one->wanted = ENDLESS;
    turn_until_still(f, test_user_turn_holder);
    test_user_reset(one, REASON_RESET);
    assert_int_equal(test_loop_chunks_held(&f->test), 0);
    test_loop_until(&f->test, test_user_peer_got_reset, one);
    assert_true(one->peer_received >= one->told.written);
    assert_int_equal(one->told.resets, 0);
}

static void the_holder_resets_at_once(void **state)
{
    struct fixture *f = *state;
    struct test_user *one = &f->one;
    join(f, one);
    one->wanted = TEST_USER_WINDOW;
    one->peer_wanted = SOME;
    test_user_turn_holder(one);
    test_loop_until(&f->test, test_user_peer_has_sent, one);
    test_user_reset(one, REASON_SHUTDOWN);
    assert_int_equal(test_loop_chunks_held(&f->test), 0);
    test_loop_until(&f->test, test_user_peer_got_reset, one);
}

static void a_reset_reports_what_is_held_as_written(void **state)
{
    struct fixture *f = *state;
    struct test_user *one = &f->one;
    join(f, one);
    one->wanted = ENDLESS;
    turn_until_still(f, test_user_turn_holder);
    assert_true(one->told.written < one->offered);
    one->wanted = one->offered;
    test_tcp_abort(one->peer);
    one->peer = -1;
    test_loop_until(&f->test, test_user_holder_got_reset, one);
    assert_int_equal(one->told.written, one->offered);
}

static void a_holder_that_lets_go_resets(void **state)
{
    struct fixture *f = *state;
    struct test_user *one = &f->one;
    join(f, one);
    one->told.stream->operations->close(one->told.stream);
    one->told.stream = NULL;
    test_loop_until(&f->test, test_user_peer_got_reset, one);
}

/* ---- many ---- */

static bool all_have_ended(void *context)
{
    struct fixture *fixture = context;
    bool have_ended = true;
    for (size_t i = 0; i < THOUSAND; i++) {
        struct test_user *user = &fixture->many[i];
        test_user_turn(user);
        have_ended =
            have_ended && user->told.fins > 0 && user->told.finished > 0 && user->peer_got_end;
    }
    return have_ended;
}

static bool has_descriptors_for_a_thousand(void)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur > 2 * THOUSAND + 100;
}

static void a_thousand_at_once(void **state)
{
    struct fixture *f = *state;
    if (!has_descriptors_for_a_thousand())
        skip();
    f->many = memory_allocate_zero(THOUSAND * sizeof(*f->many));
    assert_non_null(f->many);
    for (size_t i = 0; i < THOUSAND; i++)
        f->many[i].peer = -1;
    for (size_t i = 0; i < THOUSAND; i++)
        join(f, &f->many[i]);
    for (size_t i = 0; i < THOUSAND; i++) {
        struct test_user *user = &f->many[i];
        user->wanted = user->peer_wanted = i;
        test_user_write_all(user);
        user->told.stream->operations->finish(user->told.stream);
        test_user_send(user);
        assert_int_equal(user->peer_sent, i);
        shutdown(user->peer, SHUT_WR);
    }
    test_loop_spin_until(&f->test, all_have_ended, f);
    for (size_t i = 0; i < THOUSAND; i++) {
        assert_int_equal(f->many[i].told.bytes, i);
        assert_int_equal(f->many[i].peer_received, i);
        assert_int_equal(f->many[i].told.resets, 0);
    }
    assert_in_range(test_loop_idle(&f->test), 0, FEW_TURNS);
}

/* ---- outlets ---- */

static void what_is_written_early_arrives(void **state)
{
    struct fixture *f = *state;
    struct test_user *one = &f->one;
    test_user_take(one, f->outlet->dial(f->targets));
    one->wanted = SLOW;
    test_user_write_all(one);
    one->told.stream->operations->finish(one->told.stream);
    assert_int_equal(one->told.opened, 0);
    f->joining = one;
    test_loop_until(&f->test, target_has_accepted, f);
    test_loop_until(&f->test, test_user_peer_got_end, one);
    assert_int_equal(one->peer_received, SLOW);
    assert_int_equal(one->told.opened, 1);
}

static void a_refusal_is_told_once(void **state)
{
    struct fixture *f = *state;
    struct test_user *one = &f->one;
    test_user_take(one, f->outlet->dial_refusing(f->targets));
    one->wanted = SLOW;
    test_user_write_all(one);
    assert_int_equal(one->told.resets, 0);
    test_loop_until(&f->test, test_user_holder_got_reset, one);
    assert_int_equal(one->told.opened + one->told.fins, 0);
    assert_int_equal(one->told.code, REASON_DIAL_REFUSED);
    test_loop_idle(&f->test);
    assert_int_equal(one->told.resets, 1);
}

/* No event follows, and a connection made meanwhile is reset. */
static void a_dial_may_be_cancelled(void **state)
{
    struct fixture *f = *state;
    struct test_user *one = &f->one;
    test_user_take(one, f->outlet->dial_silent(f->targets));
    one->wanted = SLOW;
    test_user_write_all(one);
    test_loop_idle(&f->test);
    assert_int_equal(one->told.opened + one->told.resets, 0);
    test_user_reset(one, REASON_RESET);
    test_user_take(one, f->outlet->dial(f->targets));
    test_user_reset(one, REASON_RESET);
    test_loop_idle(&f->test);
    assert_int_equal(one->told.opened + one->told.resets + one->told.fins, 0);
    one->peer = f->outlet->accept(f->targets);
    if (one->peer >= 0)
        test_loop_until(&f->test, test_user_peer_got_reset, one);
    assert_int_equal(one->peer_received, 0);
}

/* ---- inlets ---- */

static void a_client_is_named(void **state)
{
    struct fixture *f = *state;
    join(f, &f->one);
    assert_string_not_equal(f->client.address, "");
}

static void nobody_is_accepted_while_that_is_off(void **state)
{
    struct fixture *f = *state;
    inlet_accept(f->listening, false);
    f->one.peer = f->inlet->connect(f->listening);
    assert_true(f->one.peer >= 0);
    assert_in_range(test_loop_idle(&f->test), 0, FEW_TURNS);
    assert_null(f->accepted);
    inlet_accept(f->listening, true);
    test_loop_until(&f->test, inlet_has_accepted, f);
    f->accepted->operations->close(f->accepted);
}

static void a_closed_inlet_leaves_its_streams(void **state)
{
    struct fixture *f = *state;
    struct test_user *one = &f->one;
    join(f, one);
    inlet_close(f->listening);
    f->listening = NULL;
    one->wanted = one->peer_wanted = SOME;
    test_loop_until(&f->test, test_user_all_has_arrived, one);
}

/* ---- the suites ---- */

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define STREAM_TESTS                                                                    \
    TEST(nothing_is_sent), TEST(a_byte_each_way), TEST(a_gigabyte_each_way),            \
        TEST(a_program_that_reads_slowly), TEST(a_holder_that_reads_slowly),            \
        TEST(the_program_ends_first), TEST(the_holder_ends_first),                      \
        TEST(the_program_resets_behind_data), TEST(the_holder_resets_behind_data),      \
        TEST(the_holder_resets_at_once), TEST(a_reset_reports_what_is_held_as_written), \
        TEST(a_holder_that_lets_go_resets), TEST(a_thousand_at_once)

/* The state of each test is the end under test. */
static void describe(struct CMUnitTest *tests, size_t count, struct fixture *described)
{
    for (size_t i = 0; i < count; i++)
        tests[i].initial_state = described;
}

int conformance_run_outlet(const struct conformance_outlet *outlet)
{
    struct fixture described = {.outlet = outlet};
    struct CMUnitTest tests[] = {
        STREAM_TESTS,
        TEST(what_is_written_early_arrives),
        TEST(a_refusal_is_told_once),
        TEST(a_dial_may_be_cancelled),
    };
    describe(tests, sizeof(tests) / sizeof(tests[0]), &described);
    return cmocka_run_group_tests_name(outlet->name, tests, NULL, NULL);
}

int conformance_run_inlet(const struct conformance_inlet *inlet)
{
    struct fixture described = {.inlet = inlet};
    struct CMUnitTest tests[] = {
        STREAM_TESTS,
        TEST(a_client_is_named),
        TEST(nobody_is_accepted_while_that_is_off),
        TEST(a_closed_inlet_leaves_its_streams),
    };
    describe(tests, sizeof(tests) / sizeof(tests[0]), &described);
    return cmocka_run_group_tests_name(inlet->name, tests, NULL, NULL);
}
