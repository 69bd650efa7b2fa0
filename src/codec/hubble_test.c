#include "codec/hubble.h"

#include "base/error.h"
#include "base/reason.h"
#include "codec/message_hex.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define TEXT(literal)                  \
    {                                  \
        (literal), sizeof(literal) - 1 \
    }
#define UUID     "01234567-89ab-4def-8123-456789abcdef"
#define UUID_HEX "da0024 30313233343536372d383961622d346465662d383132332d343536373839616263646566"

/* The keys as the originals write them. */
#define KEY_GUID     "a447554944"
#define KEY_GATENAME "a8476174656e616d65"
#define KEY_KEY      "a34b6579"
#define KEY_HOST     "aa52656d6f7465486f7374"
#define KEY_PORT     "aa52656d6f7465506f7274"
#define KEY_DATA     "a444617461"
#define KEY_ORDER    "a54f72646572"
#define KEY_MESSAGE  "a74d657373616765"
#define KEY_OK       "a24f6b"
#define KEY_NAME     "a44e616d65"
#define KEY_VERSION  "a756657273696f6e"

struct sample {
    const char *name;
    const char *wire;
    struct message message;
};

static const struct sample samples[] = {
    {"handshake of an original",
     "01 83 a3 4b 65 79 a0 a4 4e 61 6d 65 a4 65 61 73 74 a7 56 65 72 73 69 6f 6e a3 30 2e 31",
     {.type = MESSAGE_HANDSHAKE,
      .handshake = {.version = TEXT(HUBBLE_VERSION), .name = TEXT("east")}}},
    {"handshake with a key of 32 bytes",
     "01 83 a34b6579 da0020 3031323334353637383961626364656630313233343536373839616263646566"
     "a44e616d65 a477657374 a756657273696f6e a3302e32",
     {.type = MESSAGE_HANDSHAKE,
      .handshake = {.version = TEXT("0.2"),
                    .name = TEXT("west"),
                    .key = TEXT("0123456789abcdef0123456789abcdef")}}},
    {"open of an original",
     "02 85 a4 47 55 49 44 a2 73 31 a8 47 61 74 65 6e 61 6d 65 a4 77 65 73 74 a3 4b 65"
     "79 a1 6b aa 52 65 6d 6f 74 65 48 6f 73 74 a9 31 32 37 2e 30 2e 30 2e 31 aa 52 65"
     "6d 6f 74 65 50 6f 72 74 16",
     {.type = MESSAGE_OPEN,
      .guid = TEXT("s1"),
      .open = {.kind = TEXT("tcp"),
               .agent = TEXT("west"),
               .host = TEXT("127.0.0.1"),
               .port = 22,
               .key = TEXT("k"),
               .guid = TEXT("s1")}}},
    {"open with little in it",
     "02 85 " KEY_GUID UUID_HEX KEY_GATENAME "a0" KEY_KEY "a0" KEY_HOST "a0" KEY_PORT "cdffff",
     {.type = MESSAGE_OPEN,
      .guid = TEXT(UUID),
      .open = {.kind = TEXT("tcp"), .port = 65535, .guid = TEXT(UUID)}}},
    {"terminator", "04 81 a4 47 55 49 44 a2 73 31", {.type = MESSAGE_RESET, .guid = TEXT("s1")}},
    {"connection closed",
     "05 81 a4 47 55 49 44 a2 73 31",
     {.type = MESSAGE_FIN, .guid = TEXT("s1")}},
    {"handshake accepted",
     "ff 83 a4 47 55 49 44 a0 a7 4d 65 73 73 61 67 65 a5 3c 6e 69 6c 3e a2 4f 6b c3",
     {.type = MESSAGE_ACK, .is_handshake_ack = true, .welcome = {.ok = true}}},
    {"handshake refused",
     "ff 83 a447554944 a0 a74d657373616765"
     "b8 496e76616c69642070726f746f636f6c2076657273696f6e a24f6b c2",
     {.type = MESSAGE_ACK,
      .is_handshake_ack = true,
      .welcome = {.code = REASON_UNSUPPORTED, .message = TEXT("Invalid protocol version")}}},
    {"session accepted",
     "ff 83 a447554944 a27331 a74d657373616765 a53c6e696c3e a24f6b c3",
     {.type = MESSAGE_ACK, .guid = TEXT("s1"), .ack = {.ok = true}}},
    {"session refused",
     "ff 83 a4 47 55 49 44 a2 73 31 a7 4d 65 73 73 61 67 65 b6 47 61 74 65 77 61 79 20"
     "6e 6f 74 20 72 65 67 69 73 74 65 72 65 64 a2 4f 6b c2",
     {.type = MESSAGE_ACK,
      .guid = TEXT("s1"),
      .ack = {.code = REASON_UNKNOWN_AGENT, .message = TEXT("Gateway not registered")}}},
};

