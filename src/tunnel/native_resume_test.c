/* Links that go on with another carrier, and links that do not. */
#include "base/error.h"
#include "base/memory.h"
#include "base/reason.h"
#include "tunnel/test_tunnels.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

enum { BULK = 8 * 1024 * 1024, CUT_EVERY = BULK / 12, WINDOW = 60 };

static void begin(struct test_tunnels *pair)
{
    test_tunnels_start(pair, WINDOW);
    test_tunnels_settle(pair);
}

/* ---- going on ---- */

static unsigned cuts;
static unsigned replayed;

/* Cuts at either side, which loses what the other has sent and this one has not read. */
static bool finished_in_spite_of_cuts(struct test_tunnels *pair)
{
    bool goes = pair->agent.tunnel->is_fresh && pair->gateway.tunnel->is_fresh;
    if (goes && pair->gateway.got + pair->agent.got > cuts * (size_t)CUT_EVERY) {
        struct test_side *cutter = cuts % 2 == 0 ? &pair->gateway : &pair->agent;
        cuts++;
        if (cuts % 3 == 0)
            shutdown(cutter->fd, SHUT_RDWR);
        else
            native_tunnel_cut(cutter->tunnel, CULVERT_ERROR_TIMED_OUT, "the test cuts");
    }
    if (pair->agent.tunnel->gap.messages > 0 && pair->agent.tunnel->gap.bytes > 0)
        replayed++;
    return test_tunnels_have_finished(pair);
}

static void bulk_survives_cuts(void **state)
{
    (void)state;
    struct test_tunnels pair;
    begin(&pair);
    cuts = 1;
    replayed = 0;
    pair.rejoins_by_itself = true;
    pair.agent.to_write = BULK;
    pair.gateway.to_write = BULK / 2;
    test_tunnels_open(&pair);
    test_tunnels_run(&pair, finished_in_spite_of_cuts);
    assert_int_equal(pair.gateway.got, BULK);
    assert_int_equal(pair.agent.got, BULK / 2);
    assert_true(pair.agent.sum_written == pair.gateway.sum_got);
    assert_true(pair.gateway.sum_written == pair.agent.sum_got);
    assert_true(cuts > 10);
    assert_true(replayed > 0);
    assert_int_equal(pair.agent.lost, 0);
    assert_int_equal(pair.gateway.lost, 0);
    assert_int_equal(pair.agent.tunnel->link.epoch, pair.welcomes);
    test_tunnels_end(&pair);
}

static bool gateway_got_some(struct test_tunnels *pair)
{
    return pair->gateway.got > BULK / 4;
}

static void a_carrier_replaces_one_that_lives(void **state)
{
    (void)state;
    struct test_tunnels pair;
    begin(&pair);
    pair.agent.to_write = BULK;
    pair.gateway.to_write = BULK;
    test_tunnels_open(&pair);
    test_tunnels_run(&pair, gateway_got_some);
    /* Nothing has come for 4 s when the new carrier is there. */
    pair.agent.tunnel->last_heard -= 4000000;
    pair.gateway.tunnel->last_heard -= 4000000;
    test_tunnels_rejoin(&pair);
    test_tunnels_run(&pair, test_tunnels_have_finished);
    assert_true(pair.agent.sum_written == pair.gateway.sum_got);
    assert_true(pair.gateway.sum_written == pair.agent.sum_got);
    assert_int_equal(pair.agent.detachments, 0);
    assert_int_equal(pair.welcomes, 2);
    assert_true(pair.agent.tunnel->gap.duration >= 4000000);
    test_tunnels_end(&pair);
}

static bool both_are_detached(struct test_tunnels *pair)
{
    return pair->agent.tunnel->carrier == NULL && pair->gateway.tunnel->carrier == NULL &&
           pair->agent.detachments > 0 && pair->gateway.detachments > 0;
}

