/* Messages of Hubble 0.1 that break a rule, that are cut off, and that only look like it. */
#include "codec/hubble.h"

#include "base/error.h"
#include "codec/guarded_page.h"
#include "codec/message_hex.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define P CULVERT_ERROR_PROTOCOL
#define L CULVERT_ERROR_TOO_LARGE

#define KEY_GUID "a447554944"
#define KEY_DATA "a444617461"
#define KEY_X    "a3585858"

static int decode(struct guarded_page *page, const uint8_t *wire, size_t size,
                  struct message *message, struct hubble_payload *payload)
{
    int result = hubble_decode(guarded_page_put(page, wire, size), size, message, payload);
    if (result == 0 && message->type == MESSAGE_DATA && payload->size <= page->capacity) {
        uint8_t *out = malloc(payload->size + 1);
        assert_non_null(out);
        hubble_payload_copy(payload, out);
        free(out);
    }
    return result;
}

/* The whole gives the result. No part of a message that is taken is one, and none of another. */
static void check_wire(const uint8_t *wire, size_t size, int expected)
{
    struct guarded_page page = guarded_page_new(4 * HUBBLE_MAX_CONTROL);
    struct message message;
    struct hubble_payload payload;
    for (size_t part = 0; part < size; part++) {
        int result = decode(&page, wire, part, &message, &payload);
        if (expected != L && result != P)
            fail_msg("%zu of %zu bytes give %d", part, size, result);
        if (expected == L && result != P && result != L)
            fail_msg("%zu of %zu bytes give %d", part, size, result);
        assert_int_equal(message.type, 0);
    }
    int result = decode(&page, wire, size, &message, &payload);
    if (result != expected)
        fail_msg("%02x %02x... gives %d, not %d", wire[0], wire[1], result, expected);
    if (expected == P)
        assert_int_equal(message.type, 0);
    if (expected == 0)
        assert_int_equal(message.type, wire[0]);
    guarded_page_free(&page);
}

struct row {
    const char *wire;
    int result;
};

static void check_rows(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint8_t wire[512];
        size_t size = message_hex(rows[i].wire, wire, sizeof wire);
        struct message message;
        struct hubble_payload payload;
        int result = hubble_decode(wire, size, &message, &payload);
        if (result != rows[i].result)
            fail_msg("%s gives %d, not %d", rows[i].wire, result, rows[i].result);
        check_wire(wire, size, rows[i].result);
    }
}

#define CHECK(rows) check_rows(rows, sizeof(rows) / sizeof((rows)[0]))

/* Each kind of head that a message may have, cut off at every byte. */
static void test_whole_and_in_part(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"01 83 a34b6579a0 a44e616d65a465617374 a756657273696f6ea3302e31", 0},
        {"02 85 a447554944a27331 a847617465 6e616d65a477657374 a34b6579a16b aa52656d6f7465486f7374"
         "a93132372e302e302e31 aa52656d6f7465506f727416",
         0},
        {"03 83 a444617461a26869 a447554944a27331 a54f7264657201", 0},
        {"03 83 a444617461a26869 a447554944a27331 a54f72646572ccc8", 0},
        {"04 81 a447554944a27331", 0},
        {"05 81 a447554944a27331", 0},
        {"ff 83 a447554944a0 a74d657373616765a53c6e696c3e a24f6bc3", 0},
        {"ff 83 a447554944a27331 a74d657373616765"
         "b647617465776179206e6f742072656769737465726564 a24f6bc2",
         0},
        {"03 dd00000003 c6000000027331 cf0000000000000001 dd00000002ccffd07f", 0},
        {"03 dc0003 c500027331 d30000000000000001 db000000026869", 0},
        {"03 df00000002 c40447554944 d9027331 d90444617461 c40168", 0},
        {"03 de0001 db0000000447554944 a27331", 0},
        {"04 82 " KEY_X "c70201aabb " KEY_GUID "a27331", 0},
        {"04 82 " KEY_X "ca00000000 " KEY_GUID "a27331", 0},
        {"04 82 " KEY_X "cb0000000000000000 " KEY_GUID "a27331", 0},
        {"04 82 " KEY_X "d801000102030405060708090a0b0c0d0e0f " KEY_GUID "a27331", 0},
        {"04 92 a27331 93c0c2 82c40101 c3 01 e0", 0},
        {"01 c0", 0},
        {"04 80", 0},
        {"04 90", 0},
    };
    CHECK(rows);
}

