#include "agent/forward.h"

#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/reason.h"
#include "net/address.h"
#include "virtual_loop.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Forwards in virtual time, over ports, tunnels and sessions that do what the test says. */

enum { SECOND = 1000 /* milliseconds */, FIRST_PORT = 40000, STREAMS = FORWARD_WAITING + 8 };

struct inlet {
    const struct inlet_events *events;
    void *holder;
    const char *bind;
    uint16_t port;
    bool is_accepting, is_closed;
};

struct fake_stream {
    struct stream base; /* must be first */
    int code;           /* with which it was refused */
    bool is_closed;
    uint64_t forward; /* of the session that took it; 0: none */
};

static struct {
    struct trial trial;
    struct account account;
    struct virtual_loop loop;
    struct whitelist whitelist;
    struct session_table sessions;
    struct forward_table table;
    struct inlet inlets[FORWARD_MAX + 8];
    size_t inlet_count;
    int bind_error;
    struct tunnel tunnel;
    struct fake_stream towards; /* what the tunnel opens */
    int open_error;
    unsigned opened, started, added_up;
    struct fake_stream streams[STREAMS];
    size_t stream_count;
    struct session_subject subject;      /* of the last session */
    struct session_tally *held[STREAMS]; /* by sessions */
    uint64_t order[STREAMS];             /* of what was started */
    char why[512];
} world;

/* ---- below the forwards ---- */

int inlet_tcp(struct loop *loop, const char *bind, uint16_t port, const struct inlet_events *events,
              void *holder, struct inlet **inlet)
{
    assert_ptr_equal(loop, &world.loop.loop);
    if (world.bind_error != 0)
        return world.bind_error;
    struct inlet *opened = &world.inlets[world.inlet_count];
    *opened = (struct inlet){
        .events = events,
        .holder = holder,
        .bind = bind,
        .port = port != 0 ? port : (uint16_t)(FIRST_PORT + world.inlet_count),
    };
    world.inlet_count++;
    *inlet = opened;
    return 0;
}

void inlet_accept(struct inlet *inlet, bool on)
{
    assert_false(inlet->is_closed);
    inlet->is_accepting = on;
}

void inlet_close(struct inlet *inlet)
{
    assert_false(inlet->is_closed);
    inlet->is_closed = true;
}

void *inlet_holder(const struct inlet *inlet)
{
    return inlet->holder;
}

void inlet_text(const struct inlet *inlet, char *out, size_t size)
{
    snprintf(out, size, "127.0.0.1:%u", inlet->port);
}

uint16_t inlet_port(const struct inlet *inlet)
{
    return inlet->port;
}

static void reset_stream(struct stream *stream, int code, const char *reason)
{
    (void)reason;
    ((struct fake_stream *)stream)->code = code;
}

static void close_stream(struct stream *stream)
{
    ((struct fake_stream *)stream)->is_closed = true;
}

static const struct stream_operations stream_operations = {.reset = reset_stream,
                                                           .close = close_stream};

static int open_towards(struct tunnel *tunnel, const struct message_open *open,
                        struct stream **stream)
{
    assert_ptr_equal(tunnel, &world.tunnel);
    assert_true(text_equals(open->kind, "tcp"));
    assert_true(text_equals(open->agent, "agent2"));
    assert_true(text_equals(open->host, "10.0.0.5"));
    assert_int_equal(open->port, 5432);
    assert_true(text_equals(open->client, "127.0.0.1:1"));
    assert_true(text_equals(open->pair, "the pair"));
    if (world.open_error != 0)
        return world.open_error;
    world.opened++;
    *stream = &world.towards.base;
    return 0;
}

static const struct tunnel_operations tunnel_operations = {.open = open_towards};

void session_start(struct session_table *table, struct stream *asking, struct stream *answering,
                   const struct session_subject *subject)
{
    assert_ptr_equal(table, &world.sessions);
    assert_ptr_equal(answering, &world.towards.base);
    ((struct fake_stream *)asking)->forward = subject->forward;
    subject->tally->holders++;
    world.held[world.started] = subject->tally;
    world.order[world.started] = (uint64_t)((struct fake_stream *)asking - world.streams);
    world.subject = *subject;
    world.started++;
}

void session_table_add_up(struct session_table *table)
{
    assert_ptr_equal(table, &world.sessions);
    world.added_up++;
}

void session_tally_release(struct session_tally *tally)
{
    if (--tally->holders == 0)
        tally->released(tally);
}

/* ---- what happens ---- */

