#include "carrier/poll_batch.h"
#include "carrier/test_poll.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_messages(void **state)
{
    struct test_poll *f = *state;
    static uint8_t bytes[POLL_MAX_BODY];
    static const size_t sizes[] = {1,     100,        4000,       5000,
                                   70000, 512 * 1024, 600 * 1024, POLL_MAX_BODY};
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7 + i / 251);
    test_poll_open_carrier(f);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        test_poll_await_ready(f);
        test_poll_send(f, bytes, sizes[i]);
        test_poll_expect(f, bytes, sizes[i]);
    }
    test_poll_await_ready(f);
    assert_int_equal(f->ready, sizeof(sizes) / sizeof(*sizes));
    assert_int_equal(test_poll_counts(f).ups, sizeof(sizes) / sizeof(*sizes));
    assert_true(f->gateway.server.accepted <= 2); /* both were kept */
}

/* Each trouble happens to the first request or some, and then no more; the echo comes all the same.
 */
static void test_repeats(void **state)
{
    struct test_poll *f = *state;
    static const struct test_trouble troubles[] = {
        {"Up", TROUBLE_CUT, 1, 1, NULL, NULL, NULL, false},
        {"Up", TROUBLE_CUT, 1, 4, NULL, NULL, NULL, true},
        {"Up", TROUBLE_STATUS, 1, 2, "502 Bad Gateway", "", "<html>", false},
        {"Up", TROUBLE_STATUS, 1, 2, "504 Gateway Timeout", "", "<html>", true},
        {"Up", TROUBLE_STATUS, 1, 1, "503 Busy", "Retry-After: 1\r\n", "", false},
        {"Down", TROUBLE_CUT, 1, 3, NULL, NULL, NULL, false},
        {"Down", TROUBLE_CUT_HALFWAY, 1, 2, NULL, NULL, NULL, false},
        {"Down", TROUBLE_STATUS, 1, 2, "504 Gateway Timeout", "", "<html>", false},
        {"Down", TROUBLE_STATUS, 1, 2, "408 Request Timeout", "", "", false},
        {"Down", TROUBLE_STATUS, 1, 3, "204 No Content", "", "", false},
    };
    for (size_t i = 0; i < sizeof(troubles) / sizeof(*troubles); i++) {
        test_poll_renew(f, &troubles[i]);
        test_poll_open_carrier(f);
        test_poll_send(f, "hello", 5);
        test_poll_expect(f, "hello", 5);
        test_poll_await_ready(f);
        test_poll_send(f, "there", 5);
        test_poll_expect(f, "there", 5);
    }
}

