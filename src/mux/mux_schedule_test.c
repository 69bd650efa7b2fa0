#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mux/mux_fake.h"

#include "base/error.h"
#include "base/reason.h"

#include <stdlib.h>
#include <string.h>

enum { MANY = 10, BIG_WINDOW = 64 * 1024 * 1024 };

static struct fake_end a, b;

static int set_up(void **state)
{
    (void)state;
    fake_end_init(&a, true);
    fake_end_init(&b, false);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fake_end_deinit(&a);
    fake_end_deinit(&b);
    return 0;
}

/* A stream that may send as much as it likes: the receiving side is not looked at. */
static struct fake_holder *open_with_credit(uint32_t window)
{
    mux_set_peer_window(&a.mux, window);
    struct fake_holder *holder = fake_open(&a);
    fake_expect(&a, MESSAGE_OPEN, holder->id);
    struct message ack = {.type = MESSAGE_ACK, .sid = holder->id, .ack = {.ok = true}};
    assert_int_equal(0, fake_receive(&a, &ack, NULL, 0));
    return holder;
}

/* Pulls a data message and returns its size. */
static size_t pull_data(uint64_t *id)
{
    static struct fake_message pulled;
    assert_true(fake_pull(&a, &pulled));
    assert_int_equal(MESSAGE_DATA, pulled.message.type);
    assert_false(pulled.is_control);
    *id = pulled.message.sid;
    return pulled.message.payload;
}

static void control_goes_before_data(void **state)
{
    (void)state;
    struct fake_holder *bulk = open_with_credit(BIG_WINDOW);
    fake_write(bulk, 1000);
    struct fake_holder *late = fake_open(&a);
    fake_expect(&a, MESSAGE_OPEN, late->id);
    fake_expect(&a, MESSAGE_DATA, bulk->id);
    fake_expect_nothing(&a);
}

static void data_waits_while_the_link_has_no_room(void **state)
{
    (void)state;
    struct fake_holder *bulk = open_with_credit(BIG_WINDOW);
    fake_write(bulk, 1000);
    bulk->stream->operations->finish(bulk->stream);
    struct fake_holder *late = fake_open(&a);
    struct mux_output output;
    assert_int_equal(1, mux_pull(&a.mux, MUX_MAY_CONTROL, &output, 0));
    assert_true(output.is_control);
    slice_drop(&output.body);
    assert_int_equal(0, mux_pull(&a.mux, MUX_MAY_CONTROL, &output, 0));
    assert_int_equal(0, bulk->written);
    fake_expect(&a, MESSAGE_DATA, bulk->id);
    fake_expect(&a, MESSAGE_FIN, bulk->id);
    assert_int_equal(1, bulk->finished);
    assert_int_equal(0, late->finished);
}

static void message_is_one_slice_of_at_most_64_kib(void **state)
{
    (void)state;
    struct fake_holder *bulk = open_with_credit(BIG_WINDOW);
    fake_write_pieces(bulk, 100000, 100000);
    fake_write_pieces(bulk, 300, 100);
    uint64_t id;
    size_t sizes[] = {MESSAGE_MAX_DATA, 100000 - MESSAGE_MAX_DATA, 100, 100, 100};
    size_t written = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        assert_int_equal(sizes[i], pull_data(&id));
        written += sizes[i];
        assert_int_equal(written, bulk->written);
    }
    assert_int_equal(0, a.mux.queued);
}

static void payload_is_not_copied(void **state)
{
    (void)state;
    struct fake_holder *bulk = open_with_credit(BIG_WINDOW);
    struct slice slice;
    static uint8_t bytes[1000];
    assert_int_equal(0, slice_copy(&a.pool, bytes, sizeof bytes, &slice));
    const uint8_t *place = slice.data;
    struct slice_queue queue = SLICE_QUEUE_NULL;
    assert_int_equal(0, slice_queue_push(&queue, slice));
    bulk->stream->operations->write(bulk->stream, &queue);
    slice_queue_deinit(&queue);
    struct mux_output output;
    assert_int_equal(1, mux_pull(&a.mux, MUX_MAY_ALL, &output, 0));
    assert_ptr_equal(place, output.body.data);
    slice_drop(&output.body);
}

