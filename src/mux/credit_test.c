#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mux/credit.h"

#include "base/error.h"

#include <stdlib.h>

enum { WINDOW = 256 * 1024, EARLY = 16 * 1024, ROUND_TRIP = 10000 };

static void assert_adds_up(const struct credit_receiver *receiver)
{
    assert_int_equal(receiver->window,
                     receiver->outstanding + receiver->undelivered + receiver->due);
}

static void sender_has_the_early_part_before_its_ack(void **state)
{
    (void)state;
    struct credit_sender sender;
    credit_sender_init(&sender, WINDOW, EARLY);
    assert_int_equal(EARLY, sender.available);
    credit_sender_spend(&sender, EARLY);
    assert_int_equal(0, sender.available);
    credit_sender_accepted(&sender);
    assert_int_equal(WINDOW - EARLY, sender.available);
}

static void sender_with_a_window_below_the_early_part(void **state)
{
    (void)state;
    struct credit_sender sender;
    credit_sender_init(&sender, 1000, EARLY);
    assert_int_equal(1000, sender.available);
    credit_sender_accepted(&sender);
    assert_int_equal(1000, sender.available);
}

static void grant_before_the_ack_is_withheld(void **state)
{
    (void)state;
    struct credit_sender sender;
    credit_sender_init(&sender, WINDOW, EARLY);
    assert_int_equal(0, credit_sender_grant(&sender, 5000));
    assert_int_equal(EARLY, sender.available);
    credit_sender_accepted(&sender);
    assert_int_equal(WINDOW + 5000, sender.available);
    assert_int_equal(0, credit_sender_grant(&sender, 1));
    assert_int_equal(WINDOW + 5001, sender.available);
}

static void grants_end_at_two_to_the_31(void **state)
{
    (void)state;
    struct credit_sender sender;
    credit_sender_init(&sender, 0, 0);
    uint64_t limit = UINT64_C(1) << 31;
    assert_int_equal(CULVERT_ERROR_PROTOCOL, credit_sender_grant(&sender, UINT64_MAX));
    assert_int_equal(CULVERT_ERROR_PROTOCOL, credit_sender_grant(&sender, limit + 1));
    assert_int_equal(0, credit_sender_grant(&sender, limit - 1));
    credit_sender_accepted(&sender);
    assert_int_equal(0, credit_sender_grant(&sender, 1));
    assert_int_equal(CULVERT_ERROR_PROTOCOL, credit_sender_grant(&sender, 1));
    credit_sender_spend(&sender, 10);
    assert_int_equal(0, credit_sender_grant(&sender, 10));

    /* What the ack will release counts as well, and so does what is granted until then. */
    credit_sender_init(&sender, WINDOW, 0);
    assert_int_equal(CULVERT_ERROR_PROTOCOL, credit_sender_grant(&sender, limit - WINDOW + 1));
    assert_int_equal(0, credit_sender_grant(&sender, limit - WINDOW));
    assert_int_equal(CULVERT_ERROR_PROTOCOL, credit_sender_grant(&sender, 1));

    credit_sender_init(&sender, UINT32_MAX, UINT32_MAX);
    assert_int_equal(limit, sender.available);
}

static void data_beyond_credit_changes_nothing(void **state)
{
    (void)state;
    struct credit_receiver receiver;
    credit_receiver_init(&receiver, WINDOW, 0);
    assert_int_equal(0, credit_receiver_arrived(&receiver, WINDOW));
    assert_int_equal(CULVERT_ERROR_PROTOCOL, credit_receiver_arrived(&receiver, 1));
    assert_int_equal(WINDOW, receiver.undelivered);
    assert_int_equal(0, receiver.outstanding);
    assert_adds_up(&receiver);
}

static void credit_is_worth_sending_from_a_quarter_on(void **state)
{
    (void)state;
    struct account account;
    account_init(&account, SIZE_MAX);
    struct credit_receiver receiver;
    credit_receiver_init(&receiver, WINDOW, 0);
    assert_int_equal(0, credit_receiver_arrived(&receiver, WINDOW));
    uint64_t now = 100 * ROUND_TRIP;
    assert_false(credit_receiver_consumed(&receiver, WINDOW / 4 - 1, now, ROUND_TRIP, &account));
    assert_adds_up(&receiver);
    assert_true(credit_receiver_consumed(&receiver, 1, now, ROUND_TRIP, &account));
    assert_int_equal(WINDOW / 4, credit_receiver_take_due(&receiver));
    assert_int_equal(0, credit_receiver_take_due(&receiver));
    assert_int_equal(WINDOW / 4, receiver.outstanding);
    assert_adds_up(&receiver);
    credit_receiver_deinit(&receiver, &account);
}