static void assert_text(struct text actual, struct text expected)
{
    assert_int_equal(actual.size, expected.size);
    if (expected.size > 0)
        assert_memory_equal(actual.data, expected.data, expected.size);
}

static void assert_message(const struct message *actual, const struct message *expected)
{
    assert_int_equal(actual->type, expected->type);
    assert_true(actual->is_known);
    assert_false(actual->is_counted);
    assert_int_equal(actual->sid, 0);
    assert_int_equal(actual->is_handshake_ack, expected->is_handshake_ack);
    assert_text(actual->guid, expected->guid);
    switch (expected->type) {
    case MESSAGE_HANDSHAKE:
        assert_text(actual->handshake.version, expected->handshake.version);
        assert_text(actual->handshake.name, expected->handshake.name);
        assert_text(actual->handshake.key, expected->handshake.key);
        assert_false(actual->handshake.resumes);
        assert_int_equal(actual->handshake.feature_count, 0);
        break;
    case MESSAGE_OPEN:
        assert_text(actual->open.kind, expected->open.kind);
        assert_text(actual->open.agent, expected->open.agent);
        assert_text(actual->open.host, expected->open.host);
        assert_text(actual->open.key, expected->open.key);
        assert_text(actual->open.guid, expected->open.guid);
        assert_text(actual->open.source, expected->open.source);
        assert_text(actual->open.client, expected->open.client);
        assert_int_equal(actual->open.port, expected->open.port);
        break;
    case MESSAGE_ACK:
        if (expected->is_handshake_ack) {
            assert_int_equal(actual->welcome.ok, expected->welcome.ok);
            assert_int_equal(actual->welcome.code, expected->welcome.code);
            assert_text(actual->welcome.message, expected->welcome.message);
            break;
        }
        assert_int_equal(actual->ack.ok, expected->ack.ok);
        assert_int_equal(actual->ack.code, expected->ack.code);
        assert_text(actual->ack.message, expected->ack.message);
        break;
    default:
        assert_int_equal(actual->reset.code, 0);
        assert_int_equal(actual->reset.reason.size, 0);
        break;
    }
}

static void test_samples_both_ways(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof samples / sizeof samples[0]; i++) {
        uint8_t wire[HUBBLE_MAX_ENCODED], out[HUBBLE_MAX_ENCODED];
        size_t size = message_hex(samples[i].wire, wire, sizeof wire);
        struct message message;
        struct hubble_payload payload;
        if (hubble_decode(wire, size, &message, &payload) != 0)
            fail_msg("%s is not decoded", samples[i].name);
        assert_message(&message, &samples[i].message);
        assert_int_equal(payload.size, 0);
        if (hubble_encode(&samples[i].message, out, sizeof out) != (int)size)
            fail_msg("%s has another size", samples[i].name);
        assert_memory_equal(out, wire, size);
        assert_int_equal(hubble_encode(&samples[i].message, out, size), size);
        for (size_t room = 0; room < size; room++)
            assert_int_equal(hubble_encode(&samples[i].message, out, room),
                             CULVERT_ERROR_TOO_LARGE);
    }
}