static void data_messages_are_as_small_as_the_line_wants_them(void **state)
{
    (void)state;
    static const struct {
        size_t limit, size;
    } cases[] = {
        {10000, 10000},
        {1, MUX_SMALLEST_DATA},
        {SIZE_MAX, MESSAGE_MAX_DATA},
    };
    struct fake_holder *bulk = open_with_credit(BIG_WINDOW);
    fake_write(bulk, CHUNK_LARGE_SIZE);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t id;
        mux_limit_data(&a.mux, cases[i].limit);
        assert_int_equal(cases[i].size, pull_data(&id));
    }
}

static void small_message_leaves_ahead_of_bulk(void **state)
{
    (void)state;
    struct fake_holder *bulk[3];
    for (int i = 0; i < 3; i++) {
        bulk[i] = open_with_credit(BIG_WINDOW);
        fake_write(bulk[i], 4 * CHUNK_LARGE_SIZE);
    }
    struct fake_holder *echo = open_with_credit(MUX_WINDOW);
    uint64_t id;
    for (int i = 0; i < 5; i++)
        pull_data(&id);
    /* Keystroke after keystroke, with less than a round of the others between them. */
    for (int i = 0; i < 20; i++) {
        fake_write(echo, 64);
        assert_int_equal(64, pull_data(&id));
        assert_int_equal(echo->id, id);
        pull_data(&id);
        assert_int_not_equal(echo->id, id);
    }
}

static bool pull_small(struct mux_output *output)
{
    int result = mux_pull(&a.mux, MUX_MAY_SMALL, output, 0);
    assert_in_range(result, 0, 1);
    if (result == 1)
        slice_drop(&output->body);
    return result == 1;
}

static void small_messages_can_be_pulled_alone(void **state)
{
    (void)state;
    struct fake_holder *bulk = open_with_credit(BIG_WINDOW);
    struct fake_holder *small = open_with_credit(BIG_WINDOW);
    struct mux_output output;
    fake_write(bulk, 3 * MUX_QUANTUM);
    assert_false(mux_has_small(&a.mux));
    assert_false(pull_small(&output));
    fake_write(small, MUX_SMALL_DATA);
    assert_true(mux_has_small(&a.mux));
    assert_true(pull_small(&output));
    assert_false(output.is_control);
    assert_int_equal(*output.mark, 0);
    *output.mark = 17;
    assert_false(mux_has_small(&a.mux));
    assert_false(pull_small(&output));
    assert_int_equal(small->written, MUX_SMALL_DATA);
    assert_int_equal(bulk->written, 0);
    fake_write(small, 1);
    assert_true(pull_small(&output));
    assert_int_equal(*output.mark, 17);
    fake_write(small, MUX_SMALL_DATA + 1);
    assert_false(pull_small(&output));
    uint64_t id;
    assert_int_equal(pull_data(&id), MESSAGE_MAX_DATA);
    assert_int_equal(pull_data(&id), MUX_SMALL_DATA + 1);
    assert_int_equal(id, small->id);
}

/* What a stream said before goes first in any case; and so does control. */
static void small_messages_wait_for_control(void **state)
{
    (void)state;
    mux_set_peer_window(&a.mux, BIG_WINDOW);
    struct fake_holder *late = fake_open(&a);
    struct mux_output output;
    fake_write(late, 10);
    assert_true(mux_has_small(&a.mux));
    assert_true(pull_small(&output));
    assert_true(output.is_control);
    assert_null(output.mark);
    assert_true(pull_small(&output));
    assert_false(output.is_control);
    late->stream->operations->finish(late->stream);
    assert_false(pull_small(&output)); /* an end is in no hurry */
    fake_expect(&a, MESSAGE_FIN, late->id);
}

