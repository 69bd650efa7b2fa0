#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/list.h"
#include "base/reason.h"
#include "relay/relay.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Both streams and the owner write what happens to them into one journal: "1.write(abc)". */
struct journal {
    char text[4096];
    size_t size;
};

struct fake {
    struct stream stream;
    struct fixture *fixture;
    char name;
    bool is_closed;
    /* Something that the test wants to happen inside the next write. */
    void (*inside_write)(struct fixture *fixture);
};

struct fixture {
    struct account account;
    struct chunk_pool pool;
    struct journal journal;
    struct relay relay;
    struct fake fake[2];
    int opened, ended;
};

__attribute__((format(printf, 2, 3))) static void note(struct fixture *fixture, const char *format,
                                                       ...)
{
    struct journal *journal = &fixture->journal;
    va_list arguments;
    if (journal->size > 0)
        journal->text[journal->size++] = ' ';
    va_start(arguments, format);
    journal->size += (size_t)vsnprintf(journal->text + journal->size,
                                       sizeof(journal->text) - journal->size, format, arguments);
    va_end(arguments);
}

static void assert_journal(struct fixture *fixture, const char *expected)
{
    assert_string_equal(fixture->journal.text, expected);
    memset(&fixture->journal, 0, sizeof(fixture->journal));
}

static struct fake *used(struct stream *stream)
{
    struct fake *fake = (struct fake *)stream;
    assert_false(fake->is_closed);
    return fake;
}

static void fake_accept(struct stream *stream)
{
    struct fake *fake = used(stream);
    note(fake->fixture, "%c.accept", fake->name);
}

static void fake_write(struct stream *stream, struct slice_queue *data)
{
    struct fake *fake = used(stream);
    char text[256] = "";
    while (data->count > 0) {
        struct slice slice = slice_queue_take(data, SIZE_MAX);
        strncat(text, (const char *)slice.data, slice.size);
        slice_drop(&slice);
    }
    note(fake->fixture, "%c.write(%s)", fake->name, text);
    if (fake->inside_write != NULL)
        fake->inside_write(fake->fixture);
}

static void fake_finish(struct stream *stream)
{
    struct fake *fake = used(stream);
    note(fake->fixture, "%c.finish", fake->name);
}

static void fake_reset(struct stream *stream, int code, const char *reason)
{
    struct fake *fake = used(stream);
    note(fake->fixture, "%c.reset(%d,%s)", fake->name, code, reason == NULL ? "-" : reason);
}

static void fake_consumed(struct stream *stream, size_t bytes)
{
    struct fake *fake = used(stream);
    if (bytes > 0)
        note(fake->fixture, "%c.consumed(%zu)", fake->name, bytes);
}

static void fake_close(struct stream *stream)
{
    struct fake *fake = used(stream);
    note(fake->fixture, "%c.close", fake->name);
    fake->is_closed = true;
}

static const struct stream_operations fake_operations = {
    .accept = fake_accept,
    .write = fake_write,
    .finish = fake_finish,
    .reset = fake_reset,
    .consumed = fake_consumed,
    .close = fake_close,
};

static void on_ended(struct relay *relay, int code, const char *reason)
{
    struct fixture *fixture = CONTAINER_OF(relay, struct fixture, relay);
    note(fixture, "ended(%d,%s)", code, reason == NULL ? "-" : reason);
    fixture->ended++;
    assert_true(fixture->fake[0].is_closed && fixture->fake[1].is_closed);
    /* An owner may try to end what has ended. */
    relay_abort(relay, REASON_SHUTDOWN, NULL);
}

static void on_opened(struct relay *relay)
{
    struct fixture *fixture = CONTAINER_OF(relay, struct fixture, relay);
    fixture->opened++;
    assert_false(relay->is_over);
}

static const struct relay_owner owner = {.opened = on_opened, .ended = on_ended};

