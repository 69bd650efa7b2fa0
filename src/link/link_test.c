#include "link/link.h"

#include "base/error.h"
#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct account account;
    struct chunk_pool pool;
    struct link link;
};

static void set_up_with(struct fixture *fixture, size_t limit)
{
    account_init(&fixture->account, limit);
    chunk_pool_init(&fixture->pool, &fixture->account);
    link_init(&fixture->link, &fixture->pool, &fixture->account);
    assert_int_equal(link_attach(&fixture->link, 1, 1, 0), 0);
}

static void set_up(struct fixture *fixture)
{
    set_up_with(fixture, SIZE_MAX);
}

static void tear_down(struct fixture *fixture)
{
    link_deinit(&fixture->link);
    link_deinit(&fixture->link);
    assert_int_equal(chunk_pool_deinit(&fixture->pool), 0);
    assert_int_equal(fixture->account.used, 0);
}

static struct slice static_slice(size_t size)
{
    static uint8_t bytes[MESSAGE_MAX_DATA];
    return (struct slice){NULL, bytes, size};
}

static const uint8_t head[] = "head";

static int append(struct fixture *fixture, size_t size, bool is_control, uint64_t now)
{
    return link_append(&fixture->link, head, 4, static_slice(size), is_control, now);
}

/* Appends data until the bound is hit, and gives it all to the carrier. Returns how many. */
static uint32_t fill(struct fixture *fixture, uint64_t now)
{
    uint32_t count = 0;
    while (link_has_room(&fixture->link)) {
        assert_int_equal(append(fixture, MESSAGE_MAX_DATA, false, now), 0);
        count++;
    }
    link_sent(&fixture->link, fixture->link.unsent);
    return count;
}

static void acknowledge_all(struct fixture *fixture, uint64_t now)
{
    assert_int_equal(link_acknowledged(&fixture->link, fixture->link.next - 1, now), 0);
}

static void test_entries_are_the_message(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    struct link *link = &fixture.link;
    struct slice small, large, whole;
    uint8_t bytes[LINK_COPY_LIMIT];
    memset(bytes, 'b', sizeof bytes);
    assert_int_equal(slice_copy(&fixture.pool, bytes, sizeof bytes - 1, &small), 0);
    assert_int_equal(slice_copy(&fixture.pool, bytes, sizeof bytes, &large), 0);
    assert_int_equal(slice_copy(&fixture.pool, bytes, sizeof bytes, &whole), 0);
    const uint8_t *large_data = large.data, *whole_data = whole.data;
    size_t live = fixture.pool.live;

    assert_int_equal(link_append(link, head, 4, small, false, 0), 0);
    assert_int_equal(link_append(link, head, 4, large, false, 0), 0);
    assert_int_equal(link_append(link, NULL, 0, whole, true, 0), 0);
    assert_int_equal(link_append(link, head, 4, SLICE_NULL, true, 0), 0);

    const struct link_entry *entry = link_unsent(link, 0);
    assert_int_equal(entry->head.size, 4 + sizeof bytes - 1);
    assert_int_equal(entry->body.size, 0);
    assert_memory_equal(entry->head.data, "headbbbb", 8);
    entry = link_unsent(link, 1);
    assert_int_equal(entry->head.size, 4);
    assert_ptr_equal(entry->body.data, large_data);
    entry = link_unsent(link, 2);
    assert_ptr_equal(entry->head.data, whole_data);
    assert_int_equal(entry->body.size, 0);
    entry = link_unsent(link, 3);
    assert_int_equal(entry->head.size, 4);
    assert_null(link_unsent(link, 4));
    assert_int_equal(fixture.pool.live, live + 1); /* the arena's own; the small one came home */
    assert_int_equal(fixture.pool.free_count[CHUNK_SMALL], 1);
    tear_down(&fixture);
}

