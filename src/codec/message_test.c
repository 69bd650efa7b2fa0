#include "codec/message.h"

#include "base/error.h"
#include "codec/guarded_page.h"
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
/* clang-format off */
#define LINK_BYTES {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
#define PROOF_BYTES \
    {32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, \
     48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63}
/* clang-format on */
#define LINK_HEX  "c410000102030405060708090a0b0c0d0e0f"
#define PROOF_HEX "c420202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f"

struct sample {
    const char *name;
    const char *wire;
    struct message message;
};

/* The bytes come from another msgpack implementation. */
static const struct sample samples[] = {
    {"handshake",
     "01 87 a756657273696f6e a131 a44e616d65 a66167656e7431 a34b6579 a6736563726574"
     "a84665617475726573 92a161a26263 a657696e646f77 ce00040000 a545706f6368 01 a54669727374 01",
     {.type = MESSAGE_HANDSHAKE,
      .handshake = {.version = TEXT("1"),
                    .name = TEXT("agent1"),
                    .key = TEXT("secret"),
                    .features = {TEXT("a"), TEXT("bc")},
                    .feature_count = 2,
                    .window = 262144,
                    .epoch = 1,
                    .first = 1}}},
    {"resuming handshake",
     "01 88 a756657273696f6e a131 a44e616d65 a161 a657696e646f77 ce00010000 a545706f6368 02"
     "a54669727374 cd012c a44c696e6b " LINK_HEX "a550726f6f66" PROOF_HEX
     "a85265636569766564 cf0000000100000000",
     {.type = MESSAGE_HANDSHAKE,
      .handshake = {.version = TEXT("1"),
                    .name = TEXT("a"),
                    .window = 65536,
                    .epoch = 2,
                    .first = 300,
                    .resumes = true,
                    .link = LINK_BYTES,
                    .proof = PROOF_BYTES,
                    .received = UINT64_C(1) << 32}}},
    {"express handshake",
     "01 89 a756657273696f6e a131 a44e616d65 a161 a657696e646f77 ce00010000 a545706f6368 02"
     "a54669727374 01 a44c696e6b " LINK_HEX "a550726f6f66" PROOF_HEX "a85265636569766564 00"
     "a745787072657373 c3",
     {.type = MESSAGE_HANDSHAKE,
      .handshake = {.version = TEXT("1"),
                    .name = TEXT("a"),
                    .window = 65536,
                    .epoch = 2,
                    .first = 1,
                    .resumes = true,
                    .link = LINK_BYTES,
                    .proof = PROOF_BYTES,
                    .is_express = true}}},
    {"handshake with a boot",
     "01 86 a756657273696f6e a131 a44e616d65 a161 a657696e646f77 ce00010000 a545706f6368 01"
     "a54669727374 01 a4426f6f74" LINK_HEX,
     {.type = MESSAGE_HANDSHAKE,
      .handshake = {.version = TEXT("1"),
                    .name = TEXT("a"),
                    .window = 65536,
                    .epoch = 1,
                    .first = 1,
                    .boot = LINK_BYTES}}},
    {"handshake with a place",
     "01 86 a756657273696f6e a131 a44e616d65 a161 a657696e646f77 ce00010000 a545706f6368 01"
     "a54669727374 01 a5506c616365" LINK_HEX,
     {.type = MESSAGE_HANDSHAKE,
      .handshake = {.version = TEXT("1"),
                    .name = TEXT("a"),
                    .window = 65536,
                    .epoch = 1,
                    .first = 1,
                    .place = LINK_BYTES}}},
    {"open with a pair",
     "02 97 01 a3746370 a162 a163 16 a0 81 a470616972 a3782079",
     {.type = MESSAGE_OPEN,
      .sid = 1,
      .open = {.kind = TEXT("tcp"),
               .agent = TEXT("b"),
               .host = TEXT("c"),
               .port = 22,
               .pair = TEXT("x y")}}},
    {"open",
     "02 97 01 a3746370 a66167656e7432 a93132372e302e302e31 16 a16b 82 a6736f75726365"
     "a66167656e7431 a6636c69656e74 ad31302e302e302e313a35303030",
     {.type = MESSAGE_OPEN,
      .sid = 1,
      .open = {.kind = TEXT("tcp"),
               .agent = TEXT("agent2"),
               .host = TEXT("127.0.0.1"),
               .port = 22,
               .key = TEXT("k"),
               .source = TEXT("agent1"),
               .client = TEXT("10.0.0.1:5000")}}},
    {"empty open", "02 97 cc80 a0 a0 a0 00 a0 80", {.type = MESSAGE_OPEN, .sid = 128}},
    {"reset",
     "04 93 cd012c 04 a26e6f",
     {.type = MESSAGE_RESET, .sid = 300, .reset = {.code = 4, .reason = TEXT("no")}}},
    {"fin", "05 91 ce00010000", {.type = MESSAGE_FIN, .sid = 65536}},
    {"credit",
     "06 92 03 ce7fffffff",
     {.type = MESSAGE_CREDIT, .sid = 3, .credit = UINT32_C(0x7FFFFFFF)}},
    {"ping", "08 91 cfffffffffffffffff", {.type = MESSAGE_PING, .opaque = UINT64_MAX}},
    {"pong", "09 91 00", {.type = MESSAGE_PONG, .opaque = 0}},
    {"received", "0a 91 ccff", {.type = MESSAGE_RECEIVED, .received = 255}},
    {"goaway",
     "0b 92 a56c61746572 1e",
     {.type = MESSAGE_GOAWAY, .goaway = {.reason = TEXT("later"), .seconds = 30}}},
    {"skip", "0f 91 cf0000000100000000", {.type = MESSAGE_SKIP, .skip = UINT64_C(1) << 32}},
    {"end",
     "10 92 0c a462796521",
     {.type = MESSAGE_END, .end = {.code = 12, .reason = TEXT("bye!")}}},
    {"express",
     "40 91 cf0000000100000000",
     {.type = MESSAGE_EXPRESS, .express = UINT64_C(1) << 32}},
    {"early", "41 92 cc80 7f", {.type = MESSAGE_EARLY, .early = {.number = 128, .before = 127}}},
    {"ack", "ff 94 01 c3 00 a0", {.type = MESSAGE_ACK, .sid = 1, .ack = {.ok = true}}},
    {"refusing ack",
     "ff 94 02 c2 03 a4676f6e65",
     {.type = MESSAGE_ACK, .sid = 2, .ack = {.code = 3, .message = TEXT("gone")}}},
    {"welcome",
     "ff 89 a24f6b c3 a44c696e6b" LINK_HEX "a6536563726574" PROOF_HEX
     "a545706f6368 01 a54669727374 01 a85265636569766564 00 a94b656570616c697665 14"
     "a6526573756d65 3c a657696e646f77 ce00040000",
     {.type = MESSAGE_ACK,
      .is_handshake_ack = true,
      .welcome = {.ok = true,
                  .link = LINK_BYTES,
                  .secret = PROOF_BYTES,
                  .epoch = 1,
                  .first = 1,
                  .keepalive = 20,
                  .resume = 60,
                  .window = 262144}}},
    {"welcome of a link that takes an express carrier",
     "ff 8a a24f6b c3 a44c696e6b" LINK_HEX "a6536563726574" PROOF_HEX
     "a545706f6368 01 a54669727374 01 a85265636569766564 00 a94b656570616c697665 14"
     "a6526573756d65 3c a657696e646f77 ce00040000 a745787072657373 c3",
     {.type = MESSAGE_ACK,
      .is_handshake_ack = true,
      .welcome = {.ok = true,
                  .link = LINK_BYTES,
                  .secret = PROOF_BYTES,
                  .epoch = 1,
                  .first = 1,
                  .keepalive = 20,
                  .resume = 60,
                  .window = 262144,
                  .takes_express = true}}},
    {"refusing welcome",
     "ff 83 a24f6b c2 a4436f6465 02 a74d657373616765 a977726f6e67206b6579",
     {.type = MESSAGE_ACK,
      .is_handshake_ack = true,
      .welcome = {.code = 2, .message = TEXT("wrong key")}}},
    {"data", "03 92 07 c401", {.type = MESSAGE_DATA, .sid = 7, .payload = 1}},
    {"much data", "03 92 cc80 c50100", {.type = MESSAGE_DATA, .sid = 128, .payload = 256}},
    {"most data",
     "03 92 cfffffffffffffffff c600010000",
     {.type = MESSAGE_DATA, .sid = UINT64_MAX, .payload = MESSAGE_MAX_DATA}},
    {"empty datagram", "07 92 01 c400", {.type = MESSAGE_DATAGRAM, .sid = 1, .payload = 0}},
};

