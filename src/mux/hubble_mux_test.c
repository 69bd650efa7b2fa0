/* A gateway's side of sessions: scripts of what comes, what is told and what is sent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mux/hubble_mux_fake.h"

#include "base/reason.h"

#include <stdio.h>
#include <string.h>

static struct hubble_fake end;

static int set_up(void **state)
{
    hubble_fake_init(&end, HUBBLE_GATEWAY);
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

/* A session that the peer asked for and we accepted. */
static struct hubble_fake_holder *asked(const char *guid)
{
    hubble_fake_peer_opens(&end, guid);
    struct hubble_fake_holder *holder = hubble_fake_find(&end, guid);
    hubble_fake_accept(holder);
    hubble_fake_sent(&end);
    return holder;
}

/* One that we opened and the peer answers; ready to take data. */
static struct hubble_fake_holder *answering(const char *guid)
{
    struct hubble_fake_holder *holder = hubble_fake_open(&end, guid);
    hubble_fake_peer_answers(&end, guid, NULL);
    hubble_mux_ponged(&end.mux);
    hubble_fake_sent(&end);
    hubble_fake_told(&end);
    return holder;
}

static void an_open_is_told_and_answered(void **state)
{
    (void)state;
    hubble_fake_peer_opens(&end, "s1");
    assert_sent("");
    hubble_fake_accept(hubble_fake_find(&end, "s1"));
    hubble_fake_accept(hubble_fake_find(&end, "s1"));
    assert_sent("ff s1 yes; ");
    hubble_fake_peer_opens(&end, "s2");
    struct hubble_fake_holder *s2 = hubble_fake_find(&end, "s2");
    hubble_fake_reset(s2, REASON_DIAL_REFUSED, "nobody listens");
    hubble_fake_close(s2);
    hubble_fake_peer_opens(&end, "s3");
    hubble_fake_close(hubble_fake_find(&end, "s3"));
    end.refuse = REASON_UNKNOWN_AGENT;
    hubble_fake_peer_opens(&end, "s4");
    end.refuse = REASON_FORBIDDEN;
    hubble_fake_peer_opens(&end, "s5");
    assert_sent("ff s2 no nobody listens; ff s3 no connection reset; "
                "ff s4 no Gateway not registered; ff s5 no Unauthorized; ");
    assert_told("");
}

static void hosts_lose_and_get_brackets(void **state)
{
    (void)state;
    static const char *const hosts[][2] = {
        {"[::1]", "::1"}, {"", ""},   {"[", "["},       {"[]", "[]"},
        {"[h]", "[h]"},   {"h", "h"}, {"[::1", "[::1"}, {"10.0.0.1", "10.0.0.1"},
    };
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        hubble_fake_peer_opens_host(&end, "s1", hosts[i][0]);
        assert_string_equal(hosts[i][1], end.host);
    }
    struct message_open open = {
        .kind = text_of("tcp"),
        .agent = text_of("west"),
        .host = text_of("fe80::2"),
        .port = 22,
        .guid = text_of("s2"),
    };
    struct stream *stream;
    assert_int_equal(0, hubble_mux_open(&end.mux, &open, end.now, &stream));
    assert_sent("02 s2 west [fe80::2]:22; ");
    stream->operations->close(stream);
}

static void opens_have_the_given_guid_or_a_new_one(void **state)
{
    (void)state;
    hubble_fake_open(&end, "s1");
    assert_sent("02 s1 west h:22; ");
    struct hubble_fake_holder *made = hubble_fake_open(&end, "s1");
    assert_string_not_equal("s1", made->guid);
    struct hubble_fake_holder *other = hubble_fake_open(&end, "");
    assert_string_not_equal(made->guid, other->guid);
    char expected[600];
    const char *guid = other->guid;
    assert_int_equal(36, strlen(guid));
    for (size_t i = 0; i < 36; i++) {
        bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;
        assert_non_null(strchr(is_dash ? "-" : "0123456789abcdef", guid[i]));
    }
    assert_int_equal('4', guid[14]);
    assert_non_null(strchr("89ab", guid[19]));
    snprintf(expected, sizeof expected, "02 %s west h:22; 02 %s west h:22; ", made->guid, guid);
    assert_sent(expected);

    char long_guid[400];
    memset(long_guid, 'g', sizeof long_guid);
    long_guid[HUBBLE_MAX_GUID + 1] = '\0';
    assert_int_equal(36, strlen(hubble_fake_open(&end, long_guid)->guid));
    long_guid[HUBBLE_MAX_GUID] = '\0';
    assert_int_equal(HUBBLE_MAX_GUID, strlen(hubble_fake_open(&end, long_guid)->guid));
}