static void test_acknowledged_is_freed(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    struct link *link = &fixture.link;
    for (int i = 0; i < 100; i++)
        assert_int_equal(append(&fixture, 10, false, 0), 0);
    assert_int_equal(link->kept, 100 * (4 + 10 + LINK_MESSAGE_COST));
    link_sent(link, 60);
    assert_int_equal(link_acknowledged(link, 61, 0), CULVERT_ERROR_PROTOCOL);
    assert_int_equal(link_acknowledged(link, UINT64_MAX, 0), CULVERT_ERROR_PROTOCOL);
    assert_int_equal(link_acknowledged(link, 0, 0), 0);
    assert_int_equal(link_acknowledged(link, 40, 0), 0);
    assert_int_equal(link_acknowledged(link, 40, 0), 0);
    assert_int_equal(link_acknowledged(link, 39, 0), CULVERT_ERROR_PROTOCOL);
    assert_int_equal(link->count, 60);
    assert_int_equal(link->unsent, 40);
    assert_int_equal(link->kept, 60 * (4 + 10 + LINK_MESSAGE_COST));
    link_sent(link, 40);
    acknowledge_all(&fixture, 0);
    assert_int_equal(link->kept, 0);
    assert_null(link->arena.chunk); /* an idle link holds no memory but its ring */
    chunk_pool_trim(&fixture.pool);
    assert_int_equal(fixture.account.used, 0);
    tear_down(&fixture);
}

/* When the peer last acknowledged something, while anything is kept. */
static void test_knows_for_how_long_it_is_quiet(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    struct link *link = &fixture.link;
    append(&fixture, 10, false, 100);
    append(&fixture, 10, false, 200);
    assert_int_equal(link->quiet_since, 100);
    link_sent(link, 2);
    assert_int_equal(link_acknowledged(link, 0, 300), 0);
    assert_int_equal(link->quiet_since, 100);
    assert_int_equal(link_acknowledged(link, 1, 400), 0);
    assert_int_equal(link->quiet_since, 400);
    assert_int_equal(link_acknowledged(link, 2, 500), 0);
    append(&fixture, 10, false, 600);
    assert_int_equal(link->quiet_since, 600);
    tear_down(&fixture);
}

static int append_from_chunk(struct fixture *fixture, uint8_t byte, size_t size)
{
    struct chunk *chunk = chunk_pool_get(&fixture->pool, CHUNK_LARGE);
    memset(chunk->data, byte, size);
    struct slice body = {chunk, chunk->data, size};
    return link_append(&fixture->link, head, 4, body, false, 0);
}

static void test_what_has_no_body_does_not_wait_to_be_copied(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    assert_int_equal(append(&fixture, 0, true, 0), 0);
    assert_true(list_is_empty(&fixture.pool.parked));
    tear_down(&fixture);
}

/* Small bodies are copied at once, larger ones when they have waited. */
static void test_what_waits_pins_no_large_chunks(void **state)
{
    enum { COUNT = 50, SIZE = 2000 };
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    struct link *link = &fixture.link;
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(append_from_chunk(&fixture, (uint8_t)i, SIZE), 0);
    assert_int_equal(append_from_chunk(&fixture, COUNT, MESSAGE_MAX_DATA), 0);
    parking_settle_all(&fixture.pool);
    chunk_pool_trim(&fixture.pool);
    assert_true(fixture.account.used > COUNT * (size_t)CHUNK_LARGE_SIZE);
    link_sent(link, 10);
    assert_int_equal(link_acknowledged(link, 10, 0), 0);
    parking_settle_all(&fixture.pool);
    chunk_pool_trim(&fixture.pool);
    assert_in_range(fixture.account.used, 0, 2 * (40 * SIZE + MESSAGE_MAX_DATA));
    for (uint32_t i = 0; i < 40; i++) {
        assert_int_equal(link_unsent(link, i)->body.size, SIZE);
        assert_int_equal(link_unsent(link, i)->body.data[SIZE - 1], 10 + i);
    }
    assert_true(list_is_empty(&fixture.pool.parked));
    tear_down(&fixture);
}