static void test_lost(void **state)
{
    struct test_poll *f = *state;
    static const struct {
        struct test_trouble trouble;
        int error;
        const char *why;
    } cases[] = {
        {{"Up", TROUBLE_STATUS, 1, 1, "410 Gone", "", "", false},
         CULVERT_ERROR_CLOSED,
         "the gateway has ended this long poll"},
        {{"Down", TROUBLE_STATUS, 1, 1, "410 Gone", "", "", false},
         CULVERT_ERROR_CLOSED,
         "the gateway has ended this long poll"},
        {{"Up", TROUBLE_STATUS, 1, 1, "409 Conflict", "", "", false},
         CULVERT_ERROR_PROTOCOL,
         "the server there is no culvert gateway: it answered HTTP 409 Conflict"},
        {{"Up", TROUBLE_STATUS, 1, 1, "200 OK", "", "<html>", false},
         CULVERT_ERROR_PROTOCOL,
         "the server there is no culvert gateway: it answered HTTP 200 OK"},
        {{"Down", TROUBLE_STATUS, 1, 1, "200 OK", "", "<html>", false},
         CULVERT_ERROR_PROTOCOL,
         "the server there is no culvert gateway: it answered HTTP 200 OK"},
        {{"Down", TROUBLE_STATUS, 1, 1, "200 OK", "Culvert-Down: 2\r\n", "x", false},
         CULVERT_ERROR_PROTOCOL,
         "the gateway has sent another body than was asked for"},
        {{"Down", TROUBLE_STATUS, 1, 1, "200 OK", "Culvert-Down: 1\r\n", "", false},
         CULVERT_ERROR_PROTOCOL,
         "the gateway has sent another body than was asked for"},
        {{"Down", TROUBLE_STATUS, 1, TEST_EVERY, "502 Bad Gateway", "", "", false},
         CULVERT_ERROR_CLOSED,
         "the gateway cannot be reached through the server there: the answer was HTTP 502 Bad "
         "Gateway"},
        /* Longer than the gateway waits for a request. */
        {{"Down", TROUBLE_STATUS, 1, 1, "503 x", "Retry-After: 21\r\n", "", false},
         CULVERT_ERROR_CLOSED,
         "the server is busy and wants us back after 21 s"},
        {{"Up", TROUBLE_CUT, 1, TEST_EVERY, NULL, NULL, NULL, false},
         CULVERT_ERROR_CLOSED,
         "the server closed the connection without an answer"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        test_poll_renew(f, &cases[i].trouble);
        test_poll_open_carrier(f);
        test_poll_send(f, "hello", 5);
        loop_run(&f->loop);
        assert_int_equal(f->lost, cases[i].error);
        assert_string_equal(f->why, cases[i].why);
    }
}

static void expect_message(struct test_poll *f, unsigned index, const void *bytes, size_t size)
{
    while (f->message_count <= index)
        test_poll_run_for(f, 1);
    assert_int_equal(f->messages[index].size, size);
    assert_memory_equal(f->messages[index].bytes, bytes, size);
}

/* Smaller bodies go up in the place of one that was refused, and of all that follow. */
static void test_too_large(void **state)
{
    struct test_poll *f = *state;
    static const struct test_trouble trouble = {"Up", TROUBLE_STATUS, 1, 2, "413 Too Large", "",
                                                "",   false};
    static uint8_t bytes[70000];
    enum { PART = 32 * 1024 };
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7 + i / 251);
    test_poll_renew(f, &trouble);
    test_poll_open_carrier(f);
    for (unsigned i = 0; i < 2; i++) {
        test_poll_send(f, bytes, sizeof(bytes));
        expect_message(f, 3 * i, bytes, PART);
        expect_message(f, 3 * i + 1, bytes + PART, PART);
        expect_message(f, 3 * i + 2, bytes + 2 * PART, sizeof(bytes) - 2 * PART);
        test_poll_await_ready(f);
        assert_int_equal(test_poll_counts(f).ups, 5 + 3 * i);
    }
    assert_int_equal(f->ready, 2);
    assert_in_range(f->carrier->operations->batch_limit(f->carrier), 1, PART);
}

static void test_nothing_is_small_enough(void **state)
{
    struct test_poll *f = *state;
    static const struct test_trouble trouble = {
        "Up", TROUBLE_STATUS, 1, TEST_EVERY, "413 Too Large", "", "", false};
    static uint8_t bytes[20000];
    test_poll_renew(f, &trouble);
    test_poll_open_carrier(f);
    test_poll_send(f, bytes, sizeof(bytes));
    loop_run(&f->loop);
    assert_int_equal(f->lost, CULVERT_ERROR_CLOSED);
    assert_string_equal(f->why, "the server there takes no body as large as this: the answer was "
                                "HTTP 413 Too Large");
    assert_int_equal(test_poll_counts(f).ups, 4); /* 20,000, 16, 8 and 4 KiB */
}

