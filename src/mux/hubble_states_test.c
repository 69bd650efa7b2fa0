/*
 * Walks all pairs of a session's state and an event (test_hubble_states.h). What counts is what can
 * be observed: messages, events, pings and deadlines. The state after a pair is the one that the
 * table says if every further event has the same effects as there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mux/hubble_mux_fake.h"
#include "mux/test_hubble_states.h"

#include "base/memory.h"
#include "base/reason.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TEXT = 256 };

static struct hubble_fake end;
static const struct hubble_reaction *const reactions[] = {hubble_reactions,
                                                          hubble_waiting_reactions};

enum { TABLES = sizeof(reactions) / sizeof(reactions[0]) };

/* The session in this run. */
static struct hubble_fake_holder *holder;
static const struct stream_events *events; /* of the holder that has not joined yet */
static bool is_held, is_lost;
static int64_t peer_order, our_order;

/* The effects of the last event. */
static char sent[MAX_TEXT], told[MAX_TEXT];
static unsigned waits; /* seconds */

/* ---- events ---- */

static bool has_session(void)
{
    return !list_is_empty(&end.mux.streams);
}

/* Whether the event can happen now. */
static bool is_possible(enum hubble_event event)
{
    bool has_holder = holder != NULL && holder->stream != NULL;
    switch (event) {
    case WE_OPEN:
        return !has_session() && !is_lost;
    case HOLD:
        return has_holder && !is_held;
    case WRITE:
    case WRITE_FAILS:
        return has_holder && is_held && end.mux.queued == 0;
    case ACCEPT:
    case FINISH:
    case CONSUME:
        return has_holder && is_held;
    case RESET:
    case RESET_CLOSED:
    case CLOSE:
        return has_holder;
    default:
        return !is_lost || event == TAKE || event > CLOSE || event == LOST || event == SHUT;
    }
}

static void take_session(struct hubble_fake_holder *new_holder)
{
    holder = new_holder;
    is_held = true;
    peer_order = 0;
    our_order = 0;
}

static void peer_opens(void)
{
    if (has_session()) {
        end.refuse = REASON_FORBIDDEN;
        hubble_fake_peer_opens(&end, "s1");
        end.refuse = 0;
        return;
    }
    hubble_fake_peer_opens(&end, "s1");
    take_session(hubble_fake_find(&end, "s1"));
    is_held = false;
    events = holder->stream->events;
    holder->stream->events = NULL;
}

static void join(void)
{
    is_held = true;
    holder->stream->events = events;
    holder->stream->operations->consumed(holder->stream, 0);
}

static void peer_says_yes_later(void)
{
    struct hubble_fake_holder *other = hubble_fake_open(&end, "s0");
    hubble_fake_peer_answers(&end, "s0", NULL);
    hubble_fake_close(other);
    hubble_fake_peer_answers(&end, "s1", NULL);
}

static void peer_sends_kept(void)
{
    end.keeps = true;
    hubble_fake_peer_sends(&end, "s1", ++peer_order, "d");
    end.keeps = false;
}

static void peer_sends_other_end(void)
{
    struct message message = {
        .type = end.mux.role == HUBBLE_GATEWAY ? MESSAGE_RESET : MESSAGE_FIN,
        .guid = text_of("s1"),
    };
    assert_int_equal(0, hubble_fake_receive(&end, &message, NULL, 0));
}

/* Fills the queue's slots, so that the next slice needs memory. */
static void write_without_memory(void)
{
    hubble_fake_write_size(holder, (size_t)4 * 100, 100);
    struct slice_queue queue = SLICE_QUEUE_NULL;
    struct slice slice;
    assert_int_equal(0, slice_copy(&end.pool, "x", 1, &slice));
    assert_int_equal(0, slice_queue_push(&queue, slice));
    memory_fail_after(1);
    holder->stream->operations->write(holder->stream, &queue);
    memory_fail_after(0);
    assert_int_equal(0, queue.count);
    slice_queue_deinit(&queue);
}

static void fail_largest(void)
{
    struct hubble_stream *stream;
    if (hubble_mux_largest(&end.mux, &stream) > 0)
        hubble_stream_fail(stream, REASON_NO_MEMORY, NULL);
}

static void lose(int code)
{
    is_lost = true;
    hubble_mux_abort(&end.mux, code, NULL, end.now);
}

static void reach_deadline(void)
{
    uint64_t due = hubble_mux_deadline(&end.mux);
    if (due == UINT64_MAX)
        return;
    end.now = due;
    hubble_mux_tick(&end.mux, due);
}

