#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mux/mux_fake.h"

#include "base/error.h"
#include "base/reason.h"

static struct fake_pair pair;

static int set_up(void **state)
{
    return fake_pair_init(&pair, state);
}

static void ids_that_cannot_be_cut_the_link(void **state)
{
    (void)state;
    /* Never opened, by either side. */
    assert_int_equal(CULVERT_ERROR_PROTOCOL, fake_receive_data(&pair.b, 1, 10));
    assert_int_equal(CULVERT_ERROR_PROTOCOL, fake_receive_data(&pair.b, 2, 10));
    assert_int_equal(CULVERT_ERROR_PROTOCOL, fake_receive_data(&pair.b, 0, 10));
    enum message_type types[] = {MESSAGE_RESET, MESSAGE_FIN, MESSAGE_CREDIT, MESSAGE_ACK};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct message message = {.type = types[i], .sid = 9};
        if (types[i] == MESSAGE_CREDIT)
            message.credit = 1;
        assert_int_equal(CULVERT_ERROR_PROTOCOL, fake_receive(&pair.b, &message, NULL, 0));
    }
    /* Wrong parity, zero, used again, not above the last. */
    assert_int_equal(CULVERT_ERROR_PROTOCOL, fake_receive_open(&pair.b, 0));
    assert_int_equal(CULVERT_ERROR_PROTOCOL, fake_receive_open(&pair.b, 2));
    assert_int_equal(0, fake_receive_open(&pair.b, 7));
    assert_int_equal(CULVERT_ERROR_PROTOCOL, fake_receive_open(&pair.b, 7));
    assert_int_equal(CULVERT_ERROR_PROTOCOL, fake_receive_open(&pair.b, 5));
    /* An ack for a stream of the peer's own. */
    struct message ack = {.type = MESSAGE_ACK, .sid = 7, .ack = {.ok = true}};
    assert_int_equal(CULVERT_ERROR_PROTOCOL, fake_receive(&pair.b, &ack, NULL, 0));
    assert_int_equal(0, fake_find(&pair.b, 7)->resets);
}

static void what_crossed_a_close_is_ignored(void **state)
{
    (void)state;
    assert_int_equal(0, fake_receive_open(&pair.b, 7));
    fake_close(fake_find(&pair.b, 7));
    struct fake_holder *ours = fake_open(&pair.b);
    fake_close(ours);
    uint64_t ids[] = {7, 5, ours->id};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(0, fake_receive_data(&pair.b, ids[i], 10));
        struct message message = {.type = MESSAGE_FIN, .sid = ids[i]};
        assert_int_equal(0, fake_receive(&pair.b, &message, NULL, 0));
        message = (struct message){.type = MESSAGE_CREDIT, .sid = ids[i], .credit = 5};
        assert_int_equal(0, fake_receive(&pair.b, &message, NULL, 0));
        message = (struct message){.type = MESSAGE_RESET, .sid = ids[i]};
        assert_int_equal(0, fake_receive(&pair.b, &message, NULL, 0));
    }
}

/* Each breaks the rules of one stream and leaves the other alone. */
static void assert_stream_error(struct fake_end *end, struct fake_holder *holder,
                                const struct message *message, size_t size)
{
    static const uint8_t zeros[MESSAGE_MAX_DATA];
    assert_int_equal(0, fake_receive(end, message, zeros, size));
    assert_int_equal(1, holder->resets);
    assert_int_equal(REASON_PROTOCOL, holder->code);
    static struct fake_message pulled;
    do {
        assert_true(fake_pull(end, &pulled));
    } while (pulled.message.type != MESSAGE_RESET);
    assert_int_equal(holder->id, pulled.message.sid);
    assert_int_equal(REASON_PROTOCOL, pulled.message.reset.code);
}

