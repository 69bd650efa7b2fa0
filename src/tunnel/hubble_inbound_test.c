#include "tunnel/hubble_inbound.h"

#include "base/error.h"
#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct account account;
    struct chunk_pool pool;
    struct hubble_inbound inbound;
    struct slice_queue payload;
};

enum { MAX = 100 * 1024 };

static int set_up(void **state)
{
    static struct fixture fixture;
    memset(&fixture, 0, sizeof(fixture));
    account_init(&fixture.account, SIZE_MAX);
    chunk_pool_init(&fixture.pool, &fixture.account);
    hubble_inbound_init(&fixture.inbound, &fixture.pool, MAX);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    memory_fail_after(0);
    hubble_inbound_deinit(&fixture->inbound);
    slice_queue_deinit(&fixture->payload);
    return chunk_pool_deinit(&fixture->pool) == 0 ? 0 : -1;
}

static int give(struct fixture *f, const void *data, size_t size)
{
    struct slice piece;
    assert_int_equal(slice_copy(&f->pool, data, size, &piece), 0);
    return hubble_inbound_take(&f->inbound, piece);
}

/* A data message with `size` bytes of payload; returns its size. */
static size_t make_data(uint8_t *out, size_t size, int64_t order)
{
    size_t used = hubble_encode_data_head((uint32_t)size, out);
    for (size_t i = 0; i < size; i++)
        out[used + i] = (uint8_t)(i * 7 + (size_t)order);
    used += size;
    return used + hubble_encode_data_tail(text_of("s1"), order, out + used);
}

static void check_data(struct fixture *f, size_t size, int64_t order)
{
    struct message message;
    assert_int_equal(hubble_inbound_decode(&f->inbound, &message, &f->payload), 0);
    assert_int_equal(message.type, MESSAGE_DATA);
    assert_true(text_equals(message.guid, "s1"));
    assert_int_equal(message.order, order);
    assert_int_equal(f->payload.bytes, size);
    hubble_inbound_next(&f->inbound);
    size_t at = 0;
    const struct slice *slice;
    while ((slice = slice_queue_first(&f->payload)) != NULL) {
        for (size_t i = 0; i < slice->size; i++, at++)
            assert_int_equal(slice->data[i], (uint8_t)(at * 7 + (size_t)order));
        slice_queue_skip(&f->payload, slice->size);
    }
}

static void one_piece_is_not_copied(void **state)
{
    struct fixture *f = *state;
    static uint8_t message[64 * 1024];
    size_t size = make_data(message, 50000, 1);
    assert_int_equal(give(f, message, size), 0);
    assert_null(f->inbound.scratch);
    const struct chunk *chunk = f->inbound.whole.chunk;
    struct message decoded;
    assert_int_equal(hubble_inbound_decode(&f->inbound, &decoded, &f->payload), 0);
    assert_ptr_equal(slice_queue_first(&f->payload)->chunk, chunk);
    slice_queue_clear(&f->payload);
}

static void pieces_of_any_size_come_together(void **state)
{
    struct fixture *f = *state;
    static uint8_t message[64 * 1024];
    static const size_t steps[] = {1, 7, 1024, 4000, 30000};
    for (size_t s = 0; s < sizeof(steps) / sizeof(steps[0]); s++) {
        for (int64_t order = 1; order <= 3; order++) {
            size_t payload = (size_t)order * 1500;
            size_t size = make_data(message, payload, order);
            for (size_t at = 0; at < size; at += steps[s]) {
                size_t left = size - at;
                assert_int_equal(give(f, message + at, left < steps[s] ? left : steps[s]), 0);
            }
            check_data(f, payload, order);
        }
        hubble_inbound_rest(&f->inbound);
        assert_null(f->inbound.scratch);
    }
}

