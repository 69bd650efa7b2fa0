#include "gateway/request.h"

#include "base/memory.h"
#include "base/reason.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const struct request_source SOURCE = {"agent1", "alice", "192.0.2.1:4711", NULL};

static struct message_open an_open(void)
{
    return (struct message_open){
        .kind = text_of("tcp"),
        .agent = text_of("agent2"),
        .host = text_of("db.example"),
        .port = 5432,
        .key = text_of("s3cret"),
        .source = text_of("somebody else"),
        .client = text_of("127.0.0.1:5000"),
    };
}

static struct request *make(const struct message_open *open)
{
    int code = 0;
    const char *why = NULL;
    struct request *request = request_new(7, &SOURCE, open, &code, &why);
    if (request == NULL)
        fail_msg("%d: %s", code, why);
    return request;
}

static void who_asks_is_what_the_gateway_knows(void **state)
{
    (void)state;
    struct message_open open = an_open();
    struct request *request = make(&open);
    struct message_open onward = request_open(request);
    assert_true(text_equals(onward.source, "agent1"));
    assert_true(text_equals(onward.client, "192.0.2.1:4711"));
    assert_true(text_equals(onward.agent, "agent2"));
    assert_true(text_equals(onward.host, "db.example"));
    assert_true(text_equals(onward.key, "s3cret"));
    assert_int_equal(onward.port, 5432);
    assert_string_equal(request->asks.user, "alice");
    assert_string_equal(request->client, "127.0.0.1:5000");
    request_unref(request);
}

static void an_event_tells_the_facts(void **state)
{
    (void)state;
    struct message_open open = an_open();
    struct request *request = make(&open);
    struct event event = request_event(request, EVENT_SESSION_OPENED);
    assert_int_equal(event.session, 7);
    assert_string_equal(event.source, "agent1");
    assert_string_equal(event.client, "127.0.0.1:5000");
    assert_string_equal(event.agent, "agent2");
    assert_string_equal(event.key, "s3cret");
    request_unref(request);
}

static void who_has_no_name_is_nobody(void **state)
{
    (void)state;
    static const struct request_source nameless = {"", "", "192.0.2.1:4711", NULL};
    struct message_open open = an_open();
    int code = 0;
    const char *why = NULL;
    struct request *request = request_new(1, &nameless, &open, &code, &why);
    assert_non_null(request);
    assert_string_equal(request->asks.source, POLICY_NOBODY);
    assert_null(request_event(request, EVENT_SESSION_OPENED).source_user);
    request_unref(request);
}

static void without_a_host_hubble_means_the_agent_itself(void **state)
{
    (void)state;
    struct message_open open = an_open();
    open.host = TEXT_NULL;
    open.guid = text_of("s1");
    struct request *request = make(&open);
    assert_string_equal(request->asks.host, "localhost");
    assert_string_equal(request->guid, "s1");
    request_unref(request);
}

static void what_cannot_be_meant_is_refused(void **state)
{
    (void)state;
    static const char *const names[] = {"", "-", "gateway", "a\nb", "\xff"};
    int code = 0;
    const char *why = NULL;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct message_open open = an_open();
        open.agent = text_of(names[i]);
        assert_null(request_new(1, &SOURCE, &open, &code, &why));
        assert_int_equal(code, REASON_PROTOCOL);
    }
    struct message_open open = an_open();
    open.host = TEXT_NULL;
    assert_null(request_new(1, &SOURCE, &open, &code, &why));
    open.host = text_of("db\x1b[2J");
    assert_null(request_new(1, &SOURCE, &open, &code, &why));
}

static void a_client_that_cannot_be_shown_is_left_out(void **state)
{
    (void)state;
    struct message_open open = an_open();
    open.client = text_of("\x1b[2J");
    struct request *request = make(&open);
    assert_null(request_event(request, EVENT_SESSION_OPENED).client);
    request_unref(request);
}

static void it_lives_as_long_as_somebody_holds_it(void **state)
{
    (void)state;
    struct message_open open = an_open();
    struct request *request = make(&open);
    request_ref(request);
    request_unref(request);
    assert_string_equal(request->asks.key, "s3cret");
    request_unref(request);
    request_unref(NULL);
}

static void out_of_memory_is_told(void **state)
{
    (void)state;
    struct message_open open = an_open();
    int code = 0;
    const char *why = NULL;
    memory_fail_after(1);
    struct request *request = request_new(1, &SOURCE, &open, &code, &why);
    memory_fail_after(0);
    assert_null(request);
    assert_int_equal(code, REASON_NO_MEMORY);
    assert_non_null(why);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_asks_is_what_the_gateway_knows),
        cmocka_unit_test(an_event_tells_the_facts),
        cmocka_unit_test(who_has_no_name_is_nobody),
        cmocka_unit_test(without_a_host_hubble_means_the_agent_itself),
        cmocka_unit_test(what_cannot_be_meant_is_refused),
        cmocka_unit_test(a_client_that_cannot_be_shown_is_left_out),
        cmocka_unit_test(it_lives_as_long_as_somebody_holds_it),
        cmocka_unit_test(out_of_memory_is_told),
    };
    return cmocka_run_group_tests_name("request", tests, NULL, NULL);
}
