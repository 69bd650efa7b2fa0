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

/* What goes on beside a link that is up, and when a gateway is left. */

/* ---- from long poll to WebSocket ---- */

static struct fake_link *start_by_poll(void)
{
    uplink_world_start(1);
    uplink_world_fail_try(APPROACH_NOT_PASSED);
    uplink_world_until_try();
    struct fake_link *link = uplink_world_register_link();
    assert_int_equal(link->base.rung, LADDER_POLL);
    return link;
}

static void test_websocket_is_tried_beside_long_poll(void **state)
{
    (void)state;
    struct fake_link *link = start_by_poll();
    /* Counted from when WebSocket did not pass, in whole milliseconds. */
    assert_in_range(uplink_world_until_try(), LADDER_FIRST_RETRY * SECOND,
                    LADDER_FIRST_RETRY * SECOND + 1);
    assert_int_equal(world.approach.request.rung, LADDER_WEBSOCKET);
    assert_null(world.approach.request.link);
    uplink_world_fail_try(APPROACH_NOT_PASSED);
    assert_in_range(uplink_world_until_try(), 2 * LADDER_FIRST_RETRY * SECOND,
                    2 * LADDER_FIRST_RETRY * SECOND + 1);
    uplink_world_be_busy(1000);
    assert_in_range(uplink_world_until_try(), 1, 2 * LADDER_FIRST_RETRY * SECOND + 1);
    uplink_world_give_carrier(true);
    assert_int_equal(link->rejoins, 1);
    assert_int_equal(world.link_count, 1);
    uplink_world_welcome(link);
    assert_int_equal(world.resumed, 1);
    assert_int_equal(link->base.rung, LADDER_WEBSOCKET);
    assert_int_equal(virtual_loop_next(&world.loop), TRIAL_NEVER);
    assert_int_equal(world.detached, 0);
    uplink_world_pass(11 * SECOND); /* it lasts */
    uplink_world_detach(link, 0);
    uplink_world_until_try();
    assert_int_equal(world.approach.request.rung, LADDER_WEBSOCKET);
}

static void test_a_websocket_that_is_lost_before_the_answer(void **state)
{
    (void)state;
    struct fake_link *link = start_by_poll();
    uplink_world_until_try();
    uplink_world_give_carrier(true);
    uplink_world_detach(link, 0);
    assert_int_equal(world.detached, 1);
    assert_in_range(uplink_world_until_try(), 0, UPLINK_REDIAL_JITTER);
    assert_int_equal(world.approach.request.rung, LADDER_POLL);
    uplink_world_give_carrier(true);
    uplink_world_welcome(link);
    assert_int_equal(link->base.rung, LADDER_POLL);
    assert_true(uplink_world_until_try() > LADDER_FIRST_RETRY * SECOND);
}

static void test_a_trial_ends_with_the_connection_that_it_is_beside(void **state)
{
    (void)state;
    struct fake_link *link = start_by_poll();
    uplink_world_until_try();
    uplink_world_detach(link, 0);
    assert_int_equal(world.cancelled, 1);
    assert_null(world.current);
    uplink_world_until_try();
    assert_ptr_equal(world.approach.request.link, link->native.identity.link);
}

/* The link's state has changed without the uplink's try: the carrier is for nobody. */
static void test_a_carrier_that_nobody_needs_any_more(void **state)
{
    (void)state;
    struct fake_link *link = start_by_poll();
    uplink_world_until_try();
    link->is_resumable = false;
    uplink_world_give_carrier(true);
    assert_int_equal(world.carriers_closed, 1);
    assert_int_equal(link->rejoins, 0);
    assert_int_equal(world.link_count, 1);
}

static void test_a_link_that_cannot_be_resumed_stays_on_long_poll(void **state)
{
    (void)state;
    world.is_not_resumable = true;
    start_by_poll();
    assert_int_equal(virtual_loop_next(&world.loop), TRIAL_NEVER);
}

/* ---- the second connection ---- */