/* One that has had its quantum waits its turn, however small what it says. */
static void small_messages_have_a_quantum_too(void **state)
{
    (void)state;
    struct fake_holder *bulk = open_with_credit(BIG_WINDOW);
    struct fake_holder *chatty = open_with_credit(BIG_WINDOW);
    struct mux_output output;
    fake_write(bulk, 3 * MUX_QUANTUM);
    unsigned pulled = 0;
    for (unsigned i = 0; i < 2 * MUX_QUANTUM / MUX_SMALL_DATA; i++) {
        fake_write(chatty, MUX_SMALL_DATA);
        pulled += pull_small(&output);
    }
    assert_int_equal(pulled, MUX_QUANTUM / MUX_SMALL_DATA);
}

static void data_can_be_taken_once_the_stream_is_there(void **state)
{
    (void)state;
    assert_false(mux_takes_data(&a.mux, 1));
    struct fake_holder *ours = fake_open(&a);
    assert_false(mux_takes_data(&a.mux, ours->id));
    assert_false(mux_takes_data(&b.mux, ours->id));
    fake_deliver(&a, &b);
    assert_true(mux_takes_data(&b.mux, ours->id));
    struct message ack = {.type = MESSAGE_ACK, .sid = ours->id, .ack = {.ok = true}};
    assert_int_equal(0, fake_receive(&a, &ack, NULL, 0));
    assert_true(mux_takes_data(&a.mux, ours->id));
    fake_reset(ours, REASON_RESET, NULL);
    assert_false(mux_takes_data(&a.mux, ours->id));
}

static void bulk_streams_share_within_a_quantum(void **state)
{
    (void)state;
    struct fake_holder *bulk[MANY];
    for (size_t i = 0; i < MANY; i++) {
        bulk[i] = open_with_credit(BIG_WINDOW);
        /* Slices of many sizes, so that quanta do not come out even. */
        for (int n = 0; n < 40; n++)
            fake_write_pieces(bulk[i], 50000, 1000 + i * 7919);
    }
    uint64_t id;
    for (int n = 0; n < 600; n++) {
        pull_data(&id);
        size_t least = SIZE_MAX;
        size_t most = 0;
        for (size_t i = 0; i < MANY; i++) {
            least = bulk[i]->written < least ? bulk[i]->written : least;
            most = bulk[i]->written > most ? bulk[i]->written : most;
        }
        /* One is a whole turn ahead, and carries at most a message's size over. */
        assert_true(most - least <= MUX_QUANTUM + MESSAGE_MAX_DATA);
    }
    for (size_t i = 0; i < MANY; i++)
        assert_true(bulk[i]->written < 50000 * 40);
}

/* A relay's socket that is always readable fills the queue again each time it has run empty; so it
 * looks idle each time the other has sent something. */
static void assert_fair_with_refills_of(size_t size)
{
    struct fake_holder *bulk = open_with_credit(BIG_WINDOW);
    fake_write_pieces(bulk, 4000 * 1000, 1000);
    struct fake_holder *toggling = open_with_credit(BIG_WINDOW);
    uint64_t id;
    pull_data(&id);
    while (bulk->written < 40 * MUX_QUANTUM) {
        if (mux_stream_from(toggling->stream)->out.count == 0)
            fake_write(toggling, size);
        do {
            pull_data(&id);
        } while (id != bulk->id);
    }
    assert_in_range(toggling->written, 10 * MUX_QUANTUM, 44 * MUX_QUANTUM);
}

static void stream_that_keeps_running_empty_gets_no_more(void **state)
{
    size_t sizes[] = {MUX_QUANTUM / 4, MUX_QUANTUM / 2, MUX_QUANTUM, 2 * MUX_QUANTUM};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        assert_fair_with_refills_of(sizes[i]);
        tear_down(state);
        set_up(state);
    }
}