static void cut(struct test_tunnels *pair)
{
    shutdown(pair->gateway.fd, SHUT_RDWR);
    test_tunnels_run(pair, both_are_detached);
}

static void a_stream_is_opened_while_detached(void **state)
{
    (void)state;
    struct test_tunnels pair;
    begin(&pair);
    cut(&pair);
    pair.agent.to_write = 3 * TEST_PIECE;
    pair.gateway.to_write = TEST_PIECE;
    test_tunnels_open(&pair);
    assert_false(tunnel_is_drained(&pair.agent.tunnel->base));
    assert_true(tunnel_is_drained(&pair.gateway.tunnel->base));
    test_tunnels_rejoin(&pair);
    test_tunnels_run(&pair, test_tunnels_have_finished);
    assert_true(pair.agent.sum_written == pair.gateway.sum_got);
    assert_true(pair.agent.tunnel->gap.duration > 0);
    assert_int_equal(pair.agent.tunnel->gap.messages, 0);
    test_tunnels_end(&pair);
}

static bool gateway_was_reset(struct test_tunnels *pair)
{
    return pair->gateway.is_reset;
}

static bool gateway_has_stream(struct test_tunnels *pair)
{
    return pair->gateway.got > 0;
}

static void a_stream_is_reset_while_detached(void **state)
{
    (void)state;
    struct test_tunnels pair;
    begin(&pair);
    pair.agent.to_write = 2 * TEST_PIECE;
    pair.gateway.to_write = TEST_PIECE;
    test_tunnels_open(&pair);
    test_tunnels_run(&pair, gateway_has_stream);
    cut(&pair);
    pair.agent.stream->operations->reset(pair.agent.stream, REASON_RESET, NULL);
    pair.agent.stream->operations->close(pair.agent.stream);
    pair.agent.stream = NULL;
    test_tunnels_rejoin(&pair);
    test_tunnels_run(&pair, gateway_was_reset);
    assert_int_equal(pair.gateway.code, REASON_RESET);
    test_tunnels_end(&pair);
}

/* ---- tries that fail ---- */

static bool agent_was_refused(struct test_tunnels *pair)
{
    return pair->refusals > 0 && (pair->agent.lost != 0 || pair->agent.detachments > 1);
}

static void a_refusal_for_now_leaves_the_link(void **state)
{
    (void)state;
    struct test_tunnels pair;
    begin(&pair);
    cut(&pair);
    pair.door.refuses = REASON_LIMIT;
    test_tunnels_rejoin(&pair);
    test_tunnels_run(&pair, agent_was_refused);
    assert_int_equal(pair.refused, REASON_LIMIT);
    assert_int_equal(pair.agent.lost, 0);
    assert_int_equal(pair.agent.detached, CULVERT_ERROR_REFUSED);
    assert_string_equal(pair.agent.why, "not you");
    test_tunnels_rejoin(&pair);
    test_tunnels_settle(&pair);
    assert_int_equal(pair.gateway.tunnel->link.epoch, 3);
    test_tunnels_end(&pair);
}

static void a_forgotten_link_is_lost(void **state)
{
    (void)state;
    struct test_tunnels pair;
    unsigned seconds = 0;
    begin(&pair);
    cut(&pair);
    assert_true(native_tunnel_can_resume(pair.agent.tunnel, &seconds));
    assert_int_equal(seconds, WINDOW);
    pair.door.refuses = REASON_LINK_LOST;
    test_tunnels_rejoin(&pair);
    test_tunnels_run(&pair, agent_was_refused);
    assert_int_equal(pair.agent.lost, CULVERT_ERROR_REFUSED);
    assert_false(native_tunnel_can_resume(pair.agent.tunnel, &seconds));
    struct carrier *carrier = test_tunnels_dial(&pair);
    assert_int_equal(
        native_tunnel_rejoin(pair.agent.tunnel, carrier, "agent1", "key", pair.door.nonce),
        CULVERT_ERROR_CLOSED);
    carrier_close(carrier, 0, NULL);
    test_tunnels_end(&pair);
}