static void test_an_express_carrier(void **state)
{
    (void)state;
    struct fake_link *link = uplink_world_start_registered(1);
    link->base.owner->express(&link->base, TUNNEL_EXPRESS_WANTED, NULL);
    assert_int_equal(world.approaches, 2);
    assert_int_equal(world.approach.request.rung, LADDER_WEBSOCKET);
    /* One try at a time. */
    link->base.owner->express(&link->base, TUNNEL_EXPRESS_WANTED, NULL);
    assert_int_equal(world.approaches, 2);
    uplink_world_give_carrier(true);
    assert_int_equal(link->express, 1);
    assert_int_equal(link->rejoins, 0);
    link->base.owner->express(&link->base, TUNNEL_EXPRESS_UP, NULL);
    link->base.owner->express(&link->base, TUNNEL_EXPRESS_OVER, "the test is over");
    assert_int_equal(world.approaches, 2);
    /* One that does not pass says nothing about the link's own carrier. */
    link->base.owner->express(&link->base, TUNNEL_EXPRESS_WANTED, NULL);
    uplink_world_fail_try(APPROACH_NOT_PASSED);
    assert_int_equal(world.uplink.places[0].ladder.rung, LADDER_WEBSOCKET);
    assert_int_equal(virtual_loop_next(&world.loop), TRIAL_NEVER);
    uplink_world_detach(link, 0);
    uplink_world_until_try();
    link->base.owner->express(&link->base, TUNNEL_EXPRESS_WANTED, NULL);
    assert_int_equal(world.approach.request.rung, LADDER_WEBSOCKET);
    assert_ptr_equal(world.approach.request.link, link->native.identity.link);
}

static void test_no_express_carrier_beside_long_poll(void **state)
{
    (void)state;
    struct fake_link *link = start_by_poll();
    link->base.owner->express(&link->base, TUNNEL_EXPRESS_WANTED, NULL);
    assert_null(world.current);
}

/* ---- back to the preferred gateway ---- */

static struct fake_link *start_at_the_second(void)
{
    uplink_world_start(2);
    uplink_world_fail_try(APPROACH_UNREACHABLE);
    uplink_world_until_try();
    return uplink_world_register_link();
}

static void test_the_first_gateway_is_returned_to(void **state)
{
    (void)state;
    struct fake_link *second = start_at_the_second();
    assert_string_equal(uplink_url_text(&world.uplink), "ws://two.invalid/path");
    assert_in_range(uplink_world_until_try(), GATEWAYS_FIRST_RETURN * SECOND,
                    GATEWAYS_FIRST_RETURN * SECOND + 1);
    assert_ptr_equal(world.approach.request.url, &world.urls[0]);
    uplink_world_fail_try(APPROACH_UNREACHABLE);
    assert_int_equal(world.down, 0);
    assert_in_range(uplink_world_until_try(), 2 * GATEWAYS_FIRST_RETURN * SECOND,
                    2 * GATEWAYS_FIRST_RETURN * SECOND + 1);
    struct fake_link *first = uplink_world_register_link();
    assert_int_equal(world.up, 2);
    assert_int_equal(world.down, 1);
    assert_true(second->base.is_draining);
    assert_false(second->is_closed);
    assert_ptr_equal(world.tunnel, &first->native.base);
    assert_string_equal(uplink_url_text(&world.uplink), "ws://one.invalid");
    assert_int_equal(virtual_loop_next(&world.loop), TRIAL_NEVER);
    second->base.owner->drained(&second->base);
    assert_true(second->is_closed);
    assert_int_equal(world.up, 2);
}

static void test_the_first_gateway_is_tried_by_both_transports(void **state)
{
    (void)state;
    start_at_the_second();
    uplink_world_until_try();
    uplink_world_fail_try(APPROACH_NOT_PASSED);
    assert_non_null(world.current);
    assert_ptr_equal(world.approach.request.url, &world.urls[0]);
    assert_int_equal(world.approach.request.rung, LADDER_POLL);
    uplink_world_be_busy(5);
    assert_in_range(uplink_world_until_try(), 2 * GATEWAYS_FIRST_RETURN * SECOND,
                    2 * GATEWAYS_FIRST_RETURN * SECOND + 1);
}

static void test_a_refusal_of_the_first_gateway_changes_nothing(void **state)
{
    (void)state;
    struct fake_link *second = start_at_the_second();
    uplink_world_until_try();
    uplink_world_give_carrier(true);
    uplink_world_lose(uplink_world_last_link(), REASON_FORBIDDEN);
    assert_int_equal(world.refused, 0);
    assert_int_equal(world.down, 0);
    assert_false(second->is_closed);
    assert_true(uplink_world_until_try() > GATEWAYS_FIRST_RETURN * SECOND);
}

static void test_the_return_ends_with_the_link_that_it_is_beside(void **state)
{
    (void)state;
    struct fake_link *second = start_at_the_second();
    uplink_world_until_try();
    uplink_world_give_carrier(true);
    struct fake_link *first = uplink_world_last_link();
    uplink_world_detach(second, 0);
    assert_true(first->is_closed);
    uplink_world_until_try();
    assert_ptr_equal(world.approach.request.url, &world.urls[1]);
    assert_ptr_equal(world.approach.request.link, second->native.identity.link);
}