static void new_stream_goes_first_for_one_quantum(void **state)
{
    (void)state;
    struct fake_holder *bulk = open_with_credit(BIG_WINDOW);
    fake_write(bulk, 4 * CHUNK_LARGE_SIZE);
    uint64_t id;
    pull_data(&id);
    pull_data(&id);
    struct fake_holder *late = open_with_credit(BIG_WINDOW);
    fake_write_pieces(late, 4 * MUX_QUANTUM, MUX_QUANTUM / 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(MUX_QUANTUM / 2, pull_data(&id));
        assert_int_equal(late->id, id);
    }
    /* From here on both have their turns, of a quantum each. */
    size_t before = late->written;
    do {
        pull_data(&id);
    } while (id != bulk->id);
    assert_true(late->written - before <= MUX_QUANTUM);
    do {
        pull_data(&id);
    } while (id != late->id);
    assert_true(bulk->written <= 4 * MUX_QUANTUM);
}

static void stream_without_credit_is_not_scheduled(void **state)
{
    (void)state;
    struct fake_holder *starved = open_with_credit(1000);
    struct fake_holder *other = open_with_credit(BIG_WINDOW);
    fake_write(starved, 5000);
    uint64_t id;
    assert_int_equal(1000, pull_data(&id));
    fake_expect_nothing(&a);
    assert_false(list_node_is_linked(&mux_stream_from(starved->stream)->scheduled));
    fake_write(starved, 5000);
    starved->stream->operations->finish(starved->stream);
    fake_expect_nothing(&a);
    fake_write(other, 10);
    assert_int_equal(10, pull_data(&id));

    int asked = a.asked;
    struct message credit = {.type = MESSAGE_CREDIT, .sid = starved->id, .credit = 9000};
    assert_int_equal(0, fake_receive(&a, &credit, NULL, 0));
    assert_int_equal(asked + 1, a.asked);
    assert_int_equal(4000, pull_data(&id));
    assert_int_equal(5000, pull_data(&id));
    fake_expect(&a, MESSAGE_FIN, starved->id);
}

static void credit_does_not_make_a_stream_fresh(void **state)
{
    (void)state;
    struct fake_holder *starved = open_with_credit(1000);
    fake_write(starved, 500000);
    uint64_t id;
    pull_data(&id);
    fake_expect_nothing(&a);
    struct fake_holder *bulk = open_with_credit(BIG_WINDOW);
    fake_write_pieces(bulk, 10 * MUX_QUANTUM, MUX_QUANTUM / 2);
    for (int i = 0; i < 3; i++)
        pull_data(&id);
    struct message credit = {.type = MESSAGE_CREDIT, .sid = starved->id, .credit = 1000};
    assert_int_equal(0, fake_receive(&a, &credit, NULL, 0));
    pull_data(&id);
    assert_int_equal(bulk->id, id);
}

static void credit_is_returned_in_one_message(void **state)
{
    (void)state;
    assert_int_equal(0, fake_receive_open(&b, 1));
    struct fake_holder *holder = fake_find(&b, 1);
    holder->stream->operations->accept(holder->stream);
    fake_expect(&b, MESSAGE_ACK, 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(0, fake_receive_data(&b, 1, 10000));
        fake_consume(holder);
    }
    fake_expect_nothing(&b);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(0, fake_receive_data(&b, 1, 10000));
        fake_consume(holder);
    }
    static struct fake_message pulled;
    assert_true(fake_pull(&b, &pulled));
    assert_int_equal(MESSAGE_CREDIT, pulled.message.type);
    assert_true(pulled.is_control);
    assert_int_equal(80000, pulled.message.credit);
    fake_expect_nothing(&b);
}

