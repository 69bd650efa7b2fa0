/* Messages that break a rule, and messages that only look like it. */
#include "codec/message.h"

#include "base/error.h"
#include "codec/guarded_page.h"
#include "codec/message_hex.h"
#include "codec/message_measure.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <msgpack.h>

#define P CULVERT_ERROR_PROTOCOL
#define L CULVERT_ERROR_TOO_LARGE
#define M CULVERT_NEED_MORE

#define LINK_HEX "c410000102030405060708090a0b0c0d0e0f"

/* The library's allocations go through these two; a test may make one of them fail. */
static size_t until_failure;

static bool fails_now(void)
{
    return until_failure > 0 && --until_failure == 0;
}

msgpack_zone *msgpack_zone_new(size_t chunk_size)
{
    msgpack_zone *(*original)(size_t);
    *(void **)&original = dlsym(RTLD_NEXT, "msgpack_zone_new");
    return fails_now() ? NULL : original(chunk_size);
}

void *msgpack_zone_malloc_expand(msgpack_zone *zone, size_t size)
{
    void *(*original)(msgpack_zone *, size_t);
    *(void **)&original = dlsym(RTLD_NEXT, "msgpack_zone_malloc_expand");
    return fails_now() ? NULL : original(zone, size);
}

static int decode(struct guarded_page *page, const uint8_t *wire, size_t size,
                  struct message *message, size_t *used)
{
    return message_decode(guarded_page_put(page, wire, size), size, message, used);
}

/* The whole gives the result, and so does every part of it that does not ask for more. */
static void check_wire(const uint8_t *wire, size_t size, int expected)
{
    struct guarded_page page = guarded_page_new(2 * MESSAGE_MAX_CONTROL);
    struct message message;
    size_t used = 4711;
    for (size_t part = 0; part < size; part++) {
        int result = decode(&page, wire, part, &message, &used);
        if (result != CULVERT_NEED_MORE)
            assert_int_equal(result, expected);
    }
    assert_int_equal(decode(&page, wire, size, &message, &used), expected);
    if (expected != 0)
        assert_int_equal(used, 4711);
    else
        assert_in_range(used, 1, size);
    guarded_page_free(&page);
}

struct row {
    const char *wire;
    int result;
};

static void check_rows(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint8_t wire[2 * MESSAGE_MAX_CONTROL];
        size_t size = message_hex(rows[i].wire, wire, sizeof wire);
        struct message message;
        size_t used;
        int result = message_decode(wire, size, &message, &used);
        if (result != rows[i].result)
            fail_msg("%s gives %d, not %d", rows[i].wire, result, rows[i].result);
        check_wire(wire, size, rows[i].result);
    }
}

#define CHECK(rows) check_rows(rows, sizeof(rows) / sizeof((rows)[0]))

static void test_declared_sizes(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"02 dd ffffffff", L},         /* an array of four thousand million, in five bytes */
        {"02 df ffffffff", L},         /* a map */
        {"02 df 80000000", L},         /* twice its count overflows 32 bits */
        {"02 db ffffffff", L},         /* a text */
        {"02 c6 ffffffff", L},         /* a bin */
        {"02 c9 ffffffff", L},         /* an extension */
        {"33 dd ffffffff", L},         /* of a type that is not known */
        {"02 97 01 db ffffffff", L},   /* inside */
        {"02 dc 0fff", L},             /* 1 + 3 + 4095 */
        {"02 dc 0ffc", M},             /* 1 + 3 + 4092 is 4096 */
        {"02 dc 0ffd", L},             /* one more */
        {"02 da 0ffc", M},             /* the same for a text */
        {"02 da 0ffd", L},             /* one more */
        {"02 92 da 0ffa", M},          /* an item still to come counts */
        {"02 92 da 0ffb", L},          /* one more */
        {"02 de 07fe", M},             /* an entry of a map is two values */
        {"02 de 07ff", L},             /* one more */
        {"08 dd ffffffff", L},         /* a type that is decoded by hand */
        {"03 92 01 c6 00010000", 0},   /* 64 KiB of data */
        {"03 92 01 c6 00010001", L},   /* and one byte */
        {"03 92 01 c6 ffffffff", L},   /* and much more */
        {"07 92 01 c6 00010001", L},   /* the same for a datagram */
        {"03 dd ffffffff", P},         /* data has two items */
        {"03 dd 00000002 01 c401", 0}, /* whatever the width of the count */
    };
    CHECK(rows);
}

