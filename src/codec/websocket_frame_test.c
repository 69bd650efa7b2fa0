#include "base/error.h"
#include "codec/websocket_trace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { CUTS = 60, MAX_INPUT = 512 * 1024 };

static struct guarded_page pages;

static void check(enum websocket_role role, uint64_t max_message, const void *input, size_t size,
                  const void *expected, size_t expected_size, int result)
{
    struct websocket_decoder decoder;
    websocket_decoder_init(&decoder, role, max_message);
    for (unsigned cut = 0; cut < CUTS; cut++) {
        struct websocket_trace trace = websocket_trace_run(decoder, &pages, input, size, cut);
        assert_int_equal(trace.result, result);
        assert_int_equal(trace.size, expected_size);
        assert_memory_equal(trace.bytes, expected, expected_size);
        free(trace.bytes);
    }
}

#define CHECK(role, input, expected) \
    check(role, 1000, input, sizeof(input) - 1, expected, sizeof(expected) - 1, 0)

#define CHECK_FAILS(role, max_message, input, expected, result) \
    check(role, max_message, input, sizeof(input) - 1, expected, sizeof(expected) - 1, result)

static void test_examples_of_the_standard(void **state)
{
    (void)state;
    /* RFC 6455 §5.7 */
    CHECK(WEBSOCKET_CLIENT, "\x81\x05Hello", "<1:Hello>E1");
    CHECK(WEBSOCKET_SERVER, "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", "<1:Hello>E1");
    CHECK(WEBSOCKET_CLIENT, "\x01\x03Hel\x80\x02lo", "<1:Hello>E1");
    CHECK(WEBSOCKET_CLIENT, "\x89\x05Hello", "<9|Hello>");
    CHECK(WEBSOCKET_SERVER, "\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", "<A|Hello>");
}

/* A frame of `size` counting bytes behind `header`, and the trace it gives. */
static void check_long(const void *header, size_t header_size, size_t size)
{
    uint8_t *input = malloc(header_size + size);
    uint8_t *expected = malloc(size + 6);
    assert_non_null(input);
    assert_non_null(expected);
    memcpy(input, header, header_size);
    memcpy(expected, "<2:", 3);
    for (size_t i = 0; i < size; i++)
        expected[3 + i] = input[header_size + i] = (uint8_t)(i * 7 + i / 256);
    memcpy(expected + 3 + size, ">E2", 3);
    check(WEBSOCKET_CLIENT, size, input, header_size + size, expected, size + 6, 0);
    check(WEBSOCKET_CLIENT, size - 1, input, header_size + size, "!", 1, CULVERT_ERROR_TOO_LARGE);
    free(input);
    free(expected);
}

static void test_long_payloads(void **state)
{
    (void)state;
    check_long("\x82\x7d", 2, 125);
    check_long("\x82\x7e\x00\x7e", 4, 126);
    check_long("\x82\x7e\x01\x00", 4, 256); /* RFC 6455 §5.7 */
    check_long("\x82\x7e\xff\xff", 4, 65535);
    check_long("\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00", 10, 65536); /* RFC 6455 §5.7 */
    check_long("\x82\x7f\x00\x00\x00\x00\x00\x04\x56\x78", 10, 0x45678);
}

static void test_empty_messages(void **state)
{
    (void)state;
    CHECK(WEBSOCKET_CLIENT, "\x82\x00", "E2");
    CHECK(WEBSOCKET_CLIENT, "\x82\x00\x81\x00\x82\x01x", "E2E1<2:x>E2");
    CHECK(WEBSOCKET_SERVER, "\x82\x80\x01\x02\x03\x04", "E2");
    CHECK(WEBSOCKET_CLIENT, "\x02\x00\x00\x00\x80\x00", "E2");
    CHECK(WEBSOCKET_CLIENT, "\x02\x00\x00\x01x\x80\x00", "<2:x>E2");
    CHECK(WEBSOCKET_CLIENT, "\x89\x00\x8a\x00\x88\x00", "<9|><A|><8|>");
}

