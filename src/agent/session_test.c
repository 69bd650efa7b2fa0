#include "agent/session.h"

#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/reason.h"

#include <jansson.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include <cmocka.h>

/* A stream that does what it is told and remembers how it ended. */
struct fake {
    struct stream stream;
    bool was_reset;
    bool is_closed;
};

static void do_nothing(struct stream *stream)
{
    (void)stream;
}

static void swallow(struct stream *stream, struct slice_queue *data)
{
    (void)stream;
    slice_queue_clear(data);
}

static void note_reset(struct stream *stream, int code, const char *reason)
{
    (void)code;
    (void)reason;
    ((struct fake *)stream)->was_reset = true;
}

static void ignore_bytes(struct stream *stream, size_t bytes)
{
    (void)stream;
    (void)bytes;
}

static void note_close(struct stream *stream)
{
    ((struct fake *)stream)->is_closed = true;
}

static const struct stream_operations operations = {
    .accept = do_nothing,
    .write = swallow,
    .finish = do_nothing,
    .reset = note_reset,
    .consumed = ignore_bytes,
    .close = note_close,
};

enum { EVENTS = 16 };

static struct {
    struct account account;
    struct loop loop;
    struct session_table table;
    struct journal *journal;
    struct session_tally tally;
    struct fake fakes[8];
    size_t used;
    int released;
    int emptied;
    json_t *events[EVENTS]; /* the journal's thread's, until it was stopped */
    size_t event_count;
} fixture;

static void note_event(void *context, const char *json)
{
    (void)context;
    if (fixture.event_count < EVENTS)
        fixture.events[fixture.event_count++] = json_loads(json, 0, NULL);
}

static void note_release(struct session_tally *tally)
{
    assert_ptr_equal(tally, &fixture.tally);
    fixture.released++;
}

static void note_emptied(struct session_table *table)
{
    assert_ptr_equal(table, &fixture.table);
    fixture.emptied++;
}

static int set_up(void **state)
{
    static const struct journal_config config = {.log = false};
    char why[256];
    (void)state;
    memset(&fixture, 0, sizeof fixture);
    account_init(&fixture.account, SIZE_MAX);
    assert_int_equal(loop_init(&fixture.loop, 0, &fixture.account), 0);
    assert_int_equal(journal_start(&config, &fixture.journal, why, sizeof why), 0);
    assert_int_equal(journal_add_callback(fixture.journal, note_event, NULL), 0);
    session_table_init(&fixture.table, &fixture.loop, "agent1", fixture.journal, NULL);
    fixture.table.emptied = note_emptied;
    fixture.tally = (struct session_tally){.holders = 1, .released = note_release};
    return 0;
}

/* Ends the journal, so that what it has told can be looked at. */
static void collect_events(void)
{
    journal_stop(fixture.journal);
    fixture.journal = NULL;
    fixture.table.journal = NULL;
}

static int tear_down(void **state)
{
    (void)state;
    session_table_abort(&fixture.table, REASON_SHUTDOWN, NULL);
    collect_events();
    loop_deinit(&fixture.loop);
    for (size_t i = 0; i < fixture.event_count; i++)
        json_decref(fixture.events[i]);
    return 0;
}

static struct fake *next_fake(void)
{
    struct fake *fake = &fixture.fakes[fixture.used++];
    *fake = (struct fake){.stream.operations = &operations};
    return fake;
}

static const struct session_subject OUT = {
    .direction = SESSION_OUT,
    .agent = "agent2",
    .host = "10.0.0.5",
    .port = 5432,
    .client = "127.0.0.1:50000",
    .key = "secret",
    .target = "agent2:10.0.0.5:5432",
    .forward = 3,
    .tally = &fixture.tally,
};
static const struct session_subject IN = {
    .direction = SESSION_IN,
    .agent = "agent3",
    .host = "localhost",
    .port = 22,
    .client = "192.0.2.1:50000",
};

/* Starts a session and returns its two streams. */
static struct fake *begin(const struct session_subject *subject)
{
    struct fake *asking = next_fake();
    struct fake *answering = next_fake();
    session_start(&fixture.table, &asking->stream, &answering->stream, subject);
    return asking;
}

static void open_it(struct fake *pair)
{
    pair[1].stream.events->opened(&pair[1].stream);
}