static void test_depth(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"33 91919191 01", 0}, {"33 91919190", 0},     {"33 9191919191 01", L},
        {"33 9191919190", L},  {"33 81018101", M},     {"33 8101 8101 8101 8101 8101 01", L},
        {"33 91818180", M},    {"33 91919180", 0},     {"33 9191919180", L},
        {"33 9291919101", M},  {"33 929191910191", M}, {"33 92919191 01 919191 01", 0},
    };
    CHECK(rows);
}

static void test_wrong_types(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"03 93 01 c401 00", P},              /* an item behind the payload */
        {"03 91 01", P},                      /* no payload */
        {"03 90", P},                         /* nothing at all */
        {"03 82 01 c401 00", P},              /* a map */
        {"03 c1", P},                         /* the byte that msgpack never uses */
        {"03 92 ff c401", P},                 /* a negative sid */
        {"03 92 a131 c401", P},               /* a sid in letters */
        {"03 92 01 a178", P},                 /* a text as payload */
        {"03 92 01 01", P},                   /* a number as payload */
        {"03 92 d301000000000000ff c401", 0}, /* a signed format, but not negative */
        {"03 92 d3ff000000000000ff c401", P}, /* negative */
        {"05 01", P},                         /* fin without its array */
        {"05 90", P},                         /* without its sid */
        {"05 81 01 01", P},                   /* with a map */
        {"05 91 c0", P},                      /* nil as sid */
        {"05 91 ca3f800000", P},              /* a float as sid */
        {"05 91 d0ff", P},                    /* a negative sid */
        {"05 91 d07f", 0},                    /* a signed format, but not negative */
        {"05 91 cf0000000000000001", 0},      /* wider than it must be */
        {"05 91 c1", P},                      /* never used */
        {"05 9201 c1", P},                    /* also where it would be skipped */
        {"08 91 91 01", P},                   /* an array in place of a number */
        {"ff 01", P},                         /* an ack that is neither map nor array */
        {"ff c0", P},
        {"01 97 01010101010101", P},                         /* a handshake in an array */
        {"02 82 01010101", P},                               /* an open in a map */
        {"0b 92 01 01", P},                                  /* a number as reason */
        {"0b 92 c40178 01", P},                              /* bytes as reason */
        {"0b 92 a178 a178", P},                              /* a text as seconds */
        {"ff 94 01 01 00 a0", P},                            /* a number as ok */
        {"ff 94 01 c3 c0 a0", P},                            /* nil as code */
        {"02 97 01 a0 a0 a0 01 a0 90", P},                   /* an array as options */
        {"02 97 01 a0 a0 a0 01 a0 81 a6736f75726365 01", P}, /* a number as source */
    };
    CHECK(rows);
}

static void test_missing_and_more_items(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"02 96 01 a0 a0 a0 01 a0", P},
        {"02 98 01 a0 a0 a0 01 a0 80 9101", 0},
        {"04 92 01 01", P},
        {"04 94 01 01 a0 820101 0202", 0},
        {"05 93 01 a0 9101", 0},
        {"06 91 01", P},
        {"06 93 01 02 c40100", 0},
        {"08 92 01 d4 00 00", 0},
        {"0a 92 01 ca00000000", 0},
        {"0b 91 a0", P},
        {"0b 93 a0 00 cb0000000000000000", 0},
        {"0f 90", P},
        {"ff 93 01 c3 00", P},
        {"ff 95 01 c3 00 a0 c2", 0},
        {"ff 95 01 c3 00 a0", M},
    };
    CHECK(rows);
}

