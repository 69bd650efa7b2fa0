#include "journal/room.h"

#include "base/memory.h"
#include "journal/event_cause.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { SEED = 7, SMALL = 10 };

static struct room room;

static int set_up(void **state)
{
    (void)state;
    room_init(&room, SEED);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    room_deinit(&room);
    return 0;
}

static struct room_place place_of(enum event_type type, const char *source, size_t bytes)
{
    struct event event = {.type = type, .source = source};
    return room_place(&event, SEED, bytes);
}

/* How many events, each of another source, get a place. */
static unsigned fill(enum event_type type, size_t bytes)
{
    for (unsigned i = 0;; i++) {
        char source[16];
        snprintf(source, sizeof source, "s%u", i);
        if (!room_take(&room, place_of(type, source, bytes)))
            return i;
    }
}

static void refusals_take_half(void **state)
{
    (void)state;
    assert_int_equal(fill(EVENT_SESSION_REFUSED, SMALL), ROOM_EVENTS / 2);
    assert_false(room_take(&room, place_of(EVENT_AUTH_FAILED, NULL, SMALL)));
    assert_int_equal(fill(EVENT_SESSION_OPENED, SMALL), ROOM_EVENTS / 2);
}

static void refusals_take_half_of_the_bytes(void **state)
{
    (void)state;
    enum { LARGE = ROOM_BYTES / 64 };
    assert_int_equal(fill(EVENT_AUTH_FAILED, LARGE), 32);
    assert_int_equal(fill(EVENT_SESSION_CLOSED, LARGE), 32);
    assert_false(room_take(&room, place_of(EVENT_AGENT_REGISTERED, "x", 1)));
}

static void one_cause_takes_a_quarter(void **state)
{
    (void)state;
    unsigned taken = 0;
    while (room_take(&room, place_of(taken % 2 == 0 ? EVENT_SESSION_OPENED : EVENT_SESSION_CLOSED,
                                     "busy", SMALL)))
        taken++;
    assert_int_equal(taken, ROOM_EVENTS / 4);
    assert_true(room_take(&room, place_of(EVENT_SESSION_OPENED, "other", SMALL)));
    assert_false(room_take(&room, place_of(EVENT_SESSION_REFUSED, "busy", SMALL)));
}

static void one_cause_takes_a_quarter_of_the_bytes(void **state)
{
    (void)state;
    assert_true(room_take(&room, place_of(EVENT_SESSION_OPENED, "busy", ROOM_BYTES / 4 - 1)));
    assert_true(room_take(&room, place_of(EVENT_SESSION_OPENED, "busy", 1)));
    assert_false(room_take(&room, place_of(EVENT_SESSION_OPENED, "busy", 1)));
    assert_true(room_take(&room, place_of(EVENT_SESSION_OPENED, "other", 1)));
}

static void nobody_in_particular_finds_all_of_it(void **state)
{
    (void)state;
    unsigned taken = 0;
    while (room_take(&room, place_of(EVENT_POLICY_RELOADED, NULL, SMALL)))
        taken++;
    assert_int_equal(taken, ROOM_EVENTS);
}

static void what_is_given_back_is_free_again(void **state)
{
    (void)state;
    struct room_place place = place_of(EVENT_SESSION_REFUSED, "a", SMALL);
    for (int i = 0; i < 3 * ROOM_EVENTS; i++) {
        assert_true(room_take(&room, place));
        room_give_back(&room, place);
    }
    assert_int_equal(room.all.events + room.all.bytes + room.refusals.events, 0);
    assert_int_equal(room.causes.count, 0);
}

static void without_memory_there_is_no_room(void **state)
{
    (void)state;
    for (size_t n = 1; n <= 2; n++) {
        memory_fail_after(n);
        assert_false(room_take(&room, place_of(EVENT_SESSION_OPENED, "a", SMALL)));
    }
    memory_fail_after(0);
    assert_int_equal(room.all.events, 0);
    assert_true(room_take(&room, place_of(EVENT_SESSION_OPENED, "a", SMALL)));
}

static void causes(void **state)
{
    (void)state;
    static const struct {
        struct event event;
        const char *cause;
    } cases[] = {
        {{.type = EVENT_SESSION_OPENED, .source = "a", .agent = "b", .source_address = "1.2.3.4:5"},
         "a"},
        {{.type = EVENT_SESSION_REFUSED, .agent = "b", .source_address = "1.2.3.4:5"},
         "\002"
         "1.2.3.4"},
        {{.type = EVENT_AGENT_REGISTERED, .agent = "b", .address = "1.2.3.4:5"}, "b"},
        {{.type = EVENT_AGENT_UNREGISTERED, .agent = "b"}, "b"},
        {{.type = EVENT_LINK_LOST, .agent = "b"}, "b"},
        {{.type = EVENT_LINK_RESUMED, .agent = "b"}, "b"},
        {{.type = EVENT_AGENT_REGISTERED, .agent = "", .address = "[::1]:5"}, "\002[::1]"},
        {{.type = EVENT_AUTH_FAILED, .agent = "b", .address = "1.2.3.4:5"},
         "\002"
         "1.2.3.4"},
        {{.type = EVENT_AUTH_FAILED, .agent = "b", .address = "1.2.3.4:5", .origin = 0xab},
         "\001ab"},
        {{.type = EVENT_AUTH_FAILED, .address = "1.2.3.4"},
         "\002"
         "1.2.3.4"},
        {{.type = EVENT_POLICY_RELOADED, .file = "f"}, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char cause[EVENT_CAUSE_SIZE];
        assert_string_equal(event_cause(&cases[i].event, cause), cases[i].cause);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(refusals_take_half, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refusals_take_half_of_the_bytes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_cause_takes_a_quarter, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_cause_takes_a_quarter_of_the_bytes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nobody_in_particular_finds_all_of_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_given_back_is_free_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_memory_there_is_no_room, set_up, tear_down),
        cmocka_unit_test(causes),
    };
    return cmocka_run_group_tests_name("room", tests, NULL, NULL);
}