enum { SAMPLES = sizeof samples / sizeof samples[0] };

static void assert_text(struct text a, struct text b)
{
    assert_int_equal(a.size, b.size);
    if (a.size > 0)
        assert_memory_equal(a.data, b.data, a.size);
}

static void assert_handshake(const struct message_handshake *a, const struct message_handshake *b)
{
    assert_text(a->version, b->version);
    assert_text(a->name, b->name);
    assert_text(a->key, b->key);
    assert_int_equal(a->feature_count, b->feature_count);
    for (size_t i = 0; i < a->feature_count; i++)
        assert_text(a->features[i], b->features[i]);
    assert_int_equal(a->window, b->window);
    assert_int_equal(a->epoch, b->epoch);
    assert_int_equal(a->first, b->first);
    assert_int_equal(a->resumes, b->resumes);
    assert_memory_equal(a->link, b->link, sizeof a->link);
    assert_memory_equal(a->proof, b->proof, sizeof a->proof);
    assert_int_equal(a->received, b->received);
    assert_int_equal(a->is_express, b->is_express);
    assert_memory_equal(a->boot, b->boot, sizeof(a->boot));
    assert_memory_equal(a->place, b->place, sizeof(a->place));
}

static void assert_welcome(const struct message_welcome *a, const struct message_welcome *b)
{
    assert_int_equal(a->ok, b->ok);
    assert_int_equal(a->code, b->code);
    assert_text(a->message, b->message);
    assert_memory_equal(a->link, b->link, sizeof a->link);
    assert_memory_equal(a->secret, b->secret, sizeof a->secret);
    assert_int_equal(a->resume, b->resume);
    assert_int_equal(a->epoch, b->epoch);
    assert_int_equal(a->first, b->first);
    assert_int_equal(a->received, b->received);
    assert_int_equal(a->keepalive, b->keepalive);
    assert_int_equal(a->window, b->window);
    assert_int_equal(a->takes_express, b->takes_express);
}