static void test_ranges(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"06 92 01 00", P}, /* no credit at all */
        {"06 92 01 01", 0},
        {"06 92 01 ce7fffffff", 0}, /* 2^31 - 1 */
        {"06 92 01 ce80000000", P}, /* 2^31 */
        {"06 92 01 cfffffffffffffffff", P},
        {"03 92 01 c400", 0}, /* for the stream to judge */
        {"0f 91 00", P},
        {"02 97 01 a0 a0 a0 cdffff a0 80", 0},     /* port 65535 */
        {"02 97 01 a0 a0 a0 ce00010000 a0 80", P}, /* port 65536 */
        {"02 97 01 a0 a0 a0 ff a0 80", P},         /* port -1 */
        {"0b 92 a0 ceffffffff", 0},
        {"0b 92 a0 cf0000000100000000", P},
        {"04 93 01 ce7fffffff a0", 0},
        {"04 93 01 ce80000000 a0", P},
        {"04 93 01 ff a0", P},
        {"ff 94 01 c2 ce80000000 a0", P},
    };
    CHECK(rows);
}

#define HEAD "01 85 a756657273696f6e a131 a44e616d65 a161 a545706f6368 01 a54669727374 01"

static void test_handshake(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {HEAD "a657696e646f77 ce7fffffff", 0},
        {HEAD "a657696e646f77 ce80000000", P}, /* credit would pass its limit at once */
        {HEAD "a3585858 01", P},               /* without Window */
        {HEAD "a657696e646f77", M},
        {"01 80", P},
        {"01 86" /* an unknown key with anything in it */
         "a756657273696f6e a131 a44e616d65 a161 a545706f6368 01 a54669727374 01 a657696e646f77 01"
         "a3585858 92 8101c3 cb0000000000000000",
         0},
        {"01 86" /* keys that are no text */
         "a756657273696f6e a131 a44e616d65 a161 a545706f6368 01 a54669727374 01 a657696e646f77 01"
         "05 c3",
         0},
        {"01 86" /* Name twice */
         "a756657273696f6e a131 a44e616d65 a161 a545706f6368 01 a54669727374 01 a657696e646f77 01"
         "a44e616d65 a162",
         P},
        {"01 86" /* Link without Proof and Received */
         "a756657273696f6e a131 a44e616d65 a161 a545706f6368 01 a54669727374 01 a657696e646f77 01"
         "a44c696e6b" LINK_HEX,
         P},
        {"01 86" /* Received without Link and Proof */
         "a756657273696f6e a131 a44e616d65 a161 a545706f6368 01 a54669727374 01 a657696e646f77 01"
         "a85265636569766564 01",
         P},
        {"01 86" /* Features that are a text */
         "a756657273696f6e a131 a44e616d65 a161 a545706f6368 01 a54669727374 01 a657696e646f77 01"
         "a84665617475726573 a161",
         P},
        {"01 86" /* a feature that is none */
         "a756657273696f6e a131 a44e616d65 a161 a545706f6368 01 a54669727374 01 a657696e646f77 01"
         "a84665617475726573 9101",
         P},
        {"01 86" /* keys are told apart by their case */
         "a756657273696f6e a131 a46e616d65 a161 a545706f6368 01 a54669727374 01 a657696e646f77 01"
         "a3585858 01",
         P},
    };
    CHECK(rows);
}