static void test_types(void **state)
{
    (void)state;
    for (unsigned type = 0; type <= UINT8_MAX; type++) {
        uint8_t wire[] = {(uint8_t)type, 0x80};
        bool is_known = (type >= 1 && type <= 5) || type == 0xFF;
        check_wire(wire, sizeof wire, is_known ? 0 : CULVERT_ERROR_PROTOCOL);
    }
}

static void test_declared_sizes(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"01", P},
        {"01 df ffffffff", P}, /* a map of four thousand million, in five bytes */
        {"01 df 80000000", P},
        {"01 dd ffffffff", P},
        {"01 dd ffffffff c0c0c0", P},
        {"01 91 db ffffffff", P}, /* a text */
        {"01 91 c6 ffffffff 41", P},
        {"03 93 a0 00 dd ffffffff 00", P}, /* a payload */
        {"03 93 a0 00 c6 ffffffff 00", P},
        {"01 81 db ffffffff", P},                  /* a key */
        {"04 81 " KEY_X "db ffffffff", L},         /* what is skipped */
        {"04 81 " KEY_X "dd ffffffff", L},         /* the same */
        {"04 81 " KEY_X "df ffffffff", L},         /* the same */
        {"04 81 " KEY_X "c9 ffffffff", L},         /* the same */
        {"04 81 " KEY_X "91 df 7fffffff 0101", L}, /* inside */
        {"04 92 a0 c6 ffffffff", L},               /* behind the last field */
        {"04 81 " KEY_X "dc1000", P},
    };
    CHECK(rows);
}

static void test_depth(void **state)
{
    (void)state;
    uint8_t wire[64];
    for (unsigned byte = 0x81; byte <= 0x91; byte += 0x10) {
        for (size_t depth = 15; depth <= 17; depth++) {
            size_t size = message_hex("04 81 " KEY_X, wire, sizeof wire);
            for (size_t i = 1; i < depth; i++) {
                wire[size++] = (uint8_t)byte;
                if (byte == 0x81)
                    wire[size++] = 0x01;
            }
            wire[size++] = 0x90;
            check_wire(wire, size, depth > 16 ? CULVERT_ERROR_TOO_LARGE : 0);
        }
    }
    memset(wire, 0x91, sizeof wire);
    wire[0] = 0x04;
    check_wire(wire, sizeof wire, CULVERT_ERROR_PROTOCOL); /* a GUID that is an array */
}

static void test_wrong_types(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"01 c1", P}, /* never used */
        {"01 91 c1", P},
        {"04 81 " KEY_X "c1", P},
        {"01 01", P}, /* neither map, array nor nil */
        {"01 a0", P},
        {"01 c4 00", P},
        {"01 c3", P},
        {"01 ff", P},
        {"01 ca 00000000", P},
        {"01 d4 0000", P},
        {"01 81 01 a0", P}, /* keys that are no text */
        {"01 81 c0 a0", P},
        {"01 81 90 a0", P},
        {"01 91 01", P}, /* a number as a text */
        {"01 91 c2", P},
        {"01 91 90", P},
        {"01 91 80", P},
        {"01 91 ca 00000000", P},
        {"01 91 d4 0000", P},
        {"ff 93 a0 c3 01", P},
        {"ff 92 a0 a0", P}, /* a text as a boolean */
        {"ff 92 a0 02", P}, /* two */
        {"ff 92 a0 ff", P}, /* minus one */
        {"ff 92 a0 cd 0100", P},
        {"ff 92 a0 ca 3f800000", P},
        {"02 93 a0 a0 a0", P}, /* a text as a port */
        {"02 93 a0 a0 c3", P},
        {"02 93 a0 a0 ca 41b00000", P},
        {"02 93 a0 a0 cb 4036000000000000", P},
        {"03 92 a0 a131", P}, /* a text as an order */
        {"03 92 a0 cb 3ff0000000000000", P},
        {"03 93 a0 00 01", P}, /* a number as a payload */
        {"03 93 a0 00 c3", P},
        {"03 93 a0 00 80", P},
        {"03 93 a0 00 d4 0000", P},
        {"03 93 a0 00 91 a0", P}, /* an array of something else */
        {"03 93 a0 00 91 91 01", P},
        {"03 93 a0 00 91 c3", P},
        {"03 93 a0 00 91 cd 0100", P},
        {"03 93 a0 00 91 ff", P},
        {"03 93 a0 00 91 ca 00000000", P},
    };
    CHECK(rows);
}

