#include "uplink_world.h"

#include "base/error.h"
#include "base/log.h"
#include "base/reason.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- to be registered ---- */

static void test_the_first_try(void **state)
{
    (void)state;
    uplink_world_start(1);
    const struct approach_request *request = &world.approach.request;
    assert_ptr_equal(request->url, &world.urls[0]);
    assert_ptr_equal(request->denial, &world.uplink.places[0].denial);
    assert_int_equal(request->rung, LADDER_WEBSOCKET);
    assert_null(request->link);
    assert_int_equal(request->dial_time, UPLINK_DIAL_TIME);
    assert_int_equal(request->answer_time, UPLINK_ANSWER_TIME);
    struct fake_link *link = uplink_world_register_link();
    assert_int_equal(world.up, 1);
    assert_ptr_equal(world.tunnel, &link->native.base);
    assert_int_equal(uplink_resume_window(&world.uplink), 60);
    assert_string_equal(uplink_url_text(&world.uplink), "ws://one.invalid");
    assert_false(uplink_speaks_hubble(&world.uplink));
    assert_int_equal(virtual_loop_next(&world.loop), TRIAL_NEVER);
}

static void test_the_back_off(void **state)
{
    (void)state;
    uplink_world_start(1);
    uint64_t delay = UPLINK_FIRST_DELAY;
    for (int i = 0; i < 15; i++) {
        uplink_world_fail_try(APPROACH_UNREACHABLE);
        assert_in_range(uplink_world_until_try(), delay / 2, delay);
        delay = 2 * delay < UPLINK_LAST_DELAY ? 2 * delay : UPLINK_LAST_DELAY;
    }
}

static void test_the_wait_comes_when_all_gateways_have_failed(void **state)
{
    (void)state;
    uplink_world_start(2);
    for (int round = 0; round <= UPLINK_SHORT_ROUNDS; round++) {
        bool is_short = round < UPLINK_SHORT_ROUNDS;
        for (size_t i = 0; i < 2; i++) {
            assert_ptr_equal(world.approach.request.url, &world.urls[i]);
            assert_int_equal(world.approach.request.answer_time,
                             is_short ? UPLINK_SHORT_ANSWER_TIME : UPLINK_ANSWER_TIME);
            assert_int_equal(world.approach.request.dial_time, UPLINK_DIAL_TIME);
            uplink_world_fail_try(APPROACH_UNREACHABLE);
            uint64_t least = i == 0 ? 0 : ((uint64_t)UPLINK_FIRST_DELAY << round) / 2;
            assert_in_range(uplink_world_until_try(), least, 2 * least);
        }
    }
    assert_string_equal(uplink_url_text(&world.uplink), "ws://one.invalid");
}

static void test_a_try_that_cannot_begin(void **state)
{
    (void)state;
    world.start_error = CULVERT_ERROR_RESOLVE;
    uplink_world_start(1);
    assert_int_equal(world.approaches, 1);
    world.start_error = 0;
    assert_in_range(uplink_world_until_try(), UPLINK_FIRST_DELAY / 2, UPLINK_FIRST_DELAY);
    uplink_world_register_link();
}

static void test_a_busy_gateway_is_left_alone(void **state)
{
    (void)state;
    uplink_world_start(1);
    uplink_world_be_busy(100);
    assert_in_range(uplink_world_until_try(), 100 * SECOND, 126 * SECOND);
    uplink_world_be_busy(1);
    assert_in_range(uplink_world_until_try(), 1 * SECOND, 2250);
    uplink_world_fail_try(APPROACH_UNREACHABLE);
    assert_in_range(uplink_world_until_try(), 0, UPLINK_FIRST_DELAY);
}

static void test_of_busy_gateways_the_longest_wait_counts(void **state)
{
    (void)state;
    uplink_world_start(2);
    uplink_world_be_busy(100);
    assert_int_equal(uplink_world_until_try(), 0);
    uplink_world_be_busy(3);
    /* Not longer than the back-off would be at the most, and its jitter. */
    assert_in_range(uplink_world_until_try(), 30 * SECOND, 38500);
    uplink_world_be_busy(3);
    uplink_world_until_try();
    uplink_world_fail_try(APPROACH_UNREACHABLE);
    assert_in_range(uplink_world_until_try(), 3 * SECOND, 4750);
}