static void peer_acts(enum hubble_event event)
{
    if (event == PEER_OPENS)
        peer_opens();
    else if (event == PEER_YES || event == PEER_NO)
        hubble_fake_peer_answers(&end, "s1", event == PEER_NO ? "no way" : NULL);
    else if (event == PEER_YES_LATER)
        peer_says_yes_later();
    else if (event == PEER_DATA || event == PEER_EMPTY)
        hubble_fake_peer_sends(&end, "s1", ++peer_order, event == PEER_DATA ? "d" : "");
    else if (event == PEER_DATA_KEPT)
        peer_sends_kept();
    else if (event == PEER_WRONG_DATA)
        hubble_fake_peer_sends(&end, "s1", peer_order + 2, "d");
    else if (event == PEER_ENDS)
        hubble_fake_peer_ends(&end, "s1");
    else if (event == PEER_OTHER_END)
        peer_sends_other_end();
    else if (event == PONG)
        hubble_mux_ponged(&end.mux);
}

static void holder_acts(enum hubble_event event)
{
    if (event == WE_OPEN)
        take_session(hubble_fake_open(&end, "s1"));
    else if (event == HOLD)
        join();
    else if (event == ACCEPT)
        hubble_fake_accept(holder);
    else if (event == WRITE)
        hubble_fake_write(holder, "w");
    else if (event == WRITE_FAILS)
        write_without_memory();
    else if (event == FINISH)
        hubble_fake_finish(holder);
    else if (event == RESET)
        hubble_fake_reset(holder, REASON_DIAL_REFUSED, "refused");
    else if (event == RESET_CLOSED)
        hubble_fake_reset(holder, REASON_CLOSED, NULL);
    else if (event == CONSUME)
        hubble_fake_consume(holder);
    else if (event == CLOSE)
        hubble_fake_close(holder);
}

static void happen(enum hubble_event event)
{
    if (event >= PEER_OPENS && event <= PONG)
        peer_acts(event);
    else if (event >= WE_OPEN && event <= CLOSE)
        holder_acts(event);
    else if (event == LOST || event == SHUT)
        lose(event == LOST ? REASON_LINK_LOST : REASON_SHUTDOWN);
    else if (event == FAIL)
        fail_largest();
    else if (event == TIME)
        reach_deadline();
}

/* ---- what can be observed ---- */

/* Appends an entry without the session's name and the order: "what detail" for "what s1 #order
 * detail" and for "s1 what detail". */
static void append_item(char *out, const char *item)
{
    const char *guid = strstr(item, "s1");
    assert_non_null(guid);
    const char *detail = guid + 2;
    if (strncmp(detail, " #", 2) == 0) {
        char *after;
        assert_int_equal(++our_order, strtol(detail + 2, &after, 10));
        detail = after;
    }
    bool has_more = detail[strspn(detail, " ")] != '\0';
    int what = (int)(guid - item) - (guid > item && !has_more ? 1 : 0);
    if (guid > item && has_more)
        what--;
    if (guid == item)
        detail++;
    size_t used = strlen(out);
    snprintf(out + used, MAX_TEXT - used, "%s%.*s%s", used > 0 ? ", " : "", what, item,
             has_more ? detail : "");
}

/* Leaves out the entries of the other session, s0. */
static void append_all(char *out, const char *text)
{
    char copy[HUBBLE_FAKE_TEXT];
    char *rest = NULL;
    snprintf(copy, sizeof copy, "%s", text);
    for (char *item = strtok_r(copy, ";", &rest); item != NULL; item = strtok_r(NULL, ";", &rest)) {
        item += strspn(item, " ");
        if (*item != '\0' && strstr(item, "s0") == NULL)
            append_item(out, item);
    }
}

/* The carrier takes all, and the turn ends. */
static void take(void)
{
    bool was_asked = end.asked > 0;
    size_t already_told = strlen(end.told);
    snprintf(sent, sizeof sent, "%s", end.pings > 0 ? "ping" : "");
    assert_true(end.pings <= 1);
    if (is_lost)
        hubble_mux_turn_ends(&end.mux, end.now);
    else
        append_all(sent, hubble_fake_sent(&end));
    /* The owner was asked to pull if there was anything. */
    if ((!is_lost && end.sent[0] != '\0') || strlen(end.told) > already_told)
        assert_true(was_asked);
    told[0] = '\0';
    append_all(told, hubble_fake_told(&end));
    uint64_t due = hubble_mux_deadline(&end.mux);
    waits = due == UINT64_MAX ? 0 : (unsigned)((due - end.now + 999999) / 1000000);
    end.asked = 0;
    end.pings = 0;
    /* No session waits for the ping of one that has ended. */
    if (!has_session())
        hubble_mux_ponged(&end.mux);
}

/* ---- the walk ---- */

/* Whether a row holds at the end that is walked. */
static bool is_of(enum hubble_end where)
{
    return (where & (end.mux.role == HUBBLE_GATEWAY ? GATEWAY : AGENT)) != 0;
}

/* NULL: a session at this end has no such state. */
static const struct hubble_state *find_state(enum hubble_state_name name)
{
    for (const struct hubble_state *row = hubble_states; row->meaning != NULL; row++)
        if (row->name == name && is_of(row->end))
            return row;
    return NULL;
}