static int set_up(void **state)
{
    static struct fixture fixture;
    memset(&fixture, 0, sizeof(fixture));
    account_init(&fixture.account, SIZE_MAX);
    chunk_pool_init(&fixture.pool, &fixture.account);
    for (int i = 0; i < 2; i++) {
        fixture.fake[i].stream.operations = &fake_operations;
        fixture.fake[i].fixture = &fixture;
        fixture.fake[i].name = (char)('0' + i);
    }
    relay_join(&fixture.relay, &fixture.fake[0].stream, &fixture.fake[1].stream, &owner);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    return chunk_pool_deinit(&fixture->pool) == 0 && fixture->ended <= 1 ? 0 : -1;
}

static const struct stream_events *events_of(struct fixture *fixture, int i)
{
    return fixture->fake[i].stream.events;
}

static void opened(struct fixture *fixture)
{
    events_of(fixture, 1)->opened(&fixture->fake[1].stream);
}

static void data(struct fixture *fixture, int i, const char *text)
{
    struct slice_queue queue = SLICE_QUEUE_NULL;
    struct slice slice;
    assert_int_equal(slice_copy(&fixture->pool, text, strlen(text), &slice), 0);
    assert_int_equal(slice_queue_push(&queue, slice), 0);
    events_of(fixture, i)->data(&fixture->fake[i].stream, &queue);
    assert_int_equal(queue.count, 0);
    slice_queue_deinit(&queue);
}

static void fin(struct fixture *fixture, int i)
{
    events_of(fixture, i)->fin(&fixture->fake[i].stream);
}

static void reset(struct fixture *fixture, int i, int code, const char *reason)
{
    events_of(fixture, i)->reset(&fixture->fake[i].stream, code, reason);
}

static void written(struct fixture *fixture, int i, size_t bytes)
{
    events_of(fixture, i)->written(&fixture->fake[i].stream, bytes);
}

static void finished(struct fixture *fixture, int i)
{
    events_of(fixture, i)->finished(&fixture->fake[i].stream);
}

static void bytes_go_both_ways_and_are_consumed_when_written(void **state)
{
    struct fixture *f = *state;
    data(f, 0, "early");
    assert_journal(f, "1.write(early)");
    opened(f);
    assert_journal(f, "0.accept");
    data(f, 1, "answer");
    written(f, 1, 3);
    written(f, 1, 2);
    written(f, 0, 6);
    assert_journal(f, "0.write(answer) 0.consumed(3) 0.consumed(2) 1.consumed(6)");
    assert_int_equal(f->relay.side[0].received, 5);
    assert_int_equal(f->relay.side[1].received, 6);
    assert_true(f->relay.is_open);
    assert_false(f->relay.is_over);
}

static void the_asking_side_ends_first(void **state)
{
    struct fixture *f = *state;
    opened(f);
    data(f, 0, "request");
    fin(f, 0);
    assert_journal(f, "0.accept 1.write(request) 1.finish");
    written(f, 1, 7);
    finished(f, 1);
    assert_journal(f, "0.consumed(7)");
    data(f, 1, "a long answer");
    written(f, 0, 13);
    fin(f, 1);
    assert_journal(f, "0.write(a long answer) 1.consumed(13) 0.finish");
    finished(f, 0);
    assert_journal(f, "0.close 1.close ended(0,-)");
}

static void the_answering_side_ends_first(void **state)
{
    struct fixture *f = *state;
    opened(f);
    fin(f, 1);
    finished(f, 0);
    data(f, 0, "still");
    written(f, 1, 5);
    fin(f, 0);
    assert_journal(f, "0.accept 0.finish 1.write(still) 0.consumed(5) 1.finish");
    finished(f, 1);
    assert_journal(f, "0.close 1.close ended(0,-)");
}

static void both_end_together(void **state)
{
    struct fixture *f = *state;
    opened(f);
    fin(f, 0);
    fin(f, 1);
    assert_journal(f, "0.accept 1.finish 0.finish");
    finished(f, 0);
    assert_int_equal(f->ended, 0);
    finished(f, 1);
    assert_journal(f, "0.close 1.close ended(0,-)");
}

