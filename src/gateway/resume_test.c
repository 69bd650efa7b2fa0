/* Names that are asked for twice, links that are resumed or left, sessions that wait: turn by turn,
 * on one loop and then from one loop to the other. */
#include "base/reason.h"
#include "gateway/probe.h"
#include "gateway/session.h"
#include "gateway/test_gateway.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { SECOND = 1000 * 1000 };

/* The loop where the other agent is, and where the first one comes back. */
static unsigned elsewhere;

struct room {
    struct test_gateway test;
    struct test_agent agent, other;
    struct member *member; /* the first agent's */
};

static void begin(struct room *room)
{
    memset(room, 0, sizeof(*room));
    test_gateway_prepare(&room->test);
    room->test.config.threads = 2;
    test_gateway_open(&room->test);
    memset(room->agent.boot, 'a', sizeof(room->agent.boot));
    test_agent_register(&room->agent, &room->test, "one");
    room->member = test_gateway_member(&room->test, "one");
    assert_non_null(room->member);
    assert_int_equal(room->member->worker->loop.index, 0);
    room->agent.worker = room->other.worker = elsewhere;
}

static void end(struct room *room)
{
    test_agent_close(&room->other);
    test_agent_close(&room->agent);
    test_gateway_close(&room->test);
}

static bool is_waited_for(void *holder)
{
    const struct room *room = holder;
    return !list_is_empty(&room->member->probes.waiting);
}

static bool nobody_waits(void *holder)
{
    return !is_waited_for(holder);
}

/* The first agent's carrier is there, but it answers nothing. */
static void freeze(struct room *room)
{
    struct carrier *carrier = room->agent.tunnel->carrier;
    carrier->operations->read(carrier, false);
}

static void thaw(struct room *room)
{
    struct carrier *carrier = room->agent.tunnel->carrier;
    carrier->operations->read(carrier, true);
}

/* ---- whose name it is ---- */

static void a_holder_that_does_not_answer_is_ended(void **state)
{
    (void)state;
    struct room room;
    begin(&room);
    uint64_t id = room.member->id;
    freeze(&room);
    test_agent_dial(&room.other, &room.test, "one");
    test_gateway_run(&room.test, is_waited_for, &room);
    assert_true(room.member->probes.is_out);
    assert_int_equal(room.other.welcomes, 0);
    assert_true(uv_is_active((uv_handle_t *)&room.member->timer.uv));
    room.member->timer.fired(&room.member->timer); /* its time is over */
    assert_null(member_find(room.test.worker, id));
    test_gateway_settle(&room.test);
    assert_int_equal(room.other.welcomes, 1);
    assert_int_not_equal(test_gateway_member(&room.test, "one")->id, id);
    end(&room);
}

static void one_answer_is_for_all_who_ask(void **state)
{
    (void)state;
    struct room room;
    struct test_agent third = {.worker = elsewhere};
    begin(&room);
    freeze(&room);
    test_agent_dial(&room.other, &room.test, "one");
    test_gateway_run(&room.test, is_waited_for, &room);
    uint64_t next = room.member->probes.next;
    test_agent_dial(&third, &room.test, "one");
    test_gateway_settle(&room.test);
    assert_int_equal(room.member->probes.next, next); /* it is pinged once */
    thaw(&room);
    test_gateway_run(&room.test, nobody_waits, &room);
    test_gateway_settle(&room.test);
    assert_int_equal(room.other.refused, REASON_NAME_TAKEN);
    assert_int_equal(third.refused, REASON_NAME_TAKEN);
    assert_false(room.member->probes.is_out);
    assert_false(uv_is_active((uv_handle_t *)&room.member->timer.uv));
    test_agent_close(&third);
    end(&room);
}