static bool agent_is_detached_twice(struct test_tunnels *pair)
{
    return pair->agent.detachments == 2;
}

static void a_carrier_may_die_before_the_welcome(void **state)
{
    (void)state;
    struct test_tunnels pair;
    begin(&pair);
    pair.agent.to_write = BULK;
    pair.gateway.to_write = TEST_PIECE;
    test_tunnels_open(&pair);
    test_tunnels_run(&pair, gateway_got_some);
    cut(&pair);
    pair.door.refuses = -1;
    test_tunnels_rejoin(&pair);
    tunnel_ping(&pair.agent.tunnel->base); /* waits for the welcome, or the door would see it */
    test_tunnels_run(&pair, agent_is_detached_twice);
    test_tunnels_rejoin(&pair);
    test_tunnels_run(&pair, test_tunnels_have_finished);
    assert_true(pair.agent.sum_written == pair.gateway.sum_got);
    assert_int_equal(pair.gateway.tunnel->link.epoch, 3);
    test_tunnels_end(&pair);
}

/* The gateway has resumed, but its welcome does not arrive. */
static bool gateway_took_the_second(struct test_tunnels *pair)
{
    if (pair->gateway.tunnel->link.epoch < 2)
        return false;
    native_tunnel_cut(pair->agent.tunnel, CULVERT_ERROR_TIMED_OUT, "the test cuts");
    return true;
}

static void a_welcome_may_be_lost(void **state)
{
    (void)state;
    struct test_tunnels pair;
    begin(&pair);
    pair.agent.to_write = BULK;
    pair.gateway.to_write = BULK;
    test_tunnels_open(&pair);
    test_tunnels_run(&pair, gateway_got_some);
    cut(&pair);
    test_tunnels_rejoin(&pair);
    test_tunnels_run(&pair, gateway_took_the_second);
    test_tunnels_run(&pair, agent_is_detached_twice);
    assert_int_equal(pair.welcomes, 1);
    test_tunnels_rejoin(&pair);
    test_tunnels_run(&pair, test_tunnels_have_finished);
    assert_true(pair.agent.sum_written == pair.gateway.sum_got);
    assert_true(pair.gateway.sum_written == pair.agent.sum_got);
    test_tunnels_end(&pair);
}

/* ---- what cannot be ---- */

static void refuses(struct test_tunnels *pair, struct message_handshake handshake, int expected)
{
    struct native_tunnel *tunnel = pair->gateway.tunnel;
    struct carrier *before = tunnel->carrier;
    struct carrier *carrier = test_tunnels_dial(pair);
    uint64_t epoch = tunnel->link.epoch;
    assert_int_equal(native_tunnel_resume(tunnel, pair->door.carrier, &handshake), expected);
    assert_ptr_equal(tunnel->carrier, before);
    assert_int_equal(tunnel->link.epoch, epoch);
    carrier_close(carrier, 0, NULL);
    carrier_close(pair->door.carrier, 0, NULL);
    pair->door.carrier = NULL;
}