/* Uses the whole window up in quarters, `step` microseconds each. */
static void use_window(struct credit_receiver *receiver, uint64_t *now, uint64_t step,
                       uint64_t round_trip, struct account *account)
{
    size_t quarter = (size_t)receiver->window / 4;
    for (int i = 0; i < 4; i++) {
        *now += step;
        assert_int_equal(0, credit_receiver_arrived(receiver, quarter));
        assert_true(credit_receiver_consumed(receiver, quarter, *now, round_trip, account));
        credit_receiver_take_due(receiver);
        assert_adds_up(receiver);
    }
}

static void window_doubles_while_it_is_used_up_fast(void **state)
{
    (void)state;
    struct account account;
    account_init(&account, SIZE_MAX);
    struct credit_receiver receiver;
    uint64_t now = 77;
    credit_receiver_init(&receiver, WINDOW, now);
    use_window(&receiver, &now, ROUND_TRIP, ROUND_TRIP, &account);
    assert_int_equal(2 * WINDOW, receiver.window);
    assert_int_equal(2 * WINDOW, receiver.outstanding);
    assert_int_equal(WINDOW, account.promised);
    for (int i = 0; i < 20; i++)
        use_window(&receiver, &now, ROUND_TRIP, ROUND_TRIP, &account);
    assert_int_equal(CREDIT_MAX_WINDOW, receiver.window);
    assert_int_equal(CREDIT_MAX_WINDOW - WINDOW, account.promised);
    credit_receiver_deinit(&receiver, &account);
    credit_receiver_deinit(&receiver, &account);
    assert_int_equal(0, account.promised);
    assert_int_equal(0, account.used);
}

static void window_grows_by_two_steps_while_it_is_used_up_at_once(void **state)
{
    (void)state;
    struct account account;
    account_init(&account, SIZE_MAX);
    struct credit_receiver receiver;
    uint64_t now = 0;
    credit_receiver_init(&receiver, WINDOW, now);
    use_window(&receiver, &now, ROUND_TRIP / 2, ROUND_TRIP, &account);
    assert_int_equal(4 * WINDOW, receiver.window);
    assert_int_equal(4 * WINDOW, receiver.outstanding);
    assert_int_equal(3 * WINDOW, account.promised);
    for (int i = 0; i < 20; i++)
        use_window(&receiver, &now, ROUND_TRIP / 2, ROUND_TRIP, &account);
    assert_int_equal(CREDIT_MAX_WINDOW, receiver.window);
    assert_int_equal(CREDIT_MAX_WINDOW - WINDOW, account.promised);
    credit_receiver_deinit(&receiver, &account);
}

static void window_stays_while_it_is_used_up_slowly(void **state)
{
    (void)state;
    struct account account;
    account_init(&account, SIZE_MAX);
    struct credit_receiver receiver;
    uint64_t now = 0;
    credit_receiver_init(&receiver, WINDOW, now);
    for (int i = 0; i < 20; i++)
        use_window(&receiver, &now, CREDIT_EPOCH_TRIPS * ROUND_TRIP / 2, ROUND_TRIP, &account);
    assert_int_equal(WINDOW, receiver.window);
    /* What came after a long pause left at an unknown time. */
    now += 1000 * ROUND_TRIP;
    assert_int_equal(0, credit_receiver_arrived(&receiver, WINDOW));
    assert_true(credit_receiver_consumed(&receiver, WINDOW, now, ROUND_TRIP, &account));
    assert_int_equal(WINDOW, receiver.window);
}

static void short_round_trip_leaves_time_for_scheduling(void **state)
{
    (void)state;
    struct account account;
    account_init(&account, SIZE_MAX);
    struct credit_receiver receiver;
    uint64_t now = 0;
    credit_receiver_init(&receiver, WINDOW, now);
    use_window(&receiver, &now, 400, 1, &account);
    assert_int_equal(2 * WINDOW, receiver.window);
    credit_receiver_deinit(&receiver, &account);
}

enum {
    MILLISECONDS = 10000,
    LINE_BYTES = 12500,        /* that the line carries in a millisecond */
    SENDER_HOLDS = 256 * 1024, /* taken from the stream, not on the line yet */
};

/* A sender with something to say all the time, over a line on which twice as much waits as it holds
 * when it is empty: as TCP has it at its start. After half of the time it never lacks credit. */
