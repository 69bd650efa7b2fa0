/* GUIDs used twice, bounds, and lost connections. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mux/hubble_mux_fake.h"

#include "base/error.h"
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

static struct hubble_fake_holder *asked(const char *guid)
{
    hubble_fake_peer_opens(&end, guid);
    struct hubble_fake_holder *holder = hubble_fake_find(&end, guid);
    hubble_fake_accept(holder);
    hubble_fake_sent(&end);
    return holder;
}

static struct hubble_fake_holder *answering(const char *guid)
{
    struct hubble_fake_holder *holder = hubble_fake_open(&end, guid);
    hubble_fake_peer_answers(&end, guid, NULL);
    hubble_mux_ponged(&end.mux);
    hubble_fake_sent(&end);
    hubble_fake_told(&end);
    return holder;
}

/* Those that were left without a holder. */
static void close_streams(void)
{
    static uint8_t bytes[HUBBLE_MAX_ENCODED];
    struct list_node *node;
    while ((node = list_first(&end.mux.streams)) != NULL) {
        struct hubble_stream *stream = CONTAINER_OF(node, struct hubble_stream, member);
        stream->stream.operations->close(&stream->stream);
        if (end.mux.failure == 0)
            hubble_fake_pull(&end, bytes, sizeof bytes);
    }
}

/* ---- a GUID that is used again ---- */

static void a_guid_in_use_goes_to_the_new_session(void **state)
{
    (void)state;
    struct hubble_fake_holder *old = asked("s1");
    hubble_fake_peer_sends(&end, "s1", 1, "x");
    hubble_fake_write(old, "dropped");
    hubble_fake_peer_opens(&end, "s1");
    assert_told("s1 data x; s1 reset 1; ");
    struct hubble_fake_holder *new = hubble_fake_find(&end, "s1");
    assert_ptr_not_equal(old, new);
    hubble_fake_close(old);
    assert_sent("");
    hubble_fake_accept(new);
    hubble_fake_peer_sends(&end, "s1", 1, "new");
    assert_sent("ff s1 yes; ");
    assert_told("s1 data new; ");
    assert_int_equal(1, end.mux.peer_streams);
}

static int hooks_called;

static void close_own(struct hubble_fake_holder *holder)
{
    hooks_called++;
    hubble_fake_close(holder);
}

static void the_old_sessions_holder_may_close_at_once(void **state)
{
    (void)state;
    asked("s1")->hook = close_own;
    hubble_fake_peer_opens(&end, "s1");
    assert_told("s1 reset 1; ");
    assert_int_equal(1, end.mux.peer_streams);
}

static void nothing_is_sent_for_the_old_session(void **state)
{
    (void)state;
    /* With something to be said: an end, data in order before one, a yes, a no. */
    struct hubble_fake_holder *ended = answering("end");
    struct hubble_fake_holder *drains = answering("drains");
    hubble_fake_close(ended);
    hubble_fake_write(drains, "data");
    hubble_fake_reset(drains, REASON_CLOSED, NULL);
    hubble_fake_close(drains);
    hubble_fake_peer_opens(&end, "yes");
    hubble_fake_accept(hubble_fake_find(&end, "yes"));
    hubble_fake_peer_opens(&end, "no");
    hubble_fake_reset(hubble_fake_find(&end, "no"), REASON_FORBIDDEN, "text");
    hubble_fake_close(hubble_fake_find(&end, "no"));

    struct hubble_fake_holder *yes = hubble_fake_find(&end, "yes");
    static const char *const guids[] = {"yes", "no", "end", "drains"};
    for (int i = 0; i < 4; i++)
        hubble_fake_peer_opens(&end, guids[i]);
    assert_sent("");
    assert_told("yes reset 1; ");
    hubble_fake_close(yes);
    assert_int_equal(4, end.mux.peer_streams);
    hubble_fake_close(hubble_fake_find(&end, "drains"));
    assert_sent("ff drains no connection reset; ");
}

static void an_end_may_be_followed_by_the_same_guid(void **state)
{
    (void)state;
    struct hubble_fake_holder *old = asked("s1");
    end.keeps = true;
    hubble_fake_peer_sends(&end, "s1", 1, "last");
    hubble_fake_peer_ends(&end, "s1");
    assert_sent("04 s1; ");
    hubble_fake_peer_opens(&end, "s1");
    assert_told("s1 data last; s1 fin; ");
    /* The old one's last words are still consumed in peace, and its second 04 is not sent. */
    hubble_fake_consume(old);
    hubble_mux_turn_ends(&end.mux, end.now);
    assert_told("s1 reset 16; ");
    hubble_fake_close(old);
    assert_sent("");
    assert_int_equal(1, end.mux.peer_streams);
}