static void test_nothing_is_left_for_a_server_of_hubble(void **state)
{
    (void)state;
    uplink_world_start(2);
    uplink_world_fail_try(APPROACH_UNREACHABLE);
    uplink_world_until_try();
    uplink_world_give_carrier(false);
    uplink_world_welcome(uplink_world_last_link());
    assert_int_equal(virtual_loop_next(&world.loop), TRIAL_NEVER);
}

/* ---- a gateway that stops ---- */

static void test_a_gateway_that_stops_is_left_in_its_time(void **state)
{
    (void)state;
    struct fake_link *first = uplink_world_start_registered(2);
    uplink_world_pass(10 * SECOND);
    uplink_world_say_goodbye(first, 10);
    assert_int_equal(world.leaving, 1);
    assert_in_range(uplink_world_until_try(), 0, 9001);
    assert_ptr_equal(world.approach.request.url, &world.urls[1]);
    uplink_world_say_goodbye(first, 10); /* known */
    assert_int_equal(world.leaving, 1);
    uplink_world_fail_try(APPROACH_UNREACHABLE);
    assert_int_equal(uplink_world_until_try(), 0);
    assert_ptr_equal(world.approach.request.url, &world.urls[0]);
    uplink_world_fail_try(APPROACH_UNREACHABLE);
    assert_in_range(uplink_world_until_try(), UPLINK_FIRST_DELAY / 2, UPLINK_FIRST_DELAY);
    assert_false(first->base.is_draining);
    assert_int_equal(world.down, 0);
    struct fake_link *second = uplink_world_register_link();
    assert_true(first->base.is_draining);
    assert_int_equal(world.down, 1);
    assert_int_equal(world.up, 2);
    assert_ptr_equal(world.tunnel, &second->native.base);
}

static void test_nobody_is_sent_away_at_once(void **state)
{
    (void)state;
    struct fake_link *link = uplink_world_start_registered(2);
    for (int i = 0; i < 4; i++) {
        uplink_world_say_goodbye(link, 0);
        assert_in_range(uplink_world_until_try(), UPLINK_SHORTEST_STAY * SECOND,
                        UPLINK_SHORTEST_STAY * SECOND + 1);
        link = uplink_world_register_link();
    }
}

static void test_the_only_gateway_stops(void **state)
{
    (void)state;
    struct fake_link *first = uplink_world_start_registered(1);
    uplink_world_say_goodbye(first, 10);
    assert_int_equal(world.leaving, 0);
    assert_int_equal(world.down, 1);
    assert_true(first->base.is_draining);
    assert_in_range(uplink_world_until_try(), UPLINK_FIRST_DELAY / 2, UPLINK_FIRST_DELAY);
    assert_null(world.approach.request.link);
    uplink_world_register_link();
    assert_int_equal(world.up, 2);
    assert_int_equal(world.down, 1);
    uplink_world_say_goodbye(first, 10); /* that one is left already */
    assert_int_equal(world.down, 1);
    /* The one that is left is not resumed. */
    uplink_world_detach(first, 0);
    assert_true(first->is_closed);
    assert_int_equal(world.detached, 0);
}

static void test_the_only_gateway_stops_again_and_again(void **state)
{
    (void)state;
    struct fake_link *link = uplink_world_start_registered(1);
    for (int i = 0; i < 3; i++) {
        uplink_world_say_goodbye(link, 0);
        uint64_t most = (uint64_t)UPLINK_FIRST_DELAY << i;
        assert_in_range(uplink_world_until_try(), most / 2, most);
        link = uplink_world_register_link();
    }
    uplink_world_pass((UPLINK_STABLE + 1) * SECOND);
    uplink_world_say_goodbye(link, 0);
    assert_in_range(uplink_world_until_try(), UPLINK_FIRST_DELAY / 2, UPLINK_FIRST_DELAY);
}

static void test_a_stopping_gateway_whose_connection_is_cut_is_not_waited_for(void **state)
{
    (void)state;
    struct fake_link *first = uplink_world_start_registered(2);
    uplink_world_say_goodbye(first, 3600);
    uplink_world_detach(first, 0);
    assert_int_equal(world.detached, 0);
    assert_int_equal(world.down, 1);
    assert_true(first->is_closed);
    assert_in_range(uplink_world_until_try(), 0, UPLINK_REDIAL_JITTER);
    assert_ptr_equal(world.approach.request.url, &world.urls[1]);
    assert_int_equal(uplink_world_register_link()->base.place, 1);
}

