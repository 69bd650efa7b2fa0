#include "lua/frame.h"

#include "base/error.h"
#include "base/memory.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static void fill(struct frame *frame)
{
    frame_object(frame);
    frame_member(frame, "a", "x\"\\\n\x01\xc3\xa4");
    frame_number(frame, "b", 18446744073709551615u);
    frame_json(frame, "c", "[1]", 3);
    frame_add(frame, "}", 1);
}

static const char EXPECTED[] =
    "{\"a\":\"x\\u0022\\u005c\\u000a\\u0001\xc3\xa4\",\"b\":18446744073709551615,\"c\":[1]}";

static void test_a_frame_holds_json(void **state)
{
    (void)state;
    struct frame frame = {0};
    fill(&frame);
    assert_int_equal(frame_end(&frame), 0);
    assert_int_equal(frame.size, FRAME_HEADER_SIZE + sizeof EXPECTED - 1);
    assert_memory_equal(frame.data, ((uint8_t[]){0, 0, 0, sizeof EXPECTED - 1}), 4);
    assert_memory_equal(frame.data + 4, EXPECTED, sizeof EXPECTED - 1);
    frame_object(&frame);
    frame_add(&frame, "}", 1);
    assert_int_equal(frame_end(&frame), 0);
    assert_memory_equal(frame.data, "\0\0\0\x02{}", 6);
    frame_deinit(&frame);
    frame_deinit(&frame);
    assert_true(frame_is_empty(&frame));
}

static void test_memory_that_runs_out(void **state)
{
    (void)state;
    static char large[4000];
    memset(large, 'x', sizeof large - 1);
    int error = CULVERT_ERROR_NO_MEMORY;
    for (size_t n = 1; error != 0; n++) {
        struct frame frame = {0};
        memory_fail_after(n);
        fill(&frame);
        frame_member(&frame, "large", large);
        error = frame_end(&frame);
        memory_fail_after(0);
        assert_true(error == 0 || (error == CULVERT_ERROR_NO_MEMORY && frame.data == NULL));
        assert_true(error != 0 || n > 2);
        frame_deinit(&frame);
    }
    struct frame_reader reader;
    size_t used;
    frame_reader_init(&reader, 10);
    memory_fail_after(1);
    assert_int_equal(frame_reader_take(&reader, (const uint8_t *)"\0\0\0\x01x", 5, &used),
                     CULVERT_ERROR_NO_MEMORY);
    memory_fail_after(0);
    frame_reader_deinit(&reader);
}

static void test_reading_whole_and_byte_by_byte(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {0, 0, 0, 3, 'a', 'b', 'c', 0, 0, 0, 0, 0, 0, 0, 1, 'd'};
    static const char *const frames[] = {"abc", "", "d"};
    for (size_t step = 1; step <= sizeof bytes; step++) {
        struct frame_reader reader;
        size_t count = 0;
        size_t place = 0;
        size_t end = step;
        frame_reader_init(&reader, 3);
        while (count < 3) {
            size_t used;
            int result = frame_reader_take(&reader, bytes + place, end - place, &used);
            place += used;
            if (result == CULVERT_NEED_MORE) {
                assert_int_equal(place, end);
                assert_true(end < sizeof bytes);
                end = end + step < sizeof bytes ? end + step : sizeof bytes;
                continue;
            }
            assert_int_equal(result, 0);
            assert_int_equal(reader.size, strlen(frames[count]));
            assert_string_equal(reader.data, frames[count]);
            frame_reader_next(&reader);
            count++;
        }
        assert_int_equal(place, sizeof bytes);
        frame_reader_deinit(&reader);
    }
}

static void test_a_length_above_the_limit(void **state)
{
    (void)state;
    struct frame_reader reader;
    size_t used;
    frame_reader_init(&reader, 3);
    assert_int_equal(frame_reader_take(&reader, (const uint8_t *)"\0\0\0\x04", 4, &used),
                     CULVERT_ERROR_TOO_LARGE);
    frame_reader_next(&reader);
    assert_int_equal(frame_reader_take(&reader, (const uint8_t *)"\xff\xff\xff\xff", 4, &used),
                     CULVERT_ERROR_TOO_LARGE);
    frame_reader_deinit(&reader);
}

static void test_sockets(void **state)
{
    (void)state;
    enum { SIZE = 1000000 };
    int pair[2];
    struct frame frame = {0};
    struct frame_reader reader;
    char *large = calloc(1, SIZE);
    assert_non_null(large);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    frame_reader_init(&reader, SIZE);
    assert_int_equal(frame_receive(&reader, pair[1]), CULVERT_NEED_MORE);
    frame_begin(&frame);
    frame_add(&frame, large, SIZE);
    assert_int_equal(frame_end(&frame), 0);
    int sending = frame_send(&frame, pair[0]);
    assert_int_equal(sending, CULVERT_NEED_MORE);
    int result = CULVERT_NEED_MORE;
    while (result == CULVERT_NEED_MORE) {
        result = frame_receive(&reader, pair[1]);
        if (sending == CULVERT_NEED_MORE)
            sending = frame_send(&frame, pair[0]);
    }
    assert_int_equal(result, 0);
    assert_int_equal(sending, 0);
    assert_true(frame_is_empty(&frame));
    assert_int_equal(reader.size, SIZE);
    frame_reader_next(&reader);

    /* Half a frame, then the end. */
    assert_int_equal(send(pair[0], "\0\0\0\x02x", 5, 0), 5);
    assert_int_equal(close(pair[0]), 0);
    assert_int_equal(frame_receive(&reader, pair[1]), CULVERT_ERROR_CLOSED);
    fill(&frame);
    assert_int_equal(frame_end(&frame), 0);
    assert_int_equal(frame_send(&frame, pair[1]), -EPIPE);
    frame_deinit(&frame);
    frame_reader_deinit(&reader);
    close(pair[1]);
    free(large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_frame_holds_json),
        cmocka_unit_test(test_memory_that_runs_out),
        cmocka_unit_test(test_reading_whole_and_byte_by_byte),
        cmocka_unit_test(test_a_length_above_the_limit),
        cmocka_unit_test(test_sockets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