static void fill_line(uint64_t milliseconds)
{
    uint64_t there = milliseconds / 2 + 2 * milliseconds, back = milliseconds / 2;
    size_t sent[MILLISECONDS] = {0};
    uint64_t granted[MILLISECONDS] = {0};
    struct account account;
    struct credit_receiver receiver;
    struct credit_sender sender;
    size_t held = 0;
    account_init(&account, SIZE_MAX);
    credit_receiver_init(&receiver, WINDOW, 0);
    credit_sender_init(&sender, WINDOW, WINDOW);
    credit_sender_accepted(&sender);
    for (uint64_t now = 0; now + there < MILLISECONDS; now++) {
        assert_int_equal(0, credit_receiver_arrived(&receiver, sent[now]));
        if (credit_receiver_consumed(&receiver, sent[now], now * 1000, milliseconds * 1000,
                                     &account))
            granted[now + back] = credit_receiver_take_due(&receiver);
        assert_int_equal(0, credit_sender_grant(&sender, granted[now]));
        size_t room = SENDER_HOLDS - held;
        size_t taken = room < sender.available ? room : (size_t)sender.available;
        credit_sender_spend(&sender, taken);
        held += taken;
        sent[now + there] = held < LINE_BYTES ? held : LINE_BYTES;
        held -= sent[now + there];
        if (now > MILLISECONDS / 2)
            assert_true(sender.available > 0);
    }
    credit_receiver_deinit(&receiver, &account);
}

static void window_lets_a_line_be_full_whatever_waits(void **state)
{
    (void)state;
    fill_line(10);
    fill_line(50);
    fill_line(200);
}

static void promises_end_growth_but_allocate_nothing(void **state)
{
    (void)state;
    struct account account;
    account_init(&account, (size_t)8 * WINDOW);
    struct credit_receiver receivers[4];
    uint64_t now = 0;
    for (int i = 0; i < 4; i++) {
        credit_receiver_init(&receivers[i], WINDOW, now);
        for (int j = 0; j < 20; j++)
            use_window(&receivers[i], &now, ROUND_TRIP, ROUND_TRIP, &account);
    }
    assert_false(account_may_promise(&account));
    assert_int_equal(WINDOW, receivers[3].window);
    assert_int_equal(ACCOUNT_EASY, account_level(&account));
    for (int i = 0; i < 4; i++)
        credit_receiver_deinit(&receivers[i], &account);
    assert_true(account_may_promise(&account));
}

static void window_stays_where_memory_is_tight(void **state)
{
    (void)state;
    struct account account;
    account_init(&account, 1000000);
    account_charge(&account, 900000);
    struct credit_receiver receiver;
    uint64_t now = 0;
    credit_receiver_init(&receiver, WINDOW, now);
    use_window(&receiver, &now, 10, ROUND_TRIP, &account);
    assert_int_equal(WINDOW, receiver.window);
    assert_int_equal(900000, account.used);
    account_release(&account, 800000);
    use_window(&receiver, &now, ROUND_TRIP, ROUND_TRIP, &account);
    assert_int_equal(2 * WINDOW, receiver.window);
    credit_receiver_deinit(&receiver, &account);
}

static void credit_adds_up_whatever_happens(void **state)
{
    (void)state;
    struct account account;
    account_init(&account, SIZE_MAX);
    for (unsigned run = 1; run <= 200; run++) {
        unsigned seed = run;
        struct credit_receiver receiver;
        struct credit_sender sender;
        uint64_t now = 0;
        credit_receiver_init(&receiver, WINDOW, now);
        credit_sender_init(&sender, WINDOW, WINDOW);
        credit_sender_accepted(&sender);
        for (int i = 0; i < 300; i++) {
            now += (uint64_t)(rand_r(&seed) % 4000);
            size_t size = (size_t)rand_r(&seed) % 70000;
            if (size > sender.available)
                size = (size_t)sender.available;
            credit_sender_spend(&sender, size);
            assert_int_equal(0, credit_receiver_arrived(&receiver, size));
            size_t used = (size_t)rand_r(&seed) % ((size_t)receiver.undelivered + 1);
            if (credit_receiver_consumed(&receiver, used, now, ROUND_TRIP, &account))
                assert_int_equal(0,
                                 credit_sender_grant(&sender, credit_receiver_take_due(&receiver)));
            assert_adds_up(&receiver);
            assert_int_equal(sender.available, receiver.outstanding);
        }
        credit_receiver_deinit(&receiver, &account);
    }
    assert_int_equal(0, account.promised);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sender_has_the_early_part_before_its_ack),
        cmocka_unit_test(sender_with_a_window_below_the_early_part),
        cmocka_unit_test(grant_before_the_ack_is_withheld),
        cmocka_unit_test(grants_end_at_two_to_the_31),
        cmocka_unit_test(data_beyond_credit_changes_nothing),
        cmocka_unit_test(credit_is_worth_sending_from_a_quarter_on),
        cmocka_unit_test(window_doubles_while_it_is_used_up_fast),
        cmocka_unit_test(window_grows_by_two_steps_while_it_is_used_up_at_once),
        cmocka_unit_test(window_stays_while_it_is_used_up_slowly),
        cmocka_unit_test(short_round_trip_leaves_time_for_scheduling),
        cmocka_unit_test(window_lets_a_line_be_full_whatever_waits),
        cmocka_unit_test(promises_end_growth_but_allocate_nothing),
        cmocka_unit_test(window_stays_where_memory_is_tight),
        cmocka_unit_test(credit_adds_up_whatever_happens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
