#include "journal/event_record.h"

#include "base/error.h"
#include "base/memory.h"
#include "journal/event_field.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* Of the key "secret". */
#define SECRET_HASH "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"

static struct event_record *record_of(struct event event)
{
    struct event_record *record = event_record_create(&event);
    assert_non_null(record);
    record->time = (struct timespec){.tv_sec = 1700000000, .tv_nsec = 123456789};
    record->number = 7;
    return record;
}

/* Frees the record. */
static void expect_json(struct event_record *record, const char *expected)
{
    struct event_text text = EVENT_TEXT_NULL;
    assert_int_equal(event_record_to_json(record, &text), 0);
    assert_string_equal(text.data, expected);
    assert_int_equal(text.size, strlen(expected));
    event_text_deinit(&text);
    memory_free(record);
}

static void expect_line(struct event_record *record, const char *expected)
{
    char line[1024];
    event_record_to_line(record, line, sizeof line);
    assert_string_equal(line, expected);
    memory_free(record);
}

#define HEAD(name) "{\"event\":\"" name "\",\"time\":\"2023-11-14T22:13:20.123456Z\",\"seq\":7"

static void an_agent(void **state)
{
    (void)state;
    struct event event = {
        .type = EVENT_AGENT_REGISTERED,
        .agent = "alice",
        .address = "192.0.2.7:4711",
        .user = "ann",
        .dialect = "hubble 0.1",
        .port = 1, /* of no use here, as all other numbers */
        .seconds = 1,
        .code = 1,
        .ok = 1,
        .sent = 1,
        .session = 1,
    };
    expect_json(record_of(event), HEAD("agent.registered") ",\"agent\":\"alice\","
                                                           "\"address\":\"192.0.2.7:4711\","
                                                           "\"user\":\"ann\",\"dialect\":"
                                                           "\"hubble 0.1\"}");
    expect_line(record_of(event),
                "agent.registered seq=7 agent=alice address=192.0.2.7:4711 user=ann "
                "dialect=\"hubble 0.1\"");
    event = (struct event){
        .type = EVENT_AGENT_UNREGISTERED, .agent = "alice", .seconds = 12.5, .reason = "gone"};
    expect_json(record_of(event),
                HEAD("agent.unregistered") ",\"agent\":\"alice\",\"seconds\":12.5,"
                                           "\"reason\":\"gone\"}");
    expect_line(record_of(event),
                "agent.unregistered seq=7 agent=alice seconds=12.500 reason=gone");
}

static void a_link(void **state)
{
    (void)state;
    struct event event = {
        .type = EVENT_LINK_LOST,
        .agent = "alice",
        .dialect = "culvert.1",
        .reason = "gone",
        .seconds = 1, /* of no use here, as the next two */
        .replayed = 1,
        .replayed_bytes = 1,
    };
    expect_json(record_of(event),
                HEAD("link.lost") ",\"agent\":\"alice\",\"dialect\":\"culvert.1\","
                                  "\"reason\":\"gone\"}");
    event = (struct event){
        .type = EVENT_LINK_RESUMED,
        .agent = "alice",
        .address = "192.0.2.7:4711",
        .seconds = 1.25,
        .replayed = 3,
        .replayed_bytes = UINT64_C(9000000000),
    };
    expect_json(record_of(event),
                HEAD("link.resumed") ",\"agent\":\"alice\",\"address\":\"192.0.2.7:4711\","
                                     "\"seconds\":1.25,\"replayed\":3,"
                                     "\"replayed_bytes\":9000000000}");
    event.seconds = 0;
    event.replayed = event.replayed_bytes = 0;
    expect_line(record_of(event), "link.resumed seq=7 agent=alice address=192.0.2.7:4711 "
                                  "seconds=0.000 replayed=0 replayed_bytes=0");
}

static struct event session_event(enum event_type type)
{
    return (struct event){
        .type = type,
        .agent = "bob",
        .session = 18,
        .source = "alice",
        .source_address = "192.0.2.7:4711",
        .client = "127.0.0.1:5000",
        .source_user = "ann",
        .kind = "tcp",
        .host = "db.internal",
        .port = 5432,
        .key = "secret",
        .sent = 1,
        .received = UINT64_C(9000000000),
        .seconds = 0.1234567,
        .ended_by = type == EVENT_SESSION_CLOSED ? "target" : NULL,
        .code = 2,
        .reason = "rule 3",
    };
}