static void test_bound_and_reserve(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    struct link *link = &fixture.link;
    link->bound = LINK_MAX_DATA_COST - 1; /* a whole message must fit */
    assert_false(link_has_room(link));
    link->bound++;
    assert_true(link_has_room(link));
    link->bound = LINK_MIN_KEPT;
    while (link_has_room(link)) {
        assert_int_equal(append(&fixture, MESSAGE_MAX_DATA, false, 0), 0);
        assert_in_range(link->kept, 1, link->bound);
    }
    assert_in_range(link->kept, link->bound - LINK_MAX_DATA_COST, link->bound);
    size_t before = link->kept;
    assert_int_equal(append(&fixture, MESSAGE_MAX_DATA, false, 0), CULVERT_ERROR_LIMIT);
    assert_int_equal(link->kept, before);

    /* Control has room until a message of any size might not fit. */
    size_t appended = 0;
    int result;
    while (link_has_control_room(link)) {
        assert_int_equal(append(&fixture, 8, true, 0), 0);
        appended += 4 + 8 + LINK_MESSAGE_COST;
    }
    size_t margin = MESSAGE_MAX_CONTROL + LINK_MESSAGE_COST;
    assert_in_range(link->bound + LINK_CONTROL_RESERVE - link->kept, margin - 100, margin);
    while ((result = append(&fixture, 8, true, 0)) == 0)
        appended += 4 + 8 + LINK_MESSAGE_COST;
    assert_int_equal(result, CULVERT_ERROR_LIMIT);
    assert_in_range(link->kept, link->bound + LINK_CONTROL_RESERVE - 100,
                    link->bound + LINK_CONTROL_RESERVE);
    assert_in_range(appended, LINK_CONTROL_RESERVE - 100,
                    LINK_CONTROL_RESERVE + LINK_MAX_DATA_COST);

    /* A refused body is given back. */
    struct slice body;
    assert_int_equal(slice_copy(&fixture.pool, head, 4, &body), 0);
    size_t free_chunks = fixture.pool.free_count[CHUNK_SMALL];
    assert_int_equal(link_append(link, head, 4, body, true, 0), CULVERT_ERROR_LIMIT);
    assert_int_equal(fixture.pool.free_count[CHUNK_SMALL], free_chunks + 1);

    link_sent(link, link->unsent);
    acknowledge_all(&fixture, 0);
    assert_true(link_has_room(link));
    tear_down(&fixture);
}

static void test_small_ones_have_half_of_the_reserve(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    struct link *link = &fixture.link;
    fill(&fixture, 0);
    assert_false(link_has_room(link));
    assert_true(link_has_small_room(link));
    while (link_has_small_room(link))
        assert_int_equal(append(&fixture, 1024, true, 0), 0);
    assert_in_range(link->kept, link->bound, link->bound + LINK_CONTROL_RESERVE / 2);
    assert_true(link_has_control_room(link));
    tear_down(&fixture);
}

static void test_bound_grows_with_a_long_path(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    uint64_t now = 1000;
    for (size_t bound = LINK_MIN_KEPT; bound <= LINK_MAX_KEPT; bound *= 2) {
        assert_int_equal(fixture.link.bound, bound);
        fill(&fixture, now);
        now += 200 * 1000; /* always the same, whatever is under way */
        acknowledge_all(&fixture, now);
    }
    fill(&fixture, now);
    acknowledge_all(&fixture, now + 200 * 1000);
    assert_int_equal(fixture.link.bound, LINK_MAX_KEPT);
    tear_down(&fixture);
}

static void test_bound_stays_when_not_hit(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    for (uint64_t now = 0; now < 100 * 1000; now += 1000) {
        assert_int_equal(append(&fixture, MESSAGE_MAX_DATA, false, now), 0);
        link_sent(&fixture.link, 1);
        acknowledge_all(&fixture, now + 500);
    }
    assert_int_equal(fixture.link.bound, LINK_MIN_KEPT);
    /* Hit once, long before the next probe: that does not count for it. */
    fill(&fixture, 200 * 1000);
    acknowledge_all(&fixture, 200 * 1000 + LINK_QUICK_TRIP + 500 * 4 + 1);
    assert_int_equal(fixture.link.bound, LINK_MIN_KEPT);
    assert_int_equal(append(&fixture, 10, false, 300 * 1000), 0);
    link_sent(&fixture.link, 1);
    acknowledge_all(&fixture, 300 * 1000 + 500);
    assert_int_equal(fixture.link.bound, LINK_MIN_KEPT);
    tear_down(&fixture);
}

