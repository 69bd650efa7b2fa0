#include "journal/webhook.h"

#include "base/log.h"
#include "base/memory.h"
#include "journal/clock.h"
#include "journal/journal.h"
#include "journal/test_receiver.h"

#include <openssl/hmac.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct receiver receiver;
    struct webhook *webhook;
};

static int set_up(void **state)
{
    static struct fixture fixture;
    *state = &fixture;
    fixture.webhook = NULL;
    return receiver_start(&fixture.receiver);
}

static void stop_webhook(struct fixture *fixture, int64_t milliseconds)
{
    webhook_stop(fixture->webhook, clock_milliseconds() + milliseconds);
    fixture->webhook = NULL;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    stop_webhook(fixture, 0);
    receiver_stop(&fixture->receiver);
    return 0;
}

static void start_at(struct fixture *fixture, const char *url, const char *secret)
{
    char why[256] = "";
    struct webhook_config config = {.url = url, .secret = secret, .journal = "0123abcd"};
    assert_int_equal(webhook_start(&config, &fixture->webhook, why, sizeof why), 0);
}

static void start(struct fixture *fixture, const char *secret)
{
    start_at(fixture, fixture->receiver.url, secret);
}

static void push(struct fixture *fixture, const char *json)
{
    size_t size = strlen(json);
    webhook_push(fixture->webhook, json, size, (struct room_place){.bytes = (uint32_t)size});
}

static void expect_body(struct fixture *fixture, size_t index, const char *expected)
{
    assert_string_equal(receiver_body(&fixture->receiver, index), expected);
}

#define BODY(dropped, events) \
    "{\"journal\":\"0123abcd\",\"dropped\":" dropped ",\"events\":[" events "]}"

static void an_event_is_posted(void **state)
{
    struct fixture *fixture = *state;
    start(fixture, NULL);
    push(fixture, "{\"seq\":1}");
    const char *request = receiver_request(&fixture->receiver, 0);
    assert_non_null(request);
    assert_ptr_equal(strstr(request, "POST /events?a=b HTTP/1.1\r\n"), request);
    assert_non_null(strstr(request, "\r\nContent-Type: application/json\r\n"));
    assert_non_null(strstr(request, "\r\nUser-Agent: culvert/"));
    assert_null(strstr(request, "Culvert-Signature"));
    assert_null(strstr(request, "Expect"));
    expect_body(fixture, 0, BODY("0", "{\"seq\":1}"));
}

static void a_secret_signs(void **state)
{
    struct fixture *fixture = *state;
    static const char body[] = BODY("0", "{\"seq\":1}");
    unsigned char digest[32];
    char expected[128] = "\r\nCulvert-Signature: sha256=";
    start(fixture, "a secret");
    push(fixture, "{\"seq\":1}");
    HMAC(EVP_sha256(), "a secret", 8, (const unsigned char *)body, sizeof body - 1, digest, NULL);
    for (size_t i = 0; i < sizeof digest; i++)
        sprintf(expected + strlen(expected), "%02x", digest[i]);
    const char *request = receiver_request(&fixture->receiver, 0);
    assert_non_null(request);
    assert_non_null(strstr(request, expected));
    assert_string_equal(strstr(request, expected) + strlen(expected) - 64,
                        strstr(request, "sha256=") + 7);
}

static atomic_int warnings;

static bool note_warning(enum log_level level, const char *message)
{
    warnings += level == LOG_WARNING && strstr(message, " takes no events: ") != NULL;
    return true;
}

static void failures_are_tried_again(void **state)
{
    struct fixture *fixture = *state;
    warnings = 0;
    log_set_level(LOG_WARNING);
    log_set_receiver(note_warning);
    static const int answers[] = {503, RECEIVER_CLOSES};
    for (size_t i = 0; i < 2; i++)
        receiver_answer_next(&fixture->receiver, answers[i]);
    start(fixture, NULL);
    int64_t since = clock_milliseconds();
    push(fixture, "1");
    for (size_t i = 0; i < 3; i++)
        expect_body(fixture, i, BODY("0", "1"));
    /* Half of 1 s and of 2 s at least. */
    assert_in_range(clock_milliseconds() - since, 1500, 60000);
    assert_int_equal(warnings, 1);
    push(fixture, "2");
    expect_body(fixture, 3, BODY("0", "2"));
    log_set_receiver(NULL);
    log_set_level(LOG_ERROR + 1);
}

