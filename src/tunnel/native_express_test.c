/* A second carrier, on which small messages overtake what fills the first one. */
#include "base/error.h"
#include "base/memory.h"
#include "base/reason.h"
#include "tunnel/native_inner.h"
#include "tunnel/test_tunnels.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

enum { WINDOW = 60, SMALL = 500, MUCH = 32 * 1024 };

/* ---- a first carrier that is full ---- */

static struct carrier_operations full, crowded;
static const struct carrier_operations *as_it_was;

static bool is_long(const struct carrier *carrier, uint64_t round_trip)
{
    (void)carrier;
    (void)round_trip;
    return true;
}

static bool no(const struct carrier *carrier)
{
    (void)carrier;
    return false;
}

/* As if much were under way on it. */
static void fill(struct test_side *side)
{
    side->tunnel->link.kept += MUCH;
    as_it_was = side->tunnel->carrier->operations;
    full = crowded = *as_it_was;
    full.is_long = crowded.is_long = is_long;
    full.is_ready = no;
    side->tunnel->carrier->operations = &full;
}

/* It takes something, but what it takes has to wait. */
static void crowd(struct test_side *side)
{
    fill(side);
    side->tunnel->carrier->operations = &crowded;
}

static void flush(struct test_side *side)
{
    loop_defer(side->tunnel->base.loop, &side->tunnel->flush);
}

static void drain(struct test_side *side)
{
    side->tunnel->link.kept -= MUCH;
    side->tunnel->carrier->operations = as_it_was;
    flush(side);
}

/* ---- what is waited for ---- */

static size_t awaited;

static bool gateway_got_it(struct test_tunnels *pair)
{
    return pair->gateway.got >= awaited;
}

static bool is_opened(struct test_tunnels *pair)
{
    return pair->agent.is_opened;
}

static bool express_is_up(struct test_tunnels *pair)
{
    return pair->agent.tunnel->express.is_up;
}

static bool express_is_gone(struct test_tunnels *pair)
{
    return pair->agent.tunnel->express.carrier == NULL;
}

static bool all_is_counted(struct test_tunnels *pair)
{
    return pair->gateway.tunnel->link.received == pair->agent.tunnel->link.next - 1 &&
           pair->agent.tunnel->link.count == 0;
}

/* ---- the pair ---- */

static void begin(struct test_tunnels *pair)
{
    test_tunnels_start(pair, WINDOW);
    test_tunnels_settle(pair);
    test_tunnels_open(pair);
    test_tunnels_run(pair, is_opened);
}

static void begin_with_express(struct test_tunnels *pair)
{
    begin(pair);
    test_tunnels_add_express(pair);
    test_tunnels_run(pair, express_is_up);
}

static void say(struct test_side *side, size_t size)
{
    static const uint8_t bytes[64 * 1024];
    struct slice slice;
    struct slice_queue queue = SLICE_QUEUE_NULL;
    assert_int_equal(slice_copy(&side->tunnel->base.loop->pool, bytes, size, &slice), 0);
    assert_int_equal(slice_queue_push(&queue, slice), 0);
    side->outstanding += size;
    side->stream->operations->write(side->stream, &queue);
    slice_queue_deinit(&queue);
}

/* ---- overtaking ---- */

static void small_messages_overtake(void **state)
{
    (void)state;
    struct test_tunnels pair;
    begin_with_express(&pair);
    uint64_t before = pair.gateway.tunnel->link.received;
    fill(&pair.agent);
    for (unsigned i = 1; i <= 3; i++) {
        say(&pair.agent, SMALL);
        awaited = i * SMALL;
        test_tunnels_run(&pair, gateway_got_it);
    }
    assert_int_equal(pair.gateway.tunnel->link.received, before);
    drain(&pair.agent);
    say(&pair.agent, 1);
    awaited++;
    test_tunnels_run(&pair, gateway_got_it);
    assert_int_equal(pair.gateway.got, awaited); /* none came twice */
    assert_int_equal(pair.gateway.tunnel->link.received, before + 4);
    assert_int_equal(pair.agent.lost, 0);
    test_tunnels_end(&pair);
}