/* A path of 10 MB/s and 10 ms: what is under way beyond 100 KB only waits on it. */
static void test_bound_stays_on_a_slow_path(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    uint64_t now = 0;
    assert_int_equal(append(&fixture, 10, false, now), 0);
    link_sent(&fixture.link, 1);
    now += 10 * 1000;
    acknowledge_all(&fixture, now);
    for (int i = 0; i < 20; i++) {
        fill(&fixture, now);
        now += 10 * 1000 + fixture.link.kept / 10;
        acknowledge_all(&fixture, now);
    }
    assert_int_equal(fixture.link.bound, LINK_MIN_KEPT);
    tear_down(&fixture);
}

static void test_bound_grows_on_a_fast_path(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    assert_int_equal(append(&fixture, 10, false, 0), 0);
    link_sent(&fixture.link, 1);
    acknowledge_all(&fixture, 20); /* 20 us: nothing under load is within four times that */
    fill(&fixture, 1000);
    acknowledge_all(&fixture, 1000 + LINK_QUICK_TRIP);
    assert_int_equal(fixture.link.bound, 2 * LINK_MIN_KEPT);
    tear_down(&fixture);
}

static void test_probe_is_one_message(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    struct link *link = &fixture.link;
    assert_int_equal(append(&fixture, 10, false, 5), 0);
    assert_int_equal(append(&fixture, 10, false, 6), 0);
    assert_int_equal(link->probe, 1);
    assert_int_equal(link->probe_time, 5);
    link_sent(link, 2);
    assert_int_equal(link_acknowledged(link, 0, 7), 0);
    assert_int_equal(link->probe, 1);
    assert_int_equal(link_acknowledged(link, 1, 8), 0);
    assert_int_equal(link->probe, 0);
    assert_int_equal(link->smallest_trip, 3);
    assert_int_equal(append(&fixture, 10, false, 9), 0);
    assert_int_equal(link->probe, 3);
    assert_int_equal(link_attach(link, 2, 1, 2), 0);
    assert_int_equal(link->probe, 0);               /* not over two carriers */
    assert_true(link->smallest_trip == UINT64_MAX); /* the path may be another */
    tear_down(&fixture);
}

static void test_bound_and_the_account(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up_with(&fixture, 64 * 1024 * 1024);
    struct link *link = &fixture.link;
    for (int i = 0; i < 2; i++) {
        fill(&fixture, 0);
        acknowledge_all(&fixture, 1000);
    }
    assert_int_equal(link->bound, 4 * LINK_MIN_KEPT);

    account_charge(&fixture.account, 50 * 1024 * 1024);
    uint32_t count = fill(&fixture, 0);
    uint64_t first = link->next - count;
    assert_int_equal(link_acknowledged(link, first, 1000), 0);   /* the probe, and little else */
    assert_in_range(link->bound, link->kept, 4 * LINK_MIN_KEPT); /* never below what is kept */
    assert_int_equal(append(&fixture, 10, true, 1000), 0);
    link_sent(link, 1);
    acknowledge_all(&fixture, 2000);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(append(&fixture, 10, false, 0), 0);
        link_sent(link, 1);
        acknowledge_all(&fixture, 1000);
    }
    assert_int_equal(link->bound, LINK_MIN_KEPT);
    fill(&fixture, 0);
    acknowledge_all(&fixture, 1000);
    assert_int_equal(link->bound, LINK_MIN_KEPT);
    account_release(&fixture.account, 50 * 1024 * 1024);
    fill(&fixture, 0);
    acknowledge_all(&fixture, 1000);
    assert_int_equal(link->bound, 2 * LINK_MIN_KEPT);
    tear_down(&fixture);
}