static void a_holder_is_pinged_once_a_second(void **state)
{
    (void)state;
    struct room room;
    begin(&room);
    /* It has been pinged a moment ago: whoever asks now waits for the next one. */
    room.member->probes.next = loop_now(room.test.loop) + 3600 * (uint64_t)SECOND;
    test_agent_dial(&room.other, &room.test, "one");
    test_gateway_settle(&room.test);
    assert_true(is_waited_for(&room));
    assert_false(room.member->probes.is_out);
    assert_int_equal(room.other.refused, 0);
    assert_true(uv_is_active((uv_handle_t *)&room.member->timer.uv));
    uint64_t before = loop_now(room.test.loop);
    room.member->timer.fired(&room.member->timer);
    assert_true(room.member->probes.is_out);
    assert_true(room.member->probes.next >= before + (uint64_t)PROBE_INTERVAL * 1000);
    test_gateway_settle(&room.test);
    assert_int_equal(room.other.refused, REASON_NAME_TAKEN);
    end(&room);
}

static void a_pong_that_nobody_awaits_means_nothing(void **state)
{
    (void)state;
    struct room room;
    begin(&room);
    loop_timer_start(&room.member->timer, 3600 * 1000);
    room.member->is_awake = false;
    tunnel_ping(room.member->tunnel);
    test_gateway_settle(&room.test);
    assert_true(room.member->is_awake);
    assert_true(uv_is_active((uv_handle_t *)&room.member->timer.uv));
    loop_timer_stop(&room.member->timer);
    end(&room);
}

static void a_holder_whose_carrier_is_lost_while_it_is_asked_makes_way(void **state)
{
    (void)state;
    struct room room;
    begin(&room);
    uint64_t id = room.member->id;
    freeze(&room);
    test_agent_dial(&room.other, &room.test, "one");
    test_gateway_run(&room.test, is_waited_for, &room);
    thaw(&room);
    test_agent_cut(&room.agent);
    test_gateway_settle(&room.test);
    assert_null(member_find(room.test.worker, id));
    assert_int_equal(room.other.welcomes, 1);
    end(&room);
}

/* ---- the same agent, begun anew ---- */

static void the_same_agent_takes_its_name_back_at_once(void **state)
{
    (void)state;
    struct room room;
    struct test_agent asker = {.worker = elsewhere};
    struct test_session asking, asked;
    begin(&room);
    test_agent_register(&asker, &room.test, "asker");
    test_session_join(&asking, &asker, &asked, &room.agent);
    memset(room.other.boot, 'a', sizeof(room.other.boot));
    test_agent_register(&room.other, &room.test, "one");
    assert_int_equal(room.other.welcomes, 1);
    assert_ptr_not_equal(test_gateway_member(&room.test, "one"), room.member);
    /* The link that it has left goes on with its sessions, without the name and without new ones.
     */
    assert_true(member_has_left(room.member));
    assert_false(room.member->is_over);
    assert_string_equal(room.member->link, "");
    assert_null(member_resumable(room.member));
    test_session_write(&asking, &room.test, 100);
    test_gateway_settle(&room.test);
    assert_int_equal(asked.got, 100);
    struct test_session second;
    test_session_open(&second, &room.agent, "asker");
    test_gateway_settle(&room.test);
    assert_true(second.is_reset);
    assert_int_equal(second.code, REASON_SHUTDOWN);
    test_session_close(&asked);
    test_gateway_settle(&room.test);
    assert_true(asking.is_reset);
    test_agent_close(&asker);
    end(&room);
}

static void another_boot_is_another_agent(void **state)
{
    (void)state;
    struct room room;
    begin(&room);
    memset(room.other.boot, 'b', sizeof(room.other.boot));
    test_agent_dial(&room.other, &room.test, "one");
    test_gateway_settle(&room.test);
    assert_int_equal(room.other.refused, REASON_NAME_TAKEN);
    assert_false(member_has_left(room.member));
    end(&room);
}

static void another_key_is_another_agent(void **state)
{
    (void)state;
    struct room room;
    begin(&room);
    room.member->key_id = 7;
    memset(room.other.boot, 'a', sizeof(room.other.boot));
    test_agent_dial(&room.other, &room.test, "one");
    test_gateway_settle(&room.test);
    assert_int_equal(room.other.refused, REASON_NAME_TAKEN);
    end(&room);
}