static void data_goes_both_ways_in_order(void **state)
{
    (void)state;
    struct hubble_fake_holder *s1 = asked("s1");
    hubble_fake_peer_sends(&end, "s1", 1, "hello");
    hubble_fake_peer_sends(&end, "s1", 2, "");
    hubble_fake_peer_sends(&end, "s1", 3, "again");
    assert_told("s1 data hello; s1 data again; ");
    hubble_fake_write(s1, "one");
    hubble_fake_write(s1, "two");
    assert_sent("03 s1 #1 onetwo; ");
    assert_told("s1 written 6; ");
    hubble_fake_write_size(s1, HUBBLE_CHUNK + 1000, 1024);
    assert_sent("03 s1 #2 32768; 03 s1 #3 1000; ");
    assert_told("s1 written 32768; s1 written 1000; ");
}

static void a_write_or_an_end_accepts(void **state)
{
    (void)state;
    hubble_fake_peer_opens(&end, "s1");
    hubble_fake_write(hubble_fake_find(&end, "s1"), "hi");
    assert_sent("ff s1 yes; 03 s1 #1 hi; ");
    hubble_fake_peer_opens(&end, "s2");
    hubble_fake_finish(hubble_fake_find(&end, "s2"));
    assert_sent("ff s2 yes; ");
}

static void data_before_our_ack_is_delivered(void **state)
{
    (void)state;
    hubble_fake_peer_opens(&end, "s1");
    hubble_fake_peer_sends(&end, "s1", 1, "early");
    assert_told("s1 data early; ");
    assert_sent("");
}

static void data_out_of_order_resets(void **state)
{
    (void)state;
    static const int64_t orders[] = {2, 0, -1, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++) {
        struct hubble_fake_holder *s1 = asked("s1");
        hubble_fake_peer_sends(&end, "s1", orders[i], "x");
        assert_told("s1 reset 8; ");
        hubble_fake_close(s1);
        assert_sent("04 s1; ");
    }
    struct hubble_fake_holder *s1 = asked("s1");
    hubble_fake_peer_sends(&end, "s1", 1, "x");
    hubble_fake_peer_sends(&end, "s1", 1, "x");
    assert_told("s1 data x; s1 reset 8; ");
    assert_sent("04 s1; ");
    /* The holder has not closed it yet. */
    hubble_fake_peer_sends(&end, "s1", 2, "x");
    hubble_fake_peer_ends(&end, "s1");
    hubble_fake_close(s1);
    assert_sent("");
    assert_told("");
}

static void sessions_that_are_not_known_are_ignored(void **state)
{
    (void)state;
    hubble_fake_peer_sends(&end, "s1", 1, "x");
    hubble_fake_peer_ends(&end, "s1");
    hubble_fake_peer_answers(&end, "s1", NULL);
    hubble_fake_peer_answers(&end, "s1", "no");
    char long_guid[400];
    memset(long_guid, 'g', sizeof long_guid);
    long_guid[sizeof long_guid - 1] = '\0';
    hubble_fake_peer_opens(&end, long_guid);
    hubble_fake_peer_sends(&end, long_guid, 1, "x");
    /* It could not be answered. */
    hubble_fake_peer_opens(&end, "");
    assert_int_equal(0, end.holder_count);
    assert_sent("");
}

static void what_an_agent_does_not_send_is_ignored(void **state)
{
    (void)state;
    struct hubble_fake_holder *s1 = asked("s1");
    struct message terminator = {.type = MESSAGE_RESET, .guid = text_of("s1")};
    assert_int_equal(0, hubble_fake_receive(&end, &terminator, NULL, 0));
    struct message handshake = {.type = MESSAGE_HANDSHAKE};
    assert_int_equal(0, hubble_fake_receive(&end, &handshake, NULL, 0));
    struct message welcome = {.type = MESSAGE_ACK, .is_handshake_ack = true};
    assert_int_equal(0, hubble_fake_receive(&end, &welcome, NULL, 0));
    /* An ack for a session of the peer's own. */
    hubble_fake_peer_answers(&end, "s1", "no");
    assert_told("");
    hubble_fake_write(s1, "still here");
    assert_sent("03 s1 #1 still here; ");
}

static void our_open_is_answered(void **state)
{
    (void)state;
    hubble_fake_open(&end, "s1");
    hubble_fake_open(&end, "s2");
    assert_sent("02 s1 west h:22; 02 s2 west h:22; ");
    hubble_fake_peer_answers(&end, "s1", NULL);
    hubble_fake_peer_answers(&end, "s2", "connection refused");
    assert_told("s1 opened; s2 reset 4; ");
    assert_string_equal("connection refused", hubble_fake_find(&end, "s2")->reason);
    /* Only the first counts. */
    hubble_fake_peer_answers(&end, "s1", "no");
    hubble_fake_peer_answers(&end, "s1", NULL);
    hubble_fake_peer_answers(&end, "s2", NULL);
    hubble_fake_peer_sends(&end, "s1", 1, "hi");
    assert_told("s1 data hi; ");
    hubble_fake_close(hubble_fake_find(&end, "s2"));
    assert_sent("");
}

