/* What a worker is, seen from outside. */
#include "base/log.h"
#include "lua/pool_fixture.h"

#include <glob.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void read_proc(pid_t process, const char *name, char *text, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)process, name);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    size_t count = fread(text, 1, size - 1, file);
    text[count] = '\0';
    fclose(file);
    for (size_t i = 0; i < count; i++)
        text[i] = text[i] != '\0' ? text[i] : '\n';
}

static void test_what_a_worker_is_left_with(void **state)
{
    struct pool_fixture *fixture = *state;
    char text[8192];
    pid_t worker;
    glob_t descriptors;
    setenv("TZ", "UTC", 1);
    setenv("CULVERT_SECRET", "sesame", 1);
    pool_fixture_start(fixture, "function connect() return true end");
    assert_int_equal(pool_fixture_workers(&worker, 1), 1);
    read_proc(worker, "environ", text, sizeof text);
    assert_non_null(strstr(text, "TZ=UTC"));
    assert_null(strstr(text, "CULVERT"));
    assert_null(strstr(text, "HOME"));
    read_proc(worker, "status", text, sizeof text);
    assert_non_null(strstr(text, "NoNewPrivs:\t1"));
    read_proc(worker, "limits", text, sizeof text);
    assert_non_null(strstr(text, "Max core file size        1                    1"));
#ifndef IS_COVERAGE
    assert_non_null(strstr(text, "Max file size             0                    0"));
#endif
    assert_non_null(strstr(text, "Max open files            256                  256"));
    snprintf(text, sizeof text, "/proc/%d/fd/*", (int)worker);
    assert_int_equal(glob(text, 0, NULL, &descriptors), 0);
    assert_int_equal(descriptors.gl_pathc, 4);
    globfree(&descriptors);
    /* Signals to the whole group of a service leave it alone. */
    assert_int_equal(kill(worker, SIGTERM), 0);
    assert_int_equal(kill(worker, SIGINT), 0);
    assert_int_equal(kill(worker, SIGHUP), 0);
    assert_true(pool_fixture_answer(fixture, "good").allowed);
    pid_t same;
    assert_int_equal(pool_fixture_workers(&same, 1), 1);
    assert_int_equal(same, worker);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_a_worker_is_left_with, pool_fixture_set_up,
                                        pool_fixture_tear_down),
    };
    log_init(LOG_ERROR, LOG_TEXT, "test");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
