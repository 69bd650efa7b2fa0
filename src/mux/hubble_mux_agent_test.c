/* An agent's side of sessions, towards a proxy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mux/hubble_mux_fake.h"

#include "base/reason.h"

static struct hubble_fake end;

static int set_up(void **state)
{
    hubble_fake_init(&end, HUBBLE_AGENT);
    *state = &end;
    return 0;
}

static int tear_down(void **state)
{
    hubble_fake_deinit(*state);
    return 0;
}

static void assert_sent(const char *expected)
{
    assert_string_equal(expected, hubble_fake_sent(&end));
}

static void assert_told(const char *expected)
{
    assert_string_equal(expected, hubble_fake_told(&end));
}

static struct hubble_fake_holder *asking(const char *guid)
{
    struct hubble_fake_holder *holder = hubble_fake_open(&end, guid);
    hubble_fake_peer_answers(&end, guid, NULL);
    hubble_fake_sent(&end);
    hubble_fake_told(&end);
    return holder;
}

static struct hubble_fake_holder *answering(const char *guid)
{
    hubble_fake_peer_opens(&end, guid);
    struct hubble_fake_holder *holder = hubble_fake_find(&end, guid);
    hubble_fake_accept(holder);
    hubble_fake_sent(&end);
    return holder;
}

/* 5.3 of the specification. */
static void no_host_is_our_own(void **state)
{
    (void)state;
    hubble_fake_peer_opens_host(&end, "s1", "");
    assert_string_equal("localhost", end.host);
    hubble_fake_peer_opens_host(&end, "s2", "h");
    assert_string_equal("h", end.host);
}

/* Acceptance case 18. */
static void early_data_waits_for_the_ack(void **state)
{
    (void)state;
    struct hubble_fake_holder *s1 = hubble_fake_open(&end, "s1");
    hubble_fake_write(s1, "early");
    assert_sent("02 s1 west h:22; ");
    hubble_fake_peer_answers(&end, "s1", NULL);
    assert_told("s1 opened; ");
    assert_sent("03 s1 #1 early; ");
    assert_told("s1 written 5; ");
    assert_int_equal(0, end.pings);
}

/* 19. */
static void an_end_of_ours_ends_both_directions(void **state)
{
    (void)state;
    struct hubble_fake_holder *s1 = asking("s1");
    hubble_fake_write(s1, "bye");
    hubble_fake_finish(s1);
    hubble_fake_finish(s1);
    assert_sent("03 s1 #1 bye; 03 s1 #2 ; 05 s1; ");
    assert_told("s1 written 3; s1 finished; s1 fin; ");
    /* The proxy's answer, and what was under way. */
    hubble_fake_peer_sends(&end, "s1", 1, "late");
    hubble_fake_peer_ends(&end, "s1");
    hubble_fake_close(s1);
    assert_sent("");
    assert_told("");
}

static void an_end_waits_for_the_ack(void **state)
{
    (void)state;
    struct hubble_fake_holder *s1 = hubble_fake_open(&end, "s1");
    hubble_fake_finish(s1);
    assert_sent("02 s1 west h:22; ");
    hubble_fake_peer_answers(&end, "s1", NULL);
    assert_sent("03 s1 #1 ; 05 s1; ");
    assert_told("s1 opened; s1 finished; s1 fin; ");
}

/* 20. */
static void data_out_of_order_resets(void **state)
{
    (void)state;
    struct hubble_fake_holder *s1 = asking("s1");
    hubble_fake_peer_sends(&end, "s1", 2, "x");
    assert_told("s1 reset 8; ");
    hubble_fake_close(s1);
    assert_sent("05 s1; ");
    hubble_fake_peer_ends(&end, "s1");
    assert_sent("");
}

/* 21. */
static void a_proxy_that_does_not_answer_is_given_up(void **state)
{
    (void)state;
    struct hubble_fake_holder *s1 = hubble_fake_open(&end, "s1");
    hubble_fake_wait(&end, 29.9);
    assert_told("");
    hubble_fake_wait(&end, 0.1);
    assert_told("s1 reset 6; ");
    hubble_fake_close(s1);
    assert_sent("02 s1 west h:22; 05 s1; ");
    hubble_fake_peer_answers(&end, "s1", NULL);
    assert_sent("");
}

/* 22. */
static void an_open_of_the_peers_is_answered(void **state)
{
    (void)state;
    hubble_fake_peer_opens(&end, "s1");
    hubble_fake_wait(&end, 100);
    hubble_fake_reset(hubble_fake_find(&end, "s1"), REASON_DIAL_REFUSED, "refused");
    hubble_fake_close(hubble_fake_find(&end, "s1"));
    hubble_fake_peer_opens(&end, "s2");
    struct hubble_fake_holder *s2 = hubble_fake_find(&end, "s2");
    hubble_fake_accept(s2);
    hubble_fake_write(s2, "banner");
    assert_sent("ff s1 no refused; ff s2 yes; 03 s2 #1 banner; ");
    assert_int_equal(0, end.pings);
}