/* While a place elsewhere is looked for: no session may be opened on the link that is resumed. */
static void test_a_link_that_is_cut_while_its_gateway_is_left(void **state)
{
    (void)state;
    struct fake_link *first = uplink_world_start_registered(2);
    uplink_world_say_goodbye(first, 1);
    uplink_world_until_try();
    uplink_world_detach(first, 0);
    assert_int_equal(world.detached, 1);
    assert_int_equal(world.cancelled, 0);
    uplink_world_fail_try(APPROACH_UNREACHABLE);
    uplink_world_until_try();
    assert_ptr_equal(world.approach.request.link, first->native.identity.link);
    uplink_world_give_carrier(true);
    uplink_world_welcome(first);
    assert_int_equal(world.resumed, 1);
    assert_null(world.tunnel);
    uplink_world_until_try();
    assert_ptr_equal(world.approach.request.url, &world.urls[1]);
}

static void test_a_link_that_ends_while_its_gateway_is_left(void **state)
{
    (void)state;
    struct fake_link *first = uplink_world_start_registered(2);
    uplink_world_say_goodbye(first, 1);
    uplink_world_until_try();
    uplink_world_lose(first, 0);
    assert_int_equal(world.down, 1);
    /* The try goes on. */
    uplink_world_register_link();
    assert_int_equal(world.up, 2);
    assert_int_equal(world.down, 1);
}

/* ---- links that were left ---- */

static void move_on(struct fake_link *link)
{
    uplink_world_pass((UPLINK_STABLE + 1) * SECOND);
    uplink_world_say_goodbye(link, 1);
    uplink_world_until_try();
    uplink_world_register_link();
}

static void test_links_that_were_left_are_bounded(void **state)
{
    (void)state;
    struct fake_link *link = uplink_world_start_registered(1);
    for (int i = 0; i < UPLINK_LEFT; i++) {
        move_on(link);
        link = uplink_world_last_link();
    }
    for (int i = 0; i < UPLINK_LEFT; i++)
        assert_false(world.links[i].is_closed);
    move_on(link);
    assert_true(world.links[0].is_closed);
    assert_int_equal(world.links[0].code, REASON_LINK_LOST);
    assert_false(world.links[1].is_closed);
    world.links[1].base.owner->drained(&world.links[1].base);
    uplink_world_lose(&world.links[2], 0);
    assert_true(world.links[2].is_closed);
    /* Two places are free. */
    for (int i = 0; i < 2; i++)
        move_on(uplink_world_last_link());
    assert_false(world.links[3].is_closed);
    move_on(uplink_world_last_link());
    assert_true(world.links[3].is_closed);
    assert_false(world.links[4].is_closed);
}

static void test_what_all_links_hold(void **state)
{
    (void)state;
    struct fake_link *first = uplink_world_start_registered(1);
    assert_null(uplink_largest(&world.uplink));
    assert_true(uplink_is_drained(&world.uplink));
    move_on(first);
    struct fake_link *second = uplink_world_last_link();
    move_on(second);
    struct fake_link *home = uplink_world_last_link();
    assert_null(uplink_largest(&world.uplink));
    second->holds = 1;
    assert_ptr_equal(uplink_largest(&world.uplink), second->base.tunnel);
    home->holds = 1;
    assert_ptr_equal(uplink_largest(&world.uplink), home->base.tunnel);
    first->holds = 3;
    second->holds = 2;
    assert_ptr_equal(uplink_largest(&world.uplink), first->base.tunnel);
    assert_true(uplink_is_drained(&world.uplink));
    for (int i = 0; i < 3; i++) {
        world.links[i].is_undrained = true;
        assert_false(uplink_is_drained(&world.uplink));
        world.links[i].is_undrained = false;
    }
    uplink_announce_stop(&world.uplink, 7);
    for (int i = 0; i < 3; i++)
        assert_int_equal(world.links[i].announced, 7);
    uplink_close(&world.uplink);
    for (int i = 0; i < 3; i++)
        assert_int_equal(world.links[i].code, REASON_SHUTDOWN);
    assert_true(uplink_is_drained(&world.uplink));
    uplink_announce_stop(&world.uplink, 7);
}