static void test_control_frames_between_fragments(void **state)
{
    (void)state;
    CHECK(WEBSOCKET_CLIENT, "\x02\x02rs\x89\x01p\x00\x01t\x8a\x00\x88\x02\x03\xe8\x80\x01u",
          "<2:rs><9|p><2:t><A|><8|\x03\xe8><2:u>E2");
    /* Each frame with a mask of its own, also one that is zero. */
    CHECK(WEBSOCKET_SERVER,
          "\x01\x83\x01\x02\x03\x04\x60\x60\x60"
          "\x89\x82\xff\xff\xff\xff\x8e\x8d"
          "\x00\x81\x00\x00\x00\x00"
          "d"
          "\x80\x85\x10\x20\x30\x40\x75\x46\x57\x28\x79",
          "<1:abc><9|qr><1:defghi>E1");
}

static void test_batched_messages(void **state)
{
    (void)state;
    CHECK(WEBSOCKET_CLIENT, "\x82\x01x\x81\x01y\x02\x01z\x80\x01!\x89\x00",
          "<2:x>E2<1:y>E1<2:z!>E2<9|>");
}

static void test_longest_control_frame(void **state)
{
    (void)state;
    char input[2 + 125], expected[3 + 125 + 1];
    memset(input, 'p', sizeof(input));
    memcpy(input, "\x89\x7d", 2);
    memset(expected, 'p', sizeof(expected));
    memcpy(expected, "<9|", 3);
    expected[sizeof(expected) - 1] = '>';
    check(WEBSOCKET_CLIENT, 0, input, sizeof(input), expected, sizeof(expected), 0);
}

static void test_protocol_errors(void **state)
{
    (void)state;
    const int broken = CULVERT_ERROR_PROTOCOL;
    /* §5.1: the mask */
    CHECK_FAILS(WEBSOCKET_SERVER, 1000, "\x82\x01x", "!", broken);
    CHECK_FAILS(WEBSOCKET_SERVER, 1000, "\x89\x00", "!", broken);
    CHECK_FAILS(WEBSOCKET_CLIENT, 1000, "\x82\x81\x01\x02\x03\x04x", "!", broken);
    /* §5.2: reserved bits, opcodes */
    CHECK_FAILS(WEBSOCKET_CLIENT, 1000, "\xc2\x01x", "!", broken);
    CHECK_FAILS(WEBSOCKET_CLIENT, 1000, "\xa2\x01x", "!", broken);
    CHECK_FAILS(WEBSOCKET_CLIENT, 1000, "\x92\x01x", "!", broken);
    CHECK_FAILS(WEBSOCKET_CLIENT, 1000, "\x82\x01x\xc9\x00", "<2:x>E2!", broken);
    /* §5.4: fragments */
    CHECK_FAILS(WEBSOCKET_CLIENT, 1000, "\x80\x01x", "!", broken);
    CHECK_FAILS(WEBSOCKET_CLIENT, 1000, "\x00\x01x", "!", broken);
    CHECK_FAILS(WEBSOCKET_CLIENT, 1000, "\x02\x01x\x82\x01y", "<2:x>!", broken);
    CHECK_FAILS(WEBSOCKET_CLIENT, 1000, "\x02\x00\x01\x01y", "!", broken);
    CHECK_FAILS(WEBSOCKET_CLIENT, 1000, "\x02\x01x\x80\x01y\x80\x01z", "<2:xy>E2!", broken);
    /* §5.5: control frames */
    CHECK_FAILS(WEBSOCKET_CLIENT, 1000, "\x09\x00", "!", broken);
    CHECK_FAILS(WEBSOCKET_CLIENT, 1000, "\x08\x00", "!", broken);
    CHECK_FAILS(WEBSOCKET_CLIENT, 1000, "\x89\x7e\x00\x7e", "!", broken);
    CHECK_FAILS(WEBSOCKET_CLIENT, 1000, "\x8a\x7f\x00\x00\x00\x00\x00\x00\x00\x01", "!", broken);
    CHECK_FAILS(WEBSOCKET_CLIENT, 1000, "\x88\x01\x03", "!", broken);
    /* §5.2: lengths that are not minimal, or have the top bit set */
    CHECK_FAILS(WEBSOCKET_CLIENT, 1000, "\x82\x7e\x00\x7d", "!", broken);
    CHECK_FAILS(WEBSOCKET_CLIENT, 1000, "\x82\x7e\x00\x00", "!", broken);
    CHECK_FAILS(WEBSOCKET_CLIENT, 1000, "\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff", "!", broken);
    CHECK_FAILS(WEBSOCKET_CLIENT, UINT64_MAX, "\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00", "!",
                broken);
    CHECK_FAILS(WEBSOCKET_CLIENT, UINT64_MAX, "\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff", "!",
                broken);
}

