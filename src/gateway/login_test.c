/* The first message of a connection, in both dialects, on a carrier that only notes what it is
 * told.
 */
#include "base/error.h"
#include "base/reason.h"
#include "codec/hubble.h"
#include "gateway/dialect.h"
#include "gateway/test_gateway.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

struct visit {
    struct test_gateway test;
    struct carrier carrier;
    struct visitor *visitor;
    uint64_t id;
    struct message answer; /* the last that was sent; its texts are in `bytes` */
    uint8_t bytes[4096];
    unsigned sent;
    int error; /* that it was closed with */
    bool is_reading, is_closed, is_hubble;
};

/* ---- the carrier ---- */

static struct visit *visit_of(const struct carrier *carrier)
{
    return CONTAINER_OF(carrier, struct visit, carrier);
}

static void send_batch(struct carrier *carrier, struct slice_queue *batch)
{
    struct visit *visit = visit_of(carrier);
    size_t size = 0;
    struct slice *slice;
    while ((slice = slice_queue_first(batch)) != NULL) {
        assert_true(size + slice->size <= sizeof(visit->bytes));
        memcpy(visit->bytes + size, slice->data, slice->size);
        size += slice->size;
        slice_queue_skip(batch, slice->size);
    }
    visit->sent++;
    if (visit->is_hubble) {
        struct hubble_payload payload;
        assert_int_equal(hubble_decode(visit->bytes, size, &visit->answer, &payload), 0);
    } else {
        size_t used = 0;
        assert_int_equal(message_decode(visit->bytes, size, &visit->answer, &used), 0);
    }
}

static void nothing(struct carrier *carrier)
{
    (void)carrier;
}

static bool is_ready(const struct carrier *carrier)
{
    (void)carrier;
    return true;
}

static size_t batch_limit(const struct carrier *carrier)
{
    (void)carrier;
    return 4096;
}

static void read_on(struct carrier *carrier, bool on)
{
    visit_of(carrier)->is_reading = on;
}

static void close_it(struct carrier *carrier, int error, const char *reason)
{
    (void)reason;
    visit_of(carrier)->error = error;
    visit_of(carrier)->is_closed = true;
}

static const struct carrier_operations carrier_operations = {
    .send = send_batch,
    .flush = nothing,
    .is_ready = is_ready,
    .batch_limit = batch_limit,
    .ping = nothing,
    .read = read_on,
    .close = close_it,
};

/* ---- a visit ---- */

static void come(struct visit *visit, const struct dialect *dialect)
{
    static const struct front front = {.text = "192.0.2.1:1234"};
    visit->carrier = (struct carrier){.operations = &carrier_operations};
    visit->is_hubble = dialect == &dialect_hubble;
    visit->is_closed = false;
    visit->sent = 0;
    visit->visitor = visitor_adopt(visit->test.worker, NULL, &front, NULL);
    assert_non_null(visit->visitor);
    visit->id = visit->visitor->id;
    visitor_take_carrier(visit->visitor, &visit->carrier, dialect);
}

static void begin(struct visit *visit, const struct dialect *dialect)
{
    memset(visit, 0, sizeof(*visit));
    test_gateway_begin(&visit->test);
    come(visit, dialect);
}

static bool is_there(struct visit *visit)
{
    return visitor_find(visit->test.worker, visit->id) != NULL;
}

static void end(struct visit *visit)
{
    test_gateway_settle(&visit->test);
    test_gateway_close(&visit->test);
    assert_true(visit->is_closed);
}

static void bring(struct visit *visit, const uint8_t *bytes, size_t size)
{
    struct slice slice;
    assert_int_equal(slice_copy(&visit->test.loop->pool, bytes, size, &slice), 0);
    visit->carrier.events->data(&visit->carrier, slice);
}

static void finish_message(struct visit *visit)
{
    visit->carrier.events->message_end(&visit->carrier);
}

static size_t write_handshake(const struct visit *visit, const char *name, uint8_t *out,
                              size_t room)
{
    struct message message = {.type = MESSAGE_HANDSHAKE, .is_known = true};
    message.handshake =
        (struct message_handshake){.version = text_of(visit->is_hubble ? HUBBLE_VERSION : "1"),
                                   .name = text_of(name),
                                   .key = text_of(""),
                                   .window = MUX_WINDOW,
                                   .epoch = 1,
                                   .first = 1};
    int size =
        visit->is_hubble ? hubble_encode(&message, out, room) : message_encode(&message, out, room);
    assert_true(size > 0);
    return (size_t)size;
}

static void shake_hands(struct visit *visit, const char *name)
{
    uint8_t bytes[1024];
    size_t size = write_handshake(visit, name, bytes, sizeof(bytes));
    bring(visit, bytes, size / 2);
    if (is_there(visit))
        bring(visit, bytes + size / 2, size - size / 2);
    if (is_there(visit))
        finish_message(visit);
    test_gateway_settle(&visit->test);
}

static const struct dialect *const dialects[] = {&dialect_native, &dialect_hubble};

/* ---- both ---- */

static void a_handshake_in_two_pieces_registers(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct visit visit;
        begin(&visit, dialects[i]);
        shake_hands(&visit, "one");
        assert_false(is_there(&visit));
        assert_false(visit.is_closed);
        assert_true(visit.sent > 0);
        const struct member *member = test_gateway_member(&visit.test, "one");
        assert_non_null(member);
        assert_string_equal(member->tunnel->operations->dialect,
                            i == 0 ? "culvert.1" : "hubble 0.1");
        assert_string_equal(member->address, "192.0.2.1:1234");
        assert_true(visit.is_reading);
        end(&visit);
    }
}

