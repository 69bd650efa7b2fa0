#include "base/log.h"
#include "base/memory.h"
#include "lua/lua_pool.h"
#include "lua/pool_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

/* Keeps the loop's thread until it is let go. */
struct hold {
    struct loop_message message;
    sem_t holds;
    sem_t let_go;
};

static void run_hold(struct loop *loop, struct loop_message *message)
{
    struct hold *hold = CONTAINER_OF(message, struct hold, message);
    (void)loop;
    sem_post(&hold->holds);
    sem_wait(&hold->let_go);
}

static struct {
    sem_t told;
    char text[128];
} drops;

static bool note_drops(enum log_level level, const char *message)
{
    if (strstr(message, "events were dropped") != NULL) {
        assert_int_equal(level, LOG_WARNING);
        snprintf(drops.text, sizeof drops.text, "%s", message);
        sem_post(&drops.told);
    }
    return true;
}

static void test_events_that_wait_are_bounded(void **state)
{
    struct pool_fixture *fixture = *state;
    struct hold hold = {.message.run = run_hold};
    struct timespec limit;
    assert_int_equal(sem_init(&hold.holds, 0, 0), 0);
    assert_int_equal(sem_init(&hold.let_go, 0, 0), 0);
    assert_int_equal(sem_init(&drops.told, 0, 0), 0);
    log_set_level(LOG_WARNING);
    log_set_receiver(note_drops);
    pool_fixture_start(fixture, "function on_event() end\n"
                                "function connect() return true end\n");
    assert_true(lua_pool_has_on_event(fixture->pool));
    loop_post(&fixture->loop, &hold.message);
    sem_wait(&hold.holds);
    for (int i = 0; i < LUA_POOL_EVENTS + 500; i++)
        lua_pool_tell(fixture->pool, "{}");
    sem_post(&hold.let_go);
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += FIXTURE_PATIENCE;
    int result = sem_timedwait(&drops.told, &limit);
    pool_fixture_stop(fixture);
    log_set_receiver(NULL);
    log_set_level(LOG_ERROR);
    assert_int_equal(result, 0);
    assert_string_equal(drops.text, "on_event is too slow: 500 events were dropped");
    sem_destroy(&drops.told);
    sem_destroy(&hold.holds);
    sem_destroy(&hold.let_go);
}

static sem_t printed;
static char prints[256];

static bool note_prints(enum log_level level, const char *message)
{
    size_t size = strlen(prints);
    (void)level;
    if (strstr(message, "script: ") == message) {
        snprintf(prints + size, sizeof prints - size, "%s;", message);
        sem_post(&printed);
    }
    return true;
}

static char *describe_drops(uint64_t count)
{
    char json[64];
    snprintf(json, sizeof json, "{\"event\":\"drops\",\"dropped\":%u}", (unsigned)count);
    return memory_copy_text(json);
}

static int wait_for_print(void)
{
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += FIXTURE_PATIENCE;
    return sem_timedwait(&printed, &limit);
}

/* After those that came before, though no other event follows, and before those that do. */
static void test_on_event_is_told_what_was_dropped(void **state)
{
    struct pool_fixture *fixture = *state;
    struct hold hold = {.message.run = run_hold};
    prints[0] = '\0';
    assert_int_equal(sem_init(&hold.holds, 0, 0), 0);
    assert_int_equal(sem_init(&hold.let_go, 0, 0), 0);
    assert_int_equal(sem_init(&printed, 0, 0), 0);
    fixture->config.describe_drops = describe_drops;
    log_set_level(LOG_INFO);
    log_set_receiver(note_prints);
    pool_fixture_start(fixture, "function on_event(e)\n"
                                "  if e.event then print(e.event, e.dropped or 'none') end\n"
                                "end\n"
                                "function connect() return true end\n");
    loop_post(&fixture->loop, &hold.message);
    sem_wait(&hold.holds);
    for (int i = 0; i < LUA_POOL_EVENTS + 7; i++)
        lua_pool_tell(fixture->pool, "{}");
    sem_post(&hold.let_go);
    int result = wait_for_print();
    lua_pool_tell(fixture->pool, "{\"event\":\"next\"}");
    result |= wait_for_print();
    pool_fixture_stop(fixture);
    log_set_receiver(NULL);
    log_set_level(LOG_ERROR);
    assert_int_equal(result, 0);
    assert_string_equal(prints, "script: drops 7;script: next none;");
    sem_destroy(&printed);
    sem_destroy(&hold.holds);
    sem_destroy(&hold.let_go);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_events_that_wait_are_bounded, pool_fixture_set_up,
                                        pool_fixture_tear_down),
        cmocka_unit_test_setup_teardown(test_on_event_is_told_what_was_dropped, pool_fixture_set_up,
                                        pool_fixture_tear_down),
    };
    log_init(LOG_ERROR, LOG_TEXT, "test");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