static void a_session_without_bytes_that_ends_before_it_opened(void **state)
{
    struct fixture *f = *state;
    fin(f, 0);
    opened(f);
    finished(f, 1);
    fin(f, 1);
    finished(f, 0);
    assert_journal(f, "1.finish 0.accept 0.finish 0.close 1.close ended(0,-)");
    assert_int_equal(f->relay.side[0].received, 0);
}

static void a_reset_goes_on_to_the_other_side(void **state)
{
    struct fixture *f = *state;
    opened(f);
    data(f, 0, "x");
    reset(f, 0, REASON_RESET, NULL);
    assert_journal(f, "0.accept 1.write(x) 1.reset(1,-) 0.close 1.close ended(1,-)");
}

static void a_reset_comes_back_from_the_answering_side(void **state)
{
    struct fixture *f = *state;
    opened(f);
    reset(f, 1, REASON_LINK_LOST, "gone");
    assert_journal(f, "0.accept 0.reset(11,gone) 0.close 1.close ended(11,gone)");
}

static void a_refusal_resets_the_one_who_asked(void **state)
{
    struct fixture *f = *state;
    data(f, 0, "early");
    reset(f, 1, REASON_DIAL_REFUSED, "connection refused");
    assert_journal(f, "1.write(early) 0.reset(4,connection refused) 0.close 1.close "
                      "ended(4,connection refused)");
    assert_false(f->relay.is_open);
}

static void a_reset_after_a_half_close(void **state)
{
    struct fixture *f = *state;
    opened(f);
    fin(f, 0);
    finished(f, 1);
    reset(f, 0, REASON_RESET, NULL);
    assert_journal(f, "0.accept 1.finish 1.reset(1,-) 0.close 1.close ended(1,-)");
}

static void an_abort_resets_both(void **state)
{
    struct fixture *f = *state;
    opened(f);
    relay_abort(&f->relay, REASON_SHUTDOWN, "stopping");
    assert_journal(f, "0.accept 0.reset(12,stopping) 1.reset(12,stopping) 0.close 1.close "
                      "ended(12,stopping)");
    relay_abort(&f->relay, REASON_SHUTDOWN, "again");
    assert_journal(f, "");
}

static void data_before_opened_counts_as_opened(void **state)
{
    struct fixture *f = *state;
    data(f, 1, "banner");
    opened(f);
    assert_journal(f, "0.accept 0.write(banner)");
}

static void opened_by_the_asking_side_accepts_nothing(void **state)
{
    struct fixture *f = *state;
    events_of(f, 0)->opened(&f->fake[0].stream);
    assert_journal(f, "");
    assert_false(f->relay.is_open);
}

static void reset_answering(struct fixture *f)
{
    reset(f, 1, REASON_NO_MEMORY, NULL);
}

static void abort_relay(struct fixture *f)
{
    relay_abort(&f->relay, REASON_SHUTDOWN, NULL);
}

/* The end may come while an event of the other stream is still on the stack. */
static void the_end_comes_inside_an_event(void **state)
{
    struct fixture *f = *state;
    opened(f);
    f->fake[1].inside_write = reset_answering;
    data(f, 0, "x");
    assert_journal(f, "0.accept 1.write(x) 0.reset(9,-) 0.close 1.close ended(9,-)");
}

static void an_abort_comes_inside_an_event(void **state)
{
    struct fixture *f = *state;
    opened(f);
    f->fake[0].inside_write = abort_relay;
    data(f, 1, "x");
    assert_journal(f, "0.accept 0.write(x) 0.reset(12,-) 1.reset(12,-) 0.close 1.close "
                      "ended(12,-)");
}

static void late_events_do_nothing(void **state)
{
    struct fixture *f = *state;
    relay_abort(&f->relay, REASON_SHUTDOWN, NULL);
    memset(&f->journal, 0, sizeof(f->journal));
    for (int i = 0; i < 2; i++) {
        events_of(f, i)->opened(&f->fake[i].stream);
        data(f, i, "late");
        written(f, i, 4);
        fin(f, i);
        finished(f, i);
        reset(f, i, REASON_RESET, NULL);
    }
    assert_journal(f, "");
}