static void deliver(struct fake *fake, const char *bytes)
{
    struct slice_queue queue = {0};
    struct slice slice;
    struct chunk *chunk = chunk_pool_get(&fixture.loop.pool, CHUNK_SMALL);
    assert_non_null(chunk);
    memcpy(chunk->data, bytes, strlen(bytes));
    slice = (struct slice){.chunk = chunk, .data = chunk->data, .size = strlen(bytes)};
    assert_int_equal(slice_queue_push(&queue, slice), 0);
    fake->stream.events->data(&fake->stream, &queue);
    slice_queue_deinit(&queue);
}

static void finish_both(struct fake *pair)
{
    for (int i = 0; i < 2; i++)
        pair[i].stream.events->fin(&pair[i].stream);
    for (int i = 0; i < 2; i++)
        pair[i].stream.events->finished(&pair[i].stream);
}

static const char *text_in(size_t index, const char *field)
{
    assert_true(index < fixture.event_count);
    return json_string_value(json_object_get(fixture.events[index], field));
}

static json_int_t number_in(size_t index, const char *field)
{
    assert_true(index < fixture.event_count);
    return json_integer_value(json_object_get(fixture.events[index], field));
}

static void test_a_session_counts(void **state)
{
    (void)state;
    struct session_tally *tally = &fixture.tally;
    struct fake *pair = begin(&OUT);
    open_it(pair);
    deliver(&pair[0], "hello");
    deliver(&pair[1], "hi");
    assert_int_equal(fixture.table.count, 1);
    assert_int_equal(tally->open, 1);
    assert_int_equal(tally->total, 1);
    assert_int_equal(tally->sent, 0);
    session_table_add_up(&fixture.table);
    assert_int_equal(tally->open_sent, 5);
    assert_int_equal(tally->open_received, 2);
    finish_both(pair);
    assert_true(pair[0].is_closed && pair[1].is_closed);
    assert_int_equal(fixture.table.count, 0);
    assert_int_equal(fixture.emptied, 1);
    assert_int_equal(tally->open, 0);
    assert_int_equal(tally->total, 1);
    assert_int_equal(tally->sent, 5);
    assert_int_equal(tally->received, 2);
}

static void test_a_tally_outlives_its_forward(void **state)
{
    (void)state;
    struct fake *pair = begin(&OUT);
    open_it(pair);
    session_tally_release(&fixture.tally);
    assert_int_equal(fixture.released, 0);
    finish_both(pair);
    assert_int_equal(fixture.released, 1);
}

static void test_a_session_is_ended_by_its_number(void **state)
{
    (void)state;
    struct fake *first = begin(&OUT);
    struct fake *second = begin(&IN);
    struct list_node *node = list_first(&fixture.table.sessions);
    const struct session *session = CONTAINER_OF(node, struct session, node);
    uint64_t id = session->id;
    assert_string_equal(session->subject.agent, "agent2");
    assert_ptr_not_equal(session->subject.agent, OUT.agent);
    assert_int_equal(session_table_end(&fixture.table, id + 7, "because"), CULVERT_ERROR_NOT_FOUND);
    assert_int_equal(session_table_end(&fixture.table, id, "because"), 0);
    assert_true(first[0].was_reset && first[1].was_reset && first[0].is_closed);
    assert_false(second[0].was_reset);
    assert_int_equal(session_table_end(&fixture.table, id, "because"), CULVERT_ERROR_NOT_FOUND);
    assert_int_equal(fixture.table.count, 1);
}

static void test_events_of_one_that_we_asked_for(void **state)
{
    (void)state;
    struct fake *pair = begin(&OUT);
    open_it(pair);
    deliver(&pair[0], "hello");
    pair[1].stream.events->reset(&pair[1].stream, REASON_RESET, NULL);
    collect_events();
    assert_int_equal(fixture.event_count, 2);
    assert_string_equal(text_in(0, "event"), "session.opened");
    assert_string_equal(text_in(0, "agent"), "agent2");
    assert_string_equal(text_in(0, "source"), "agent1");
    assert_string_equal(text_in(0, "client"), "127.0.0.1:50000");
    assert_string_equal(text_in(0, "host"), "10.0.0.5");
    assert_int_equal(number_in(0, "port"), 5432);
    assert_int_equal(strlen(text_in(0, "key_sha256")), 64);
    assert_string_equal(text_in(1, "event"), "session.closed");
    assert_int_equal(number_in(1, "session"), number_in(0, "session"));
    assert_string_equal(text_in(1, "ended_by"), "target");
    assert_int_equal(number_in(1, "sent"), 5);
    assert_int_equal(number_in(1, "code"), REASON_RESET);
}