static void without_a_boot_nobody_is_the_same(void **state)
{
    (void)state;
    struct room room;
    begin(&room);
    memset(room.member->boot, 0, sizeof(room.member->boot));
    test_agent_dial(&room.other, &room.test, "one");
    test_gateway_settle(&room.test);
    assert_int_equal(room.other.refused, REASON_NAME_TAKEN);
    end(&room);
}

/* ---- a link that was left ---- */

static bool holds_left(struct room *room, const char *place)
{
    struct member_ref ref;
    return registry_find(&room->test.gateway->left, place, &ref) == 0;
}

/* The first agent leaves its link: goaway with 0 seconds. */
static void leave(struct room *room)
{
    tunnel_announce_stop(&room->agent.tunnel->base, "it moves", 0);
    test_gateway_settle(&room->test);
    assert_true(member_has_left(room->member));
}

static void a_link_that_is_left_frees_its_name_at_once(void **state)
{
    (void)state;
    struct room room;
    begin(&room);
    tunnel_announce_stop(&room.agent.tunnel->base, "it stops soon", 5);
    test_gateway_settle(&room.test);
    assert_false(member_has_left(room.member)); /* it still has the name */
    leave(&room);
    assert_null(test_gateway_member(&room.test, "one"));
    assert_true(registry_is_empty(&room.test.gateway->links));
    assert_true(holds_left(&room, "one/0"));
    assert_true(uv_is_active((uv_handle_t *)&room.member->timer.uv));
    /* Without sessions it ends when that is looked at. */
    room.member->timer.fired(&room.member->timer);
    assert_true(registry_is_empty(&room.test.gateway->left));
    test_gateway_settle(&room.test);
    assert_int_equal(room.test.worker->members.count, 0);
    end(&room);
}

static void a_link_that_is_left_stays_while_it_has_sessions(void **state)
{
    (void)state;
    struct room room;
    struct test_session asking, asked;
    begin(&room);
    test_agent_register(&room.other, &room.test, "asker");
    test_session_join(&asking, &room.other, &asked, &room.agent);
    leave(&room);
    room.member->left_since = loop_now(room.test.loop) - 61 * (uint64_t)SECOND;
    room.member->timer.fired(&room.member->timer);
    assert_false(room.member->is_over);
    assert_true(uv_is_active((uv_handle_t *)&room.member->timer.uv)); /* it is looked at again */
    test_session_close(&asked);
    test_gateway_settle(&room.test);
    uint64_t id = room.member->id;
    room.member->timer.fired(&room.member->timer);
    assert_null(member_find(room.test.worker, id));
    end(&room);
}

static void what_was_sent_last_is_waited_for_a_minute(void **state)
{
    (void)state;
    struct room room;
    begin(&room);
    leave(&room);
    uint64_t id = room.member->id;
    freeze(&room); /* it acknowledges nothing any more */
    tunnel_announce_stop(room.member->tunnel, "the test", 5);
    test_gateway_settle(&room.test);
    assert_false(tunnel_is_drained(room.member->tunnel));
    room.member->left_since = loop_now(room.test.loop) - MEMBER_LEFT_PATIENCE * (uint64_t)SECOND;
    room.member->timer.fired(&room.member->timer);
    assert_false(room.member->is_over);
    room.member->left_since--;
    room.member->timer.fired(&room.member->timer);
    assert_null(member_find(room.test.worker, id));
    end(&room);
}