static void a_guid_of_ours_can_be_taken_too(void **state)
{
    (void)state;
    struct hubble_fake_holder *ours = answering("s1");
    hubble_fake_peer_opens(&end, "s1");
    assert_told("s1 reset 1; ");
    hubble_fake_close(ours);
    /* One that waits for a late ack. */
    hubble_fake_close(hubble_fake_open(&end, "s2"));
    hubble_fake_sent(&end);
    hubble_fake_peer_opens(&end, "s2");
    assert_int_equal(0, end.mux.given_up);
    hubble_fake_peer_answers(&end, "s2", NULL);
    assert_sent("");
    assert_told("");
}

/* ---- bounds ---- */

static void the_peer_may_open_so_many(void **state)
{
    (void)state;
    end.ignores_opens = true;
    char guid[32];
    for (int i = 0; i <= HUBBLE_MAX_STREAMS; i++) {
        snprintf(guid, sizeof guid, "g%d", i);
        hubble_fake_peer_opens(&end, guid);
    }
    assert_int_equal(HUBBLE_MAX_STREAMS, end.mux.peer_streams);
    assert_sent("ff g65536 no too many open sessions; ");
    struct hubble_stream *first = hubble_mux_find(&end.mux, text_of("g0"));
    first->stream.operations->close(&first->stream);
    /* It counts until the peer is told. */
    hubble_fake_peer_opens(&end, "again");
    assert_sent("ff again no too many open sessions; ff g0 no connection reset; ");
    hubble_fake_peer_opens(&end, "again");
    assert_sent("");
    close_streams();
}

static void a_peer_opens_no_more_without_memory(void **state)
{
    (void)state;
    char guid[32];
    end.ignores_opens = true;
    end.account.limit = 1;
    for (int i = 0; i < MUX_STREAMS_WITHOUT_MEMORY; i++) {
        snprintf(guid, sizeof guid, "g%d", i);
        hubble_fake_peer_opens(&end, guid);
    }
    assert_int_equal(MUX_STREAMS_WITHOUT_MEMORY * MUX_RECORD_COST, end.account.used);
    hubble_fake_peer_opens(&end, "more");
    assert_int_equal(MUX_STREAMS_WITHOUT_MEMORY, end.mux.peer_streams);
    assert_sent("ff more no out of memory; ");
    close_streams();
}

static void ends_of_many_sessions_do_not_cut_the_connection(void **state)
{
    (void)state;
    end.ignores_opens = true;
    char guid[HUBBLE_MAX_GUID + 1];
    memset(guid, 'g', sizeof guid);
    guid[sizeof guid - 1] = '\0';
    enum { COUNT = 3 * HUBBLE_MAX_CONTROL_QUEUE / HUBBLE_MAX_GUID };
    for (int i = 0; i < COUNT; i++) {
        snprintf(guid, 12, "%09d", i);
        guid[9] = 'g';
        hubble_fake_peer_opens(&end, guid);
        struct hubble_stream *stream = hubble_mux_find(&end.mux, text_of(guid));
        stream->stream.operations->accept(&stream->stream);
        stream->stream.operations->close(&stream->stream);
    }
    static uint8_t bytes[HUBBLE_MAX_ENCODED];
    int count = 0;
    while (hubble_fake_pull(&end, bytes, sizeof bytes) > 0)
        count++;
    assert_int_equal(2 * COUNT, count);
    assert_int_equal(0, end.mux.failure);
}

static void refusals_past_their_bound_cut_the_connection(void **state)
{
    (void)state;
    int result = 0;
    struct message open = {.type = MESSAGE_OPEN, .guid = text_of("s1")};
    end.ignores_opens = true;
    for (int i = 0; i < 100000 && result == 0; i++) {
        hubble_mux_refuse(&end.mux, text_of("s1"), REASON_LIMIT, NULL);
        result = hubble_fake_receive(&end, &open, NULL, 0);
    }
    assert_int_equal(CULVERT_ERROR_LIMIT, result);
    struct slice_queue out = SLICE_QUEUE_NULL;
    assert_int_equal(CULVERT_ERROR_LIMIT, hubble_mux_pull(&end.mux, &out, end.now));
    assert_int_equal(0, out.count);
    close_streams();
}