/* Decodes what must be taken. The texts are borrowed from the one buffer. */
static void decode(const char *digits, struct message *message, struct hubble_payload *payload)
{
    static uint8_t wire[8192];
    size_t size = message_hex(digits, wire, sizeof wire);
    if (hubble_decode(wire, size, message, payload) != 0)
        fail_msg("%s is not taken", digits);
}

/* What an original takes beside what it sends; each row is one of the samples. */
static const struct {
    const char *name; /* of the sample */
    const char *wire;
} other_forms[] = {
    {"handshake of an original",
     "01 84 " KEY_VERSION "d903302e31" KEY_NAME "c40465617374" KEY_KEY "c0 a3585858 01"},
    {"handshake of an original",
     "01 de0003 d90756657273696f6e da0003302e31 c5 0004 4e616d65 c6 00000004 65617374"
     "db 00000003 4b6579 c500 00"},
    {"handshake of an original", "01 df00000002" KEY_NAME "db0000000465617374 " KEY_VERSION
                                 "a3302e31 ff00ff00ff00ff"}, /* bytes behind it */
    {"handshake of an original", "01 93 a3302e31 a465617374 a0"},
    {"handshake of an original", "01 dc0002 a3302e31 a465617374"},
    {"handshake of an original", "01 dd00000004 c403302e31 d90465617374 c0 82c001c001"},
    {"handshake of an original", /* the last of two counts */
     "01 84 " KEY_NAME "a477657374" KEY_VERSION "a130" KEY_VERSION "a3302e31" KEY_NAME
     "a465617374"},
    {"handshake of an original",
     "01 84 " KEY_NAME "a465617374" KEY_VERSION "a3302e31" KEY_KEY "a131" KEY_KEY "c0"},
    {"open of an original", "02 95 a27331 a93132372e302e302e31 16 a477657374 a16b"},
    {"open of an original", "02 85" KEY_PORT "cf0000000000000016" KEY_GATENAME "a477657374" KEY_KEY
                            "a16b" KEY_HOST "a93132372e302e302e31" KEY_GUID "a27331"},
    {"open of an original", "02 95 a27331 a93132372e302e302e31 d30000000000000016 a477657374 a16b"},
    {"open of an original", "02 95 a27331 a93132372e302e302e31 d200000016 a477657374 a16b"},
    {"open of an original", "02 95 a27331 a93132372e302e302e31 d10016 a477657374 a16b"},
    {"open of an original", "02 95 a27331 a93132372e302e302e31 d016 a477657374 a16b"},
    {"open of an original", "02 95 a27331 a93132372e302e302e31 ce00000016 a477657374 a16b"},
    {"open of an original", "02 95 a27331 a93132372e302e302e31 cd0016 a477657374 a16b"},
    {"open of an original", "02 95 a27331 a93132372e302e302e31 cc16 a477657374 a16b"},
    {"open with little in it", "02 83" KEY_HOST "c0" KEY_GUID UUID_HEX KEY_PORT "cdffff"},
    {"terminator", "04 91 a27331"},
    {"terminator", "04 92 c4027331 cb0000000000000000"},
    {"connection closed", "05 82 c40758585858585858 c7020100ff" KEY_GUID "a27331"},
    {"handshake accepted", "ff 81" KEY_OK "c3"},
    {"handshake accepted", "ff 81" KEY_OK "01"},
    {"handshake accepted", "ff 82" KEY_GUID "c0" KEY_OK "cf0000000000000001"},
    {"handshake accepted", "ff 92 c0 c3"},
    {"session accepted", "ff 93 a27331 01 a3626164"}, /* only Ok says so */
    {"session refused", "ff 93 a27331 00 b647617465776179206e6f742072656769737465726564"},
    {"session refused", "ff 93 a27331 c0 b647617465776179206e6f742072656769737465726564"},
};

static void test_other_forms(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof other_forms / sizeof other_forms[0]; i++) {
        struct message message;
        struct hubble_payload payload;
        size_t sample = 0;
        while (strcmp(samples[sample].name, other_forms[i].name) != 0)
            sample++;
        decode(other_forms[i].wire, &message, &payload);
        assert_message(&message, &samples[sample].message);
    }
}