static void assert_open(const struct message_open *a, const struct message_open *b)
{
    assert_text(a->kind, b->kind);
    assert_text(a->agent, b->agent);
    assert_text(a->host, b->host);
    assert_int_equal(a->port, b->port);
    assert_text(a->key, b->key);
    assert_text(a->source, b->source);
    assert_text(a->client, b->client);
    assert_text(a->pair, b->pair);
}

static void assert_ack(const struct message *a, const struct message *b)
{
    assert_int_equal(a->is_handshake_ack, b->is_handshake_ack);
    if (a->is_handshake_ack) {
        assert_welcome(&a->welcome, &b->welcome);
        return;
    }
    assert_int_equal(a->ack.ok, b->ack.ok);
    assert_int_equal(a->ack.code, b->ack.code);
    assert_text(a->ack.message, b->ack.message);
}

static void assert_message(const struct message *a, const struct message *b)
{
    assert_int_equal(a->type, b->type);
    assert_int_equal(a->sid, b->sid);
    switch (a->type) {
    case MESSAGE_HANDSHAKE:
        assert_handshake(&a->handshake, &b->handshake);
        break;
    case MESSAGE_OPEN:
        assert_open(&a->open, &b->open);
        break;
    case MESSAGE_RESET:
        assert_int_equal(a->reset.code, b->reset.code);
        assert_text(a->reset.reason, b->reset.reason);
        break;
    case MESSAGE_ACK:
        assert_ack(a, b);
        break;
    case MESSAGE_GOAWAY:
        assert_text(a->goaway.reason, b->goaway.reason);
        assert_int_equal(a->goaway.seconds, b->goaway.seconds);
        break;
    case MESSAGE_END:
        assert_int_equal(a->end.code, b->end.code);
        assert_text(a->end.reason, b->end.reason);
        break;
    case MESSAGE_DATA:
    case MESSAGE_DATAGRAM:
        assert_int_equal(a->payload, b->payload);
        break;
    case MESSAGE_FIN:
        break;
    case MESSAGE_CREDIT:
    case MESSAGE_PING:
    case MESSAGE_PONG:
    case MESSAGE_RECEIVED:
    case MESSAGE_SKIP:
    case MESSAGE_EXPRESS:
        assert_int_equal(a->opaque, b->opaque); /* they share one place */
        break;
    case MESSAGE_EARLY:
        assert_int_equal(a->early.number, b->early.number);
        assert_int_equal(a->early.before, b->early.before);
        break;
    }
}

static void test_encode_writes_the_wire(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        uint8_t wire[512], out[512];
        size_t size = message_hex(samples[i].wire, wire, sizeof wire);
        assert_int_equal(message_encode(&samples[i].message, out, sizeof out), size);
        assert_memory_equal(out, wire, size);
        assert_int_equal(message_encode(&samples[i].message, out, size), size);
    }
}

static void test_encode_keeps_to_its_room(void **state)
{
    (void)state;
    struct guarded_page page = guarded_page_new(512);
    for (size_t i = 0; i < SAMPLES; i++) {
        uint8_t wire[512];
        size_t size = message_hex(samples[i].wire, wire, sizeof wire);
        for (size_t room = 0; room < size; room++) {
            uint8_t *out = page.bytes + page.capacity - room;
            assert_int_equal(message_encode(&samples[i].message, out, room),
                             CULVERT_ERROR_TOO_LARGE);
        }
    }
    guarded_page_free(&page);
}