static void an_answer_says_when_to_come_again(void **state)
{
    struct fixture *fixture = *state;
    receiver_answer_next(&fixture->receiver, 429);
    fixture->receiver.extra = "Retry-After: 2\r\n";
    start(fixture, NULL);
    push(fixture, "1");
    assert_non_null(receiver_request(&fixture->receiver, 0));
    int64_t since = clock_milliseconds();
    expect_body(fixture, 1, BODY("0", "1"));
    assert_in_range(clock_milliseconds() - since, 1900, 60000);
}

static void a_refusal_drops_the_batch(void **state)
{
    struct fixture *fixture = *state;
    static const int answers[] = {400, 302};
    for (size_t i = 0; i < 2; i++)
        receiver_answer_next(&fixture->receiver, answers[i]);
    fixture->receiver.extra = "Location: /elsewhere\r\n";
    start(fixture, NULL);
    push(fixture, "1");
    expect_body(fixture, 0, BODY("0", "1"));
    push(fixture, "2");
    expect_body(fixture, 1, BODY("1", "2"));
    push(fixture, "3");
    expect_body(fixture, 2, BODY("2", "3"));
    push(fixture, "4");
    expect_body(fixture, 3, BODY("0", "4"));
}

static void what_came_meanwhile_goes_together(void **state)
{
    struct fixture *fixture = *state;
    char json[32];
    receiver_answer_next(&fixture->receiver, 500);
    start(fixture, NULL);
    push(fixture, "0");
    assert_non_null(receiver_request(&fixture->receiver, 0));
    for (int i = 1; i <= JOURNAL_WEBHOOK_BATCH + 2; i++) {
        snprintf(json, sizeof json, "%d", i);
        push(fixture, json);
    }
    expect_body(fixture, 1, BODY("0", "0"));
    const char *full = receiver_body(&fixture->receiver, 2);
    assert_non_null(strstr(full, "[1,2,3,"));
    assert_non_null(strstr(full, ",99,100]"));
    expect_body(fixture, 3, BODY("0", "101,102"));
}

static void large_events_go_in_smaller_batches(void **state)
{
    struct fixture *fixture = *state;
    static char json[WEBHOOK_BATCH_BYTES / 2 + 1];
    receiver_answer_next(&fixture->receiver, 500);
    start(fixture, NULL);
    push(fixture, "0");
    assert_non_null(receiver_request(&fixture->receiver, 0));
    memset(json, '1', sizeof json - 1);
    for (int i = 0; i < 3; i++)
        push(fixture, json);
    for (size_t i = 2; i < 5; i++)
        assert_in_range(strlen(receiver_body(&fixture->receiver, i)), sizeof json,
                        sizeof json + 100);
}

static void a_full_queue_drops_and_counts(void **state)
{
    struct fixture *fixture = *state;
    receiver_answer_next(&fixture->receiver, 500);
    start(fixture, NULL);
    push(fixture, "0");
    assert_non_null(receiver_request(&fixture->receiver, 0));
    memory_fail_after(1);
    push(fixture, "lost");
    memory_fail_after(0);
    for (int i = 0; i < ROOM_EVENTS + 10; i++)
        push(fixture, "1");
    expect_body(fixture, 1, BODY("0", "0"));
    assert_non_null(strstr(receiver_body(&fixture->receiver, 2), "\"dropped\":11,"));
    assert_non_null(strstr(receiver_body(&fixture->receiver, 3), "\"dropped\":0,"));
    size_t posts = 2 + (ROOM_EVENTS + JOURNAL_WEBHOOK_BATCH - 1) / JOURNAL_WEBHOOK_BATCH;
    assert_non_null(receiver_request(&fixture->receiver, posts - 1));
    stop_webhook(fixture, 60000);
    assert_int_equal(receiver_count(&fixture->receiver), posts);
}