static void test_features_beyond_the_limit(void **state)
{
    (void)state;
    uint8_t wire[512];
    size_t size = message_hex("01 86 a756657273696f6e a131 a44e616d65 a161 a545706f6368 01"
                              "a54669727374 01 a657696e646f77 01 a84665617475726573 dc0011",
                              wire, sizeof wire);
    for (int i = 0; i < 16; i++) {
        wire[size++] = 0xA1;
        wire[size++] = (uint8_t)('a' + i);
    }
    wire[size++] = 0x05; /* what is skipped may be anything */
    struct message message;
    size_t used = 0;
    assert_int_equal(message_decode(wire, size, &message, &used), 0);
    assert_int_equal(used, size);
    assert_int_equal(message.handshake.feature_count, MESSAGE_MAX_FEATURES);
    assert_true(text_equals(message.handshake.features[15], "p"));
}

#define SECRET_HALF "000102030405060708090a0b0c0d0e0f"
#define SECRET_HEX  "c420" SECRET_HALF SECRET_HALF
#define GRANT_WITHOUT_SECRET                                                        \
    "a545706f6368 01 a54669727374 01 a85265636569766564 00 a94b656570616c697665 14" \
    "a6526573756d65 3c"
#define GRANT GRANT_WITHOUT_SECRET "a6536563726574" SECRET_HEX

static void test_welcome(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"ff 80", P},
        {"ff 81 a24f6b c3", P},
        {"ff 81 a24f6b c2", P},
        {"ff 83 a24f6b c2 a4436f6465 02 a3585858 a0", P}, /* no Message */
        {"ff 89 a24f6b c3 a44c696e6b" LINK_HEX GRANT "a657696e646f77 01", 0},
        {"ff 89 a24f6b c3 a44c696e6b c40f000102030405060708090a0b0c0d0e" GRANT "a657696e646f77 01",
         P}, /* a Link too short */
        {"ff 89 a24f6b c3 a44c696e6b b0 61616161616161616161616161616161" GRANT "a657696e646f77 01",
         P}, /* a Link that is a text */
        {"ff 88 a24f6b c3 a44c696e6b" LINK_HEX GRANT_WITHOUT_SECRET "a657696e646f77 01", P},
        {"ff 89 a24f6b c3 a44c696e6b" LINK_HEX GRANT_WITHOUT_SECRET "a657696e646f77 01"
         "a6536563726574 c410" SECRET_HALF,
         P}, /* a Secret too short */
        {"ff 89 a24f6b 01 a44c696e6b" LINK_HEX GRANT "a657696e646f77 01", P},
        {"ff 8a a24f6b c3 a44c696e6b" LINK_HEX GRANT "a657696e646f77 01 a24f6b c2", P},
    };
    CHECK(rows);

    /* What does not belong to a refusal is not looked at, wherever it stands. */
    uint8_t wire[256];
    size_t size = message_hex("ff 84 a545706f6368 05 a4436f6465 02 a74d657373616765 a178 a24f6b c2",
                              wire, sizeof wire);
    struct message message;
    size_t used = 0;
    assert_int_equal(message_decode(wire, size, &message, &used), 0);
    assert_false(message.welcome.ok);
    assert_int_equal(message.welcome.code, 2);
    assert_int_equal(message.welcome.epoch, 0);
    assert_false(message.is_counted);
}

/* An open whose n-th text has `size` bytes, one of them `odd`. */
static size_t build_open(uint8_t *wire, size_t index, size_t size, uint8_t odd)
{
    static const char *const parts[] = {"02 97 01",         "", "", "01", "81 a6736f75726365",
                                        "81 a6636c69656e74"};
    uint8_t *out = wire + message_hex(parts[0], wire, 8);
    for (size_t i = 0; i < 6; i++) {
        if (i == 3)
            *out++ = 0x01; /* the port */
        if (i >= 4 && i != index)
            continue;
        if (i >= 4)
            out += message_hex(parts[i], out, 16);
        size_t length = i == index ? size : 0;
        *out++ = 0xDA;
        *out++ = (uint8_t)(length >> 8);
        *out++ = (uint8_t)length;
        memset(out, 'x', length);
        if (length > 0)
            out[length / 2] = odd;
        out += length;
    }
    if (index < 4)
        *out++ = 0x80;
    return (size_t)(out - wire);
}