static void an_answering_peer_must_answer_first(void **state)
{
    (void)state;
    struct hubble_fake_holder *s1 = hubble_fake_open(&end, "s1");
    hubble_fake_peer_sends(&end, "s1", 1, "hi");
    assert_told("s1 reset 8; ");
    hubble_fake_close(s1);
    struct hubble_fake_holder *s2 = hubble_fake_open(&end, "s2");
    hubble_fake_peer_ends(&end, "s2");
    assert_told("s2 reset 1; ");
    hubble_fake_close(s2);
    assert_sent("02 s1 west h:22; 02 s2 west h:22; 04 s1; 04 s2; ");
    hubble_fake_peer_answers(&end, "s1", NULL);
    hubble_fake_peer_answers(&end, "s2", NULL);
    assert_sent("");
}

static void the_peers_end_is_answered_and_told_in_order(void **state)
{
    (void)state;
    struct hubble_fake_holder *s1 = asked("s1");
    end.keeps = true;
    hubble_fake_peer_sends(&end, "s1", 1, "last words");
    hubble_fake_peer_ends(&end, "s1");
    assert_told("s1 data last words; s1 fin; ");
    assert_sent("04 s1; ");
    /* Only when all that was delivered is consumed, and not inside of that operation. */
    hubble_fake_consume(s1);
    assert_told("");
    hubble_mux_turn_ends(&end.mux, end.now);
    assert_told("s1 reset 16; ");
    hubble_fake_close(s1);
    assert_sent("04 s1; ");
    hubble_fake_peer_ends(&end, "s1");
    assert_sent("");
}

static void what_is_written_behind_the_peers_end_is_dropped(void **state)
{
    (void)state;
    struct hubble_fake_holder *s1 = asked("s1");
    end.keeps = true;
    hubble_fake_write(s1, "queued");
    hubble_fake_peer_sends(&end, "s1", 1, "x");
    hubble_fake_peer_ends(&end, "s1");
    assert_told("s1 data x; s1 fin; s1 written 6; ");
    int asked_before = end.asked;
    hubble_mux_turn_ends(&end.mux, end.now);
    hubble_fake_write(s1, "more");
    assert_true(end.asked > asked_before);
    assert_told("");
    hubble_mux_turn_ends(&end.mux, end.now);
    assert_told("s1 written 4; ");
    assert_sent("04 s1; ");
    /* Nor is anything taken any more. */
    hubble_fake_peer_sends(&end, "s1", 2, "x");
    hubble_fake_peer_ends(&end, "s1");
    assert_told("");
    hubble_fake_finish(s1);
    assert_told("");
    hubble_mux_turn_ends(&end.mux, end.now);
    assert_told("s1 finished; ");
    /* Both directions have ended: that is enough. */
    hubble_fake_consume(s1);
    hubble_mux_turn_ends(&end.mux, end.now);
    assert_told("");
    hubble_fake_close(s1);
    assert_sent("04 s1; ");
}

static void resets_are_sent_once(void **state)
{
    (void)state;
    struct hubble_fake_holder *s1 = asked("s1");
    hubble_fake_write(s1, "dropped");
    hubble_fake_reset(s1, REASON_RESET, "because");
    hubble_fake_reset(s1, REASON_RESET, "because");
    assert_int_equal(0, end.mux.queued);
    hubble_fake_write(s1, "ignored");
    hubble_fake_close(s1);
    assert_sent("04 s1; ");
    struct hubble_fake_holder *s2 = answering("s2");
    hubble_fake_close(s2);
    assert_sent("04 s2; ");
    hubble_fake_peer_ends(&end, "s2");
    assert_sent("");
    assert_told("");
}

static void an_orderly_end_goes_behind_the_data(void **state)
{
    (void)state;
    struct hubble_fake_holder *s1 = asked("s1");
    hubble_fake_write_size(s1, HUBBLE_CHUNK + 100, CHUNK_LARGE_SIZE);
    hubble_fake_reset(s1, REASON_CLOSED, NULL);
    hubble_fake_close(s1);
    /* What comes meanwhile is for nobody. */
    hubble_fake_peer_sends(&end, "s1", 1, "x");
    assert_false(hubble_mux_is_drained(&end.mux));
    assert_sent("03 s1 #1 32768; 03 s1 #2 100; 04 s1; ");
    assert_true(hubble_mux_is_drained(&end.mux));
    assert_told("");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(an_open_is_told_and_answered),
        TEST(hosts_lose_and_get_brackets),
        TEST(opens_have_the_given_guid_or_a_new_one),
        TEST(data_goes_both_ways_in_order),
        TEST(a_write_or_an_end_accepts),
        TEST(data_before_our_ack_is_delivered),
        TEST(data_out_of_order_resets),
        TEST(sessions_that_are_not_known_are_ignored),
        TEST(what_an_agent_does_not_send_is_ignored),
        TEST(our_open_is_answered),
        TEST(an_answering_peer_must_answer_first),
        TEST(the_peers_end_is_answered_and_told_in_order),
        TEST(what_is_written_behind_the_peers_end_is_dropped),
        TEST(resets_are_sent_once),
        TEST(an_orderly_end_goes_behind_the_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