/* What was copied for one message must not be written over by the next while somebody holds it. */
static void messages_that_are_held_stay_whole(void **state)
{
    struct fixture *f = *state;
    uint8_t message[4096];
    struct slice_queue held = SLICE_QUEUE_NULL;
    for (int64_t order = 1; order <= 40; order++) {
        size_t size = make_data(message, 1024, order);
        assert_int_equal(give(f, message, 1024), 0);
        assert_int_equal(give(f, message + 1024, size - 1024), 0);
        struct message decoded;
        assert_int_equal(hubble_inbound_decode(&f->inbound, &decoded, &f->payload), 0);
        hubble_inbound_next(&f->inbound);
        assert_int_equal(slice_queue_append(&held, &f->payload), 0);
        hubble_inbound_rest(&f->inbound);
    }
    assert_int_equal(held.bytes, 40 * 1024);
    for (size_t at = 0; held.bytes > 0; at++) {
        size_t order = 1 + at / 1024;
        assert_int_equal(slice_queue_first(&held)->data[0], (uint8_t)(at % 1024 * 7 + order));
        slice_queue_skip(&held, 1);
    }
    slice_queue_deinit(&held);
}

static void an_array_of_numbers_is_a_payload(void **state)
{
    struct fixture *f = *state;
    static const uint8_t message[] = {0x03, 0x93, 0xA2, 's', '1', 0x01, 0x93, 'a', 0xCC, 0xFF, 'c'};
    struct message decoded;
    assert_int_equal(give(f, message, sizeof(message)), 0);
    assert_int_equal(hubble_inbound_decode(&f->inbound, &decoded, &f->payload), 0);
    assert_int_equal(f->payload.bytes, 3);
    assert_memory_equal(slice_queue_first(&f->payload)->data,
                        "a\xFF"
                        "c",
                        3);
}

static void too_much_is_refused(void **state)
{
    struct fixture *f = *state;
    static uint8_t bytes[MAX];
    assert_int_equal(give(f, bytes, MAX), 0);
    assert_int_equal(give(f, bytes, 1), CULVERT_ERROR_TOO_LARGE);
}

static void an_empty_message_is_none(void **state)
{
    struct fixture *f = *state;
    struct message decoded;
    assert_int_equal(hubble_inbound_decode(&f->inbound, &decoded, &f->payload),
                     CULVERT_ERROR_PROTOCOL);
}

static void every_failing_allocation_is_survived(void **state)
{
    struct fixture *f = *state;
    static uint8_t message[16 * 1024];
    size_t size = make_data(message, 8000, 1);
    for (size_t n = 1;; n++) {
        struct slice pieces[2];
        struct message decoded;
        assert_int_equal(slice_copy(&f->pool, message, 100, &pieces[0]), 0);
        assert_int_equal(slice_copy(&f->pool, message + 100, size - 100, &pieces[1]), 0);
        chunk_pool_trim(&f->pool);
        memory_fail_after(n);
        int error = hubble_inbound_take(&f->inbound, pieces[0]);
        if (error == 0)
            error = hubble_inbound_take(&f->inbound, pieces[1]);
        else
            slice_drop(&pieces[1]);
        if (error == 0)
            error = hubble_inbound_decode(&f->inbound, &decoded, &f->payload);
        bool is_done = memory_fail_is_pending();
        memory_fail_after(0);
        assert_int_equal(error, is_done ? 0 : CULVERT_ERROR_NO_MEMORY);
        hubble_inbound_next(&f->inbound);
        slice_queue_deinit(&f->payload);
        hubble_inbound_rest(&f->inbound);
        if (is_done)
            break;
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_piece_is_not_copied),
        TEST(pieces_of_any_size_come_together),
        TEST(messages_that_are_held_stay_whole),
        TEST(an_array_of_numbers_is_a_payload),
        TEST(too_much_is_refused),
        TEST(an_empty_message_is_none),
        TEST(every_failing_allocation_is_survived),
    };
    return cmocka_run_group_tests_name("hubble_inbound", tests, NULL, NULL);
}