static const struct hubble_reaction *find(enum hubble_state_name state, enum hubble_event event)
{
    for (size_t table = 0; table < TABLES; table++)
        for (const struct hubble_reaction *row = reactions[table]; row->events != 0; row++)
            if (row->state == state && (row->events & E(event)) != 0 && is_of(row->end))
                return row;
    return NULL;
}

static struct hubble_reaction expected(enum hubble_state_name state, enum hubble_event event)
{
    const struct hubble_reaction *row = find(state, event);
    if (row == NULL && find_state(state)->is_stuck)
        row = find(state, TAKE);
    return row != NULL ? *row : (struct hubble_reaction){BOTH, state, E(event), "", "", state};
}

/* These two events are walked only where the table has a row for them: elsewhere they lead to
 * copies of the states. */
static bool is_walked(enum hubble_state_name state, enum hubble_event event)
{
    return (event != PEER_YES_LATER && event != PEER_DATA_KEPT) || find(state, event) != NULL;
}

static void begin(enum hubble_role role)
{
    hubble_fake_init(&end, role);
    holder = NULL;
    is_lost = false;
}

static void enter(enum hubble_state_name state)
{
    if (state == NONE)
        return;
    const struct hubble_state *to = find_state(state);
    enter(to->from);
    assert_true(is_possible(to->by));
    happen(to->by);
    if (!to->is_stuck)
        take();
}

static void leave(void)
{
    if (holder != NULL && holder->stream != NULL && !is_held)
        holder->stream->events = events;
    hubble_fake_deinit(&end);
}

static void check(enum hubble_state_name state, enum hubble_event first, enum hubble_event second,
                  const struct hubble_reaction *reaction)
{
    bool is_right = strcmp(sent, reaction->sent) == 0 && strcmp(told, reaction->told) == 0 &&
                    (reaction->after == ELSEWHERE || waits == find_state(reaction->after)->waits);
    if (!is_right)
        fail_msg("%s: \"%s\", event %d, then %d: sent \"%s\", not \"%s\"; told \"%s\", not \"%s\"; "
                 "waits %u s",
                 end.mux.role == HUBBLE_GATEWAY ? "gateway" : "agent", find_state(state)->meaning,
                 first, second, sent, reaction->sent, told, reaction->told, waits);
}

/* Checks the effects of one event, and with a second other than TAKE those of both. Returns whether
 * both are possible. */
static bool walk(enum hubble_role role, enum hubble_state_name state, enum hubble_event first,
                 enum hubble_event second)
{
    begin(role);
    enter(state);
    bool is_done = is_possible(first);
    if (is_done) {
        struct hubble_reaction reaction = expected(state, first);
        happen(first);
        take();
        check(state, first, TAKE, &reaction);
        is_done =
            reaction.after != ELSEWHERE && is_walked(reaction.after, second) && is_possible(second);
        if (is_done) {
            struct hubble_reaction next = expected(reaction.after, second);
            happen(second);
            take();
            check(state, first, second, &next);
        }
    }
    leave();
    return is_done || second == TAKE;
}

static void walk_all(enum hubble_role role)
{
    for (enum hubble_state_name state = NONE; state < HUBBLE_STATES; state++) {
        if (find_state(state) == NULL)
            continue;
        for (enum hubble_event first = TAKE; first < HUBBLE_EVENTS; first++)
            for (enum hubble_event second = TAKE; second < HUBBLE_EVENTS; second++)
                if (is_walked(state, first))
                    walk(role, state, first, second);
    }
}

/* Each event of a row can happen in its state, and no other row has it. */
static void check_reaction(enum hubble_role role, const struct hubble_reaction *row)
{
    assert_non_null(find_state(row->state));
    assert_true(row->after == ELSEWHERE || !find_state(row->after)->is_stuck);
    for (enum hubble_event event = TAKE; event < HUBBLE_EVENTS; event++) {
        if ((row->events & E(event)) == 0)
            continue;
        assert_ptr_equal(row, find(row->state, event));
        begin(role);
        enter(row->state);
        assert_true(is_possible(event));
        leave();
    }
}

static void check_all(enum hubble_role role)
{
    end.mux.role = role;
    for (size_t table = 0; table < TABLES; table++)
        for (const struct hubble_reaction *row = reactions[table]; row->events != 0; row++)
            if (is_of(row->end))
                check_reaction(role, row);
    walk_all(role);
}

static void a_gateways_sessions_go_through_these_states(void **state)
{
    (void)state;
    check_all(HUBBLE_GATEWAY);
}

static void an_agents_sessions_go_through_these_states(void **state)
{
    (void)state;
    check_all(HUBBLE_AGENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_gateways_sessions_go_through_these_states),
        cmocka_unit_test(an_agents_sessions_go_through_these_states),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
