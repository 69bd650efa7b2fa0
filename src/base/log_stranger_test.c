#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/log_stranger.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static struct {
    unsigned count;
    char last[1024];
} lines;

static bool receive(enum log_level level, const char *message)
{
    assert_int_equal(level, LOG_WARNING);
    lines.count++;
    snprintf(lines.last, sizeof(lines.last), "%s", message);
    return true;
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* As fast as it can, from ever new ports. Returns how many lines it got. */
static unsigned shout(const char *address, double duration)
{
    unsigned before = lines.count;
    double end = seconds() + duration;
    for (unsigned i = 0; seconds() < end; i++) {
        char from[64];
        snprintf(from, sizeof(from), "%s:%u", address, i % 65536);
        log_stranger(from, "a mistake of %s", from);
    }
    return lines.count - before;
}

static void an_address_gets_a_line_a_second(void **state)
{
    (void)state;
    double begin = seconds();
    unsigned count = shout("192.0.2.1", 1.2);
    assert_in_range(count, 2, (unsigned)(seconds() - begin) + 1);
    assert_non_null(strstr(lines.last, "a mistake of 192.0.2.1:"));
    assert_non_null(strstr(lines.last, " more left out)"));
}

static void another_address_is_heard_beside_it(void **state)
{
    (void)state;
    log_stranger("[2001:db8::1]:1", "one");
    unsigned before = lines.count;
    log_stranger("[2001:db8::1]:2", "one");
    assert_int_equal(lines.count, before);
    log_stranger("[2001:db8::2]:1", "two");
    assert_int_equal(lines.count, before + 1);
    assert_string_equal(lines.last, "two");
}

/* An address is told apart by its first 63 bytes, however long the text is. Tried anew where it
 * took so long that the same address may be heard again. */
static void a_long_address_is_cut(void **state)
{
    (void)state;
    double duration = 1;
    for (char letter = 'a'; letter <= 'z' && duration > 0.9; letter++) {
        char from[100];
        double begin = seconds();
        for (size_t size = 62; size < 70; size++) {
            memset(from, letter, sizeof(from));
            snprintf(from + size, sizeof(from) - size, ":1");
            log_stranger(from, "%zu bytes", size);
        }
        duration = seconds() - begin;
    }
    assert_true(duration <= 0.9);
    assert_string_equal(lines.last, "63 bytes"); /* those behind it are the same one's */
}

int main(void)
{
    log_init(LOG_INFO, LOG_TEXT, "gateway");
    log_set_receiver(receive);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_gets_a_line_a_second),
        cmocka_unit_test(another_address_is_heard_beside_it),
        cmocka_unit_test(a_long_address_is_cut),
    };
    return cmocka_run_group_tests_name("log_stranger", tests, NULL, NULL);
}