static void test_what_does_not_pass_is_tried_by_long_poll(void **state)
{
    (void)state;
    uplink_world_start(1);
    uplink_world_fail_try(APPROACH_NOT_PASSED);
    assert_int_equal(uplink_world_until_try(), 0);
    assert_int_equal(world.approach.request.rung, LADDER_POLL);
    assert_int_equal(world.approach.request.dial_time, UPLINK_ANSWER_TIME);
    assert_int_equal(uplink_world_register_link()->base.rung, LADDER_POLL);
}

static void test_a_silent_gateway(void **state)
{
    (void)state;
    uplink_world_start(2);
    uplink_world_fail_try(APPROACH_SILENT);
    assert_int_equal(uplink_world_until_try(), 0);
    assert_ptr_equal(world.approach.request.url, &world.urls[1]);
    assert_int_equal(world.approach.request.rung, LADDER_WEBSOCKET);
    uplink_world_fail_try(APPROACH_UNREACHABLE);
    uplink_world_until_try();
    assert_ptr_equal(world.approach.request.url, &world.urls[0]);
    assert_int_equal(world.approach.request.rung, LADDER_POLL);
    assert_int_equal(world.approach.request.dial_time, UPLINK_SHORT_ANSWER_TIME);
}

/* The answers to the upgrade and to the handshake share one time where there is another gateway. */
static void test_a_gateway_that_upgrades_and_is_silent(void **state)
{
    static const struct {
        uint64_t waited, left;
    } cases[] = {{0, UPLINK_SHORT_ANSWER_TIME},
                 {1500, UPLINK_SHORT_ANSWER_TIME - 1500},
                 {UPLINK_SHORT_ANSWER_TIME, UPLINK_LEAST_ANSWER_TIME}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uplink_world_start(2);
        uplink_world_answer((struct approach_result){
            .carrier = &world.carrier, .is_native = true, .waited = cases[i].waited});
        struct fake_link *link = uplink_world_last_link();
        assert_int_equal(link->answer_time, cases[i].left);
        link->base.owner->lost(&link->base, CULVERT_ERROR_TIMED_OUT, "silence");
        assert_int_equal(uplink_world_until_try(), 0);
        assert_ptr_equal(world.approach.request.url, &world.urls[1]);
        uplink_world_tear_down(state);
        uplink_world_set_up(state);
    }
    uplink_world_start(1);
    uplink_world_give_carrier(true);
    assert_int_equal(uplink_world_last_link()->answer_time, UPLINK_ANSWER_TIME);
}

static void test_the_only_gateway_is_silent(void **state)
{
    (void)state;
    uplink_world_start(1);
    uplink_world_fail_try(APPROACH_SILENT);
    assert_int_equal(uplink_world_until_try(), 0);
    assert_int_equal(world.approach.request.rung, LADDER_POLL);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    uplink_world_start(1);
    world.new_error = CULVERT_ERROR_NO_MEMORY;
    uplink_world_give_carrier(true);
    assert_int_equal(world.carriers_closed, 1);
    uplink_world_until_try();
    world.new_error = 0;
    world.begin_error = CULVERT_ERROR_NO_MEMORY;
    uplink_world_give_carrier(true);
    assert_int_equal(world.carriers_closed, 2);
    assert_true(uplink_world_last_link()->is_closed);
    assert_int_equal(uplink_world_last_link()->code, REASON_NO_MEMORY);
    uplink_world_until_try();
    world.begin_error = 0;
    uplink_world_register_link();
    assert_int_equal(world.carriers_closed, 2);
}

/* ---- refusals ---- */

static void refuse(int code)
{
    uplink_world_until_try();
    uplink_world_give_carrier(true);
    uplink_world_lose(uplink_world_last_link(), code);
}

static void test_a_final_refusal(void **state)
{
    static const int codes[] = {REASON_FORBIDDEN, REASON_NAME_TAKEN, REASON_PROTOCOL,
                                REASON_UNSUPPORTED};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        uplink_world_start(1);
        refuse(codes[i]);
        assert_int_equal(world.refused, 1);
        assert_int_equal(world.refusal, codes[i]);
        assert_memory_equal(world.why, "the gateway refused: the test ended it", 38);
        assert_int_equal(strstr(world.why, "sent no key") != NULL, codes[i] == REASON_FORBIDDEN);
        assert_int_equal(virtual_loop_next(&world.loop), TRIAL_NEVER);
        uplink_world_tear_down(state);
        uplink_world_set_up(state);
    }
    world.config.key = "sesame";
    uplink_world_start(1);
    refuse(REASON_FORBIDDEN);
    assert_string_equal(world.why, "the gateway refused: the test ended it");
}