static void numbers_that_cannot_be_change_nothing(void **state)
{
    (void)state;
    struct test_tunnels pair;
    begin(&pair);
    pair.agent.to_write = BULK;
    pair.gateway.to_write = BULK / 2;
    test_tunnels_open(&pair);
    test_tunnels_run(&pair, gateway_got_some);
    const struct link *link = &pair.gateway.tunnel->link;
    struct message_handshake good = {
        .resumes = true,
        .window = MUX_WINDOW,
        .epoch = 2,
        .first = link->received + 1,
        .received = link->next - 1 - link->count,
    };
    struct message_handshake bad = good;
    bad.epoch = 1;
    refuses(&pair, bad, CULVERT_ERROR_REFUSED);
    bad.epoch = 0;
    refuses(&pair, bad, CULVERT_ERROR_REFUSED);
    bad = good;
    bad.first = good.first + 1;
    refuses(&pair, bad, CULVERT_ERROR_PROTOCOL);
    bad.first = 0;
    refuses(&pair, bad, CULVERT_ERROR_PROTOCOL);
    bad.first = UINT64_MAX;
    refuses(&pair, bad, CULVERT_ERROR_PROTOCOL);
    bad = good;
    bad.received = link->next;
    refuses(&pair, bad, CULVERT_ERROR_PROTOCOL);
    bad.received = UINT64_MAX;
    refuses(&pair, bad, CULVERT_ERROR_PROTOCOL);
    if (good.received > 0) {
        bad.received = good.received - 1;
        refuses(&pair, bad, CULVERT_ERROR_PROTOCOL);
    }
    test_tunnels_run(&pair, test_tunnels_have_finished);
    assert_true(pair.agent.sum_written == pair.gateway.sum_got);
    assert_int_equal(pair.agent.detachments, 0);
    test_tunnels_end(&pair);
}

/* ---- the end ---- */

static bool agent_has_lost(struct test_tunnels *pair)
{
    return pair->agent.lost != 0;
}

static bool gateway_has_lost(struct test_tunnels *pair)
{
    return pair->gateway.lost != 0;
}

static void whoever_closes_ends_the_link(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct test_tunnels pair;
        begin(&pair);
        struct test_side *closer = i == 0 ? &pair.agent : &pair.gateway;
        struct test_side *other = i == 0 ? &pair.gateway : &pair.agent;
        tunnel_close(&closer->tunnel->base, REASON_SHUTDOWN, "it is late");
        closer->tunnel = NULL;
        test_tunnels_run(&pair, i == 0 ? gateway_has_lost : agent_has_lost);
        assert_int_equal(other->lost, CULVERT_ERROR_CLOSED);
        assert_string_equal(other->why, "it is late");
        assert_int_equal(other->detachments, 0);
        test_tunnels_end(&pair);
    }
}

static void who_gives_a_link_up_says_so(void **state)
{
    (void)state;
    struct test_tunnels pair;
    begin(&pair);
    native_tunnel_fail(pair.gateway.tunnel, CULVERT_ERROR_PROTOCOL, "what a peer");
    test_tunnels_run(&pair, agent_has_lost);
    assert_int_equal(pair.gateway.lost, CULVERT_ERROR_PROTOCOL);
    assert_string_equal(pair.agent.why, "what a peer");
    assert_int_equal(pair.agent.detachments + pair.gateway.detachments, 0);
    test_tunnels_end(&pair);
}

static void a_link_ends_while_detached(void **state)
{
    (void)state;
    struct test_tunnels pair;
    begin(&pair);
    cut(&pair);
    native_tunnel_fail(pair.gateway.tunnel, CULVERT_ERROR_NO_MEMORY, "too much");
    test_tunnels_run(&pair, gateway_has_lost);
    assert_int_equal(pair.gateway.lost, CULVERT_ERROR_NO_MEMORY);
    test_tunnels_end(&pair);
}

/* ---- bounds ---- */

enum { MANY = MUX_MAX_CONTROL / 8 };

static struct stream *streams[MANY];
static size_t refused_streams;

static void was_refused(struct stream *stream, int code, const char *reason)
{
    struct test_tunnels *pair = stream->holder;
    (void)reason;
    if (code == REASON_FORBIDDEN)
        refused_streams++;
    stream->operations->close(stream);
    if (pair->is_over(pair))
        loop_stop(&pair->loop);
}