/* Who stops to read gets the rest of the message later, and no other is asked for meanwhile. */
static void test_reading(void **state)
{
    struct test_poll *f = *state;
    static uint8_t bytes[CHUNK_LARGE_SIZE + 1000];
    memset(bytes, 'x', sizeof(bytes));
    test_poll_open_carrier(f);
    f->stops_reading = true;
    test_poll_send(f, bytes, sizeof(bytes));
    loop_run(&f->loop);
    assert_int_equal(f->message.size, CHUNK_LARGE_SIZE);
    test_poll_await_ready(f);
    test_poll_run_for(f, 20);
    assert_int_equal(f->message.size, CHUNK_LARGE_SIZE);
    assert_int_equal(test_poll_counts(f).downs, 1);
    f->stops_reading = false;
    f->carrier->operations->read(f->carrier, true);
    test_poll_expect(f, bytes, sizeof(bytes));
    test_poll_send(f, "more", 4);
    test_poll_expect(f, "more", 4);
}

/* A paused carrier asks for nothing. */
static void test_paused(void **state)
{
    struct test_poll *f = *state;
    test_poll_open(f);
    test_poll_send(f, "hello", 5);
    test_poll_await_ready(f);
    test_poll_run_for(f, 20);
    assert_int_equal(test_poll_counts(f).downs, 0);
    f->carrier->operations->read(f->carrier, true);
    test_poll_expect(f, "hello", 5);
}

/* A server that says at once that there is nothing is not asked without a pause. */
static void test_nothing_too_early(void **state)
{
    struct test_poll *f = *state;
    static const struct test_trouble trouble = {
        "Down", TROUBLE_STATUS, 1, TEST_EVERY, "204 No Content", "", "", false};
    test_poll_renew(f, &trouble);
    test_poll_open_carrier(f);
    test_poll_run_for(f, 300);
    assert_int_equal(f->lost, 0);
    assert_in_range(test_poll_counts(f).downs, 2, 8);
}

static void test_too_much(void **state)
{
    struct test_poll *f = *state;
    static char body[POLL_MAX_BODY + 2];
    static char field[HTTP_MAX_HEAD + 1];
    struct test_trouble trouble = {"Down",   TROUBLE_STATUS,        1,    TEST_EVERY,
                                   "200 OK", "Culvert-Down: 1\r\n", body, false};
    memset(body, 'x', sizeof(body) - 1);
    test_poll_renew(f, &trouble);
    test_poll_open_carrier(f);
    loop_run(&f->loop);
    assert_int_equal(f->lost, CULVERT_ERROR_TOO_LARGE);
    assert_string_equal(f->why, "the server's answer is too long");

    memset(field, 'x', sizeof(field) - 1);
    memcpy(field, "X: ", 3);
    memcpy(field + sizeof(field) - 3, "\r\n", 2);
    trouble.fields = field;
    trouble.body = "x";
    test_poll_renew(f, &trouble);
    test_poll_open_carrier(f);
    loop_run(&f->loop);
    assert_int_equal(f->lost, CULVERT_ERROR_TOO_LARGE);
}

/* Full batches that come through quickly grow, to what a body may hold. */
static void test_batches(void **state)
{
    struct test_poll *f = *state;
    static uint8_t bytes[POLL_BATCH_MOST];
    test_poll_open_carrier(f);
    size_t first = f->carrier->operations->batch_limit(f->carrier);
    for (int i = 0; i < 100; i++) {
        size_t limit = f->carrier->operations->batch_limit(f->carrier);
        assert_in_range(limit, POLL_BATCH_LEAST, POLL_BATCH_MOST);
        if (limit > first)
            return;
        test_poll_send(f, bytes, limit);
        test_poll_await_ready(f);
    }
    fail_msg("it stays at %zu bytes", first);
}

/* The last batches get out when all is in order, also one behind another that is on its way, and
 * though the loop ends; nothing is told of them. */
static void test_close(void **state)
{
    struct test_poll *f = *state;
    static const struct test_trouble none = {.kind = TROUBLE_NONE};
    for (unsigned count = 1; count <= 2; count++) {
        test_poll_renew(f, &none);
        test_poll_open_carrier(f);
        test_poll_send(f, "before", 6);
        if (count == 2)
            test_poll_send_last(f, "last words", 10);
        carrier_close(f->carrier, 0, NULL);
        f->carrier = NULL;
        while (test_poll_counts(f).messages < count)
            test_poll_run_for(f, 1);
    }
    test_poll_run_for(f, 50);
    assert_int_equal(f->lost, 0);
    assert_int_equal(f->message_count, 0);
    assert_int_equal(f->ready, 0);
}