/* What the link keeps has reached its bound, since the first carrier takes nothing. */
static void small_messages_overtake_where_the_link_is_full(void **state)
{
    (void)state;
    struct test_tunnels pair;
    begin_with_express(&pair);
    struct link *link = &pair.agent.tunnel->link;
    size_t bound = link->bound;
    fill(&pair.agent);
    link->bound = link->kept;
    say(&pair.agent, SMALL);
    awaited = SMALL;
    test_tunnels_run(&pair, gateway_got_it);
    assert_true(link->kept > link->bound);
    link->bound = bound;
    drain(&pair.agent);
    test_tunnels_run(&pair, all_is_counted);
    assert_int_equal(pair.gateway.got, awaited);
    test_tunnels_end(&pair);
}

static void what_is_behind_something_large_waits_for_it(void **state)
{
    (void)state;
    struct test_tunnels pair;
    begin_with_express(&pair);
    fill(&pair.agent);
    say(&pair.agent, 10 * SMALL);
    flush(&pair.agent);
    say(&pair.agent, SMALL);
    drain(&pair.agent);
    awaited = 11 * SMALL;
    test_tunnels_run(&pair, gateway_got_it);
    assert_int_equal(pair.gateway.got, awaited);
    assert_int_equal(pair.agent.lost, 0);
    test_tunnels_end(&pair);
}

static void without_a_crowd_there_is_no_second_copy(void **state)
{
    (void)state;
    struct test_tunnels pair;
    begin_with_express(&pair);
    uint64_t used = pair.agent.tunnel->express.used;
    say(&pair.agent, SMALL);
    awaited = SMALL;
    test_tunnels_run(&pair, gateway_got_it);
    assert_int_equal(pair.agent.tunnel->express.used, used);
    crowd(&pair.agent);
    say(&pair.agent, SMALL);
    awaited += SMALL;
    test_tunnels_run(&pair, gateway_got_it);
    assert_true(pair.agent.tunnel->express.used > used);
    drain(&pair.agent);
    test_tunnels_end(&pair);
}

/* ---- its life ---- */

static bool it_was_asked_for(struct test_tunnels *pair)
{
    return pair->express[TUNNEL_EXPRESS_WANTED] > 0;
}

static void an_agent_that_is_crowded_wants_one(void **state)
{
    (void)state;
    struct test_tunnels pair;
    begin(&pair);
    fill(&pair.agent);
    flush(&pair.agent);
    assert_int_equal(pair.express[TUNNEL_EXPRESS_WANTED], 0);
    say(&pair.agent, SMALL);
    test_tunnels_run(&pair, it_was_asked_for);
    say(&pair.agent, SMALL);
    drain(&pair.agent);
    awaited = 2 * SMALL;
    test_tunnels_run(&pair, gateway_got_it);
    assert_int_equal(pair.express[TUNNEL_EXPRESS_WANTED], 1); /* not again so soon */
    test_tunnels_end(&pair);
}

static void a_gateway_that_is_crowded_asks_its_agent(void **state)
{
    (void)state;
    struct test_tunnels pair;
    begin(&pair);
    crowd(&pair.gateway);
    say(&pair.gateway, SMALL);
    test_tunnels_run(&pair, it_was_asked_for);
    drain(&pair.gateway);
    test_tunnels_end(&pair);
}

static void nobody_asks_where_links_are_not_resumed(void **state)
{
    (void)state;
    struct test_tunnels pair;
    test_tunnels_start(&pair, 0);
    test_tunnels_settle(&pair);
    test_tunnels_open(&pair);
    test_tunnels_run(&pair, is_opened);
    assert_false(pair.agent.tunnel->express.is_offered);
    crowd(&pair.agent);
    say(&pair.agent, SMALL);
    awaited = SMALL;
    test_tunnels_run(&pair, gateway_got_it);
    assert_int_equal(pair.express[TUNNEL_EXPRESS_WANTED], 0);
    drain(&pair.agent);
    test_tunnels_end(&pair);
}