static void opens_of_ours_do_not_cut_the_connection(void **state)
{
    (void)state;
    struct message_open open = {.kind = text_of("tcp"), .agent = text_of("west")};
    int result = 0;
    int count = 0;
    for (; result == 0; count++) {
        struct stream *stream;
        result = hubble_mux_open(&end.mux, &open, end.now, &stream);
        if (result == 0)
            stream->operations->close(stream);
    }
    assert_int_equal(CULVERT_ERROR_LIMIT, result);
    assert_true(count > 1000);
    assert_int_equal(0, end.mux.failure);
    static uint8_t bytes[HUBBLE_MAX_ENCODED];
    assert_true(hubble_fake_pull(&end, bytes, sizeof bytes) > 0);
    hubble_fake_open(&end, "s1");
    static char text[300];
    memset(text, 'x', sizeof text);
    struct stream *stream;
    open.host = (struct text){text, sizeof text};
    assert_int_equal(CULVERT_ERROR_TOO_LARGE, hubble_mux_open(&end.mux, &open, end.now, &stream));
}

/* ---- the connection is lost ---- */

static void an_abort_resets_each_stream_once(void **state)
{
    (void)state;
    struct hubble_fake_holder *open = answering("open");
    struct hubble_fake_holder *closed = answering("closed");
    struct hubble_fake_holder *ended = answering("ended");
    struct hubble_fake_holder *drains = answering("drains");
    hubble_fake_open(&end, "asking");
    hubble_fake_close(hubble_fake_open(&end, "given-up"));
    hubble_fake_peer_opens(&end, "waiting");
    end.keeps = true;
    hubble_fake_peer_sends(&end, "closed", 1, "x");
    hubble_fake_peer_ends(&end, "closed");
    hubble_fake_finish(ended);
    hubble_fake_peer_ends(&end, "ended");
    hubble_fake_write(open, "dropped");
    hubble_fake_write(drains, "dropped");
    hubble_fake_reset(drains, REASON_CLOSED, NULL);
    hubble_fake_told(&end);
    hubble_mux_abort(&end.mux, REASON_LINK_LOST, "lost", end.now);
    assert_told("open reset 11; asking reset 11; waiting reset 11; ");
    assert_false(hubble_mux_is_empty(&end.mux));
    assert_string_equal("lost", open->reason);
    assert_int_equal(0, end.mux.queued);
    assert_int_equal(0, end.mux.given_up);
    assert_true(hubble_mux_is_drained(&end.mux));
    hubble_mux_abort(&end.mux, REASON_LINK_LOST, "lost", end.now);
    assert_told("");

    struct slice_queue out = SLICE_QUEUE_NULL;
    assert_int_equal(CULVERT_ERROR_CLOSED, hubble_mux_pull(&end.mux, &out, end.now));
    struct message_open again = {.kind = text_of("tcp")};
    struct stream *stream;
    assert_int_equal(CULVERT_ERROR_CLOSED, hubble_mux_open(&end.mux, &again, end.now, &stream));
    struct message message = {.type = MESSAGE_OPEN, .guid = text_of("s1")};
    assert_int_equal(CULVERT_ERROR_CLOSED, hubble_fake_receive(&end, &message, NULL, 0));
    end.asked = 0;
    hubble_mux_ponged(&end.mux);
    hubble_fake_write(open, "ignored");
    assert_int_equal(0, end.asked);
    hubble_fake_consume(closed);
    assert_int_equal(1, end.asked);
    hubble_mux_turn_ends(&end.mux, end.now);
    assert_told("closed reset 16; ");
    assert_true(hubble_mux_is_empty(&end.mux));
    assert_true(hubble_mux_deadline(&end.mux) == UINT64_MAX);
}