static void test_ranges(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"02 93 a0 a0 cd ffff", 0},
        {"02 93 a0 a0 ce 00010000", P},
        {"02 93 a0 a0 cf 0000000100000016", P},
        {"02 93 a0 a0 cf ffffffffffffffff", P},
        {"02 93 a0 a0 d1 ffff", P},
        {"02 93 a0 a0 ff", P},
        {"03 92 a0 cf 7fffffffffffffff", 0},
        {"03 92 a0 cf 8000000000000000", P},
        {"03 92 a0 d3 8000000000000000", 0},
    };
    CHECK(rows);
}

/* A message of type `type` with one field, a text of `size` bytes, one of them `odd`. */
static size_t build_text(uint8_t *wire, uint8_t type, const char *key, size_t size, uint8_t odd)
{
    size_t at = 0;
    wire[at++] = type;
    wire[at++] = 0x82;
    at += message_hex(KEY_GUID "a27331", wire + at, 16);
    wire[at++] = (uint8_t)(0xA0 + strlen(key));
    memcpy(wire + at, key, strlen(key));
    at += strlen(key);
    wire[at++] = 0xDA;
    wire[at++] = (uint8_t)(size >> 8);
    wire[at++] = (uint8_t)size;
    memset(wire + at, 'x', size);
    if (size > 0)
        wire[at + size / 2] = odd;
    return at + size;
}

static const struct {
    uint8_t type;
    const char *key;
    size_t max;
} texts[] = {
    {0x01, "Version", MESSAGE_MAX_VERSION}, {0x01, "Name", MESSAGE_MAX_NAME},
    {0x01, "Key", MESSAGE_MAX_KEY},         {0x02, "RemoteHost", MESSAGE_MAX_HOST},
    {0x02, "Gatename", MESSAGE_MAX_NAME},   {0x02, "Key", MESSAGE_MAX_KEY},
};

static void test_lengths_of_texts(void **state)
{
    (void)state;
    uint8_t wire[1024];
    struct message message;
    struct hubble_payload payload;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        size_t max = texts[i].max;
        check_wire(wire, build_text(wire, texts[i].type, texts[i].key, max, 'x'), 0);
        check_wire(wire, build_text(wire, texts[i].type, texts[i].key, max, 0xFF), 0);
        check_wire(wire, build_text(wire, texts[i].type, texts[i].key, max, 0), P);
        size_t size = build_text(wire, texts[i].type, texts[i].key, max + 1, 'x');
        check_wire(wire, size, L);
        /* Such an open can be refused by its name. */
        assert_int_equal(hubble_decode(wire, size, &message, &payload), L);
        assert_int_equal(message.type, texts[i].type);
        if (texts[i].type == MESSAGE_OPEN)
            assert_true(text_equals(message.guid, "s1"));
    }
}

static void test_long_text_beside_an_error(void **state)
{
    (void)state;
    uint8_t wire[1024];
    struct message message;
    struct hubble_payload payload;
    size_t size = build_text(wire, 0x02, "Key", MESSAGE_MAX_KEY + 1, 'x');
    wire[1] = 0x83;
    size_t end = size + message_hex("a3585858 c1", wire + size, 16);
    assert_int_equal(hubble_decode(wire, end, &message, &payload), P);
    assert_int_equal(message.type, 0);
    /* A GUID that is too long names nothing. */
    for (size_t length = HUBBLE_MAX_GUID; length <= HUBBLE_MAX_GUID + 1; length++) {
        size = build_text(wire, 0x02, "GUID", length, 'x');
        bool is_long = length > HUBBLE_MAX_GUID;
        check_wire(wire, size, is_long ? L : 0);
        int result = hubble_decode(wire, size, &message, &payload);
        assert_int_equal(result, is_long ? L : 0);
        assert_int_equal(message.type, is_long ? 0 : MESSAGE_OPEN);
    }
}