static void test_closing_ends_all_that_is_under_way(void **state)
{
    (void)state;
    uplink_world_start(1);
    uplink_close(&world.uplink);
    assert_int_equal(world.cancelled, 1);
    uplink_world_tear_down(state);
    uplink_world_set_up(state);
    uplink_world_start(1);
    uplink_world_give_carrier(true);
    uplink_close(&world.uplink);
    assert_int_equal(uplink_world_last_link()->code, REASON_SHUTDOWN);
    uplink_world_tear_down(state);
    uplink_world_set_up(state);
    start_by_poll(); /* a timer runs */
    uplink_close(&world.uplink);
    assert_int_equal(virtual_loop_next(&world.loop), TRIAL_NEVER);
}

/* ---- keys ---- */

static void write_key(const char *path, const char *key)
{
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fprintf(file, "%s\n", key) > 0);
    assert_int_equal(fclose(file), 0);
}

/* The agent's key, "sesame", is in a new file, whose name this makes of `path`. */
static void use_key_file(char *path)
{
    int file = mkstemp(path);
    assert_true(file >= 0);
    close(file);
    write_key(path, "sesame");
    world.config.key = "sesame";
    world.config.key_file = path;
}

static void test_a_new_key_is_proved_at_once(void **state)
{
    char path[] = "/tmp/culvert-uplink-XXXXXX";
    (void)state;
    use_key_file(path);
    struct fake_link *link = uplink_world_start_registered(1);
    uplink_reload_files(&world.uplink);
    assert_int_equal(link->cuts, 0);
    write_key(path, "open");
    uplink_reload_files(&world.uplink);
    assert_int_equal(link->cuts, 1);
    assert_string_equal(world.config.key, "open");
    link->is_resumable = false;
    write_key(path, "other");
    uplink_reload_files(&world.uplink);
    link->is_resumable = true;
    uplink_world_detach(link, 0);
    write_key(path, "another");
    uplink_reload_files(&world.uplink);
    assert_int_equal(link->cuts, 1);
    /* A try reads it too. */
    write_key(path, "third");
    uplink_world_until_try();
    assert_string_equal(world.config.key, "third");
    unlink(path);
}

/* The gateway may have ended the link because the old key is no longer valid. */
static void test_a_new_key_is_for_the_same_gateway(void **state)
{
    char path[] = "/tmp/culvert-uplink-XXXXXX";
    (void)state;
    use_key_file(path);
    struct fake_link *link = uplink_world_start_registered(2);
    write_key(path, "another");
    uplink_world_lose(link, REASON_FORBIDDEN);
    uplink_world_until_try();
    assert_ptr_equal(world.approach.request.url, &world.urls[0]);
    /* No patience with it: its next failure sends the agent on. */
    uplink_world_fail_try(APPROACH_UNREACHABLE);
    uplink_world_until_try();
    assert_ptr_equal(world.approach.request.url, &world.urls[1]);
    unlink(path);
}

#define TEST(name) \
    cmocka_unit_test_setup_teardown(name, uplink_world_set_up, uplink_world_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_websocket_is_tried_beside_long_poll),
        TEST(test_a_websocket_that_is_lost_before_the_answer),
        TEST(test_a_trial_ends_with_the_connection_that_it_is_beside),
        TEST(test_a_carrier_that_nobody_needs_any_more),
        TEST(test_a_link_that_cannot_be_resumed_stays_on_long_poll),
        TEST(test_an_express_carrier),
        TEST(test_no_express_carrier_beside_long_poll),
        TEST(test_the_first_gateway_is_returned_to),
        TEST(test_the_first_gateway_is_tried_by_both_transports),
        TEST(test_a_refusal_of_the_first_gateway_changes_nothing),
        TEST(test_the_return_ends_with_the_link_that_it_is_beside),
        TEST(test_nothing_is_left_for_a_server_of_hubble),
        TEST(test_a_gateway_that_stops_is_left_in_its_time),
        TEST(test_nobody_is_sent_away_at_once),
        TEST(test_the_only_gateway_stops),
        TEST(test_the_only_gateway_stops_again_and_again),
        TEST(test_a_stopping_gateway_whose_connection_is_cut_is_not_waited_for),
        TEST(test_a_link_that_is_cut_while_its_gateway_is_left),
        TEST(test_a_link_that_ends_while_its_gateway_is_left),
        TEST(test_links_that_were_left_are_bounded),
        TEST(test_what_all_links_hold),
        TEST(test_closing_ends_all_that_is_under_way),
        TEST(test_a_new_key_is_proved_at_once),
        TEST(test_a_new_key_is_for_the_same_gateway),
    };
    log_init(LOG_ERROR + 1, LOG_TEXT, "test");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