static void test_events_of_one_that_was_asked_of_us(void **state)
{
    (void)state;
    struct fake *pair = begin(&IN);
    pair[1].stream.events->reset(&pair[1].stream, REASON_FORBIDDEN, NULL);
    collect_events();
    assert_int_equal(fixture.event_count, 1);
    assert_string_equal(text_in(0, "event"), "session.refused");
    assert_string_equal(text_in(0, "agent"), "agent1");
    assert_string_equal(text_in(0, "source"), "agent3");
    assert_int_equal(number_in(0, "code"), REASON_FORBIDDEN);
    assert_string_equal(text_in(0, "reason"), reason_text(REASON_FORBIDDEN));
    assert_null(text_in(0, "key_sha256"));
}

static void test_out_of_memory(void **state)
{
    (void)state;
    memory_fail_after(1);
    struct fake *pair = begin(&OUT);
    assert_true(pair[0].was_reset && pair[0].is_closed);
    assert_true(pair[1].was_reset && pair[1].is_closed);
    assert_int_equal(fixture.table.count, 0);
    assert_int_equal(fixture.tally.total, 0);
    assert_int_equal(fixture.tally.holders, 1);
}

static void report_written(struct fake *fake, size_t bytes)
{
    fake->stream.events->written(&fake->stream, bytes);
}

static void what_came_and_has_not_left_is_held(void **state)
{
    (void)state;
    struct fake *pair = begin(&IN);
    const struct session *session = session_find(&fixture.table, 1);
    assert_non_null(session);
    assert_null(session_find(&fixture.table, 2));
    open_it(pair);
    assert_int_equal(session_held(session), 0);
    deliver(&pair[0], "question");
    deliver(&pair[1], "ans");
    assert_int_equal(session_held(session), 8 + 3);
    report_written(&pair[1], 6);
    assert_int_equal(session_held(session), 2 + 3);
    report_written(&pair[0], 3);
    report_written(&pair[1], 2);
    assert_int_equal(session_held(session), 0);
}

static void progress_is_what_left_since_the_look_before(void **state)
{
    (void)state;
    struct fake *pair = begin(&IN);
    struct session *session = session_find(&fixture.table, 1);
    open_it(pair);
    session_note_progress(session, 1000, true);
    assert_int_equal(session->moved_at, 1000);
    deliver(&pair[0], "question");
    session_note_progress(session, 2000, false);
    assert_int_equal(session->moved_at, 1000);
    report_written(&pair[1], 8);
    session_note_progress(session, 3000, false);
    assert_int_equal(session->moved_at, 3000);
    session_note_progress(session, 4000, false);
    assert_int_equal(session->moved_at, 3000);
}

static void those_who_ask_pay_and_local_clients_pay_together(void **state)
{
    (void)state;
    struct session_subject other = IN;
    struct payers payers;
    assert_int_equal(payers_init(&payers, 1), 0);
    fixture.table.payers = &payers;
    other.agent = "agent4";
    begin(&IN);
    begin(&IN);
    begin(&other);
    begin(&OUT);
    const struct payer *payer = session_find(&fixture.table, 1)->payer;
    assert_ptr_equal(session_find(&fixture.table, 2)->payer, payer);
    assert_ptr_not_equal(session_find(&fixture.table, 3)->payer, payer);
    assert_ptr_not_equal(session_find(&fixture.table, 4)->payer, payer);
    assert_int_equal(payers.by_name.count, 3);
    session_table_abort(&fixture.table, REASON_SHUTDOWN, NULL);
    assert_int_equal(payers.by_name.count, 0);
    payers_deinit(&payers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_session_counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_tally_outlives_its_forward, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_session_is_ended_by_its_number, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_events_of_one_that_we_asked_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_events_of_one_that_was_asked_of_us, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_out_of_memory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_came_and_has_not_left_is_held, set_up, tear_down),
        cmocka_unit_test_setup_teardown(progress_is_what_left_since_the_look_before, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(those_who_ask_pay_and_local_clients_pay_together, set_up,
                                        tear_down),
    };
    log_init(LOG_ERROR, LOG_TEXT, "test");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
