#include "base/file_version.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void test_each_change_is_seen_once(void **state)
{
    (void)state;
    char path[] = "/tmp/culvert-version-XXXXXX";
    char other[sizeof path + 8];
    struct file_version version = {0};
    int file = mkstemp(path);
    assert_true(file >= 0);
    snprintf(other, sizeof other, "%s.new", path);
    assert_true(file_version_update(&version, path));
    assert_false(file_version_update(&version, path));
    assert_int_equal(write(file, "a", 1), 1);
    assert_true(file_version_update(&version, path));
    assert_false(file_version_update(&version, path));
    /* The same size, another time. */
    const struct timespec times[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    assert_int_equal(futimens(file, times), 0);
    assert_true(file_version_update(&version, path));
    close(file);
    /* The same size and time, another file. */
    file = open(other, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_int_equal(write(file, "b", 1), 1);
    assert_int_equal(futimens(file, times), 0);
    assert_int_equal(rename(other, path), 0);
    assert_true(file_version_update(&version, path));
    close(file);
    assert_int_equal(unlink(path), 0);
    assert_true(file_version_update(&version, path));
    assert_false(file_version_update(&version, path));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_change_is_seen_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