static void one_that_is_cut_takes_nothing_with_it(void **state)
{
    (void)state;
    struct test_tunnels pair;
    begin_with_express(&pair);
    fill(&pair.agent);
    shutdown(pair.gateway.fd, SHUT_RDWR);
    say(&pair.agent, SMALL);
    test_tunnels_run(&pair, express_is_gone);
    drain(&pair.agent);
    awaited = SMALL;
    test_tunnels_run(&pair, gateway_got_it);
    say(&pair.agent, SMALL);
    awaited += SMALL;
    test_tunnels_run(&pair, gateway_got_it);
    assert_int_equal(pair.gateway.got, awaited);
    assert_int_equal(pair.agent.detachments, 0);
    assert_null(pair.gateway.tunnel->express.carrier);
    test_tunnels_end(&pair);
}

static void it_ends_with_the_first_carrier(void **state)
{
    (void)state;
    struct test_tunnels pair;
    begin_with_express(&pair);
    fill(&pair.agent);
    say(&pair.agent, SMALL);
    awaited = SMALL;
    test_tunnels_run(&pair, gateway_got_it);
    test_tunnels_rejoin(&pair);
    assert_null(pair.agent.tunnel->express.carrier);
    test_tunnels_settle(&pair);
    say(&pair.agent, 1);
    awaited++;
    test_tunnels_run(&pair, gateway_got_it);
    test_tunnels_run(&pair, all_is_counted);
    assert_int_equal(pair.gateway.got, awaited); /* what had been early was sent again */
    assert_null(pair.gateway.tunnel->express.carrier);
    test_tunnels_end(&pair);
}

static void a_refused_one_harms_nothing(void **state)
{
    (void)state;
    struct test_tunnels pair;
    begin(&pair);
    pair.door.refuses = REASON_LIMIT;
    test_tunnels_add_express(&pair);
    say(&pair.agent, SMALL);
    awaited = SMALL;
    test_tunnels_run(&pair, gateway_got_it);
    test_tunnels_run(&pair, express_is_gone);
    assert_int_equal(pair.express[TUNNEL_EXPRESS_UP], 0);
    assert_int_equal(pair.express[TUNNEL_EXPRESS_OVER], 1);
    assert_int_equal(pair.agent.detachments, 0);
    assert_int_equal(pair.agent.lost, 0);
    test_tunnels_end(&pair);
}

static void it_must_be_meant_for_the_carrier_that_is_there(void **state)
{
    (void)state;
    struct test_tunnels pair;
    begin(&pair);
    struct message_handshake handshake = {.is_express = true, .resumes = true, .epoch = 2};
    struct carrier *carrier = test_tunnels_dial(&pair);
    assert_int_equal(native_tunnel_take_express(pair.gateway.tunnel, carrier, &handshake),
                     CULVERT_ERROR_REFUSED);
    assert_null(pair.gateway.tunnel->express.carrier);
    carrier_close(carrier, 0, NULL);
    test_tunnels_end(&pair);
}

static void a_second_one_is_not_wanted(void **state)
{
    (void)state;
    struct test_tunnels pair;
    begin_with_express(&pair);
    struct carrier *carrier = test_tunnels_dial(&pair);
    assert_int_equal(
        native_tunnel_add_express(pair.agent.tunnel, carrier, "agent1", "key", pair.door.nonce),
        CULVERT_ERROR_CLOSED);
    carrier_close(carrier, 0, NULL);
    test_tunnels_end(&pair);
}

/* As if it had been used last so long ago. */
static void look_after(struct test_side *side, uint64_t microseconds)
{
    side->tunnel->express.used = loop_now(side->tunnel->base.loop) - microseconds;
    native_express_look(side->tunnel);
}