/* 23. */
static void what_is_not_known_is_ignored(void **state)
{
    (void)state;
    hubble_fake_peer_ends(&end, "s9");
    hubble_fake_peer_sends(&end, "s9", 1, "x");
    hubble_fake_peer_answers(&end, "s9", NULL);
    struct hubble_fake_holder *s1 = answering("s1");
    struct message closed = {.type = MESSAGE_FIN, .guid = text_of("s1")};
    assert_int_equal(0, hubble_fake_receive(&end, &closed, NULL, 0));
    hubble_fake_write(s1, "x");
    assert_sent("03 s1 #1 x; ");
    assert_told("s1 written 1; ");
}

static void the_proxys_end_is_answered_once_we_have_closed(void **state)
{
    (void)state;
    struct hubble_fake_holder *s1 = answering("s1");
    end.keeps = true;
    hubble_fake_peer_sends(&end, "s1", 1, "last");
    hubble_fake_write(s1, "queued");
    hubble_fake_peer_ends(&end, "s1");
    assert_told("s1 data last; s1 fin; s1 written 6; ");
    assert_sent("");
    hubble_fake_consume(s1);
    hubble_mux_turn_ends(&end.mux, end.now);
    assert_told("s1 reset 16; ");
    hubble_fake_close(s1);
    assert_sent("05 s1; ");
    /* The second one of 7.3. */
    hubble_fake_peer_ends(&end, "s1");
    assert_sent("");
}

static void other_ends_are_told_once(void **state)
{
    (void)state;
    struct hubble_fake_holder *s1 = asking("s1");
    hubble_fake_write(s1, "dropped");
    hubble_fake_reset(s1, REASON_RESET, NULL);
    hubble_fake_close(s1);
    assert_sent("05 s1; ");
    struct hubble_fake_holder *s2 = asking("s2");
    hubble_fake_write(s2, "sent");
    hubble_fake_reset(s2, REASON_CLOSED, NULL);
    hubble_fake_close(s2);
    assert_sent("03 s2 #1 sent; 05 s2; ");
    hubble_fake_open(&end, "s3");
    hubble_fake_peer_answers(&end, "s3", "no");
    hubble_fake_close(hubble_fake_find(&end, "s3"));
    assert_sent("02 s3 west h:22; ");
    hubble_fake_open(&end, "s4");
    hubble_fake_peer_ends(&end, "s4");
    hubble_fake_close(hubble_fake_find(&end, "s4"));
    hubble_fake_open(&end, "s5");
    hubble_fake_peer_sends(&end, "s5", 1, "x");
    hubble_fake_close(hubble_fake_find(&end, "s5"));
    hubble_fake_open(&end, "s6");
    hubble_fake_close(hubble_fake_find(&end, "s6"));
    assert_sent("02 s4 west h:22; 02 s5 west h:22; 02 s6 west h:22; 05 s4; 05 s5; 05 s6; ");
    assert_told("s3 reset 4; s4 reset 1; s5 reset 8; ");
    assert_int_equal(0, end.mux.sessions.count);
}

static void the_proxy_may_end_while_we_do(void **state)
{
    (void)state;
    /* Our end is queued when the peer's comes. */
    struct hubble_fake_holder *s1 = asking("s1");
    hubble_fake_write(s1, "x");
    hubble_fake_finish(s1);
    hubble_fake_peer_ends(&end, "s1");
    assert_told("s1 fin; s1 written 1; s1 finished; ");
    hubble_fake_close(s1);
    assert_sent("05 s1; ");
    /* In order, while data is still queued. */
    struct hubble_fake_holder *s2 = asking("s2");
    hubble_fake_write(s2, "x");
    hubble_fake_reset(s2, REASON_CLOSED, NULL);
    hubble_fake_peer_ends(&end, "s2");
    hubble_fake_close(s2);
    assert_sent("05 s2; ");
    assert_told("");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(no_host_is_our_own),
        TEST(early_data_waits_for_the_ack),
        TEST(an_end_of_ours_ends_both_directions),
        TEST(an_end_waits_for_the_ack),
        TEST(data_out_of_order_resets),
        TEST(a_proxy_that_does_not_answer_is_given_up),
        TEST(an_open_of_the_peers_is_answered),
        TEST(what_is_not_known_is_ignored),
        TEST(the_proxys_end_is_answered_once_we_have_closed),
        TEST(other_ends_are_told_once),
        TEST(the_proxy_may_end_while_we_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
