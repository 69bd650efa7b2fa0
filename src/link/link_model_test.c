/*
 * Two links over carriers that are cut at random: every message arrives exactly once and in order,
 * except those that the sender replaced by a skip, which arrive at most once.
 */
#include "link/link.h"

#include "base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum {
    RUNS = 60,
    STEPS = 4000,
    MAX_MESSAGES = 64 * 1024, /* more than a run can append */
    MAX_ITEMS = 4096,
    BODY_SIZES = 5,
};

enum item_kind { ITEM_MESSAGE, ITEM_SKIP, ITEM_RECEIVED };

struct item {
    enum item_kind kind;
    uint64_t number; /* of a message; how many are skipped; the count received */
    size_t bytes;
};

/* One direction of a carrier. */
struct wire {
    struct item items[MAX_ITEMS];
    uint32_t first, count;
};

struct side {
    struct link link;
    struct wire in;
    uint64_t last_taken;
    uint64_t highest_sent;
    uint8_t was_skipped[MAX_MESSAGES];
};

struct model {
    struct account account;
    struct chunk_pool pool;
    struct side sides[2]; /* the first one dials */
    uint64_t epoch;
    uint64_t random;
    uint64_t now;
    bool is_attached;                                 /* the first side has had its answer */
    uint64_t again, replayed, skipped, refused, full; /* how often it came to that */
};

static uint64_t draw(struct model *model, uint64_t below)
{
    model->random ^= model->random << 13;
    model->random ^= model->random >> 7;
    model->random ^= model->random << 17;
    return model->random % below;
}

static void put(struct wire *wire, struct item item)
{
    assert_true(wire->count < MAX_ITEMS);
    wire->items[(wire->first + wire->count++) % MAX_ITEMS] = item;
}

static void append(struct model *model, struct side *side, bool is_control)
{
    static const size_t sizes[BODY_SIZES] = {0, 30, LINK_COPY_LIMIT, 5000, MESSAGE_MAX_DATA};
    struct link *link = &side->link;
    if (!is_control && !link_has_room(link)) {
        model->full++;
        return;
    }
    uint64_t number = link->next;
    assert_true(number < MAX_MESSAGES);
    struct slice body = SLICE_NULL;
    size_t size = sizes[draw(model, BODY_SIZES)];
    if (is_control && size > 5000)
        size = 30;
    if (size > 0) {
        uint8_t bytes[MESSAGE_MAX_DATA];
        memset(bytes, (int)(number & 0xFF), size);
        assert_int_equal(slice_copy(&model->pool, bytes, size, &body), 0);
    }
    uint8_t head[sizeof number];
    memcpy(head, &number, sizeof number);
    size_t kept = link->kept;
    int result = link_append(link, head, sizeof head, body, is_control, model->now);
    if (result == 0) {
        assert_int_equal(link->next, number + 1);
        assert_int_equal(link->kept, kept + sizeof head + size + LINK_MESSAGE_COST);
        return;
    }
    assert_true(is_control && result == CULVERT_ERROR_LIMIT);
    assert_true(kept + sizeof head + size + LINK_MESSAGE_COST > link->bound + LINK_CONTROL_RESERVE);
    model->refused++;
}

/* What a receiver would see of the entry. */
static struct item read_entry(const struct link_entry *entry)
{
    struct item item = {ITEM_MESSAGE, 0, entry->head.size + entry->body.size};
    assert_true(entry->head.size >= sizeof item.number);
    memcpy(&item.number, entry->head.data, sizeof item.number);
    const uint8_t *last = entry->body.size > 0 ? entry->body.data + entry->body.size - 1
                                               : entry->head.data + entry->head.size - 1;
    if (item.bytes > sizeof item.number)
        assert_int_equal(*last, item.number & 0xFF);
    return item;
}