static void an_agent_closes_one_that_is_not_used(void **state)
{
    (void)state;
    struct test_tunnels pair;
    const uint64_t idle = (uint64_t)NATIVE_EXPRESS_IDLE * 1000000;
    begin_with_express(&pair);
    look_after(&pair.gateway, idle); /* which is the agent's part */
    look_after(&pair.agent, idle - 1);
    assert_non_null(pair.agent.tunnel->express.carrier);
    look_after(&pair.agent, idle);
    assert_null(pair.agent.tunnel->express.carrier);
    assert_int_equal(pair.express[TUNNEL_EXPRESS_OVER], 1);
    assert_non_null(pair.gateway.tunnel->express.carrier);
    look_after(&pair.agent, idle); /* there is none */
    assert_int_equal(pair.express[TUNNEL_EXPRESS_OVER], 1);
    test_tunnels_end(&pair);
}

static void an_agent_closes_one_that_is_not_answered(void **state)
{
    (void)state;
    struct test_tunnels pair;
    const uint64_t patience = (uint64_t)NATIVE_WELCOME_PATIENCE * 1000000;
    begin(&pair);
    pair.door.is_silent = true;
    test_tunnels_add_express(&pair);
    look_after(&pair.agent, patience - 1);
    assert_non_null(pair.agent.tunnel->express.carrier);
    look_after(&pair.agent, patience);
    assert_null(pair.agent.tunnel->express.carrier);
    test_tunnels_end(&pair);
}

static uint64_t unacknowledged_for;

static uint64_t unacknowledged(const struct carrier *carrier)
{
    (void)carrier;
    return unacknowledged_for;
}

/* Whether it is still there after a message was to overtake what fills the first carrier. `looked`:
 * microseconds since the system was asked last. */
static bool is_kept_after_use(uint64_t silence, uint64_t looked)
{
    struct test_tunnels pair;
    begin_with_express(&pair);
    struct native_express *express = &pair.agent.tunnel->express;
    const struct carrier_operations *before = express->carrier->operations;
    struct carrier_operations silent = *before;
    silent.unacknowledged = unacknowledged;
    unacknowledged_for = silence;
    express->carrier->operations = &silent;
    express->looked = loop_now(&pair.loop) - looked;
    fill(&pair.agent);
    say(&pair.agent, SMALL);
    assert_int_equal(native_express_flush(pair.agent.tunnel), 0);
    assert_int_equal(express->batch.bytes, 0); /* it has left, or waits for the first carrier */
    bool is_kept = express->carrier != NULL;
    if (is_kept)
        express->carrier->operations = before;
    else
        assert_int_equal(pair.express[TUNNEL_EXPRESS_OVER], 1);
    drain(&pair.agent);
    test_tunnels_end(&pair);
    return is_kept;
}

static void one_whose_peer_does_not_acknowledge_is_given_up(void **state)
{
    (void)state;
    const uint64_t patience = (uint64_t)TUNNEL_PATIENCE * 1000000;
    assert_true(is_kept_after_use(patience, 1000001));
    assert_false(is_kept_after_use(patience + 1, 1000001));
    assert_true(is_kept_after_use(patience + 1, 1000000)); /* it is asked once a second */
}

static void it_is_wanted_again_after_a_pause(void **state)
{
    (void)state;
    struct test_tunnels pair;
    const uint64_t pause = (uint64_t)NATIVE_EXPRESS_PAUSE * 1000000;
    begin(&pair);
    native_express_want(pair.agent.tunnel);
    assert_int_equal(pair.express[TUNNEL_EXPRESS_WANTED], 1);
    pair.agent.tunnel->express.asked = loop_now(&pair.loop) - pause + 1;
    native_express_want(pair.agent.tunnel);
    assert_int_equal(pair.express[TUNNEL_EXPRESS_WANTED], 1);
    pair.agent.tunnel->express.asked--;
    native_express_want(pair.agent.tunnel);
    assert_int_equal(pair.express[TUNNEL_EXPRESS_WANTED], 2);
    assert_int_equal(pair.agent.tunnel->express.asked, loop_now(&pair.loop));
    test_tunnels_end(&pair);
}