static void few_links_can_be_left(void **state)
{
    (void)state;
    struct room room;
    begin(&room);
    struct member_ref nobody = {0, 999999}, holder;
    for (unsigned i = 0; i < MEMBER_LEFT; i++) {
        char place[32];
        snprintf(place, sizeof(place), "one/%u", i);
        assert_int_equal(registry_claim(&room.test.gateway->left, place, nobody, &holder), 0);
    }
    tunnel_announce_stop(&room.agent.tunnel->base, "it moves", 0);
    test_gateway_settle(&room.test);
    assert_null(test_gateway_member(&room.test, "one"));
    assert_int_not_equal(room.agent.lost, 0);
    assert_string_equal(room.agent.why, "the agent has left too many links that have sessions");
    for (unsigned i = 0; i < MEMBER_LEFT; i++) {
        char place[32];
        snprintf(place, sizeof(place), "one/%u", i);
        registry_release(&room.test.gateway->left, place, nobody.id);
    }
    end(&room);
}

static void a_link_that_was_left_and_is_cut_is_over(void **state)
{
    (void)state;
    struct room room;
    begin(&room);
    leave(&room);
    uint64_t id = room.member->id;
    test_agent_cut(&room.agent);
    test_gateway_settle(&room.test);
    assert_null(member_find(room.test.worker, id));
    assert_true(registry_is_empty(&room.test.gateway->left));
    end(&room);
}

/* ---- who may resume a link ---- */

static void expect_no_resume(struct room *room)
{
    test_agent_rejoin(&room->agent);
    assert_int_equal(room->agent.welcomes, 1);
    assert_int_equal(room->agent.refused, REASON_LINK_LOST);
    assert_string_equal(room->agent.refusal, "the link is not known here any more");
    assert_ptr_equal(test_gateway_member(&room->test, "one"), room->member);
    assert_true(room->member->detached != 0);
}

static void a_link_is_resumed_with_its_secret_only(void **state)
{
    (void)state;
    struct room room;
    begin(&room);
    test_agent_cut(&room.agent);
    room.agent.tunnel->identity.secret[0] ^= 1;
    expect_no_resume(&room);
    end(&room);
}

static void a_link_is_resumed_under_its_name_only(void **state)
{
    (void)state;
    struct room room;
    begin(&room);
    test_agent_cut(&room.agent);
    room.agent.name = "two";
    expect_no_resume(&room);
    end(&room);
}

static void a_link_is_not_resumed_with_an_old_epoch(void **state)
{
    (void)state;
    struct room room;
    begin(&room);
    test_agent_cut(&room.agent);
    room.agent.tunnel->epoch--;
    expect_no_resume(&room);
    end(&room);
}

static void a_link_that_is_not_known_is_not_resumed(void **state)
{
    (void)state;
    struct room room;
    begin(&room);
    test_agent_cut(&room.agent);
    room.agent.tunnel->identity.link[0] ^= 1;
    expect_no_resume(&room);
    end(&room);
}

static void a_resumed_link_belongs_to_who_resumed_it(void **state)
{
    (void)state;
    struct room room;
    begin(&room);
    test_agent_cut(&room.agent);
    snprintf(room.member->user, sizeof(room.member->user), "before");
    snprintf(room.member->address, sizeof(room.member->address), "before");
    test_agent_rejoin(&room.agent);
    assert_int_equal(room.agent.welcomes, 2);
    assert_string_equal(room.member->user, "");
    assert_string_equal(room.member->address, "192.0.2.1:1234");
    assert_int_equal(room.member->probes.next, 0); /* nobody asked for its name */
    end(&room);
}

/* ---- sessions towards an agent that is away ---- */

static void a_session_waits_for_an_agent_that_is_away(void **state)
{
    (void)state;
    struct room room;
    struct test_session asking, asked;
    begin(&room);
    test_agent_register(&room.other, &room.test, "asker");
    test_agent_cut(&room.agent);
    test_session_open(&asking, &room.other, "one");
    test_gateway_settle(&room.test);
    assert_false(asking.is_reset);
    assert_false(list_is_empty(&room.member->waiting));
    test_agent_rejoin(&room.agent);
    assert_true(list_is_empty(&room.member->waiting));
    test_session_accept(&asked, &room.agent);
    test_gateway_settle(&room.test);
    assert_true(asking.is_opened);
    test_session_close(&asked);
    test_gateway_settle(&room.test);
    end(&room);
}