static void transmit(struct model *model, struct side *side, struct side *peer)
{
    uint32_t count = (uint32_t)draw(model, 20);
    if (count > side->link.unsent)
        count = side->link.unsent;
    if (peer->in.count + count >= MAX_ITEMS)
        return;
    bool skips = draw(model, 40) == 0 && count > 0;
    uint64_t first = side->link.next - side->link.unsent;
    for (uint32_t i = 0; i < count; i++) {
        struct item item = read_entry(link_unsent(&side->link, i));
        assert_int_equal(item.number, first + i);
        if (item.number <= side->highest_sent)
            model->again++;
        else
            side->highest_sent = item.number;
        if (skips)
            side->was_skipped[item.number] = 1;
        else
            put(&peer->in, item);
    }
    if (skips) {
        put(&peer->in, (struct item){ITEM_SKIP, count, 0});
        model->skipped += count;
    }
    link_sent(&side->link, count);
}

static void take_message(struct model *model, struct side *side, const struct side *peer,
                         const struct item *item)
{
    int result = link_take(&side->link, item->bytes, model->now);
    if (item->number <= side->last_taken) {
        assert_int_equal(result, 0);
        model->replayed++;
        return;
    }
    /* The skip that stood for it on an earlier carrier has been taken. */
    if (result == 0) {
        assert_true(peer->was_skipped[item->number]);
        return;
    }
    assert_int_equal(result, 1);
    for (uint64_t number = side->last_taken + 1; number < item->number; number++)
        assert_true(peer->was_skipped[number]);
    side->last_taken = item->number;
    assert_int_equal(side->link.received, item->number);
}

static void deliver(struct model *model, struct side *side, struct side *peer, uint32_t count)
{
    struct wire *wire = &side->in;
    for (; count > 0 && wire->count > 0; count--) {
        struct item item = wire->items[wire->first];
        wire->first = (wire->first + 1) % MAX_ITEMS;
        wire->count--;
        if (item.kind == ITEM_MESSAGE)
            take_message(model, side, peer, &item);
        else if (item.kind == ITEM_SKIP)
            assert_true(link_take_skip(&side->link, item.number, model->now) >= 0);
        else
            assert_int_equal(link_acknowledged(&side->link, item.number, model->now), 0);
    }
}

static void report(struct model *model, struct side *side, struct side *peer)
{
    if (!link_report_is_due(&side->link, model->now) || peer->in.count >= MAX_ITEMS)
        return;
    put(&peer->in, (struct item){ITEM_RECEIVED, side->link.received, 0});
    link_reported(&side->link);
    assert_false(link_report_is_due(&side->link, UINT64_MAX));
}

/* The dialling side said that `from` comes first, and has learnt since that the peer lacks only
 * what begins with `to`. It skips, or sends all if it has kept it elsewhere. */
static void bridge(struct model *model, struct side *peer, uint64_t from, uint64_t to)
{
    if (to - from > 20 || draw(model, 2) == 0) {
        if (to > from)
            put(&peer->in, (struct item){ITEM_SKIP, to - from, 0});
        return;
    }
    for (uint64_t number = from; number < to; number++)
        put(&peer->in, (struct item){ITEM_MESSAGE, number, 10});
}

/* A new carrier. The answer to the handshake may be lost with it: then the first side is without
 * one until the next, while the second side believes that it has one. */
static void attach(struct model *model)
{
    struct side *dialler = &model->sides[0], *answerer = &model->sides[1];
    dialler->in.count = 0;
    answerer->in.count = 0;
    model->is_attached = false;
    model->epoch += 1 + draw(model, 3);
    uint64_t stated = link_first(&dialler->link);
    assert_int_equal(link_attach(&answerer->link, model->epoch, stated, dialler->link.received), 0);
    assert_int_equal(link_attach(&answerer->link, model->epoch, stated, dialler->link.received),
                     CULVERT_ERROR_REFUSED);
    if (draw(model, 4) == 0) {
        transmit(model, answerer, dialler);
        return;
    }
    assert_int_equal(link_attach(&dialler->link, model->epoch, link_first(&answerer->link),
                                 answerer->link.received),
                     0);
    bridge(model, answerer, stated, link_first(&dialler->link));
    model->is_attached = true;
}