#define SESSION                                                                             \
    ",\"agent\":\"bob\",\"session\":18,\"source\":\"alice\",\"source_user\":\"ann\","       \
    "\"source_address\":\"192.0.2.7:4711\",\"client\":\"127.0.0.1:5000\",\"kind\":\"tcp\"," \
    "\"host\":\"db.internal\",\"port\":5432,\"key_sha256\":\"" SECRET_HASH "\""

static void a_session(void **state)
{
    (void)state;
    expect_json(record_of(session_event(EVENT_SESSION_OPENED)),
                HEAD("session.opened") SESSION ",\"reason\":\"rule 3\"}");
    expect_json(record_of(session_event(EVENT_SESSION_REFUSED)),
                HEAD("session.refused") SESSION ",\"code\":2,\"reason\":\"rule 3\"}");
    expect_json(record_of(session_event(EVENT_SESSION_CLOSED)), HEAD("session.closed") SESSION
                ",\"sent\":1,\"received\":9000000000,\"seconds\":0.123457,\"ended_by\":\"target\","
                "\"code\":2,\"reason\":\"rule 3\"}");
    expect_line(record_of(session_event(EVENT_SESSION_CLOSED)),
                "session.closed seq=7 agent=bob session=18 source=alice source_user=ann "
                "source_address=192.0.2.7:4711 client=127.0.0.1:5000 kind=tcp host=db.internal "
                "port=5432 key_sha256=" SECRET_HASH " sent=1 received=9000000000 seconds=0.123 "
                "ended_by=target code=2 reason=\"rule 3\"");
}

static void the_others(void **state)
{
    (void)state;
    struct event failed = {.type = EVENT_AUTH_FAILED, .agent = "", .address = "[::1]:1", .code = 2};
    expect_json(record_of(failed), HEAD("auth.failed") ",\"address\":\"[::1]:1\",\"code\":2}");
    failed.repeated = 1;
    expect_json(record_of(failed), HEAD("auth.failed") ",\"address\":\"[::1]:1\",\"code\":2}");
    failed.repeated = 40;
    failed.origin = 9;
    expect_json(record_of(failed), HEAD("auth.failed") ",\"address\":\"[::1]:1\",\"code\":2,"
                                                       "\"repeated\":40}");
    expect_line(record_of(failed), "auth.failed seq=7 address=[::1]:1 code=2 repeated=40");
    struct event_record *dropped = record_of((struct event){.type = EVENT_EVENTS_DROPPED});
    dropped->dropped = 8;
    expect_json(dropped, HEAD("events.dropped") ",\"dropped\":8}");
    struct event good = {.type = EVENT_POLICY_RELOADED, .file = "a.acl", .ok = 1};
    expect_json(record_of(good), HEAD("policy.reloaded") ",\"file\":\"a.acl\",\"ok\":true}");
    struct event bad = {.type = EVENT_POLICY_RELOADED, .file = "a.acl", .reason = "a.acl:1: what"};
    expect_json(record_of(bad), HEAD("policy.reloaded") ",\"file\":\"a.acl\",\"ok\":false,"
                                                        "\"reason\":\"a.acl:1: what\"}");
    expect_line(record_of(bad),
                "policy.reloaded seq=7 file=a.acl ok=false reason=\"a.acl:1: what\"");
}

static void an_event_tells_what_was_dropped_before_it(void **state)
{
    (void)state;
    struct event event = {.type = EVENT_AUTH_FAILED};
    struct event_record *record = record_of(event);
    record->dropped = 3;
    expect_json(record, HEAD("auth.failed") ",\"dropped\":3,\"code\":0}");
    record = record_of(event);
    record->dropped = 3;
    expect_line(record, "auth.failed seq=7 dropped=3 code=0");
}

static bool holds(const void *memory, size_t size, const char *text)
{
    return memmem(memory, size, text, strlen(text)) != NULL;
}

static void a_key_is_nowhere(void **state)
{
    (void)state;
    struct event_record *record = record_of(session_event(EVENT_SESSION_OPENED));
    assert_false(holds(record, record->size, "secret"));
    assert_true(holds(record, record->size, SECRET_HASH));
    memory_free(record);
    struct event event = session_event(EVENT_SESSION_OPENED);
    event.key = "";
    record = record_of(event);
    assert_null(record->event.key);
    memory_free(record);
}