static void test_nil_gives_zeros(void **state)
{
    (void)state;
    struct message message;
    struct hubble_payload payload;
    decode("01 c0", &message, &payload);
    assert_message(&message, &(struct message){.type = MESSAGE_HANDSHAKE});
    decode("02 c0", &message, &payload);
    assert_message(&message, &(struct message){.type = MESSAGE_OPEN, .open.kind = TEXT("tcp")});
    decode("02 80", &message, &payload);
    assert_message(&message, &(struct message){.type = MESSAGE_OPEN, .open.kind = TEXT("tcp")});
    decode("04 90", &message, &payload);
    assert_message(&message, &(struct message){.type = MESSAGE_RESET});
    decode("ff c0", &message, &payload);
    assert_message(&message, &(struct message){.type = MESSAGE_ACK,
                                               .is_handshake_ack = true,
                                               .welcome.code = REASON_UNREACHABLE});
    decode("03 c0", &message, &payload);
    assert_int_equal(message.type, MESSAGE_DATA);
    assert_int_equal(message.order, 0);
    assert_int_equal(payload.size, 0);
}

struct data_row {
    const char *wire;
    const char *bytes;
    int64_t order;
};

static const struct data_row data_rows[] = {
    {"03 83 a4 44 61 74 61 a2 68 69 a4 47 55 49 44 a2 73 31 a5 4f 72 64 65 72 01", "hi", 1},
    {"03 83 a4 44 61 74 61 a2 68 69 a4 47 55 49 44 a2 73 31 a5 4f 72 64 65 72 cc c8", "hi", 200},
    {"03 83" KEY_GUID "a27331" KEY_ORDER "d30000000000000001" KEY_DATA "c4026869", "hi", 1},
    {"03 83" KEY_DATA "c500026869" KEY_GUID "a27331" KEY_ORDER "cf7fffffffffffffff", "hi",
     INT64_MAX},
    {"03 83" KEY_DATA "c6000000026869" KEY_GUID "d9027331" KEY_ORDER "ff", "hi", -1},
    {"03 83" KEY_DATA "d9026869" KEY_GUID "da00027331" KEY_ORDER "d080", "hi", -128},
    {"03 83" KEY_DATA "da00026869" KEY_GUID "a27331" KEY_ORDER "d18000", "hi", -32768},
    {"03 83" KEY_DATA "db000000026869" KEY_GUID "a27331" KEY_ORDER "d38000000000000000", "hi",
     INT64_MIN},
    {"03 93 a27331 e0 a26869", "hi", -32},
    {"03 93 a27331 01 926869", "hi", 1},
    {"03 93 a27331 01 dc0002cc68d069", "hi", 1},
    {"03 93 a27331 01 dd00000003cd0068cf0000000000000069c0", "hi", 1},
    {"03 93 a27331 01 a0", "", 1},
    {"03 93 a27331 01 90", "", 1},
    {"03 93 a27331 01 c0", "", 1},
    {"03 92 a27331 01", "", 1},
    {"03 82" KEY_GUID "a27331" KEY_ORDER "c0", "", 0},
    {"03 84" KEY_DATA "a3616263" KEY_DATA "a26869" KEY_GUID "a27331" KEY_ORDER "01", "hi", 1},
    {"03 84" KEY_DATA "a3616263" KEY_DATA "c0" KEY_GUID "a27331" KEY_ORDER "01", "", 1},
};

static void test_data_forms(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof data_rows / sizeof data_rows[0]; i++) {
        const struct data_row *row = &data_rows[i];
        struct message message;
        struct hubble_payload payload;
        decode(row->wire, &message, &payload);
        assert_int_equal(message.type, MESSAGE_DATA);
        assert_true(message.is_known);
        assert_text(message.guid, text_of("s1"));
        assert_true(message.order == row->order);
        assert_int_equal(message.payload, payload.size);
        /* An array may have a zero more. */
        assert_in_range(payload.size, strlen(row->bytes), strlen(row->bytes) + payload.is_array);
        uint8_t bytes[4] = {0xEE, 0xEE, 0xEE, 0xEE};
        hubble_payload_copy(&payload, bytes);
        assert_memory_equal(bytes, row->bytes, strlen(row->bytes));
        assert_int_equal(bytes[payload.size], 0xEE);
        if (payload.size > strlen(row->bytes))
            assert_int_equal(bytes[payload.size - 1], 0);
    }
}