static void sender_that_has_ended_gets_no_credit(void **state)
{
    (void)state;
    assert_int_equal(0, fake_receive_open(&b, 1));
    struct fake_holder *holder = fake_find(&b, 1);
    holder->stream->operations->accept(holder->stream);
    fake_expect(&b, MESSAGE_ACK, 1);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(0, fake_receive_data(&b, 1, 10000));
        if (i == 9)
            fake_consume(holder);
    }
    assert_true(list_node_is_linked(&mux_stream_from(holder->stream)->credited));
    struct message fin = {.type = MESSAGE_FIN, .sid = 1};
    assert_int_equal(0, fake_receive(&b, &fin, NULL, 0));
    fake_expect_nothing(&b);
    fake_consume(holder);
    fake_expect_nothing(&b);
}

static void window_grows_and_shrinks_to_nothing_at_the_end(void **state)
{
    (void)state;
    assert_int_equal(0, fake_receive_open(&b, 1));
    struct fake_holder *holder = fake_find(&b, 1);
    holder->stream->operations->accept(holder->stream);
    fake_expect(&b, MESSAGE_ACK, 1);
    struct mux_stream *stream = mux_stream_from(holder->stream);
    static struct fake_message pulled;
    for (int i = 0; i < 200; i++) {
        b.now += 1000;
        assert_int_equal(0, fake_receive_data(&b, 1, MESSAGE_MAX_DATA));
        fake_consume(holder);
        fake_pull(&b, &pulled);
    }
    assert_true(stream->receive.window >= 4 * MUX_WINDOW);
    assert_int_equal(stream->receive.window,
                     stream->receive.outstanding + stream->receive.undelivered);
    assert_int_equal(stream->receive.window - MUX_WINDOW, b.account.promised);
    fake_reset(holder, REASON_RESET, NULL);
    assert_int_equal(0, b.account.promised);
}

enum { PARKED_SLICES = 128 };

static void parked_slices_pin_no_large_chunks(void **state)
{
    (void)state;
    struct fake_holder *parked = open_with_credit(0);
    struct slice_queue queue = SLICE_QUEUE_NULL;
    for (int i = 0; i < PARKED_SLICES; i++) {
        struct chunk *chunk = chunk_pool_get(&a.pool, CHUNK_LARGE);
        assert_non_null(chunk);
        chunk->data[0] = (uint8_t)i;
        assert_int_equal(0, slice_queue_push(&queue, (struct slice){chunk, chunk->data, 1}));
    }
    parked->stream->operations->write(parked->stream, &queue);
    slice_queue_deinit(&queue);
    size_t before = a.account.used;
    parking_settle_all(&a.pool);
    assert_int_equal(before, a.account.used);
    parking_settle_all(&a.pool);
    chunk_pool_trim(&a.pool);
    assert_true(a.account.used < before / 10);
    struct mux_stream *stream = mux_stream_from(parked->stream);
    assert_int_equal(PARKED_SLICES, stream->out.bytes);
    assert_int_equal(stream->out.bytes + stream->out.count * MUX_SLICE_COST, a.mux.queued);

    struct message credit = {.type = MESSAGE_CREDIT, .sid = parked->id, .credit = 1000};
    assert_int_equal(0, fake_receive(&a, &credit, NULL, 0));
    static struct fake_message pulled;
    size_t got = 0;
    while (got < PARKED_SLICES) {
        assert_true(fake_pull(&a, &pulled));
        for (size_t i = 0; i < pulled.message.payload; i++)
            assert_int_equal((uint8_t)got++, pulled.payload[i]);
    }
}

static void largest_is_found(void **state)
{
    (void)state;
    size_t bytes;
    assert_null(mux_largest(&a.mux, &bytes));
    fake_write(open_with_credit(0), 100);
    struct fake_holder *largest = open_with_credit(0);
    fake_write(largest, 300);
    fake_write(open_with_credit(0), 200);
    assert_ptr_equal(largest->stream, mux_stream_base(mux_largest(&a.mux, &bytes)));
    assert_int_equal(MUX_RECORD_COST + 300, bytes);
}