static void a_long_answer_is_not_waited_for(void **state)
{
    struct fixture *fixture = *state;
    receiver_answer_next(&fixture->receiver, RECEIVER_FLOODS);
    start(fixture, NULL);
    int64_t since = clock_milliseconds();
    push(fixture, "1");
    expect_body(fixture, 0, BODY("0", "1"));
    push(fixture, "2");
    expect_body(fixture, 1, BODY("0", "2"));
    assert_true(clock_milliseconds() - since < 30000);
}

static void stopping_sends_what_is_left(void **state)
{
    struct fixture *fixture = *state;
    start(fixture, NULL);
    for (int i = 0; i < 3 * JOURNAL_WEBHOOK_BATCH; i++)
        push(fixture, "1");
    stop_webhook(fixture, 60000);
    size_t events = 0;
    for (size_t i = 0; i < receiver_count(&fixture->receiver); i++) {
        const char *body = strchr(receiver_body(&fixture->receiver, i), '[');
        for (; *body != ']'; body++)
            events += *body == '1';
    }
    assert_int_equal(events, 3 * JOURNAL_WEBHOOK_BATCH);
}

static void stopping_does_not_wait_for_a_silent_receiver(void **state)
{
    struct fixture *fixture = *state;
    receiver_answer_next(&fixture->receiver, RECEIVER_HANGS);
    start(fixture, NULL);
    push(fixture, "1");
    assert_non_null(receiver_request(&fixture->receiver, 0));
    push(fixture, "2");
    int64_t since = clock_milliseconds();
    stop_webhook(fixture, 300);
    assert_in_range(clock_milliseconds() - since, 290, 30000);
    assert_int_equal(receiver_count(&fixture->receiver), 1);
}

/* Nor does a pause between two attempts hold it up. */
static void stopping_does_not_wait_for_a_dead_receiver(void **state)
{
    struct fixture *fixture = *state;
    receiver_answer_next(&fixture->receiver, 503);
    receiver_answer_next(&fixture->receiver, 503);
    fixture->receiver.extra = "Retry-After: 120\r\n";
    start(fixture, NULL);
    push(fixture, "1");
    assert_non_null(receiver_request(&fixture->receiver, 0));
    int64_t since = clock_milliseconds();
    stop_webhook(fixture, 60000);
    assert_true(clock_milliseconds() - since < 30000);
}

static void urls(void **state)
{
    (void)state;
    static const char *const wrong[][2] = {
        {"", "is none"},
        {"nonsense", "is none"},
        {"http://", "is none"},
        {"http://a b/", "is none"},
        {"ftp://host/", "must begin with http"},
        {"file:///etc/passwd", "must begin with http"},
        {"gopher2://host/", "must begin with http"},
    };
    char why[256];
    struct webhook *webhook = NULL;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct webhook_config config = {.url = wrong[i][0], .journal = "j"};
        assert_true(webhook_start(&config, &webhook, why, sizeof why) < 0);
        if (strstr(why, wrong[i][1]) == NULL)
            fail_msg("%s: %s", wrong[i][0], why);
    }
    const struct webhook_config right = {
        .url = "http://127.0.0.1:1/", .secret = "s", .secret_file = "f", .journal = "j"};
    for (size_t n = 1; n <= 3; n++) {
        memory_fail_after(n);
        assert_true(webhook_start(&right, &webhook, why, sizeof why) < 0);
        assert_false(memory_fail_is_pending());
    }
    assert_null(webhook);
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(an_event_is_posted),
        WITH_FIXTURE(a_secret_signs),
        WITH_FIXTURE(failures_are_tried_again),
        WITH_FIXTURE(an_answer_says_when_to_come_again),
        WITH_FIXTURE(a_refusal_drops_the_batch),
        WITH_FIXTURE(what_came_meanwhile_goes_together),
        WITH_FIXTURE(large_events_go_in_smaller_batches),
        WITH_FIXTURE(a_full_queue_drops_and_counts),
        WITH_FIXTURE(a_long_answer_is_not_waited_for),
        WITH_FIXTURE(stopping_sends_what_is_left),
        WITH_FIXTURE(stopping_does_not_wait_for_a_silent_receiver),
        WITH_FIXTURE(stopping_does_not_wait_for_a_dead_receiver),
        cmocka_unit_test(urls),
    };
    log_init(LOG_ERROR + 1, LOG_TEXT, "test");
    return cmocka_run_group_tests_name("webhook", tests, NULL, NULL);
}