static void test_close_with_the_loop(void **state)
{
    struct test_poll *f = *state;
    test_poll_open_carrier(f);
    test_poll_send(f, "before", 6);
    test_poll_send_last(f, "last words", 10);
    carrier_close(f->carrier, 0, NULL);
    f->carrier = NULL;
    test_poll_end_loop(f);
    assert_int_equal(test_poll_counts(f).messages, 2);
}

/* But not for long. */
static void test_close_in_vain(void **state)
{
    struct test_poll *f = *state;
    test_poll_open_carrier(f);
    test_poll_hold(f);
    test_poll_send(f, "before", 6);
    carrier_close(f->carrier, 0, NULL);
    f->carrier = NULL;
    test_poll_end_loop(f);
    assert_in_range(test_poll_counts(f).messages, 0, 1);
}

/* From inside any of its events. */
static void test_close_within(void **state)
{
    struct test_poll *f = *state;
    static const struct test_trouble none = {.kind = TROUBLE_NONE};
    for (f->closes_in = 1; f->closes_in <= 4; f->closes_in++) {
        test_poll_renew(f, &none);
        test_poll_open_carrier(f);
        test_poll_send(f, "hello", 5);
        while (f->carrier != NULL)
            test_poll_run_for(f, 1);
        test_poll_run_for(f, 5);
    }
}

static void test_no_memory(void **state)
{
    struct test_poll *f = *state;
    static const struct test_trouble none = {.kind = TROUBLE_NONE};
    bool is_pending = false;
    unsigned failed = 0;
    for (size_t n = 1; !is_pending; n++) {
        test_poll_renew(f, &none);
        memory_fail_after(n);
        int error = test_poll_begin(f, 5000, NULL);
        if (error == 0)
            loop_run(&f->loop);
        else
            assert_int_equal(error, CULVERT_ERROR_NO_MEMORY);
        is_pending = memory_fail_is_pending();
        failed += error != 0 || f->carrier == NULL;
    }
    assert_in_range(failed, 5, 50);
}

/* A carrier at work lives on without memory for a moment, or is lost with that reason. */
static void test_no_memory_at_work(void **state)
{
    struct test_poll *f = *state;
    static uint8_t bytes[600 * 1024];
    static const struct test_trouble none = {.kind = TROUBLE_NONE};
    bool is_pending = false;
    for (size_t n = 1; !is_pending; n++) {
        struct slice_queue batch = SLICE_QUEUE_NULL;
        struct slice slice = {NULL, bytes, sizeof(bytes)};
        test_poll_renew(f, &none);
        test_poll_open_carrier(f);
        assert_int_equal(slice_queue_push(&batch, slice), 0);
        memory_fail_after(n);
        f->carrier->operations->send(f->carrier, &batch);
        f->wanted = f->message_count + 1;
        if (f->lost == 0)
            loop_run(&f->loop);
        is_pending = memory_fail_is_pending();
        memory_fail_after(0);
        assert_true(f->lost == 0 || f->lost == CULVERT_ERROR_NO_MEMORY);
        slice_queue_deinit(&batch);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, test_poll_set_up, test_poll_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_messages),      TEST(test_repeats),
        TEST(test_lost),          TEST(test_reading),
        TEST(test_paused),        TEST(test_nothing_too_early),
        TEST(test_too_large),     TEST(test_nothing_is_small_enough),
        TEST(test_too_much),      TEST(test_batches),
        TEST(test_close),         TEST(test_close_with_the_loop),
        TEST(test_close_in_vain), TEST(test_close_within),
        TEST(test_no_memory),     TEST(test_no_memory_at_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