static void test_lengths_of_texts(void **state)
{
    (void)state;
    static const size_t limits[] = {MESSAGE_MAX_KIND, MESSAGE_MAX_NAME, MESSAGE_MAX_HOST,
                                    MESSAGE_MAX_KEY,  MESSAGE_MAX_NAME, MESSAGE_MAX_HOST};
    uint8_t wire[1024];
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        check_wire(wire, build_open(wire, i, limits[i], 'x'), 0);
        check_wire(wire, build_open(wire, i, limits[i] + 1, 'x'), CULVERT_ERROR_TOO_LARGE);
        check_wire(wire, build_open(wire, i, limits[i], 0), CULVERT_ERROR_PROTOCOL);
        check_wire(wire, build_open(wire, i, limits[i], 0xFF), 0);
    }
}

static void test_reasons(void **state)
{
    (void)state;
    uint8_t wire[1024];
    static const char *const starts[] = {"04 93 01 02", "ff 94 01 c2 02", "0b 92"};
    for (size_t i = 0; i < 3; i++) {
        for (size_t size = MESSAGE_MAX_REASON; size <= MESSAGE_MAX_REASON + 1; size++) {
            size_t at = message_hex(starts[i], wire, sizeof wire);
            wire[at++] = 0xDA;
            wire[at++] = (uint8_t)(size >> 8);
            wire[at++] = (uint8_t)size;
            memset(wire + at, 'r', size);
            at += size;
            if (i == 2)
                wire[at++] = 0;
            check_wire(wire, at, size > MESSAGE_MAX_REASON ? CULVERT_ERROR_TOO_LARGE : 0);
        }
    }
}

static void test_unknown_types(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"33 c0", 0},
        {"33 c2", 0},
        {"33 e0", 0},
        {"33 d0 80", 0},
        {"33 c7 02 01 aabb", 0},
        {"33 c7 00 01", 0},
        {"33 c7 02 01 aa", M},
        {"33 c8 0001 01 aa", 0},
        {"33 d8 01 000102030405060708090a0b0c0d0e0f", 0},
        {"33 d8 01 00", M},
        {"33 ca 00000000", 0},
        {"33 cb 0000000000000000", 0},
        {"33 c4 00", 0},
        {"33 d9 01 41", 0},
        {"33 c1", P},
        {"33 92 01 c1", P},
        {"00 01", 0},
        {"0c 91 01", 0},
    };
    CHECK(rows);
    struct message message;
    size_t used = 0;
    assert_int_equal(message_decode((const uint8_t *)"\x42\x92\x01\x02\xFF", 5, &message, &used),
                     0);
    assert_int_equal(used, 4);
    assert_false(message.is_known);
    assert_false(message.is_counted);
    assert_int_equal(message_decode((const uint8_t *)"\x0E\x01", 2, &message, &used), 0);
    assert_false(message.is_known);
    assert_true(message.is_counted);
}

/* A control message may be as long as its limit, and as full of values. */
static void test_fullest_message(void **state)
{
    (void)state;
    uint8_t wire[MESSAGE_MAX_CONTROL];
    memset(wire, 0x90, sizeof wire);
    size_t at = message_hex("04 dc0ffc 01 02 a0", wire, sizeof wire);
    assert_true(at < sizeof wire);
    struct message message;
    size_t used = 0;
    assert_int_equal(message_decode(wire, sizeof wire, &message, &used), 0);
    assert_int_equal(used, sizeof wire);
    assert_int_equal(message.reset.code, 2);
    assert_int_equal(message_decode(wire, sizeof wire - 1, &message, &used), CULVERT_NEED_MORE);
}