static void test_decode_reads_the_wire(void **state)
{
    (void)state;
    struct guarded_page page = guarded_page_new(512);
    for (size_t i = 0; i < SAMPLES; i++) {
        uint8_t wire[512];
        size_t size = message_hex(samples[i].wire, wire, sizeof wire);
        struct message message;
        size_t used = 0;
        assert_int_equal(message_decode(guarded_page_put(&page, wire, size), size, &message, &used),
                         0);
        assert_int_equal(used, size);
        assert_true(message.is_known);
        assert_message(&message, &samples[i].message);

        wire[size] = 0xC1; /* what comes behind does not matter */
        assert_int_equal(
            message_decode(guarded_page_put(&page, wire, size + 1), size + 1, &message, &used), 0);
        assert_int_equal(used, size);
    }
    guarded_page_free(&page);
}

static void test_decode_waits_for_every_byte(void **state)
{
    (void)state;
    struct guarded_page page = guarded_page_new(512);
    for (size_t i = 0; i < SAMPLES; i++) {
        uint8_t wire[512];
        size_t size = message_hex(samples[i].wire, wire, sizeof wire);
        for (size_t part = 0; part < size; part++) {
            struct message message;
            size_t used = 4711;
            assert_int_equal(
                message_decode(guarded_page_put(&page, wire, part), part, &message, &used),
                CULVERT_NEED_MORE);
            assert_int_equal(used, 4711);
        }
    }
    guarded_page_free(&page);
}

static void test_texts_are_borrowed(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        if (samples[i].message.type != MESSAGE_OPEN)
            continue;
        uint8_t wire[512];
        size_t size = message_hex(samples[i].wire, wire, sizeof wire);
        struct message message;
        size_t used;
        assert_int_equal(message_decode(wire, size, &message, &used), 0);
        const struct text *texts[] = {&message.open.kind, &message.open.agent, &message.open.host,
                                      &message.open.key};
        for (size_t j = 0; j < sizeof texts / sizeof texts[0]; j++) {
            if (texts[j]->size == 0)
                continue;
            assert_in_range((uintptr_t)texts[j]->data, (uintptr_t)wire, (uintptr_t)(wire + size));
            assert_in_range((uintptr_t)(texts[j]->data + texts[j]->size), (uintptr_t)wire,
                            (uintptr_t)(wire + size));
        }
    }
}

static void test_data_header_without_a_struct(void **state)
{
    (void)state;
    static const uint64_t sids[] = {0,     0x7F,    0x80,       0xFF,        0x100,
                                    65535, 1 << 16, UINT32_MAX, 1ULL << 32U, UINT64_MAX};
    static const uint32_t sizes[] = {1, 255, 256, 65535, 65536};
    for (size_t i = 0; i < sizeof sids / sizeof sids[0]; i++) {
        for (size_t j = 0; j < sizeof sizes / sizeof sizes[0]; j++) {
            uint8_t header[MESSAGE_MAX_HEADER];
            size_t size = message_encode_data_header(sids[i], sizes[j], header);
            assert_in_range(size, 1, MESSAGE_MAX_HEADER);
            struct message message;
            size_t used;
            assert_int_equal(message_decode(header, size, &message, &used), 0);
            assert_int_equal(used, size);
            assert_int_equal(message.sid, sids[i]);
            assert_int_equal(message.payload, sizes[j]);
        }
    }
}

static void test_what_is_counted(void **state)
{
    (void)state;
    static const uint8_t uncounted[] = {0x01, 0x07, 0x08, 0x09, 0x0A, 0x10, 0x40, 0x5A, 0x7F};
    static const uint8_t counted[] = {0x02, 0x03, 0x04, 0x05, 0x06, 0x0B, 0x0C, 0x0D,
                                      0x0E, 0x0F, 0x11, 0x3F, 0x80, 0xFE, 0xFF};
    for (size_t i = 0; i < sizeof uncounted; i++)
        assert_false(message_type_is_counted(uncounted[i]));
    for (size_t i = 0; i < sizeof counted; i++)
        assert_true(message_type_is_counted(counted[i]));

    for (size_t i = 0; i < SAMPLES; i++) {
        uint8_t wire[512];
        size_t size = message_hex(samples[i].wire, wire, sizeof wire);
        struct message message;
        size_t used;
        assert_int_equal(message_decode(wire, size, &message, &used), 0);
        bool is_counted = message_type_is_counted(wire[0]) && !message.is_handshake_ack;
        assert_int_equal(message.is_counted, is_counted);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encode_writes_the_wire),
        cmocka_unit_test(test_encode_keeps_to_its_room),
        cmocka_unit_test(test_decode_reads_the_wire),
        cmocka_unit_test(test_decode_waits_for_every_byte),
        cmocka_unit_test(test_texts_are_borrowed),
        cmocka_unit_test(test_data_header_without_a_struct),
        cmocka_unit_test(test_what_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