static void wrong_data_resets_its_stream(void **state)
{
    (void)state;
    struct fake_holder *other;
    fake_join(&pair.a, &pair.b, &other);
    struct fake_holder *far;
    struct fake_holder *near = fake_join(&pair.a, &pair.b, &far);
    struct message data = {.type = MESSAGE_DATA, .sid = near->id};
    assert_stream_error(&pair.b, far, &data, 0);

    near = fake_join(&pair.a, &pair.b, &far);
    data.sid = near->id;
    for (int i = 0; i < MUX_WINDOW / MESSAGE_MAX_DATA; i++)
        assert_int_equal(0, fake_receive_data(&pair.b, near->id, MESSAGE_MAX_DATA));
    assert_stream_error(&pair.b, far, &data, 1);

    near = fake_join(&pair.a, &pair.b, &far);
    data.sid = near->id;
    struct message fin = {.type = MESSAGE_FIN, .sid = near->id};
    assert_int_equal(0, fake_receive(&pair.b, &fin, NULL, 0));
    assert_stream_error(&pair.b, far, &data, 1);

    near = fake_join(&pair.a, &pair.b, &far);
    fin.sid = near->id;
    assert_int_equal(0, fake_receive(&pair.b, &fin, NULL, 0));
    assert_stream_error(&pair.b, far, &fin, 0);
    assert_int_equal(0, other->resets);
}

static void wrong_credit_and_acks_reset_their_stream(void **state)
{
    (void)state;
    struct fake_holder *far;
    struct fake_holder *near = fake_join(&pair.a, &pair.b, &far);
    struct message credit = {.type = MESSAGE_CREDIT, .sid = near->id, .credit = 1U << 31};
    assert_stream_error(&pair.a, near, &credit, 0);

    near = fake_join(&pair.a, &pair.b, &far);
    struct message ack = {.type = MESSAGE_ACK, .sid = near->id, .ack = {.ok = true}};
    assert_stream_error(&pair.a, near, &ack, 0);

    near = fake_open(&pair.a);
    fake_expect(&pair.a, MESSAGE_OPEN, near->id);
    struct message data = {.type = MESSAGE_DATA, .sid = near->id};
    assert_stream_error(&pair.a, near, &data, 5);

    near = fake_open(&pair.a);
    fake_expect(&pair.a, MESSAGE_OPEN, near->id);
    struct message fin = {.type = MESSAGE_FIN, .sid = near->id};
    assert_stream_error(&pair.a, near, &fin, 0);
}

static void messages_of_others_are_left_alone(void **state)
{
    (void)state;
    struct message message = {.type = MESSAGE_PING, .opaque = 1};
    assert_int_equal(0, fake_receive(&pair.b, &message, NULL, 0));
    message = (struct message){.type = MESSAGE_ACK, .is_handshake_ack = true};
    assert_int_equal(0, fake_receive(&pair.b, &message, NULL, 0));
    message = (struct message){.type = MESSAGE_DATAGRAM, .sid = 99, .payload = 4};
    assert_int_equal(0, fake_receive(&pair.b, &message, "abcd", 4));
}

static void peer_may_open_so_many_streams(void **state)
{
    (void)state;
    pair.b.ignore_opens = true;
    uint64_t id = 1;
    for (int i = 0; i < MUX_MAX_STREAMS; i++, id += 2)
        assert_int_equal(0, fake_receive_open(&pair.b, id));
    assert_true(mux_is_drained(&pair.b.mux));
    assert_int_equal(0, fake_receive_open(&pair.b, id));
    static struct fake_message pulled;
    assert_true(fake_pull(&pair.b, &pulled));
    assert_int_equal(MESSAGE_ACK, pulled.message.type);
    assert_int_equal(id, pulled.message.sid);
    assert_false(pulled.message.ack.ok);
    assert_int_equal(REASON_LIMIT, pulled.message.ack.code);
    /* Data behind it is ignored. */
    assert_int_equal(0, fake_receive_data(&pair.b, id, 10));
    fake_expect_nothing(&pair.b);

    struct mux_stream *first = map_find(&pair.b.mux.streams, 1);
    first->stream.operations->close(&first->stream);
    fake_expect(&pair.b, MESSAGE_ACK, 1);
    assert_int_equal(0, fake_receive_open(&pair.b, id + 2));
    assert_non_null(map_find(&pair.b.mux.streams, id + 2));
    for (uint64_t other = 3; other <= id + 2; other += 2) {
        struct mux_stream *stream = map_find(&pair.b.mux.streams, other);
        if (stream == NULL)
            continue;
        stream->stream.operations->close(&stream->stream);
        fake_expect(&pair.b, MESSAGE_ACK, other);
    }
    assert_int_equal(0, pair.b.mux.streams.count);
}