/* Without progress for 30 s the rest is dropped; whatever is consumed starts the time again. */
static void what_came_before_a_lost_link_waits_for_its_holder(void **state)
{
    (void)state;
    const uint64_t second = 1000000;
    struct hubble_fake_holder *s1 = answering("s1");
    end.keeps = true;
    hubble_fake_peer_sends(&end, "s1", 1, "some");
    hubble_fake_write(s1, "dropped");
    hubble_fake_told(&end);
    hubble_mux_abort(&end.mux, REASON_LINK_LOST, "lost", end.now);
    assert_told("s1 written 7; ");
    hubble_fake_write(s1, "more");
    hubble_mux_turn_ends(&end.mux, end.now);
    assert_told("s1 written 4; ");
    assert_true(hubble_mux_deadline(&end.mux) == end.now + 30 * second);
    end.now += 20 * second;
    s1->stream->operations->consumed(s1->stream, 1);
    hubble_mux_turn_ends(&end.mux, end.now);
    assert_true(hubble_mux_deadline(&end.mux) == end.now + 30 * second);
    end.now += 30 * second;
    hubble_mux_tick(&end.mux, end.now);
    assert_told("s1 reset 17; ");
    assert_true(hubble_mux_is_empty(&end.mux));
}

/* What the peer has closed waits for its holder no longer because its connection is lost then, or
 * because the peer uses its GUID again. */
static void a_closed_session_still_ends_in_time(void **state)
{
    (void)state;
    end.keeps = true;
    struct hubble_fake_holder *old = asked("s1");
    hubble_fake_peer_sends(&end, "s1", 1, "some");
    hubble_fake_peer_ends(&end, "s1");
    hubble_fake_peer_opens(&end, "s1");
    hubble_fake_told(&end);
    assert_true(hubble_mux_deadline(&end.mux) <= end.now + 35 * 1000000);
    hubble_fake_wait(&end, 31);
    assert_int_equal(1, old->resets);
    struct hubble_fake_holder *lost = asked("s2");
    hubble_fake_peer_sends(&end, "s2", 1, "some");
    hubble_fake_peer_ends(&end, "s2");
    hubble_mux_abort(&end.mux, REASON_LINK_LOST, "lost", end.now);
    assert_int_equal(0, lost->resets);
    hubble_mux_tick(&end.mux, end.now + 30 * 1000000);
    assert_int_equal(1, lost->resets);
    assert_true(hubble_mux_is_empty(&end.mux));
}

/* The owner of a closed connection waits until it is empty, and is woken for it. */
static void a_holder_that_lets_go_wakes_the_owner(void **state)
{
    (void)state;
    end.keeps = true;
    struct hubble_fake_holder *one = answering("s1");
    struct hubble_fake_holder *other = answering("s2");
    hubble_fake_peer_sends(&end, "s1", 1, "some");
    hubble_fake_peer_sends(&end, "s2", 1, "some");
    hubble_mux_abort(&end.mux, REASON_LINK_LOST, "lost", end.now);
    hubble_mux_turn_ends(&end.mux, end.now);
    end.asked = 0;
    hubble_fake_reset(one, REASON_RESET, NULL);
    hubble_fake_close(one);
    assert_int_equal(1, end.asked);
    hubble_mux_turn_ends(&end.mux, end.now);
    assert_false(hubble_mux_is_empty(&end.mux));
    hubble_stream_fail(hubble_stream_from(other->stream), REASON_NO_MEMORY, NULL);
    assert_int_equal(2, end.asked);
    assert_true(hubble_mux_is_empty(&end.mux));
}

static void a_stream_outlives_the_mux_until_its_close(void **state)
{
    (void)state;
    struct hubble_fake_holder *s1 = answering("s1");
    end.keeps = true;
    hubble_fake_peer_sends(&end, "s1", 1, "x");
    hubble_mux_abort(&end.mux, REASON_LINK_LOST, NULL, end.now);
    hubble_mux_deinit(&end.mux);
    hubble_fake_write(s1, "x");
    hubble_fake_consume(s1);
    hubble_fake_accept(s1);
    hubble_fake_finish(s1);
    hubble_fake_reset(s1, REASON_RESET, NULL);
    hubble_fake_close(s1);
    end.mux.outstanding = 0;
}

/* Ends the holder's own stream and all others from inside whatever event. */
static void close_all(struct hubble_fake_holder *holder)
{
    hooks_called++;
    for (size_t i = 0; i < holder->end->holder_count; i++) {
        if (holder->end->holders[i].stream == NULL)
            continue;
        if (i % 2 == 0)
            hubble_fake_reset(&holder->end->holders[i], REASON_RESET, NULL);
        hubble_fake_close(&holder->end->holders[i]);
    }
}