static void test_long_reasons_are_cut(void **state)
{
    (void)state;
    static const struct {
        const char *end; /* stands from `at` on */
        size_t at;
        size_t size; /* that is left */
    } rows[] = {
        {"yy", 510, 512},
        {"yyy", 510, 512},
        {"\xC3\xA4", 510, 512},
        {"\xC3\xA4", 511, 511},
        {"\xE2\x82\xAC", 510, 510},
        {"\xE2\x82\xAC", 511, 511},
        {"\xF0\x9F\x98\x80", 509, 509},
        {"\x80\x80\x80\x80\x80\x80", 507, 512}, /* no characters at all */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t wire[1024];
        size_t size = build_text(wire, 0xFF, "Message", 600, 'x');
        memcpy(wire + size - 600 + rows[i].at, rows[i].end, strlen(rows[i].end));
        check_wire(wire, size, 0);
        struct message message;
        struct hubble_payload payload;
        assert_int_equal(hubble_decode(wire, size, &message, &payload), 0);
        assert_int_equal(message.ack.message.size, rows[i].size);
        wire[size - 1] = '\0'; /* also where it is cut away */
        assert_int_equal(hubble_decode(wire, size, &message, &payload), P);
    }
}

/* A terminator with an unknown value that makes it `size` bytes long. */
static size_t build_padded(uint8_t *wire, const char *start, size_t size)
{
    size_t at = message_hex(start, wire, 64);
    size_t rest = size - at - 3;
    wire[at++] = 0xC5;
    wire[at++] = (uint8_t)(rest >> 8);
    wire[at++] = (uint8_t)rest;
    memset(wire + at, 'x', rest);
    return size;
}

static void test_largest_messages(void **state)
{
    (void)state;
    static uint8_t wire[3 * HUBBLE_MAX_CONTROL];
    size_t size = build_padded(wire, "04 82 " KEY_GUID "a27331 " KEY_X, HUBBLE_MAX_CONTROL);
    check_wire(wire, size, 0);
    memset(wire + size, 0xC1, HUBBLE_MAX_CONTROL); /* what is behind it does not count */
    struct message message;
    struct hubble_payload payload;
    assert_int_equal(hubble_decode(wire, 2 * HUBBLE_MAX_CONTROL, &message, &payload), 0);
    size = build_padded(wire, "04 82 " KEY_GUID "a27331 " KEY_X, HUBBLE_MAX_CONTROL + 1);
    check_wire(wire, size, L);
    /* Small ones add up as well. */
    memset(wire, 0xC0, sizeof wire);
    message_hex("04 dc1ffc", wire, 8);
    assert_int_equal(hubble_decode(wire, sizeof wire, &message, &payload), 0);
    message_hex("04 dc1ffd", wire, 8);
    assert_int_equal(hubble_decode(wire, sizeof wire, &message, &payload), L);
    /* The payload of data does not count; what is in place of one does, and a first one. */
    size = build_padded(wire, "03 82 " KEY_GUID "a27331 " KEY_DATA, 2 * HUBBLE_MAX_CONTROL);
    check_wire(wire, size, 0);
    size = build_padded(wire, "03 82 " KEY_DATA "c0" KEY_X, HUBBLE_MAX_CONTROL + 1);
    check_wire(wire, size, L);
    size = build_padded(wire, "03 82 " KEY_DATA, 2 * HUBBLE_MAX_CONTROL);
    size += message_hex(KEY_DATA "a0", wire + size, 16);
    assert_int_equal(hubble_decode(wire, size, &message, &payload), L);
}

