#include "carrier/poll_batch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { SECOND = 1000 * 1000 };

/* A way up, whose times are microseconds. */
struct way {
    uint64_t round_trip;
    uint64_t rate;  /* bytes a second */
    uint64_t stall; /* of every request with more than a packet */
};

static uint64_t took(const struct way *way, size_t bytes)
{
    return way->round_trip + bytes * SECOND / way->rate + (bytes > 1400 ? way->stall : 0);
}

/* Full batches, with small ones in between. */
static void run(struct poll_batch *batch, const struct way *way, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        size_t limit = poll_batch_limit(batch);
        assert_in_range(limit, POLL_BATCH_LEAST, POLL_BATCH_MOST);
        poll_batch_answered(batch, limit + i % 1000, took(way, limit));
        if (i % 3 == 0)
            poll_batch_answered(batch, 20, took(way, 20));
    }
}

static const struct way loopback = {.round_trip = 400, .rate = 500 * SECOND};
static const struct way office = {.round_trip = 50 * 1000, .rate = 12500000};
static const struct way uplink = {.round_trip = 20 * 1000, .rate = 1250000};
static const struct way slow = {.round_trip = 30 * 1000, .rate = 125000};
static const struct way stalling = {.round_trip = 400, .rate = 500 * SECOND, .stall = 41 * 1000};

static size_t settled(const struct way *way)
{
    struct poll_batch batch;
    poll_batch_init(&batch);
    assert_int_equal(poll_batch_limit(&batch), POLL_BATCH_FIRST);
    run(&batch, way, 300);
    return poll_batch_limit(&batch);
}

static void test_what_ways_come_to(void **state)
{
    (void)state;
    assert_int_equal(settled(&loopback), POLL_BATCH_MOST);
    assert_int_equal(settled(&office), POLL_BATCH_MOST);
    assert_in_range(settled(&uplink), 32 * 1024, 64 * 1024);
    assert_in_range(settled(&slow), 4 * 1024, 8 * 1024);
}

/* What costs the same for every size is no reason to send little at a time. */
static void test_stalls(void **state)
{
    (void)state;
    assert_int_equal(settled(&stalling), POLL_BATCH_MOST);
}

static void test_changes(void **state)
{
    struct poll_batch batch;
    (void)state;
    poll_batch_init(&batch);
    run(&batch, &loopback, 100);
    run(&batch, &slow, 100);
    assert_in_range(poll_batch_limit(&batch), 4 * 1024, 16 * 1024);
    run(&batch, &loopback, 500);
    assert_int_equal(poll_batch_limit(&batch), POLL_BATCH_MOST);
}

/* A proxy that takes bodies up to `most` bytes only. Returns how many were refused. */
static unsigned send_through(struct poll_batch *batch, size_t most, unsigned count)
{
    unsigned refused = 0;
    for (unsigned i = 0; i < count; i++) {
        size_t limit = poll_batch_limit(batch);
        size_t room = poll_batch_room(batch);
        size_t body = limit + 1000 < room ? limit + 1000 : room;
        if (body > most) {
            refused++;
            assert_true(poll_batch_refused(batch, body));
            assert_in_range(poll_batch_room(batch), POLL_BATCH_LEAST, body - 1);
            assert_in_range(poll_batch_limit(batch), POLL_BATCH_LEAST, poll_batch_room(batch));
        } else {
            poll_batch_answered(batch, body, took(&loopback, body));
        }
    }
    return refused;
}

static void test_a_limit(void **state)
{
    (void)state;
    static const struct {
        size_t most, room;
    } cases[] = {{60 * 1024, 32 * 1024},
                 {64 * 1024, 64 * 1024},
                 {65535, 32 * 1024},
                 {4096, 4096},
                 {300 * 1024, 256 * 1024}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct poll_batch batch;
        poll_batch_init(&batch);
        assert_true(poll_batch_room(&batch) == SIZE_MAX);
        assert_in_range(send_through(&batch, cases[i].most, 20), 1, 6);
        assert_int_equal(poll_batch_room(&batch), cases[i].room);
        /* Larger ones are tried seldom, and ever more seldom. */
        assert_in_range(send_through(&batch, cases[i].most, 1000), 1, 8);
        assert_in_range(send_through(&batch, cases[i].most, 10000), 1, 6);
        assert_int_equal(poll_batch_room(&batch), cases[i].room);
    }
}

static void test_a_limit_that_goes_away(void **state)
{
    (void)state;
    struct poll_batch batch;
    poll_batch_init(&batch);
    (void)send_through(&batch, 10000, 100);
    assert_int_equal(poll_batch_room(&batch), 8192);
    assert_int_equal(send_through(&batch, SIZE_MAX, 10000), 0);
    assert_int_equal(poll_batch_room(&batch), POLL_BATCH_MOST);
    assert_int_equal(poll_batch_limit(&batch), POLL_BATCH_MOST);
}

static void test_nothing_passes(void **state)
{
    (void)state;
    struct poll_batch batch;
    poll_batch_init(&batch);
    assert_true(poll_batch_refused(&batch, POLL_BATCH_LEAST + 1));
    assert_int_equal(poll_batch_room(&batch), POLL_BATCH_LEAST);
    assert_false(poll_batch_refused(&batch, POLL_BATCH_LEAST));
    assert_false(poll_batch_refused(&batch, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_ways_come_to),
        cmocka_unit_test(test_stalls),
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_a_limit),
        cmocka_unit_test(test_a_limit_that_goes_away),
        cmocka_unit_test(test_nothing_passes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
