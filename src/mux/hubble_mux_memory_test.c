/* Memory that runs out, at each allocation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mux/hubble_mux_fake.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/reason.h"

#include <stdio.h>

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

static struct hubble_fake_holder *answering(const char *guid)
{
    struct hubble_fake_holder *holder = hubble_fake_open(&end, guid);
    hubble_fake_peer_answers(&end, guid, NULL);
    hubble_mux_ponged(&end.mux);
    hubble_fake_sent(&end);
    hubble_fake_told(&end);
    return holder;
}

static void opens_without_memory_are_refused(void **state)
{
    (void)state;
    char guid[32];
    int failures = 0;
    for (size_t n = 1;; n++) {
        snprintf(guid, sizeof guid, "g%zu", n);
        struct message message = {.type = MESSAGE_OPEN, .guid = text_of(guid)};
        memory_fail_after(n);
        int result = hubble_fake_receive(&end, &message, NULL, 0);
        bool is_pending = memory_fail_is_pending();
        memory_fail_after(0);
        if (is_pending)
            break;
        failures++;
        assert_int_equal(0, result);
        assert_null(hubble_fake_find(&end, guid));
        char expected[64];
        snprintf(expected, sizeof expected, "ff %s no out of memory; ", guid);
        assert_sent(expected);
    }
    assert_true(failures >= 2);
}

static void an_open_of_ours_without_memory_leaves_nothing(void **state)
{
    (void)state;
    struct message_open open = {.kind = text_of("tcp"), .guid = text_of("s1"), .port = 1};
    struct stream *stream;
    int failures = 0;
    for (size_t n = 1;; n++) {
        memory_fail_after(n);
        int result = hubble_mux_open(&end.mux, &open, end.now, &stream);
        memory_fail_after(0);
        if (result == 0)
            break;
        assert_int_equal(CULVERT_ERROR_NO_MEMORY, result);
        assert_int_equal(0, end.mux.failure);
        assert_int_equal(0, end.mux.sessions.count);
        hubble_mux_turn_ends(&end.mux, end.now);
        failures++;
    }
    assert_true(failures >= 3);
    assert_sent("02 s1  :1; ");
    stream->operations->close(stream);
}

static void write_without_memory(struct hubble_fake_holder *holder)
{
    hubble_fake_write_size(holder, 4 * 100, 100);
    struct slice_queue queue = SLICE_QUEUE_NULL;
    struct slice slice;
    assert_int_equal(0, slice_copy(&end.pool, "x", 1, &slice));
    assert_int_equal(0, slice_queue_push(&queue, slice));
    memory_fail_after(1);
    holder->stream->operations->write(holder->stream, &queue);
    assert_false(memory_fail_is_pending());
    memory_fail_after(0);
    assert_int_equal(0, queue.count);
    slice_queue_deinit(&queue);
}

static void a_write_without_memory_breaks_the_stream_later(void **state)
{
    (void)state;
    struct hubble_fake_holder *s1 = answering("s1");
    write_without_memory(s1);
    assert_told("");
    hubble_fake_write(s1, "ignored");
    hubble_mux_turn_ends(&end.mux, end.now);
    assert_told("s1 reset 9; ");
    assert_sent("04 s1; ");
    assert_int_equal(0, end.mux.queued);
    struct hubble_fake_holder *s2 = answering("s2");
    write_without_memory(s2);
    hubble_fake_reset(s2, REASON_RESET, NULL);
    struct hubble_fake_holder *s3 = answering("s3");
    write_without_memory(s3);
    hubble_fake_close(s3);
    assert_sent("04 s3; ");
    assert_told("");
}

static void a_refusal_without_memory_loses_its_text(void **state)
{
    (void)state;
    hubble_fake_peer_opens(&end, "s1");
    memory_fail_after(1);
    hubble_fake_reset(hubble_fake_find(&end, "s1"), REASON_DIAL_REFUSED, "a text of its own");
    memory_fail_after(0);
    assert_sent("ff s1 no connection refused by the target; ");
}

/* Whatever fails to be sent cuts the connection, and nothing is lost of. */
static void a_pull_without_memory_fails(void **state)
{
    (void)state;
    static const char *const what[] = {"refusal", "ack", "end", "data"};
    for (size_t i = 0; i < sizeof what / sizeof what[0]; i++) {
        int failures = 0;
        bool is_pending = false;
        for (size_t n = 1; !is_pending; n++) {
            hubble_fake_deinit(&end);
            hubble_fake_init(&end, HUBBLE_GATEWAY);
            struct hubble_fake_holder *holder = answering("s1");
            hubble_mux_turn_ends(&end.mux, end.now);
            if (i == 0)
                hubble_mux_refuse(&end.mux, text_of("s2"), REASON_LIMIT, NULL);
            if (i == 1) {
                hubble_fake_peer_opens(&end, "s2");
                hubble_fake_accept(hubble_fake_find(&end, "s2"));
            }
            if (i == 2)
                hubble_fake_close(holder);
            if (i == 3)
                hubble_fake_write_size(holder, 10000, 1000);
            chunk_pool_trim(&end.pool);
            struct slice_queue out = SLICE_QUEUE_NULL;
            memory_fail_after(n);
            int result = hubble_mux_pull(&end.mux, &out, end.now);
            is_pending = memory_fail_is_pending();
            memory_fail_after(0);
            slice_queue_deinit(&out);
            assert_int_equal(is_pending ? 1 : CULVERT_ERROR_NO_MEMORY, result);
            assert_int_equal(is_pending ? 0 : CULVERT_ERROR_NO_MEMORY, end.mux.failure);
            failures += !is_pending;
        }
        assert_true(failures > 0);
    }
}

static void parked_slices_are_copied_together(void **state)
{
    (void)state;
    enum { SLICES = 64 };
    struct hubble_fake_holder *s1 = hubble_fake_open(&end, "s1");
    hubble_fake_sent(&end);
    for (int i = 0; i < SLICES; i++)
        hubble_fake_write_size(s1, 10, 10);
    parking_settle_all(&end.pool);
    assert_int_equal(SLICES, hubble_stream_from(s1->stream)->out.count);
    parking_settle_all(&end.pool);
    assert_int_equal(1, hubble_stream_from(s1->stream)->out.count);
    assert_int_equal(10 * SLICES, end.mux.queued);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(opens_without_memory_are_refused),
        TEST(an_open_of_ours_without_memory_leaves_nothing),
        TEST(a_write_without_memory_breaks_the_stream_later),
        TEST(a_refusal_without_memory_loses_its_text),
        TEST(a_pull_without_memory_fails),
        TEST(parked_slices_are_copied_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