static void test_largest_array(void **state)
{
    (void)state;
    static uint8_t wire[64 + 9 * 65535], bytes[65535];
    size_t size = message_hex("03 93 a27331 01 dcffff", wire, 64);
    for (size_t i = 0; i < 65535; i++)
        size += message_hex("cf00000000000000ab", wire + size, 9);
    struct message message;
    struct hubble_payload payload;
    assert_int_equal(hubble_decode(wire, size, &message, &payload), 0);
    assert_int_equal(payload.size, 65535);
    assert_int_equal(message.payload, 65535);
    hubble_payload_copy(&payload, bytes);
    for (size_t i = 0; i < sizeof bytes; i++)
        assert_int_equal(bytes[i], 0xAB);
    assert_int_equal(hubble_decode(wire, size - 1, &message, &payload), P);
}

static void test_encode_refuses(void **state)
{
    (void)state;
    uint8_t out[HUBBLE_MAX_ENCODED];
    char longest[MESSAGE_MAX_REASON + 1];
    memset(longest, 'x', sizeof longest);
    struct message message = {.type = MESSAGE_ACK};
    message.ack.message = (struct text){longest, MESSAGE_MAX_REASON};
    assert_in_range(hubble_encode(&message, out, sizeof out), 1, sizeof out);
    message.ack.message.size++;
    assert_int_equal(hubble_encode(&message, out, sizeof out), CULVERT_ERROR_TOO_LARGE);
    message.ack.ok = true; /* then it is not written */
    assert_in_range(hubble_encode(&message, out, sizeof out), 1, sizeof out);

    message = (struct message){.type = MESSAGE_FIN, .guid = {longest, HUBBLE_MAX_GUID}};
    assert_in_range(hubble_encode(&message, out, sizeof out), 1, sizeof out);
    message.guid.size++;
    assert_int_equal(hubble_encode(&message, out, sizeof out), CULVERT_ERROR_TOO_LARGE);
    message.guid = (struct text){"a\0b", 3};
    assert_int_equal(hubble_encode(&message, out, sizeof out), CULVERT_ERROR_INVALID);

    message = (struct message){.type = MESSAGE_OPEN, .open.kind = text_of("udp")};
    assert_int_equal(hubble_encode(&message, out, sizeof out), CULVERT_ERROR_INVALID);
    static const enum message_type others[] = {MESSAGE_DATA, MESSAGE_CREDIT,   MESSAGE_DATAGRAM,
                                               MESSAGE_PING, MESSAGE_RECEIVED, MESSAGE_GOAWAY};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        message = (struct message){.type = others[i]};
        assert_int_equal(hubble_encode(&message, out, sizeof out), CULVERT_ERROR_INVALID);
    }
}

/* Whatever is within the limits has room. */
static void test_largest_open_is_encoded(void **state)
{
    (void)state;
    uint8_t out[HUBBLE_MAX_ENCODED];
    char text[MESSAGE_MAX_KEY];
    memset(text, 'x', sizeof text);
    struct message message = {.type = MESSAGE_OPEN, .guid = {text, HUBBLE_MAX_GUID}};
    message.open = (struct message_open){.kind = text_of("tcp"),
                                         .agent = {text, MESSAGE_MAX_NAME},
                                         .host = {text, MESSAGE_MAX_HOST},
                                         .port = UINT16_MAX,
                                         .key = {text, MESSAGE_MAX_KEY}};
    int size = hubble_encode(&message, out, sizeof out);
    assert_in_range(size, 1, sizeof out);
    check_wire(out, (size_t)size, 0);
    message.open.key.size++;
    assert_int_equal(hubble_encode(&message, out, sizeof out), CULVERT_ERROR_TOO_LARGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_and_in_part),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_declared_sizes),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_wrong_types),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_lengths_of_texts),
        cmocka_unit_test(test_long_text_beside_an_error),
        cmocka_unit_test(test_long_reasons_are_cut),
        cmocka_unit_test(test_largest_messages),
        cmocka_unit_test(test_largest_array),
        cmocka_unit_test(test_encode_refuses),
        cmocka_unit_test(test_largest_open_is_encoded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