static void test_unknown_opcodes(void **state)
{
    (void)state;
    for (unsigned opcode = 0; opcode < 16; opcode++) {
        uint8_t input[] = {(uint8_t)(0x80 | opcode), 0};
        if ((opcode >= 3 && opcode <= 7) || opcode >= 11)
            check(WEBSOCKET_CLIENT, 1000, input, 2, "!", 1, CULVERT_ERROR_PROTOCOL);
    }
}

static void test_message_limit(void **state)
{
    (void)state;
    const int large = CULVERT_ERROR_TOO_LARGE;
    check(WEBSOCKET_CLIENT, 4, "\x82\x04wxyz", 6, "<2:wxyz>E2", 10, 0);
    CHECK_FAILS(WEBSOCKET_CLIENT, 4, "\x82\x05vwxyz", "!", large);
    /* Over all fragments, control frames not counted, anew for each message. */
    CHECK_FAILS(WEBSOCKET_CLIENT, 4,
                "\x02\x02wx\x89\x03"
                "abc\x00\x02yz\x80\x00\x82\x04wxyz\x02\x03"
                "abc\x80\x02"
                "de",
                "<2:wx><9|abc><2:yz>E2<2:wxyz>E2<2:abc>!", large);
    CHECK_FAILS(WEBSOCKET_CLIENT, 0, "\x82\x00\x82\x01x", "E2!", large);
    /* A length of nearly 2^63 behind a first fragment must not wrap. */
    CHECK_FAILS(WEBSOCKET_CLIENT, 1000, "\x02\x01x\x80\x7f\x7f\xff\xff\xff\xff\xff\xff\xff",
                "<2:x>!", large);
}

static void test_lengths_of_64_bits(void **state)
{
    (void)state;
    struct websocket_decoder decoder;
    struct websocket_event event;
    size_t used;
    uint8_t input[] = "\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xffxy";
    websocket_decoder_init(&decoder, WEBSOCKET_CLIENT, UINT64_MAX);
    assert_int_equal(websocket_decode(&decoder, input, sizeof(input) - 1, &used, &event), 0);
    assert_int_equal(used, 12);
    assert_int_equal(event.type, WEBSOCKET_EVENT_PAYLOAD);
    assert_int_equal(event.size, 2);
    assert_ptr_equal(event.data, input + 10);
    assert_true(decoder.remaining == INT64_MAX - 2);

    /* Two such frames stay below the limit, a third would wrap. */
    decoder.remaining = 0;
    decoder.fin = false;
    uint8_t second[] = "\x00\x7f\x7f\xff\xff\xff\xff\xff\xff\xff";
    assert_int_equal(websocket_decode(&decoder, second, 0, &used, &event), 0);
    assert_int_equal(websocket_decode(&decoder, second, 10, &used, &event), 0);
    assert_true(decoder.message_size == UINT64_MAX - 1);
    decoder.remaining = 0;
    assert_int_equal(websocket_decode(&decoder, second, 0, &used, &event), 0);
    assert_int_equal(websocket_decode(&decoder, second, 10, &used, &event),
                     CULVERT_ERROR_TOO_LARGE);
}

static void test_payload_is_given_where_it_lies(void **state)
{
    (void)state;
    uint8_t input[] = "\x82\x83\x01\x02\x03\x04\x60\x60\x60\x89\x80\x01\x02\x03\x04";
    struct websocket_decoder decoder;
    struct websocket_event event;
    size_t used;
    websocket_decoder_init(&decoder, WEBSOCKET_SERVER, 10);
    assert_int_equal(websocket_decode(&decoder, input, 15, &used, &event), 0);
    assert_int_equal(event.type, WEBSOCKET_EVENT_PAYLOAD);
    assert_int_equal(event.opcode, WEBSOCKET_BINARY);
    assert_ptr_equal(event.data, input + 6);
    assert_memory_equal(event.data, "abc", 3);
    assert_int_equal(used, 9);
    assert_int_equal(websocket_decode(&decoder, input + 9, 6, &used, &event), 0);
    assert_int_equal(event.type, WEBSOCKET_EVENT_MESSAGE_END);
    assert_int_equal(used, 0);
    assert_int_equal(websocket_decode(&decoder, input + 9, 6, &used, &event), 0);
    assert_int_equal(event.type, WEBSOCKET_EVENT_CONTROL);
    assert_int_equal(event.opcode, WEBSOCKET_PING);
    assert_int_equal(used, 6);
    assert_int_equal(websocket_decode(&decoder, NULL, 0, &used, &event), 0);
    assert_int_equal(event.type, WEBSOCKET_EVENT_NONE);
    assert_int_equal(used, 0);
}