static int set_up(void **state)
{
    (void)state;
    memset(&world, 0, sizeof world);
    world.trial.now = 1000 * 1000;
    account_init(&world.account, SIZE_MAX);
    virtual_loop_init(&world.loop, &world.trial, &world.account);
    whitelist_init(&world.whitelist);
    assert_int_equal(whitelist_add(&world.whitelist, "*", world.why, sizeof world.why), 0);
    world.tunnel.operations = &tunnel_operations;
    assert_int_equal(forward_table_init(&world.table, &world.loop.loop, &world.sessions,
                                        &world.whitelist, false),
                     0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    memory_fail_after(0);
    forward_table_close(&world.table);
    assert_int_equal(world.table.waiting_count, 0);
    for (unsigned i = 0; i < world.started; i++)
        session_tally_release(world.held[i]);
    forward_table_deinit(&world.table);
    assert_int_equal(world.table.count, 0);
    for (size_t i = 0; i < world.inlet_count; i++)
        assert_true(world.inlets[i].is_closed);
    assert_int_equal(virtual_loop_deinit(&world.loop), 0);
    whitelist_deinit(&world.whitelist);
    return 0;
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

static struct rule rule_for(const char *bind, uint16_t port, const char *key)
{
    struct rule rule = {.local_port = port, .agent = "agent2", .host = "10.0.0.5", .port = 5432};
    snprintf(rule.bind, sizeof rule.bind, "%s", bind);
    snprintf(rule.key, sizeof rule.key, "%s", key);
    return rule;
}

static struct forward *add(const char *bind, uint16_t port, const char *key)
{
    struct rule rule = rule_for(bind, port, key);
    struct forward *forward = NULL;
    assert_int_equal(forward_table_add(&world.table, &rule, FORWARD_RULE, 0, &forward, world.why,
                                       sizeof world.why),
                     0);
    return forward;
}

static int keep(const char *bind, uint16_t port, uint64_t id)
{
    struct rule rule = rule_for(bind, port, "");
    return forward_table_keep(&world.table, &rule, FORWARD_API, id, world.why, sizeof world.why);
}

static struct fake_stream *connect_to(struct forward *forward)
{
    static const struct inlet_client client = {.address = "127.0.0.1:1", .pair = "the pair"};
    struct fake_stream *stream = &world.streams[world.stream_count++];
    stream->base.operations = &stream_operations;
    forward->inlet->events->accepted(forward->inlet, &stream->base, &client);
    return stream;
}

static void come_up(unsigned window)
{
    forward_table_up(&world.table, &world.tunnel, window);
}

static bool may_be_dialled(uint16_t port)
{
    struct sockaddr_storage address;
    assert_int_equal(address_parse("127.0.0.1", port, &address), 0);
    return whitelist_allows(&world.whitelist, "127.0.0.1", &address);
}

/* ---- ports ---- */

static void test_what_is_bound(void **state)
{
    static const struct {
        const char *bind, *bound;
    } cases[] = {{"", NULL}, {"localhost", NULL}, {"*", "*"}, {"127.0.0.2", "127.0.0.2"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct forward *forward = add(cases[i].bind, 0, "");
        if (cases[i].bound == NULL)
            assert_null(forward->inlet->bind);
        else
            assert_string_equal(forward->inlet->bind, cases[i].bound);
        assert_int_equal(forward_port(forward), FIRST_PORT + i);
        assert_int_equal(forward->id, i + 1);
        assert_string_equal(forward->target, "agent2:10.0.0.5:5432");
    }
}

static void test_our_own_ports_are_not_dialled(void **state)
{
    (void)state;
    struct forward *forward = add("", 2222, "");
    assert_false(may_be_dialled(2222));
    assert_true(may_be_dialled(2223));
    forward_remove(forward);
    assert_true(may_be_dialled(2222));
}

static void test_a_port_that_cannot_be_opened(void **state)
{
    (void)state;
    struct rule rule = rule_for("", 2222, "k");
    struct forward *forward = NULL;
    world.bind_error = -EADDRINUSE;
    assert_int_equal(forward_table_add(&world.table, &rule, FORWARD_RULE, 0, &forward, world.why,
                                       sizeof world.why),
                     -EADDRINUSE);
    assert_non_null(strstr(world.why, "cannot listen on loopback port 2222 for agent2:10.0.0.5"));
    assert_null(forward);
    assert_int_equal(world.table.count, 0);
    assert_int_equal(world.table.key_count, 0);
    assert_true(may_be_dialled(2222));
}

static void test_memory_that_runs_out(void **state)
{
    (void)state;
    struct rule rule = rule_for("", 2222, "");
    struct forward *forward = NULL;
    bool is_pending = false;
    for (size_t n = 1; !is_pending; n++) {
        memory_fail_after(n);
        int error = forward_table_add(&world.table, &rule, FORWARD_RULE, 0, &forward, world.why,
                                      sizeof world.why);
        is_pending = memory_fail_is_pending();
        memory_fail_after(0);
        assert_int_equal(error, is_pending ? 0 : CULVERT_ERROR_NO_MEMORY);
        assert_int_equal(world.table.count, is_pending ? 1 : 0);
        virtual_loop_turn(&world.loop);
    }
    world.trial.now++;
    memory_fail_after(1);
    assert_int_equal(connect_to(forward)->code, REASON_LIMIT);
}

static void test_numbers_and_keys(void **state)
{
    (void)state;
    struct forward *first = add("", 0, "k");
    struct forward *second = add("", 0, "");
    assert_int_equal(world.table.key_count, 1);
    assert_ptr_equal(forward_table_first(&world.table), first);
    assert_ptr_equal(forward_table_next(&world.table, first), second);
    assert_null(forward_table_next(&world.table, second));
    assert_ptr_equal(forward_table_find(&world.table, 2), second);
    assert_null(forward_table_find(&world.table, 3));
    assert_int_equal(keep("", 0, 9), 0);
    assert_string_equal(world.why, "");
    assert_int_equal(keep("", 0, 7), 0);
    assert_int_equal(add("", 0, "")->id, 10);
    forward_remove(first);
    assert_int_equal(world.table.key_count, 0);
    assert_int_equal(world.table.count, 4);
    assert_int_equal(add("", 0, "")->id, 11);
}

static void test_there_is_a_most(void **state)
{
    (void)state;
    for (int i = 0; i < FORWARD_MAX; i++)
        add("", 0, "");
    assert_int_equal(keep("", 0, 0), CULVERT_ERROR_LIMIT);
    assert_non_null(strstr(world.why, "already 1024 forwards"));
    forward_remove(forward_table_first(&world.table));
    assert_int_equal(keep("", 0, 0), 0);
}

static void test_forwards_that_wait_for_their_port(void **state)
{
    (void)state;
    add("", 1111, "");
    world.bind_error = -EADDRINUSE;
    assert_int_equal(keep("127.0.0.2", 2222, 5), 0);
    assert_non_null(strstr(world.why, "cannot listen on 127.0.0.2 port 2222"));
    const struct forward *kept = forward_table_find(&world.table, 5);
    assert_null(kept->inlet);
    assert_int_equal(forward_port(kept), 2222);
    forward_table_retry(&world.table);
    assert_null(kept->inlet);
    assert_int_equal(keep("", 0, 6), 0); /* of a free port there may be many */
    world.bind_error = 0;
    assert_int_equal(keep("127.0.0.2", 2222, 0), CULVERT_ERROR_EXISTS);
    assert_int_equal(keep("127.0.0.3", 2222, 0), 0);
    assert_int_equal(keep("127.0.0.2", 2223, 0), 0);
    assert_int_equal(keep("", 0, 0), 0);
    assert_int_equal(keep("", 1111, 0), 0); /* for the system to say */
    size_t before = world.inlet_count;
    come_up(0);
    forward_table_retry(&world.table);
    assert_non_null(kept->inlet);
    assert_true(kept->inlet->is_accepting);
    assert_int_equal(world.inlet_count, before + 2);
    forward_table_retry(&world.table);
    assert_int_equal(world.inlet_count, before + 2);
}

/* ---- connections ---- */

static void test_connections_are_accepted_once_the_agent_is_registered(void **state)
{
    (void)state;
    const struct forward *first = add("", 0, "");
    assert_false(first->inlet->is_accepting);
    come_up(0);
    assert_true(first->inlet->is_accepting);
    assert_true(add("", 0, "")->inlet->is_accepting);
    forward_table_down(&world.table);
    assert_true(first->inlet->is_accepting);
    assert_true(add("", 0, "")->inlet->is_accepting);
}

static void test_a_session_is_opened(void **state)
{
    (void)state;
    add("", 0, "");
    struct forward *forward = add("", 0, "sesame");
    come_up(0);
    struct fake_stream *stream = connect_to(forward);
    assert_int_equal(stream->forward, 2);
    assert_int_equal(world.subject.direction, SESSION_OUT);
    assert_string_equal(world.subject.agent, "agent2");
    assert_string_equal(world.subject.host, "10.0.0.5");
    assert_int_equal(world.subject.port, 5432);
    assert_string_equal(world.subject.client, "127.0.0.1:1");
    assert_string_equal(world.subject.key, "sesame");
    assert_string_equal(world.subject.target, "agent2:10.0.0.5:5432");
    assert_ptr_equal(world.subject.tally, &forward->tally);
    world.open_error = CULVERT_ERROR_LIMIT;
    stream = connect_to(forward);
    assert_int_equal(stream->code, REASON_NO_MEMORY);
    assert_true(stream->is_closed);
    assert_int_equal(world.started, 1);
}

static void test_what_came_before_the_link_waits_for_it(void **state)
{
    (void)state;
    struct forward *forwards[2] = {add("", 0, ""), add("", 0, "")};
    for (int i = 0; i < 4; i++)
        connect_to(forwards[i % 2]);
    assert_int_equal(world.table.waiting_count, 4);
    pass(50 * SECOND);
    assert_int_equal(world.started, 0);
    come_up(0);
    assert_int_equal(world.started, 4);
    assert_int_equal(world.table.waiting_count, 0);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(world.order[i], i);
        assert_int_equal(world.streams[i].forward, i % 2 + 1);
    }
    pass(60 * SECOND);
    assert_int_equal(virtual_loop_next(&world.loop), TRIAL_NEVER);
}

static void test_how_long_connections_wait(void **state)
{
    static const struct {
        unsigned window, patience;
    } cases[] = {{0, 60}, {5, 5}, {59, 59}, {60, 60}, {61, 60}, {3600, 60}};
    (void)state;
    struct forward *forward = add("", 0, "");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        come_up(cases[i].window);
        forward_table_down(&world.table);
        struct fake_stream *stream = connect_to(forward);
        pass(500);
        struct fake_stream *later = connect_to(forward);
        pass(cases[i].patience * SECOND - 501);
        assert_int_equal(stream->code, 0);
        pass(1);
        assert_int_equal(stream->code, REASON_LINK_LOST);
        assert_true(stream->is_closed);
        assert_int_equal(later->code, 0);
        pass(1 * SECOND);
        assert_int_equal(later->code, REASON_LINK_LOST);
        assert_int_equal(world.table.waiting_count, 0);
    }
    assert_int_equal(world.started, 0);
}

static void test_connections_that_wait_are_bounded(void **state)
{
    (void)state;
    struct forward *forward = add("", 0, "");
    for (int i = 0; i < FORWARD_WAITING; i++)
        connect_to(forward);
    assert_int_equal(world.streams[0].code, 0);
    assert_int_equal(connect_to(forward)->code, REASON_LIMIT);
    assert_int_equal(world.table.waiting_count, FORWARD_WAITING);
    come_up(0);
    forward_table_down(&world.table);
    assert_int_equal(connect_to(forward)->code, 0);
}

static void test_a_forward_that_goes_takes_what_waits_along(void **state)
{
    (void)state;
    struct forward *gone = add("", 0, "");
    struct forward *stays = add("", 0, "");
    struct fake_stream *streams[3] = {connect_to(stays), connect_to(gone), connect_to(stays)};
    forward_remove(gone);
    assert_int_equal(streams[1]->code, REASON_LINK_LOST);
    assert_int_equal(world.table.waiting_count, 2);
    come_up(0);
    assert_int_equal(world.started, 2);
    /* Sessions outlive their forward. */
    struct session_tally *tally = &stays->tally;
    forward_remove(stays);
    virtual_loop_turn(&world.loop);
    assert_int_equal(tally->holders, 2);
}

static void test_the_end(void **state)
{
    (void)state;
    struct forward *forward = add("", 2222, "");
    const struct inlet *inlet = forward->inlet;
    const struct fake_stream *stream = connect_to(forward);
    forward_table_close(&world.table);
    assert_true(inlet->is_closed);
    assert_int_equal(stream->code, REASON_LINK_LOST);
    assert_null(forward->inlet);
    assert_true(may_be_dialled(2222));
    forward_table_close(&world.table);
    come_up(0); /* a link that comes up meanwhile finds no port */
}

static void test_open_sessions_are_added_up_afresh(void **state)
{
    (void)state;
    struct forward *forward = add("", 0, "");
    forward->tally.open_sent = 5;
    forward->tally.open_received = 6;
    forward_table_add_up(&world.table);
    assert_int_equal(forward->tally.open_sent, 0);
    assert_int_equal(forward->tally.open_received, 0);
    assert_int_equal(world.added_up, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_is_bound),
        TEST(test_our_own_ports_are_not_dialled),
        TEST(test_a_port_that_cannot_be_opened),
        TEST(test_memory_that_runs_out),
        TEST(test_numbers_and_keys),
        TEST(test_there_is_a_most),
        TEST(test_forwards_that_wait_for_their_port),
        TEST(test_connections_are_accepted_once_the_agent_is_registered),
        TEST(test_a_session_is_opened),
        TEST(test_what_came_before_the_link_waits_for_it),
        TEST(test_how_long_connections_wait),
        TEST(test_connections_that_wait_are_bounded),
        TEST(test_a_forward_that_goes_takes_what_waits_along),
        TEST(test_the_end),
        TEST(test_open_sessions_are_added_up_afresh),
    };
    log_init(LOG_ERROR + 1, LOG_TEXT, "test");
    return cmocka_run_group_tests_name("forward", tests, NULL, NULL);
}