/* As many as the mux takes without a carrier. */
static size_t open_many(struct test_tunnels *pair)
{
    static const struct stream_events events = {.reset = was_refused};
    struct message_open open = {.kind = text_of("tcp"), .host = text_of("db.example"), .port = 1};
    size_t count = 0;
    int error = 0;
    while ((error = tunnel_open(&pair->agent.tunnel->base, &open, &streams[count])) == 0) {
        streams[count]->events = &events;
        streams[count]->holder = pair;
        count++;
    }
    assert_int_equal(error, CULVERT_ERROR_LIMIT);
    assert_true(count > 100 && count < MANY);
    return count;
}

static void a_flood_of_resets_does_not_end_a_detached_link(void **state)
{
    (void)state;
    struct test_tunnels pair;
    begin(&pair);
    cut(&pair);
    char reason[400];
    memset(reason, 'r', sizeof(reason) - 1);
    reason[sizeof(reason) - 1] = '\0';
    size_t count = open_many(&pair);
    while (count-- > 0) {
        streams[count]->operations->reset(streams[count], REASON_RESET, reason);
        streams[count]->operations->close(streams[count]);
    }
    test_tunnels_rejoin(&pair);
    test_tunnels_settle(&pair);
    assert_int_equal(pair.agent.lost, 0);
    assert_true(mux_is_drained(&pair.agent.tunnel->mux));
    test_tunnels_end(&pair);
}

static size_t opened_streams;

static bool all_were_refused(struct test_tunnels *pair)
{
    return pair->agent.lost != 0 || refused_streams == opened_streams;
}

static void refuse_stream(struct tunnel *tunnel, struct stream *stream,
                          const struct message_open *open)
{
    (void)tunnel;
    (void)open;
    stream_refuse(stream, REASON_FORBIDDEN, NULL);
}

/* More than the link's reserve holds at once, with 64 bytes for each message. */
static void control_waits_for_room(void **state)
{
    (void)state;
    struct test_tunnels pair;
    begin(&pair);
    cut(&pair);
    struct tunnel_owner owner = *pair.gateway.tunnel->base.owner;
    owner.peer_opened = refuse_stream;
    pair.gateway.tunnel->base.owner = &owner;
    opened_streams = open_many(&pair);
    refused_streams = 0;
    assert_true(opened_streams * LINK_MESSAGE_COST > LINK_CONTROL_RESERVE);
    pair.agent.tunnel->link.bound = 0; /* as if it were full of data */
    pair.gateway.tunnel->link.bound = 0;
    test_tunnels_rejoin(&pair);
    test_tunnels_run(&pair, all_were_refused);
    assert_int_equal(pair.agent.lost, 0);
    assert_int_equal(refused_streams, opened_streams);
    test_tunnels_end(&pair);
}

static void what_a_detached_link_keeps_can_be_given_up(void **state)
{
    (void)state;
    struct test_tunnels pair;
    begin(&pair);
    pair.agent.to_write = BULK;
    pair.gateway.to_write = TEST_PIECE;
    test_tunnels_open(&pair);
    test_tunnels_run(&pair, gateway_got_some);
    cut(&pair);
    assert_true(pair.agent.tunnel->link.kept > 0);
    pair.agent.stream->operations->close(pair.agent.stream); /* which held more */
    pair.agent.stream = NULL;
    assert_int_equal(tunnel_largest(&pair.agent.tunnel->base), pair.agent.tunnel->link.kept);
    tunnel_end_largest(&pair.agent.tunnel->base, REASON_NO_MEMORY, "memory ran out");
    test_tunnels_run(&pair, agent_has_lost);
    assert_int_equal(pair.agent.lost, CULVERT_ERROR_NO_MEMORY);
    test_tunnels_end(&pair);
}

/* ---- allocations that fail ---- */