static void test_data_as_the_originals_write_it(void **state)
{
    (void)state;
    static const struct {
        uint32_t payload;
        const char *head;
        int64_t order;
        const char *tail;
    } rows[] = {
        {0, "03 83 a444617461 a0", 1, KEY_GUID "a27331" KEY_ORDER "01"},
        {2, "03 83 a444617461 a2", 127, KEY_GUID "a27331" KEY_ORDER "7f"},
        {31, "03 83 a444617461 bf", 128, KEY_GUID "a27331" KEY_ORDER "cc80"},
        {32, "03 83 a444617461 da0020", 200, KEY_GUID "a27331" KEY_ORDER "ccc8"},
        {1024, "03 83 a444617461 da0400", 256, KEY_GUID "a27331" KEY_ORDER "cd0100"},
        {65535, "03 83 a444617461 daffff", 65536, KEY_GUID "a27331" KEY_ORDER "ce00010000"},
        {65536, "03 83 a444617461 db00010000", INT64_C(1) << 32,
         KEY_GUID "a27331" KEY_ORDER "cf0000000100000000"},
        {UINT32_MAX, "03 83 a444617461 dbffffffff", INT64_MAX,
         KEY_GUID "a27331" KEY_ORDER "cf7fffffffffffffff"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t wanted[64], head[HUBBLE_MAX_DATA_HEAD], tail[HUBBLE_MAX_DATA_TAIL];
        size_t size = message_hex(rows[i].head, wanted, sizeof wanted);
        assert_int_equal(hubble_encode_data_head(rows[i].payload, head), size);
        assert_memory_equal(head, wanted, size);
        size = message_hex(rows[i].tail, wanted, sizeof wanted);
        assert_int_equal(hubble_encode_data_tail(text_of("s1"), rows[i].order, tail), size);
        assert_memory_equal(tail, wanted, size);
    }
}

static void test_data_of_the_largest_guid(void **state)
{
    (void)state;
    char guid[HUBBLE_MAX_GUID];
    memset(guid, 'g', sizeof guid);
    uint8_t wire[HUBBLE_MAX_DATA_HEAD + 1024 + HUBBLE_MAX_DATA_TAIL];
    size_t size = hubble_encode_data_head(1024, wire);
    const uint8_t *start = wire + size;
    memset(wire + size, 'p', 1024);
    size += 1024;
    size += hubble_encode_data_tail((struct text){guid, sizeof guid}, INT64_MAX, wire + size);
    struct message message;
    struct hubble_payload payload;
    assert_int_equal(hubble_decode(wire, size, &message, &payload), 0);
    assert_text(message.guid, (struct text){guid, sizeof guid});
    assert_true(message.order == INT64_MAX);
    assert_ptr_equal(payload.data, start);
    assert_int_equal(payload.size, 1024);
    assert_false(payload.is_array);
    /* 1085 bytes are what an original's full chunk with a UUID takes up. */
    size = hubble_encode_data_head(1024, wire);
    size += 1024 + hubble_encode_data_tail(text_of(UUID), 1, wire + size);
    assert_int_equal(size, 1085);
}

static void test_codes_of_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *words;
        int code;
    } rows[] = {
        {"Unauthorized", REASON_FORBIDDEN},
        {"Authorization error.", REASON_POLICY_FAILED},
        {"Gateway not registered", REASON_UNKNOWN_AGENT},
        {"Invalid protocol version", REASON_UNSUPPORTED},
        {"dial tcp 127.0.0.1:1: connect: connection refused", REASON_DIAL_REFUSED},
        {"dial tcp 10.0.0.1:1: getsockopt: connection refused", REASON_DIAL_REFUSED},
        {"dial tcp: lookup nowhere: no such host", REASON_RESOLVE},
        {"dial tcp 10.0.0.1:1: i/o timeout", REASON_TIMED_OUT},
        {"dial tcp 10.0.0.1:1: connect: connection timed out", REASON_TIMED_OUT},
        {"dial tcp 10.0.0.1:1: connect: no route to host", REASON_UNREACHABLE},
        {"dial tcp 10.0.0.1:1: connect: network is unreachable", REASON_UNREACHABLE},
        {"dial tcp 10.0.0.1:1: connect: connection reset by peer", REASON_RESET},
        {"dial tcp 10.0.0.1:1: socket: too many open files", REASON_LIMIT},
        {"", REASON_UNREACHABLE},
        {"<nil>", REASON_UNREACHABLE},
        {"unauthorized", REASON_UNREACHABLE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t wire[128];
        size_t size = message_hex("ff 93 a27331 c2 d9", wire, sizeof wire);
        size_t length = strlen(rows[i].words);
        wire[size++] = (uint8_t)length;
        memcpy(wire + size, rows[i].words, length);
        struct message message;
        struct hubble_payload payload;
        assert_int_equal(hubble_decode(wire, size + length, &message, &payload), 0);
        assert_false(message.ack.ok);
        assert_text(message.ack.message, text_of(rows[i].words));
        if (message.ack.code != rows[i].code)
            fail_msg("%s gives %d, not %d", rows[i].words, message.ack.code, rows[i].code);
    }
}