static void test_memory_runs_out(void **state)
{
    (void)state;
    uint8_t wire[MESSAGE_MAX_CONTROL];
    memset(wire, 0x90, sizeof wire); /* many small arrays need more than the first piece */
    message_hex("04 dc0ffc 01 02 a0", wire, sizeof wire);
    struct message message;
    size_t used = 4711;
    size_t failures = 0;
    for (size_t n = 1;; n++) {
        until_failure = n;
        int result = message_decode(wire, sizeof wire, &message, &used);
        if (until_failure > 0)
            break;
        assert_int_equal(result, CULVERT_ERROR_NO_MEMORY);
        assert_int_equal(used, 4711);
        failures++;
    }
    until_failure = 0;
    assert_true(failures >= 2);
    assert_int_equal(used, sizeof wire);
}

static void test_frequent_types_allocate_nothing(void **state)
{
    (void)state;
    static const char *const wires[] = {"03 92 01 c401", "07 92 01 c401", "05 91 01",
                                        "06 92 01 02",   "08 91 01",      "09 91 01",
                                        "0a 91 01",      "0f 91 01",      "33 92 9101 02"};
    for (size_t i = 0; i < sizeof wires / sizeof wires[0]; i++) {
        uint8_t wire[16];
        size_t size = message_hex(wires[i], wire, sizeof wire);
        struct message message;
        size_t used;
        until_failure = 1;
        assert_int_equal(message_decode(wire, size, &message, &used), 0);
        assert_int_equal(until_failure, 1);
        until_failure = 0;
    }
}

static void test_encode_refuses(void **state)
{
    (void)state;
    uint8_t out[2 * MESSAGE_MAX_CONTROL];
    char longest[MESSAGE_MAX_REASON + 1];
    memset(longest, 'x', sizeof longest);
    struct message message = {.type = MESSAGE_RESET, .reset = {.reason = {longest, 512}}};
    assert_in_range(message_encode(&message, out, sizeof out), 1, sizeof out);
    message.reset.reason.size = 513;
    assert_int_equal(message_encode(&message, out, sizeof out), CULVERT_ERROR_TOO_LARGE);
    longest[5] = '\0';
    message.reset.reason.size = 6;
    assert_int_equal(message_encode(&message, out, sizeof out), CULVERT_ERROR_INVALID);
    message = (struct message){.type = MESSAGE_RESET, .reset = {.code = -1}};
    assert_int_equal(message_encode(&message, out, sizeof out), CULVERT_ERROR_INVALID);

    message = (struct message){.type = MESSAGE_CREDIT, .credit = 0};
    assert_int_equal(message_encode(&message, out, sizeof out), CULVERT_ERROR_INVALID);
    message.credit = UINT64_C(1) << 31;
    assert_int_equal(message_encode(&message, out, sizeof out), CULVERT_ERROR_INVALID);
    message = (struct message){.type = MESSAGE_DATA, .payload = 0};
    assert_int_equal(message_encode(&message, out, sizeof out), CULVERT_ERROR_INVALID);
    message.payload = MESSAGE_MAX_DATA + 1;
    assert_int_equal(message_encode(&message, out, sizeof out), CULVERT_ERROR_TOO_LARGE);
    message = (struct message){.type = (enum message_type)0x33};
    assert_int_equal(message_encode(&message, out, sizeof out), CULVERT_ERROR_INVALID);
    message = (struct message){.type = MESSAGE_HANDSHAKE,
                               .handshake = {.feature_count = MESSAGE_MAX_FEATURES + 1}};
    assert_int_equal(message_encode(&message, out, sizeof out), CULVERT_ERROR_TOO_LARGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_declared_sizes),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_wrong_types),
        cmocka_unit_test(test_missing_and_more_items),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_handshake),
        cmocka_unit_test(test_features_beyond_the_limit),
        cmocka_unit_test(test_welcome),
        cmocka_unit_test(test_lengths_of_texts),
        cmocka_unit_test(test_reasons),
        cmocka_unit_test(test_unknown_types),
        cmocka_unit_test(test_fullest_message),
        cmocka_unit_test(test_memory_runs_out),
        cmocka_unit_test(test_frequent_types_allocate_nothing),
        cmocka_unit_test(test_encode_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