static void test_reports(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    struct link *link = &fixture.link;
    assert_false(link_report_is_due(link, UINT64_MAX));
    assert_true(link_timeout(link) == UINT64_MAX);

    assert_int_equal(link_take(link, 10, 1000), 1);
    assert_int_equal(link_take(link, 10, 2000), 1);
    assert_int_equal(link_timeout(link), 1000 + LINK_RECEIVED_DELAY);
    assert_false(link_report_is_due(link, 1000 + LINK_RECEIVED_DELAY - 1));
    assert_true(link_report_is_due(link, 1000 + LINK_RECEIVED_DELAY));
    assert_int_equal(link->received, 2);
    link_reported(link);
    assert_false(link_report_is_due(link, UINT64_MAX));

    size_t each = MESSAGE_MAX_DATA + LINK_MESSAGE_COST;
    for (size_t bytes = each; bytes < LINK_RECEIVED_BYTES; bytes += each) {
        assert_int_equal(link_take(link, MESSAGE_MAX_DATA, 3000), 1);
        assert_false(link_report_is_due(link, 3000));
    }
    assert_int_equal(link_take(link, MESSAGE_MAX_DATA, 3000), 1);
    assert_true(link_report_is_due(link, 3000));
    link_reported(link);

    /* Small messages fill what the sender may keep by their cost, not by their bytes. */
    uint32_t taken = 0;
    while (!link_report_is_due(link, 4000)) {
        assert_int_equal(link_take(link, 3, 4000), 1);
        taken++;
    }
    assert_in_range(taken * (3 + LINK_MESSAGE_COST), LINK_RECEIVED_BYTES, LINK_MIN_KEPT);
    tear_down(&fixture);
}

static void test_take_drops_replays(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    struct link *link = &fixture.link;
    for (int i = 0; i < 5; i++)
        assert_int_equal(link_take(link, 10, 0), 1);
    assert_int_equal(link_attach(link, 2, 3, 0), 0); /* 3, 4, 5 again, then 6 */
    assert_false(link_report_is_due(link, UINT64_MAX));
    for (int i = 0; i < 3; i++)
        assert_int_equal(link_take(link, 10, 0), 0);
    assert_false(link_report_is_due(link, UINT64_MAX));
    assert_int_equal(link_take(link, 10, 0), 1);
    assert_int_equal(link->received, 6);
    tear_down(&fixture);
}

static void test_take_skip(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    struct link *link = &fixture.link;
    assert_int_equal(link_take_skip(link, 0, 0), CULVERT_ERROR_PROTOCOL);
    assert_int_equal(link_take_skip(link, UINT64_MAX, 0), CULVERT_ERROR_PROTOCOL);
    assert_int_equal(link_take_skip(link, UINT64_MAX - 1, 0), CULVERT_ERROR_PROTOCOL);
    assert_int_equal(link->received, 0);
    assert_int_equal(link_take_skip(link, 4, 7), 1);
    assert_int_equal(link->received, 4);
    assert_int_equal(link_timeout(link), 7 + LINK_RECEIVED_DELAY);
    assert_int_equal(link_take(link, 1, 7), 1);
    assert_int_equal(link->received, 5);

    assert_int_equal(link_attach(link, 2, 2, 0), 0);
    assert_int_equal(link_take_skip(link, 3, 0), 0); /* 2 to 4 were taken before */
    assert_int_equal(link->received, 5);
    assert_int_equal(link_take_skip(link, 3, 0), 1); /* 5 was, 6 and 7 were not */
    assert_int_equal(link->received, 7);
    assert_int_equal(link_take(link, 1, 0), 1);
    assert_int_equal(link->received, 8);
    tear_down(&fixture);
}