static void a_session_does_not_wait_for_ever(void **state)
{
    (void)state;
    struct room room;
    struct test_session first, second;
    begin(&room);
    test_agent_register(&room.other, &room.test, "asker");
    test_agent_cut(&room.agent);
    test_session_open(&first, &room.other, "one");
    test_gateway_settle(&room.test);
    test_session_open(&second, &room.other, "one");
    test_gateway_settle(&room.test);
    uint64_t now = loop_now(room.test.loop);
    uint64_t due = session_end_waiting(&room.member->waiting, 0); /* the first one's end */
    assert_true(due <= now + SESSION_PATIENCE * (uint64_t)SECOND);
    assert_int_equal(session_end_waiting(&room.member->waiting, due - 1), due);
    test_gateway_settle(&room.test);
    assert_false(first.is_reset);
    uint64_t next = session_end_waiting(&room.member->waiting, due);
    assert_true(next > due);
    test_gateway_settle(&room.test);
    assert_true(first.is_reset);
    assert_int_equal(first.code, REASON_UNREACHABLE);
    assert_string_equal(first.reason, "the agent has lost its connection and is not back yet");
    assert_false(second.is_reset);
    assert_int_equal(room.test.gateway->sessions, 1);
    assert_true(session_end_waiting(&room.member->waiting, next) == UINT64_MAX);
    test_gateway_settle(&room.test);
    assert_true(second.is_reset);
    assert_int_equal(room.test.gateway->sessions, 0);
    end(&room);
}

static void an_asker_that_leaves_is_not_waited_for(void **state)
{
    (void)state;
    struct room room;
    struct test_session asking;
    begin(&room);
    test_agent_register(&room.other, &room.test, "asker");
    test_agent_cut(&room.agent);
    test_session_open(&asking, &room.other, "one");
    test_gateway_settle(&room.test);
    assert_false(list_is_empty(&room.member->waiting));
    test_session_close(&asking);
    test_gateway_settle(&room.test);
    assert_true(list_is_empty(&room.member->waiting));
    assert_true(list_is_empty(&room.test.worker->sessions));
    end(&room);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_holder_that_does_not_answer_is_ended),
        cmocka_unit_test(one_answer_is_for_all_who_ask),
        cmocka_unit_test(a_holder_is_pinged_once_a_second),
        cmocka_unit_test(a_pong_that_nobody_awaits_means_nothing),
        cmocka_unit_test(a_holder_whose_carrier_is_lost_while_it_is_asked_makes_way),
        cmocka_unit_test(the_same_agent_takes_its_name_back_at_once),
        cmocka_unit_test(another_boot_is_another_agent),
        cmocka_unit_test(another_key_is_another_agent),
        cmocka_unit_test(without_a_boot_nobody_is_the_same),
        cmocka_unit_test(a_link_that_is_left_frees_its_name_at_once),
        cmocka_unit_test(a_link_that_is_left_stays_while_it_has_sessions),
        cmocka_unit_test(what_was_sent_last_is_waited_for_a_minute),
        cmocka_unit_test(few_links_can_be_left),
        cmocka_unit_test(a_link_that_was_left_and_is_cut_is_over),
        cmocka_unit_test(a_link_is_resumed_with_its_secret_only),
        cmocka_unit_test(a_link_is_resumed_under_its_name_only),
        cmocka_unit_test(a_link_is_not_resumed_with_an_old_epoch),
        cmocka_unit_test(a_link_that_is_not_known_is_not_resumed),
        cmocka_unit_test(a_resumed_link_belongs_to_who_resumed_it),
        cmocka_unit_test(a_session_waits_for_an_agent_that_is_away),
        cmocka_unit_test(a_session_does_not_wait_for_ever),
        cmocka_unit_test(an_asker_that_leaves_is_not_waited_for),
    };
    int failed = cmocka_run_group_tests_name("on one loop", tests, NULL, NULL);
    elsewhere = 1;
    return failed + cmocka_run_group_tests_name("between two loops", tests, NULL, NULL);
}