static void rejoining_without_memory_changes_nothing_or_detaches(void **state)
{
    (void)state;
    struct test_tunnels pair;
    begin(&pair);
    cut(&pair);
    bool is_pending = false;
    for (size_t n = 1; !is_pending; n++) {
        struct carrier *carrier = test_tunnels_dial(&pair);
        unsigned before = pair.agent.detachments;
        memory_fail_after(n);
        int error =
            native_tunnel_rejoin(pair.agent.tunnel, carrier, "agent1", "key", pair.door.nonce);
        is_pending = memory_fail_is_pending();
        memory_fail_after(0);
        assert_int_equal(error, 0);
        if (is_pending)
            break;
        assert_int_not_equal(pair.agent.tunnel->failure, 0);
        while (pair.agent.detachments == before)
            test_tunnels_run(&pair, agent_is_detached_twice);
    }
    test_tunnels_settle(&pair);
    test_tunnels_end(&pair);
}

/* The gateway's side has taken the carrier by then, so the agent only has to try again. */
static void resuming_without_memory_changes_nothing_or_detaches(void **state)
{
    (void)state;
    struct test_tunnels pair;
    begin(&pair);
    cut(&pair);
    bool is_pending = false;
    for (size_t n = 1; !is_pending; n++) {
        unsigned before = pair.gateway.detachments;
        struct message_handshake handshake = {
            .resumes = true, .window = MUX_WINDOW, .epoch = n + 1, .first = 1};
        struct carrier *carrier = test_tunnels_dial(&pair);
        carrier->operations->read(carrier, false);
        chunk_pool_trim(&pair.loop.pool);
        memory_fail_after(n);
        assert_int_equal(native_tunnel_resume(pair.gateway.tunnel, pair.door.carrier, &handshake),
                         0);
        is_pending = memory_fail_is_pending();
        memory_fail_after(0);
        pair.door.carrier = NULL;
        if (!is_pending) {
            assert_int_equal(pair.gateway.tunnel->failure, CULVERT_ERROR_NO_MEMORY);
            while (pair.gateway.detachments == before)
                uv_run(&pair.loop.uv, UV_RUN_NOWAIT);
        }
        carrier_close(carrier, 0, NULL);
    }
    assert_true(pair.gateway.tunnel->link.epoch > 2);
    assert_int_equal(pair.gateway.tunnel->failure, 0);
    test_tunnels_end(&pair);
}

static bool agent_is_up(struct test_tunnels *pair)
{
    return pair->welcomes > 0;
}

static void nobody_waits_longer_than_a_day(void **state)
{
    (void)state;
    struct test_tunnels pair;
    unsigned seconds = 0;
    test_tunnels_start(&pair, UINT32_MAX);
    test_tunnels_run(&pair, agent_is_up);
    assert_true(native_tunnel_can_resume(pair.agent.tunnel, &seconds));
    assert_int_equal(seconds, NATIVE_LONGEST_RESUME);
    test_tunnels_end(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bulk_survives_cuts),
        cmocka_unit_test(a_carrier_replaces_one_that_lives),
        cmocka_unit_test(a_stream_is_opened_while_detached),
        cmocka_unit_test(a_stream_is_reset_while_detached),
        cmocka_unit_test(a_refusal_for_now_leaves_the_link),
        cmocka_unit_test(a_forgotten_link_is_lost),
        cmocka_unit_test(a_carrier_may_die_before_the_welcome),
        cmocka_unit_test(a_welcome_may_be_lost),
        cmocka_unit_test(numbers_that_cannot_be_change_nothing),
        cmocka_unit_test(whoever_closes_ends_the_link),
        cmocka_unit_test(who_gives_a_link_up_says_so),
        cmocka_unit_test(a_link_ends_while_detached),
        cmocka_unit_test(a_flood_of_resets_does_not_end_a_detached_link),
        cmocka_unit_test(control_waits_for_room),
        cmocka_unit_test(what_a_detached_link_keeps_can_be_given_up),
        cmocka_unit_test(rejoining_without_memory_changes_nothing_or_detaches),
        cmocka_unit_test(resuming_without_memory_changes_nothing_or_detaches),
        cmocka_unit_test(nobody_waits_longer_than_a_day),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