static void test_decoder_is_dead_after_an_error(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        int result;
    } broken[] = {
        {"\xc2\x00", 2, CULVERT_ERROR_PROTOCOL},
        {"\x82\x7e\x00\x01", 4, CULVERT_ERROR_PROTOCOL},
        {"\x82\x0b", 2, CULVERT_ERROR_TOO_LARGE},
    };
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        struct websocket_decoder decoder;
        struct websocket_event event;
        size_t used;
        uint8_t good[] = "\x82\x01x";
        uint8_t *input = guarded_page_put(&pages, broken[i].bytes, broken[i].size);
        websocket_decoder_init(&decoder, WEBSOCKET_CLIENT, 10);
        int result = websocket_decode(&decoder, input, broken[i].size, &used, &event);
        assert_int_equal(result, broken[i].result);
        result = websocket_decode(&decoder, good, 3, &used, &event);
        assert_int_equal(result, broken[i].result);
        assert_int_equal(event.type, WEBSOCKET_EVENT_NONE);
    }
}

static void check_header(enum websocket_opcode opcode, bool fin, uint64_t payload,
                         const uint8_t *mask, const char *expected, size_t size)
{
    uint8_t out[WEBSOCKET_MAX_HEADER];
    assert_int_equal(websocket_encode_header(out, opcode, fin, payload, mask), size);
    assert_memory_equal(out, expected, size);
}

static void test_encoded_headers(void **state)
{
    (void)state;
    const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    check_header(WEBSOCKET_TEXT, true, 5, NULL, "\x81\x05", 2);
    check_header(WEBSOCKET_TEXT, true, 5, mask, "\x81\x85\x37\xfa\x21\x3d", 6);
    check_header(WEBSOCKET_TEXT, false, 3, NULL, "\x01\x03", 2);
    check_header(WEBSOCKET_CONTINUATION, true, 2, NULL, "\x80\x02", 2);
    check_header(WEBSOCKET_PING, true, 0, NULL, "\x89\x00", 2);
    check_header(WEBSOCKET_BINARY, true, 125, NULL, "\x82\x7d", 2);
    check_header(WEBSOCKET_BINARY, true, 126, NULL, "\x82\x7e\x00\x7e", 4);
    check_header(WEBSOCKET_BINARY, true, 65535, mask, "\x82\xfe\xff\xff\x37\xfa\x21\x3d", 8);
    check_header(WEBSOCKET_BINARY, true, 65536, NULL, "\x82\x7f\0\0\0\0\0\x01\0\0", 10);
    check_header(WEBSOCKET_BINARY, true, INT64_MAX, mask,
                 "\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x37\xfa\x21\x3d", 14);
}

static int make_pages(void **state)
{
    (void)state;
    pages = guarded_page_new(MAX_INPUT);
    return 0;
}

static int free_pages(void **state)
{
    (void)state;
    guarded_page_free(&pages);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_examples_of_the_standard),
        cmocka_unit_test(test_long_payloads),
        cmocka_unit_test(test_empty_messages),
        cmocka_unit_test(test_control_frames_between_fragments),
        cmocka_unit_test(test_batched_messages),
        cmocka_unit_test(test_longest_control_frame),
        cmocka_unit_test(test_protocol_errors),
        cmocka_unit_test(test_unknown_opcodes),
        cmocka_unit_test(test_message_limit),
        cmocka_unit_test(test_lengths_of_64_bits),
        cmocka_unit_test(test_payload_is_given_where_it_lies),
        cmocka_unit_test(test_decoder_is_dead_after_an_error),
        cmocka_unit_test(test_encoded_headers),
    };
    return cmocka_run_group_tests(tests, make_pages, free_pages);
}