static void the_reason_may_live_in_the_stream(void **state)
{
    struct fixture *f = *state;
    char reason[400];
    memset(reason, 'r', sizeof(reason) - 1);
    reason[sizeof(reason) - 1] = '\0';
    reset(f, 1, 77, reason);
    assert_int_equal(f->ended, 1);
    assert_non_null(strstr(f->journal.text, "ended(77,rrrr"));
}

static void the_owner_learns_when_it_opens(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(f->opened, 0);
    opened(f);
    data(f, 1, "answer");
    assert_int_equal(f->opened, 1);
}

static void the_owner_learns_who_ended(void **state)
{
    struct fixture *f = *state;
    opened(f);
    assert_int_equal(f->relay.ended_by, RELAY_OWNER);
    fin(f, 1);
    fin(f, 0);
    assert_int_equal(f->relay.ended_by, RELAY_ANSWERING);
    reset(f, 0, REASON_RESET, NULL);
    assert_int_equal(f->relay.ended_by, RELAY_ANSWERING);
}

static void a_reset_tells_who_ended(void **state)
{
    struct fixture *f = *state;
    reset(f, 0, REASON_RESET, NULL);
    assert_int_equal(f->relay.ended_by, RELAY_ASKING);
    assert_int_equal(f->opened, 0);
}

static void an_abort_is_the_owners(void **state)
{
    struct fixture *f = *state;
    relay_abort(&f->relay, REASON_SHUTDOWN, NULL);
    assert_int_equal(f->relay.ended_by, RELAY_OWNER);
}

/* Streams that have been closed tell nothing more; should one do, nothing follows. */
static void what_comes_after_the_end_means_nothing(void **state)
{
    struct fixture *f = *state;
    relay_abort(&f->relay, REASON_SHUTDOWN, NULL);
    memset(&f->journal, 0, sizeof(f->journal));
    opened(f);
    data(f, 0, "late");
    data(f, 1, "late");
    written(f, 0, 1);
    written(f, 1, 1);
    fin(f, 0);
    finished(f, 1);
    fin(f, 1);
    finished(f, 0);
    reset(f, 0, REASON_RESET, NULL);
    assert_journal(f, "");
    assert_int_equal(f->ended, 1);
    assert_int_equal(f->opened, 0);
    assert_int_equal(f->relay.side[0].received + f->relay.side[1].received, 0);
    assert_int_equal(f->relay.ended_by, RELAY_OWNER);
}

static void what_would_have_been_the_last_comes_after_the_end(void **state)
{
    struct fixture *f = *state;
    opened(f);
    fin(f, 0);
    fin(f, 1);
    finished(f, 0);
    relay_abort(&f->relay, REASON_SHUTDOWN, NULL);
    memset(&f->journal, 0, sizeof(f->journal));
    finished(f, 1);
    assert_journal(f, "");
    assert_int_equal(f->ended, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(bytes_go_both_ways_and_are_consumed_when_written),
        TEST(the_asking_side_ends_first),
        TEST(the_answering_side_ends_first),
        TEST(both_end_together),
        TEST(a_session_without_bytes_that_ends_before_it_opened),
        TEST(a_reset_goes_on_to_the_other_side),
        TEST(a_reset_comes_back_from_the_answering_side),
        TEST(a_refusal_resets_the_one_who_asked),
        TEST(a_reset_after_a_half_close),
        TEST(an_abort_resets_both),
        TEST(what_comes_after_the_end_means_nothing),
        TEST(what_would_have_been_the_last_comes_after_the_end),
        TEST(data_before_opened_counts_as_opened),
        TEST(opened_by_the_asking_side_accepts_nothing),
        TEST(the_end_comes_inside_an_event),
        TEST(an_abort_comes_inside_an_event),
        TEST(late_events_do_nothing),
        TEST(the_reason_may_live_in_the_stream),
        TEST(the_owner_learns_when_it_opens),
        TEST(the_owner_learns_who_ended),
        TEST(a_reset_tells_who_ended),
        TEST(an_abort_is_the_owners),
    };
    return cmocka_run_group_tests_name("relay", tests, NULL, NULL);
}