static void encode_refusal(int code, struct text words, struct message *message)
{
    static uint8_t wire[HUBBLE_MAX_ENCODED];
    struct message ack = {.type = MESSAGE_ACK, .guid = TEXT("s1")};
    ack.ack = (struct message_ack){.code = code, .message = words};
    int size = hubble_encode(&ack, wire, sizeof wire);
    assert_true(size > 0);
    struct hubble_payload payload;
    assert_int_equal(hubble_decode(wire, (size_t)size, message, &payload), 0);
    assert_false(message->ack.ok);
}

static void test_refusals_we_write(void **state)
{
    (void)state;
    struct message message;
    /* The code alone: it comes back, in words. */
    for (int code = REASON_RESET; code <= REASON_CLOSED; code++) {
        encode_refusal(code, TEXT_NULL, &message);
        assert_int_equal(message.ack.code, code);
    }
    encode_refusal(REASON_TIMED_OUT, TEXT_NULL, &message);
    assert_text(message.ack.message, text_of(reason_text(REASON_TIMED_OUT)));
    encode_refusal(4711, TEXT_NULL, &message);
    assert_text(message.ack.message, text_of("unknown reason"));
    /* The message's words, but where the originals have their own. */
    encode_refusal(REASON_TIMED_OUT, text_of("slow"), &message);
    assert_text(message.ack.message, text_of("slow"));
    encode_refusal(REASON_FORBIDDEN, text_of("rule 4 of the list"), &message);
    assert_text(message.ack.message, text_of("Unauthorized"));
    encode_refusal(REASON_NOT_ALLOWED, text_of("not in the allowlist"), &message);
    assert_text(message.ack.message, text_of("Unauthorized"));
    encode_refusal(REASON_POLICY_FAILED, text_of("line 3: no function"), &message);
    assert_text(message.ack.message, text_of("Authorization error."));
    encode_refusal(REASON_UNKNOWN_AGENT, text_of("no agent"), &message);
    assert_text(message.ack.message, text_of("Gateway not registered"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples_both_ways),
        cmocka_unit_test(test_other_forms),
        cmocka_unit_test(test_nil_gives_zeros),
        cmocka_unit_test(test_data_forms),
        cmocka_unit_test(test_data_as_the_originals_write_it),
        cmocka_unit_test(test_data_of_the_largest_guid),
        cmocka_unit_test(test_codes_of_refusals),
        cmocka_unit_test(test_refusals_we_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