static void test_all_gateways_must_refuse(void **state)
{
    (void)state;
    uplink_world_start(2);
    refuse(REASON_FORBIDDEN);
    refuse(REASON_LIMIT);
    refuse(REASON_FORBIDDEN);
    assert_int_equal(world.refused, 0);
    refuse(REASON_NAME_TAKEN);
    assert_int_equal(world.refused, 1);
}

static void test_refusals_that_are_not_final(void **state)
{
    (void)state;
    uplink_world_start(1);
    for (int i = 0; i < 3; i++)
        refuse(REASON_LIMIT);
    refuse(0);
    assert_int_equal(world.refused, 0);
    /* A hang-up instead of the answer: perhaps WebSocket does not pass. */
    assert_int_equal(uplink_world_until_try(), 0);
    assert_int_equal(world.approach.request.rung, LADDER_POLL);
}

static void test_an_agent_that_was_up_is_never_refused(void **state)
{
    (void)state;
    struct fake_link *link = uplink_world_start_registered(1);
    uplink_world_lose(link, 0);
    for (int i = 0; i < 3; i++)
        refuse(REASON_FORBIDDEN);
    assert_int_equal(world.refused, 0);
    uplink_world_until_try();
}

static void test_hubble_is_never_refused(void **state)
{
    (void)state;
    world.config.dialect = AGENT_DIALECT_HUBBLE;
    world.config.transport = AGENT_TRANSPORT_POLL; /* not for Hubble */
    uplink_world_start(1);
    assert_int_equal(world.approach.request.rung, LADDER_WEBSOCKET);
    for (int i = 0; i < 3; i++)
        refuse(REASON_FORBIDDEN);
    assert_int_equal(world.refused, 0);
    uplink_world_until_try();
    uplink_world_give_carrier(false);
    assert_true(uplink_speaks_hubble(&world.uplink));
    uplink_world_welcome(uplink_world_last_link());
    assert_true(uplink_speaks_hubble(&world.uplink));
    assert_int_equal(uplink_resume_window(&world.uplink), 0);
}

static bool speaks_hubble(enum agent_dialect dialect, const char *key, const char *rule_key,
                          bool gives_keys)
{
    static struct rule rules[2];
    void *state = NULL;
    uplink_world_tear_down(&state);
    uplink_world_set_up(&state);
    snprintf(rules[1].key, sizeof rules[1].key, "%s", rule_key);
    world.config.dialect = dialect;
    world.config.key = key;
    world.config.rules = rules;
    world.config.rule_count = 2;
    uplink_world_start(1);
    world.uplink.gives_keys = gives_keys;
    uplink_world_fail_try(APPROACH_UNREACHABLE);
    uplink_world_until_try();
    return world.approach.request.may_speak_hubble;
}

static void test_whether_hubble_is_spoken(void **state)
{
    (void)state;
    uplink_world_start(1);
    assert_false(speaks_hubble(AGENT_DIALECT_NATIVE, "", "", false));
    assert_true(speaks_hubble(AGENT_DIALECT_HUBBLE, "k", "k", true));
    assert_false(speaks_hubble(AGENT_DIALECT_AUTO, "k", "", false));
    assert_false(speaks_hubble(AGENT_DIALECT_AUTO, "", "k", false));
    assert_false(speaks_hubble(AGENT_DIALECT_AUTO, "", "", true));
    assert_true(speaks_hubble(AGENT_DIALECT_AUTO, "", "", false));
    /* Who has heard culvert.1 is not led to less. */
    refuse(REASON_LIMIT);
    uplink_world_until_try();
    assert_false(world.approach.request.may_speak_hubble);
}

/* ---- resuming ---- */

static void test_a_link_is_resumed(void **state)
{
    (void)state;
    struct fake_link *link = uplink_world_start_registered(1);
    uplink_world_detach(link, 0);
    assert_int_equal(world.detached, 1);
    assert_in_range(uplink_world_until_try(), 0, UPLINK_REDIAL_JITTER);
    assert_ptr_equal(world.approach.request.link, link->native.identity.link);
    assert_int_equal(world.approach.request.dial_time, UPLINK_RESUME_DIAL_TIME);
    uplink_world_give_carrier(true);
    assert_int_equal(link->rejoins, 1);
    uplink_world_welcome(link);
    assert_int_equal(world.resumed, 1);
    assert_ptr_equal(world.tunnel, &link->native.base);
    assert_int_equal(world.up, 1);
    assert_int_equal(world.down, 0);
    assert_int_equal(world.link_count, 1);
}

