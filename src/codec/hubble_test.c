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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples_both_ways),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