static void a_record_outlives_what_it_was_made_from(void **state)
{
    (void)state;
    char name[] = "alice";
    struct event_record *record =
        record_of((struct event){.type = EVENT_AUTH_FAILED, .agent = name});
    memset(name, 'x', sizeof name - 1);
    expect_json(record, HEAD("auth.failed") ",\"agent\":\"alice\",\"code\":0}");
}

static void hostile_texts(void **state)
{
    (void)state;
    struct event event = {
        .type = EVENT_AUTH_FAILED, .agent = "\xff\xc2\x9b[31m\x1b\n", .reason = "a\"b\\ code=0"};
    expect_json(record_of(event),
                HEAD("auth.failed") ",\"agent\":\"\\uFFFD\\u009B[31m\\u001B\\n\",\"code\":0,"
                                    "\"reason\":\"a\\\"b\\\\ code=0\"}");
    expect_line(record_of(event), "auth.failed seq=7 agent=\"\xff\xc2\x9b[31m\x1b\n\" code=0 "
                                  "reason=\"a\\\"b\\\\ code=0\"");
}

static void long_texts_are_cut(void **state)
{
    (void)state;
    static char text[100000];
    char line[100];
    memset(text, 'a', sizeof text - 1);
    struct event event = {.type = EVENT_AUTH_FAILED, .agent = text, .reason = text};
    struct event_record *record = record_of(event);
    assert_int_equal(strlen(record->event.agent), EVENT_TEXT_SIZE);
    assert_int_equal(strlen(record->event.reason), EVENT_TEXT_SIZE);
    assert_in_range(record->size, 2 * EVENT_TEXT_SIZE, 2 * EVENT_TEXT_SIZE + 1024);
    memset(line, 1, sizeof line);
    event_record_to_line(record, line, sizeof line);
    assert_int_equal(strlen(line), sizeof line - 1);
    memory_free(record);

    memset(text, '"', sizeof text - 1);
    record = record_of(event);
    event_record_to_line(record, line, sizeof line);
    assert_int_equal(strlen(line), sizeof line - 1);
    for (size_t size = 1; size < sizeof line; size++) {
        event_record_to_line(record, line, size);
        assert_int_equal(strlen(line), size - 1);
    }
    memory_free(record);
}

static void strange_durations(void **state)
{
    (void)state;
    static const double strange[] = {NAN, INFINITY, -INFINITY, -1, 1e300};
    for (size_t i = 0; i < sizeof strange / sizeof strange[0]; i++) {
        struct event event = {.type = EVENT_AGENT_UNREGISTERED, .seconds = strange[i]};
        expect_json(record_of(event), HEAD("agent.unregistered") ",\"seconds\":0.0}");
    }
}

static void memory_runs_out(void **state)
{
    (void)state;
    struct event event = session_event(EVENT_SESSION_CLOSED);
    event.host = "\xff";
    memory_fail_after(1);
    assert_null(event_record_create(&event));

    struct event_record *record = record_of(event);
    struct event_text whole = EVENT_TEXT_NULL;
    assert_int_equal(event_record_to_json(record, &whole), 0);
    json_set_alloc_funcs(memory_allocate, memory_free);
    size_t failures = 0;
    bool is_done = false;
    for (size_t n = 1; !is_done; n++) {
        struct event_text text = EVENT_TEXT_NULL;
        memory_fail_after(n);
        int error = event_record_to_json(record, &text);
        is_done = memory_fail_is_pending();
        memory_fail_after(0);
        /* A text that there was no memory for is tried again, as if it were no UTF-8. */
        if (error == 0)
            assert_string_equal(text.data, whole.data);
        else
            assert_int_equal(error, CULVERT_ERROR_NO_MEMORY);
        failures += error != 0;
        event_text_deinit(&text);
    }
    assert_true(failures > 10);
    event_text_deinit(&whole);
    memory_free(record);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_agent),
        cmocka_unit_test(a_link),
        cmocka_unit_test(a_session),
        cmocka_unit_test(the_others),
        cmocka_unit_test(an_event_tells_what_was_dropped_before_it),
        cmocka_unit_test(a_key_is_nowhere),
        cmocka_unit_test(a_record_outlives_what_it_was_made_from),
        cmocka_unit_test(hostile_texts),
        cmocka_unit_test(long_texts_are_cut),
        cmocka_unit_test(strange_durations),
        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests_name("event", tests, NULL, NULL);
}