static void check(const struct model *model)
{
    for (int i = 0; i < 2; i++) {
        const struct link *link = &model->sides[i].link;
        assert_in_range(link->bound, LINK_MIN_KEPT, LINK_MAX_KEPT);
        assert_in_range(link->kept, 0, link->bound + LINK_CONTROL_RESERVE);
        assert_true(link->unsent <= link->count);
        assert_true(link->kept >= (size_t)link->count * LINK_MESSAGE_COST);
    }
}

static void step(struct model *model)
{
    uint64_t who = draw(model, 2);
    struct side *side = &model->sides[who], *peer = &model->sides[1 - who];
    model->now += draw(model, 5000);
    switch (draw(model, 8)) {
    case 0:
    case 1:
        for (uint64_t i = draw(model, 8); i > 0; i--)
            append(model, side, draw(model, 4) == 0);
        break;
    case 2:
    case 3:
        if (who == 1 || model->is_attached)
            transmit(model, side, peer);
        break;
    case 4:
    case 5:
        if (who == 1 || model->is_attached)
            deliver(model, side, peer, (uint32_t)draw(model, 30));
        break;
    case 6:
        if (who == 1 || model->is_attached)
            report(model, side, peer);
        break;
    case 7:
        if (draw(model, 20) == 0)
            attach(model);
        if (draw(model, 200) == 0) /* nobody takes anything for a while */
            for (int i = 0; i < 200; i++)
                append(model, side, true);
        break;
    }
}

/* Lets all that is under way arrive, over a carrier that holds. */
static void settle(struct model *model)
{
    while (!model->is_attached)
        attach(model);
    for (int i = 0; i < 100000; i++) {
        if (model->sides[0].link.count + model->sides[1].link.count == 0)
            return;
        for (int who = 0; who < 2; who++) {
            transmit(model, &model->sides[who], &model->sides[1 - who]);
            deliver(model, &model->sides[1 - who], &model->sides[who], UINT32_MAX);
            model->now += LINK_RECEIVED_DELAY;
            report(model, &model->sides[1 - who], &model->sides[who]);
            deliver(model, &model->sides[who], &model->sides[1 - who], UINT32_MAX);
        }
    }
    fail_msg("something is never acknowledged");
}

static void check_all_arrived(const struct model *model)
{
    for (int who = 0; who < 2; who++) {
        const struct side *side = &model->sides[who], *peer = &model->sides[1 - who];
        assert_int_equal(peer->link.received, side->link.next - 1);
        for (uint64_t number = peer->last_taken + 1; number < side->link.next; number++)
            assert_true(side->was_skipped[number]);
        assert_int_equal(side->link.kept, 0);
    }
}

static void run(struct model *model, uint64_t seed)
{
    memset(model, 0, sizeof *model);
    model->random = seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
    account_init(&model->account, SIZE_MAX);
    chunk_pool_init(&model->pool, &model->account);
    for (int who = 0; who < 2; who++)
        link_init(&model->sides[who].link, &model->pool, &model->account);
    attach(model);
    for (int i = 0; i < STEPS; i++) {
        step(model);
        check(model);
    }
    settle(model);
    check_all_arrived(model);
    for (int who = 0; who < 2; who++)
        link_deinit(&model->sides[who].link);
    assert_int_equal(chunk_pool_deinit(&model->pool), 0);
    assert_int_equal(model->account.used, 0);
}

static void test_random_cuts(void **state)
{
    (void)state;
    static struct model model;
    uint64_t again = 0, replayed = 0, skipped = 0, refused = 0, full = 0;
    for (uint64_t seed = 1; seed <= RUNS; seed++) {
        run(&model, seed);
        again += model.again;
        replayed += model.replayed;
        skipped += model.skipped;
        refused += model.refused;
        full += model.full;
    }
    print_message("%u sent again, %u taken before, %u skipped, %u refused, %u full\n",
                  (unsigned)again, (unsigned)replayed, (unsigned)skipped, (unsigned)refused,
                  (unsigned)full);
    assert_true(again > 0 && replayed > 0 && skipped > 0 && refused > 0 && full > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_cuts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