static void test_redials_are_at_once_for_a_while(void **state)
{
    (void)state;
    struct fake_link *link = uplink_world_start_registered(1);
    uplink_world_pass(3600 * SECOND); /* earns no more than there are */
    for (int i = 0; i < UPLINK_REDIALS + 10; i++) {
        uplink_world_detach(link, 0);
        uint64_t delay = uplink_world_until_try();
        if (i < UPLINK_REDIALS)
            assert_in_range(delay, 0, UPLINK_REDIAL_JITTER);
        else if (i > UPLINK_REDIALS + 4) /* the jitter may have earned some */
            assert_in_range(delay, UPLINK_REDIAL_INTERVAL, 2 * UPLINK_REDIAL_INTERVAL);
        uplink_world_give_carrier(true);
        uplink_world_welcome(link);
    }
    uplink_world_pass(3 * UPLINK_REDIAL_INTERVAL);
    uplink_world_detach(link, 0);
    assert_in_range(uplink_world_until_try(), 0, UPLINK_REDIAL_JITTER);
}

static void test_resuming_fails(void **state)
{
    (void)state;
    struct fake_link *link = uplink_world_start_registered(1);
    uplink_world_detach(link, 0);
    uplink_world_until_try();
    for (int i = 0; i < 12; i++) {
        uplink_world_give_carrier(true);
        uplink_world_detach(link, REASON_LIMIT);
        assert_in_range(uplink_world_until_try(), 0, UPLINK_RESUME_DELAY);
        assert_ptr_equal(world.approach.request.link, link->native.identity.link);
    }
    assert_int_equal(world.detached, 1);
    world.rejoin_error = CULVERT_ERROR_NO_MEMORY;
    uplink_world_give_carrier(true);
    assert_int_equal(world.carriers_closed, 1);
    world.rejoin_error = 0;
    uplink_world_until_try();
    uplink_world_give_carrier(true);
    uplink_world_welcome(link);
    assert_int_equal(world.resumed, 1);
    assert_int_equal(world.down, 0);
}

static void test_a_final_refusal_gives_the_link_up(void **state)
{
    (void)state;
    struct fake_link *link = uplink_world_start_registered(1);
    uplink_world_detach(link, 0);
    uplink_world_until_try();
    uplink_world_give_carrier(true);
    uplink_world_detach(link, REASON_FORBIDDEN);
    assert_true(link->is_closed);
    assert_int_equal(link->code, REASON_LINK_LOST);
    assert_int_equal(world.down, 1);
    assert_int_equal(world.refused, 0);
    uplink_world_until_try();
    assert_null(world.approach.request.link);
    assert_int_equal(world.approach.request.dial_time, UPLINK_DIAL_TIME);
    uplink_world_register_link();
    assert_int_equal(world.up, 2);
}

static void test_the_gateway_does_not_know_the_link(void **state)
{
    (void)state;
    struct fake_link *link = uplink_world_start_registered(2);
    uplink_world_detach(link, 0);
    uplink_world_until_try();
    uplink_world_give_carrier(true);
    uplink_world_lose(link, REASON_LINK_LOST);
    assert_true(link->is_closed);
    assert_int_equal(world.down, 1);
    assert_in_range(uplink_world_until_try(), 0, UPLINK_REDIAL_JITTER);
    assert_null(world.approach.request.link);
    /* No patience with that gateway any more. */
    uplink_world_fail_try(APPROACH_UNREACHABLE);
    assert_int_equal(uplink_world_until_try(), 0);
    assert_ptr_equal(world.approach.request.url, &world.urls[1]);
}

static void test_the_window_passes_during_a_try(void **state)
{
    (void)state;
    struct fake_link *link = uplink_world_start_registered(1);
    uplink_world_detach(link, 0);
    uplink_world_until_try();
    uplink_world_lose(link, 0);
    assert_true(link->is_closed);
    assert_int_equal(world.down, 1);
    assert_non_null(world.current);
    uplink_world_register_link();
    assert_int_equal(world.link_count, 2);
    assert_int_equal(world.up, 2);
    assert_int_equal(link->rejoins, 0);
}

/* The server of a new address, say, does not speak culvert.1. */
static void test_a_carrier_that_cannot_resume(void **state)
{
    (void)state;
    struct fake_link *link = uplink_world_start_registered(1);
    uplink_world_detach(link, 0);
    uplink_world_until_try();
    uplink_world_give_carrier(false);
    assert_int_equal(link->rejoins, 0);
    assert_int_equal(world.link_count, 2);
    uplink_world_welcome(uplink_world_last_link());
    assert_true(link->is_closed);
    assert_int_equal(world.down, 1);
    assert_int_equal(world.up, 2);
}