static void idle_mux_holds_no_chunk(void **state)
{
    (void)state;
    struct fake_holder *holder = open_with_credit(BIG_WINDOW);
    fake_write_pieces(holder, 10000, 100);
    static struct fake_message pulled;
    while (fake_pull(&a, &pulled)) {
    }
    mux_turn_ends(&a.mux);
    assert_true(mux_stream_from(holder->stream)->out.capacity <= 8);
    chunk_pool_trim(&a.pool);
    assert_int_equal(MUX_RECORD_COST, a.account.used);
}

/* What one side may send, what is under way (nothing, after settling) and what the other has taken
 * and not returned make up the window, on each stream, after any traffic. */
static void assert_adds_up(struct fake_holder *sender, struct fake_holder *receiver)
{
    struct mux_stream *from = mux_stream_from(sender->stream);
    struct mux_stream *to = mux_stream_from(receiver->stream);
    assert_int_equal(from->send.available, to->receive.outstanding);
    assert_int_equal(to->receive.window, to->receive.outstanding + to->receive.undelivered);
    assert_int_equal(to->receive.undelivered, to->consumed + receiver->in.bytes);
    assert_int_equal(sender->written, receiver->received);
}

static void random_step(struct fake_holder *holder, unsigned *seed)
{
    if (rand_r(seed) % 2 == 0) {
        size_t piece = 1 + (size_t)rand_r(seed) % 30000;
        fake_write_pieces(holder, (size_t)rand_r(seed) % 200000, piece);
    } else if (holder->in.bytes > 0) {
        size_t bytes = 1 + (size_t)rand_r(seed) % holder->in.bytes;
        slice_queue_skip(&holder->in, bytes);
        holder->stream->operations->consumed(holder->stream, bytes);
    }
}

static void credit_adds_up_after_random_traffic(void **state)
{
    for (unsigned run = 1; run <= 20; run++) {
        unsigned seed = run;
        struct fake_holder *near[MANY], *far[MANY];
        for (size_t i = 0; i < MANY; i++) {
            near[i] = fake_open(&a);
            fake_deliver(&a, &b);
            far[i] = fake_find(&b, near[i]->id);
            far[i]->stream->operations->accept(far[i]->stream);
        }
        for (int step = 0; step < 300; step++) {
            size_t i = (size_t)rand_r(&seed) % MANY;
            random_step(rand_r(&seed) % 2 == 0 ? near[i] : far[i], &seed);
            a.now += 500;
            b.now += 500;
            if (rand_r(&seed) % 4 == 0)
                fake_settle(&a, &b);
        }
        fake_settle(&a, &b);
        for (size_t i = 0; i < MANY; i++) {
            assert_adds_up(near[i], far[i]);
            assert_adds_up(far[i], near[i]);
        }
        tear_down(state);
        set_up(state);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(control_goes_before_data),
        TEST(data_waits_while_the_link_has_no_room),
        TEST(message_is_one_slice_of_at_most_64_kib),
        TEST(payload_is_not_copied),
        TEST(data_messages_are_as_small_as_the_line_wants_them),
        TEST(small_message_leaves_ahead_of_bulk),
        TEST(small_messages_can_be_pulled_alone),
        TEST(small_messages_wait_for_control),
        TEST(small_messages_have_a_quantum_too),
        TEST(data_can_be_taken_once_the_stream_is_there),
        TEST(bulk_streams_share_within_a_quantum),
        TEST(stream_that_keeps_running_empty_gets_no_more),
        TEST(new_stream_goes_first_for_one_quantum),
        TEST(stream_without_credit_is_not_scheduled),
        TEST(credit_does_not_make_a_stream_fresh),
        TEST(credit_is_returned_in_one_message),
        TEST(sender_that_has_ended_gets_no_credit),
        TEST(window_grows_and_shrinks_to_nothing_at_the_end),
        TEST(parked_slices_pin_no_large_chunks),
        TEST(largest_is_found),
        TEST(idle_mux_holds_no_chunk),
        TEST(credit_adds_up_after_random_traffic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