static void test_attach_refuses(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    struct link *link = &fixture.link;
    for (int i = 0; i < 10; i++)
        assert_int_equal(append(&fixture, 10, false, 0), 0);
    link_sent(link, 8);
    assert_int_equal(link_acknowledged(link, 3, 0), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(link_take(link, 10, 0), 1);
    struct link before = *link;
    assert_int_equal(link_attach(link, 1, 5, 3), CULVERT_ERROR_REFUSED);
    assert_int_equal(link_attach(link, 0, 5, 3), CULVERT_ERROR_REFUSED);
    assert_int_equal(link_attach(link, 2, 0, 3), CULVERT_ERROR_PROTOCOL);
    assert_int_equal(link_attach(link, 2, 6, 3), CULVERT_ERROR_PROTOCOL); /* 5 would be missing */
    assert_int_equal(link_attach(link, 2, UINT64_MAX, 3), CULVERT_ERROR_PROTOCOL);
    assert_int_equal(link_attach(link, 2, 5, 2), CULVERT_ERROR_PROTOCOL); /* we freed 3 */
    assert_int_equal(link_attach(link, 2, 5, 9), CULVERT_ERROR_PROTOCOL); /* never sent */
    assert_int_equal(link_attach(link, 2, 5, UINT64_MAX), CULVERT_ERROR_PROTOCOL);
    assert_memory_equal(&before, link, sizeof before);
    assert_int_equal(link_first(link), 4);

    assert_int_equal(link_attach(link, 7, 5, 6), 0);
    assert_int_equal(link_first(link), 7);
    assert_int_equal(link->unsent, 4);
    assert_int_equal(link_attach(link, 7, 5, 6), CULVERT_ERROR_REFUSED);
    assert_int_equal(link_acknowledged(link, 7, 0), CULVERT_ERROR_PROTOCOL); /* not sent again */
    link_sent(link, 1);
    assert_int_equal(link_acknowledged(link, 7, 0), 0);
    tear_down(&fixture);
}

static void test_memory_runs_out(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct fixture fixture;
        set_up(&fixture);
        struct link *link = &fixture.link;
        memory_fail_after(n);
        int result = 0;
        uint32_t done = 0;
        while (result == 0 && done < 100) {
            struct slice body = static_slice(200);
            /* Bodies of chunks, so that one that is lost is found. */
            if (done % 2 == 0 && slice_copy(&fixture.pool, body.data, 2000, &body) != 0)
                break;
            result = link_append(link, head, 4, body, false, 0);
            if (result == 0)
                done++;
        }
        bool is_over = memory_fail_is_pending();
        memory_fail_after(0);
        if (result != 0)
            assert_int_equal(result, CULVERT_ERROR_NO_MEMORY);
        assert_int_equal(link->count, done);
        assert_int_equal(link->next, done + 1);
        for (uint32_t i = 0; i < done; i++)
            assert_int_equal(link_unsent(link, i)->head.size + link_unsent(link, i)->body.size,
                             i % 2 == 0 ? 2004 : 204);
        assert_int_equal(append(&fixture, 10, false, 0), 0); /* it can go on */
        tear_down(&fixture);
        if (is_over) {
            assert_int_equal(done, 100);
            assert_true(n > 10);
            break;
        }
    }
}

/* Once warmed up, a link that is acknowledged takes nothing from the heap. */
static void test_no_allocation_per_message(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    fill(&fixture, 0);
    acknowledge_all(&fixture, LINK_QUICK_TRIP + 1);
    memory_fail_after(1);
    for (int i = 0; i < 10000; i++) {
        assert_int_equal(append(&fixture, i % 3 == 0 ? 500 : MESSAGE_MAX_DATA, false, 0), 0);
        link_sent(&fixture.link, 1);
        if (i % 5 == 4)
            acknowledge_all(&fixture, LINK_QUICK_TRIP + 1);
    }
    assert_true(memory_fail_is_pending());
    memory_fail_after(0);
    tear_down(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entries_are_the_message),
        cmocka_unit_test(test_acknowledged_is_freed),
        cmocka_unit_test(test_bound_and_reserve),
        cmocka_unit_test(test_small_ones_have_half_of_the_reserve),
        cmocka_unit_test(test_bound_grows_with_a_long_path),
        cmocka_unit_test(test_bound_stays_when_not_hit),
        cmocka_unit_test(test_bound_stays_on_a_slow_path),
        cmocka_unit_test(test_bound_grows_on_a_fast_path),
        cmocka_unit_test(test_probe_is_one_message),
        cmocka_unit_test(test_bound_and_the_account),
        cmocka_unit_test(test_reports),
        cmocka_unit_test(test_take_drops_replays),
        cmocka_unit_test(test_knows_for_how_long_it_is_quiet),
        cmocka_unit_test(test_what_waits_pins_no_large_chunks),
        cmocka_unit_test(test_what_has_no_body_does_not_wait_to_be_copied),
        cmocka_unit_test(test_take_skip),
        cmocka_unit_test(test_attach_refuses),
        cmocka_unit_test(test_memory_runs_out),
        cmocka_unit_test(test_no_allocation_per_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