static void end_own_in_order(struct hubble_fake_holder *holder)
{
    hooks_called++;
    hubble_fake_write(holder, "more");
    hubble_fake_reset(holder, REASON_CLOSED, NULL);
    hubble_fake_close(holder);
}

static void abort_mux(struct hubble_fake_holder *holder)
{
    hooks_called++;
    hubble_mux_abort(&holder->end->mux, REASON_SHUTDOWN, NULL, 0);
}

static void cause_opened(struct hubble_fake_holder *holder)
{
    (void)holder;
    struct hubble_fake_holder *s9 = hubble_fake_open(&end, "s9");
    s9->hook = holder->hook;
    hubble_fake_peer_answers(&end, "s9", NULL);
}

static void cause_data(struct hubble_fake_holder *holder)
{
    hubble_fake_peer_sends(&end, holder->guid, 1, "x");
}

static void cause_fin(struct hubble_fake_holder *holder)
{
    hubble_fake_peer_ends(&end, holder->guid);
}

static void cause_closed(struct hubble_fake_holder *holder)
{
    hubble_fake_write(holder, "dropped");
    hubble_fake_peer_ends(&end, holder->guid);
}

static void cause_reset(struct hubble_fake_holder *holder)
{
    hubble_fake_peer_sends(&end, holder->guid, 7, "x");
}

static void cause_written(struct hubble_fake_holder *holder)
{
    hubble_fake_write(holder, "x");
}

static void cause_finished(struct hubble_fake_holder *holder)
{
    hubble_fake_finish(holder);
}

static void cause_replacement(struct hubble_fake_holder *holder)
{
    hubble_fake_peer_opens(&end, holder->guid);
}

static void run_with_hook(enum hubble_role role, void (*hook)(struct hubble_fake_holder *),
                          void (*cause)(struct hubble_fake_holder *))
{
    struct hubble_fake_holder *holders[4];
    char guid[] = "s0";
    hubble_fake_deinit(&end);
    hubble_fake_init(&end, role);
    for (size_t i = 0; i < 4; i++, guid[1]++)
        holders[i] = i % 2 == 0 ? asked(guid) : answering(guid);
    hubble_fake_write(holders[2], "queued");
    end.keeps = true;
    hooks_called = 0;
    for (size_t i = 1; i < 4; i += 2)
        holders[i]->hook = hook;
    cause(holders[1]);

    static uint8_t bytes[HUBBLE_CHUNK + HUBBLE_MAX_ENCODED];
    for (int i = 0; i < 10 && end.mux.failure == 0; i++) {
        hubble_fake_pull(&end, bytes, sizeof bytes);
        hubble_fake_wait(&end, 10);
    }
    assert_true(hooks_called > 0);
}

static void events_may_end_any_stream(void **state)
{
    (void)state;
    void (*hooks[])(struct hubble_fake_holder *) = {close_all, close_own, end_own_in_order,
                                                    abort_mux};
    void (*causes[])(struct hubble_fake_holder *) = {
        cause_opened, cause_data,    cause_fin,      cause_closed,
        cause_reset,  cause_written, cause_finished, cause_replacement};
    for (size_t hook = 0; hook < sizeof hooks / sizeof hooks[0]; hook++) {
        for (size_t cause = 0; cause < sizeof causes / sizeof causes[0]; cause++) {
            run_with_hook(HUBBLE_GATEWAY, hooks[hook], causes[cause]);
            run_with_hook(HUBBLE_AGENT, hooks[hook], causes[cause]);
        }
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_guid_in_use_goes_to_the_new_session),
        TEST(the_old_sessions_holder_may_close_at_once),
        TEST(nothing_is_sent_for_the_old_session),
        TEST(an_end_may_be_followed_by_the_same_guid),
        TEST(a_guid_of_ours_can_be_taken_too),
        TEST(the_peer_may_open_so_many),
        TEST(a_peer_opens_no_more_without_memory),
        TEST(ends_of_many_sessions_do_not_cut_the_connection),
        TEST(refusals_past_their_bound_cut_the_connection),
        TEST(opens_of_ours_do_not_cut_the_connection),
        TEST(an_abort_resets_each_stream_once),
        TEST(what_came_before_a_lost_link_waits_for_its_holder),
        TEST(a_closed_session_still_ends_in_time),
        TEST(a_holder_that_lets_go_wakes_the_owner),
        TEST(a_stream_outlives_the_mux_until_its_close),
        TEST(events_may_end_any_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