static void control_past_its_bound_cuts_the_link(void **state)
{
    (void)state;
    pair.b.refuse_code = REASON_FORBIDDEN;
    int result = 0;
    uint64_t id = 1;
    for (; result == 0 && id < 1000000; id += 2)
        result = fake_receive_open(&pair.b, id);
    assert_int_equal(CULVERT_ERROR_LIMIT, result);
    assert_int_equal(MUX_MAX_REFUSALS + 1, pair.b.mux.refusals);
    struct mux_output output;
    assert_int_equal(CULVERT_ERROR_LIMIT, mux_pull(&pair.b.mux, MUX_MAY_ALL, &output, 0));
    assert_int_equal(CULVERT_ERROR_LIMIT, fake_receive_open(&pair.b, id));
}

static void close_all(struct mux *mux)
{
    size_t cursor = 0;
    struct mux_stream *stream;
    while ((stream = map_next(&mux->streams, &cursor)) != NULL) {
        stream->stream.operations->close(&stream->stream);
        cursor = 0;
    }
}

static void a_peer_opens_no_more_without_memory(void **state)
{
    (void)state;
    static struct fake_message pulled;
    pair.b.ignore_opens = true;
    pair.b.account.limit = 1;
    uint64_t id = 1;
    for (int i = 0; i < MUX_STREAMS_WITHOUT_MEMORY; i++, id += 2)
        assert_int_equal(0, fake_receive_open(&pair.b, id));
    assert_int_equal(MUX_STREAMS_WITHOUT_MEMORY * MUX_RECORD_COST, pair.b.account.used);
    assert_int_equal(0, fake_receive_open(&pair.b, id));
    assert_true(fake_pull(&pair.b, &pulled));
    assert_int_equal(MESSAGE_ACK, pulled.message.type);
    assert_int_equal(id, pulled.message.sid);
    assert_int_equal(REASON_NO_MEMORY, pulled.message.ack.code);
    pair.b.account.limit = SIZE_MAX;
    assert_int_equal(0, fake_receive_open(&pair.b, id + 2));
    assert_false(fake_pull(&pair.b, &pulled));
    /* To an agent its link brings the opens of many. */
    pair.a.ignore_opens = true;
    pair.a.account.limit = 1;
    for (uint64_t of_many = 2; of_many <= 2 * (MUX_STREAMS_WITHOUT_MEMORY + 1); of_many += 2)
        assert_int_equal(0, fake_receive_open(&pair.a, of_many));
    assert_false(fake_pull(&pair.a, &pulled));
    close_all(&pair.a.mux);
    close_all(&pair.b.mux);
}

static void our_own_opens_never_cut_the_link(void **state)
{
    (void)state;
    int result = 0;
    struct message_open open = {.kind = text_of("tcp"), .agent = text_of("a")};
    while (pair.a.mux.streams.count < 1000000 && result == 0) {
        struct mux_stream *stream;
        result = mux_open(&pair.a.mux, &open, &stream);
    }
    assert_int_equal(CULVERT_ERROR_LIMIT, result);
    assert_int_equal(0, pair.a.mux.failure);
    static struct fake_message pulled;
    assert_true(fake_pull(&pair.a, &pulled));
    struct mux_stream *last;
    assert_int_equal(0, mux_open(&pair.a.mux, &open, &last));
    for (uint64_t id = 1; id <= last->id; id += 2) {
        struct mux_stream *stream = map_find(&pair.a.mux.streams, id);
        stream->stream.operations->close(&stream->stream);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, fake_pair_deinit)
    const struct CMUnitTest tests[] = {
        TEST(ids_that_cannot_be_cut_the_link),      TEST(what_crossed_a_close_is_ignored),
        TEST(wrong_data_resets_its_stream),         TEST(wrong_credit_and_acks_reset_their_stream),
        TEST(messages_of_others_are_left_alone),    TEST(peer_may_open_so_many_streams),
        TEST(control_past_its_bound_cuts_the_link), TEST(a_peer_opens_no_more_without_memory),
        TEST(our_own_opens_never_cut_the_link),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