/* ---- the end of a link ---- */

static void test_only_a_link_that_lasted_begins_the_back_off_anew(void **state)
{
    (void)state;
    struct fake_link *link = uplink_world_start_registered(1);
    for (int i = 0; i < 6; i++) {
        uplink_world_lose(link, 0);
        uint64_t most = (uint64_t)UPLINK_FIRST_DELAY << i;
        assert_in_range(uplink_world_until_try(), most / 2, most);
        link = uplink_world_register_link();
        uplink_world_pass((UPLINK_STABLE - 1) * SECOND);
    }
    uplink_world_pass(2 * SECOND);
    uplink_world_lose(link, 0);
    assert_true(link->is_closed);
    assert_int_equal(world.down, 7);
    assert_in_range(uplink_world_until_try(), UPLINK_FIRST_DELAY / 2, UPLINK_FIRST_DELAY);
}

static void test_another_gateway_is_next_when_one_ends_the_link(void **state)
{
    (void)state;
    struct fake_link *link = uplink_world_start_registered(2);
    link->native.loss = NATIVE_LOSS_PEER;
    uplink_world_lose(link, 0);
    uplink_world_until_try();
    assert_ptr_equal(world.approach.request.url, &world.urls[1]);
}

static void test_websockets_that_do_not_last(void **state)
{
    (void)state;
    struct fake_link *link = uplink_world_start_registered(1);
    for (int i = 0; i < LADDER_SHORT_LIVES; i++) {
        assert_int_equal(world.approach.request.rung, LADDER_WEBSOCKET);
        uplink_world_pass(1 * SECOND);
        uplink_world_detach(link, 0);
        uplink_world_until_try();
        uplink_world_give_carrier(true);
        uplink_world_welcome(link);
    }
    assert_int_equal(world.approach.request.rung, LADDER_POLL);
}

static void test_short_links_whose_carrier_was_not_cut_say_nothing(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        world.is_not_resumable = true;
        struct fake_link *link = uplink_world_start_registered(1);
        for (int j = 0; j < LADDER_SHORT_LIVES; j++) {
            assert_int_equal(world.approach.request.rung, LADDER_WEBSOCKET);
            link->native.loss = i == 0 ? NATIVE_LOSS_PEER : NATIVE_LOSS_CARRIER;
            uplink_world_lose(link, 0);
            uplink_world_until_try();
            link = uplink_world_register_link();
        }
        assert_int_equal(world.approach.request.rung, i == 0 ? LADDER_WEBSOCKET : LADDER_POLL);
        uplink_world_tear_down(state);
        uplink_world_set_up(state);
    }
    uplink_world_start(1);
}

#define TEST(name) \
    cmocka_unit_test_setup_teardown(name, uplink_world_set_up, uplink_world_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_first_try),
        TEST(test_the_back_off),
        TEST(test_the_wait_comes_when_all_gateways_have_failed),
        TEST(test_a_try_that_cannot_begin),
        TEST(test_a_busy_gateway_is_left_alone),
        TEST(test_of_busy_gateways_the_longest_wait_counts),
        TEST(test_what_does_not_pass_is_tried_by_long_poll),
        TEST(test_a_silent_gateway),
        TEST(test_a_gateway_that_upgrades_and_is_silent),
        TEST(test_the_only_gateway_is_silent),
        TEST(test_out_of_memory),
        TEST(test_a_final_refusal),
        TEST(test_all_gateways_must_refuse),
        TEST(test_refusals_that_are_not_final),
        TEST(test_an_agent_that_was_up_is_never_refused),
        TEST(test_hubble_is_never_refused),
        TEST(test_whether_hubble_is_spoken),
        TEST(test_a_link_is_resumed),
        TEST(test_redials_are_at_once_for_a_while),
        TEST(test_resuming_fails),
        TEST(test_a_final_refusal_gives_the_link_up),
        TEST(test_the_gateway_does_not_know_the_link),
        TEST(test_the_window_passes_during_a_try),
        TEST(test_a_carrier_that_cannot_resume),
        TEST(test_only_a_link_that_lasted_begins_the_back_off_anew),
        TEST(test_another_gateway_is_next_when_one_ends_the_link),
        TEST(test_websockets_that_do_not_last),
        TEST(test_short_links_whose_carrier_was_not_cut_say_nothing),
    };
    log_init(LOG_ERROR + 1, LOG_TEXT, "test");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