static void another_first_message_ends_it(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct visit visit;
        uint8_t bytes[256];
        begin(&visit, dialects[i]);
        struct message message = {.type = MESSAGE_ACK, .is_known = true, .guid = text_of("one")};
        message.sid = 1;
        message.is_handshake_ack = true;
        message.welcome.ok = true;
        int size = i == 0 ? message_encode(&message, bytes, sizeof(bytes))
                          : hubble_encode(&message, bytes, sizeof(bytes));
        assert_true(size > 0);
        bring(&visit, bytes, (size_t)size);
        if (is_there(&visit))
            finish_message(&visit);
        assert_false(is_there(&visit));
        assert_true(visit.is_closed);
        assert_int_equal(visit.error, CULVERT_ERROR_PROTOCOL);
        assert_int_equal(visit.sent, 0);
        /* The rest of what was read is dropped. */
        bring(&visit, bytes, (size_t)size);
        finish_message(&visit);
        test_gateway_settle(&visit.test);
        assert_int_equal(visit.test.worker->visitor_ids.count, 0);
        end(&visit);
    }
}

static void half_a_message_ends_it(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct visit visit;
        uint8_t bytes[1024];
        begin(&visit, dialects[i]);
        size_t size = write_handshake(&visit, "one", bytes, sizeof(bytes));
        bring(&visit, bytes, size - 1);
        finish_message(&visit);
        assert_false(is_there(&visit));
        assert_int_equal(visit.error, CULVERT_ERROR_PROTOCOL);
        assert_null(test_gateway_member(&visit.test, "one"));
        end(&visit);
    }
}

static void nothing_may_follow_before_the_answer(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct visit visit;
        struct test_agent holder = {0};
        uint8_t bytes[1024];
        begin(&visit, dialects[i]);
        test_agent_register(&holder, &visit.test, "one");
        size_t size = write_handshake(&visit, "one", bytes, sizeof(bytes));
        bring(&visit, bytes, size);
        finish_message(&visit);
        assert_true(is_there(&visit)); /* the holder of the name is asked */
        assert_false(visit.is_reading);
        bring(&visit, bytes, size);
        assert_false(is_there(&visit));
        assert_int_equal(visit.error, CULVERT_ERROR_PROTOCOL);
        test_gateway_settle(&visit.test); /* the answer finds nobody */
        assert_int_equal(visit.sent, 0);
        test_agent_close(&holder);
        end(&visit);
    }
}

static void a_lost_carrier_ends_it(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct visit visit;
        uint8_t bytes[1024];
        begin(&visit, dialects[i]);
        size_t size = write_handshake(&visit, "one", bytes, sizeof(bytes));
        bring(&visit, bytes, size / 2);
        visit.carrier.events->lost(&visit.carrier, CULVERT_ERROR_CLOSED, "the test cuts");
        assert_false(is_there(&visit));
        assert_true(visit.is_closed);
        end(&visit);
    }
}

static void a_refusal_is_told_in_the_dialect(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct visit visit;
        begin(&visit, dialects[i]);
        shake_hands(&visit, "gateway"); /* no name for an agent */
        assert_int_equal(visit.sent, 1);
        assert_int_equal(visit.answer.type, MESSAGE_ACK);
        assert_true(visit.answer.is_handshake_ack);
        assert_false(visit.answer.welcome.ok);
        if (i == 0)
            assert_int_equal(visit.answer.welcome.code, REASON_PROTOCOL);
        assert_true(visit.answer.welcome.message.size > 0);
        assert_true(visit.is_closed);
        assert_int_equal(visit.error, CULVERT_ERROR_REFUSED);
        assert_false(is_there(&visit));
        assert_int_equal(visit.test.worker->members.count, 0);
        end(&visit);
    }
}

/* ---- Hubble's ---- */

static void an_agent_of_hubble_may_have_no_name(void **state)
{
    (void)state;
    struct visit visit;
    begin(&visit, &dialect_hubble);
    shake_hands(&visit, "");
    assert_true(visit.answer.welcome.ok);
    assert_int_equal(visit.test.worker->members.count, 1);
    assert_true(registry_is_empty(&visit.test.gateway->registry));
    end(&visit);
}

static void another_version_of_hubble_is_refused(void **state)
{
    (void)state;
    int code = 0;
    struct message_handshake handshake = {.version = text_of("0.2"), .name = text_of("one")};
    assert_string_equal(dialect_hubble.object(&handshake, &code), HUBBLE_WRONG_VERSION);
    assert_int_equal(code, REASON_UNSUPPORTED);
    handshake.version = text_of(HUBBLE_VERSION);
    assert_null(dialect_hubble.object(&handshake, &code));
    handshake.name = text_of("-");
    assert_non_null(dialect_hubble.object(&handshake, &code));
    assert_int_equal(code, REASON_PROTOCOL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_handshake_in_two_pieces_registers),
        cmocka_unit_test(another_first_message_ends_it),
        cmocka_unit_test(half_a_message_ends_it),
        cmocka_unit_test(nothing_may_follow_before_the_answer),
        cmocka_unit_test(a_lost_carrier_ends_it),
        cmocka_unit_test(a_refusal_is_told_in_the_dialect),
        cmocka_unit_test(an_agent_of_hubble_may_have_no_name),
        cmocka_unit_test(another_version_of_hubble_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