/* The n-th allocation of the beginning fails. Returns whether it has so many. */
static bool begin_without_memory(size_t n)
{
    struct test_tunnels pair;
    begin(&pair);
    struct carrier *carrier = test_tunnels_dial(&pair);
    memory_fail_after(n);
    int error =
        native_tunnel_add_express(pair.agent.tunnel, carrier, "agent1", "key", pair.door.nonce);
    bool has_failed = !memory_fail_is_pending();
    memory_fail_after(0);
    if (error != 0) {
        assert_true(has_failed);
        assert_null(pair.agent.tunnel->express.carrier);
        carrier_close(carrier, error, NULL);
    }
    say(&pair.agent, SMALL);
    awaited = SMALL;
    test_tunnels_run(&pair, gateway_got_it);
    assert_int_equal(pair.agent.lost, 0);
    assert_int_equal(pair.agent.detachments, 0);
    test_tunnels_end(&pair);
    return has_failed;
}

static void memory_may_run_out(void **state)
{
    (void)state;
    size_t failures = 0;
    while (begin_without_memory(failures + 1))
        failures++;
    assert_true(failures > 0);
}

/* ---- a peer that breaks the rules ---- */

static bool gateway_lost_it(struct test_tunnels *pair)
{
    return pair->gateway.lost != 0;
}

/* The agent sends this on its express carrier as one message. */
static void misbehave(const char *bytes, size_t size)
{
    struct test_tunnels pair;
    begin_with_express(&pair);
    struct carrier *carrier = pair.agent.tunnel->express.carrier;
    struct slice slice;
    struct slice_queue batch = SLICE_QUEUE_NULL;
    assert_int_equal(slice_copy(&pair.loop.pool, (const uint8_t *)bytes, size, &slice), 0);
    assert_int_equal(slice_queue_push(&batch, slice), 0);
    carrier->operations->send(carrier, &batch);
    carrier->operations->flush(carrier);
    slice_queue_deinit(&batch);
    test_tunnels_run(&pair, gateway_lost_it);
    assert_int_equal(pair.gateway.lost, CULVERT_ERROR_PROTOCOL);
    test_tunnels_end(&pair);
}

#define MISBEHAVE(text) misbehave((text), sizeof(text) - 1)

static void rules_are_kept(void **state)
{
    (void)state;
    MISBEHAVE("\x08\x91\x01");                          /* a ping */
    MISBEHAVE("\x03\x92\x01\xC4\x01x");                 /* data that nobody told of */
    MISBEHAVE("\x41\x92\x09\x00");                      /* nothing behind what tells of it */
    MISBEHAVE("\x41\x92\x09\x00\x41\x92\x0A\x00");      /* twice */
    MISBEHAVE("\x41\x92\x09\x00\x05\x91\x01");          /* an end */
    MISBEHAVE("\x41\x92\x09\x09\x03\x92\x01\xC4\x01x"); /* behind itself */
    MISBEHAVE("\x41\x92\x00\x00\x03\x92\x01\xC4\x01x"); /* no number */
    MISBEHAVE("\x41\x92\x09\x00\x03\x92\x01\xC4\x02x"); /* half of it */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_messages_overtake),
        cmocka_unit_test(small_messages_overtake_where_the_link_is_full),
        cmocka_unit_test(what_is_behind_something_large_waits_for_it),
        cmocka_unit_test(without_a_crowd_there_is_no_second_copy),
        cmocka_unit_test(an_agent_that_is_crowded_wants_one),
        cmocka_unit_test(a_gateway_that_is_crowded_asks_its_agent),
        cmocka_unit_test(nobody_asks_where_links_are_not_resumed),
        cmocka_unit_test(one_that_is_cut_takes_nothing_with_it),
        cmocka_unit_test(it_ends_with_the_first_carrier),
        cmocka_unit_test(a_refused_one_harms_nothing),
        cmocka_unit_test(it_must_be_meant_for_the_carrier_that_is_there),
        cmocka_unit_test(a_second_one_is_not_wanted),
        cmocka_unit_test(an_agent_closes_one_that_is_not_used),
        cmocka_unit_test(an_agent_closes_one_that_is_not_answered),
        cmocka_unit_test(one_whose_peer_does_not_acknowledge_is_given_up),
        cmocka_unit_test(it_is_wanted_again_after_a_pause),
        cmocka_unit_test(memory_may_run_out),
        cmocka_unit_test(rules_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
