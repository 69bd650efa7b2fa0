#include "net/pem_file.h"

#include "base/error.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char path[64];
static char why[512];

static int set_up(void **state)
{
    (void)state;
    strcpy(path, "/tmp/culvert-pem-XXXXXX");
    int file = mkstemp(path);
    assert_true(file >= 0);
    assert_int_equal(write(file, "\xef\xbb\xbfone\n", 7), 7);
    close(file);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    return 0;
}

static void check_secret(const char *name, int error)
{
    struct pem_file file;
    assert_int_equal(pem_file_read_secret(&file, name, why, sizeof why), error);
    if (error == 0)
        assert_string_equal(file.text, "one\n");
    else
        assert_null(file.text);
    pem_file_deinit(&file);
    pem_file_deinit(&file);
}

static void test_a_secret_is_read_by_its_owner_only(void **state)
{
    (void)state;
    check_secret(path, 0);
    assert_int_equal(chmod(path, 0604), 0);
    check_secret(path, CULVERT_ERROR_PERMISSION);
    assert_non_null(strstr(why, "0600"));
    assert_int_equal(chmod(path, 0400), 0);
    check_secret(path, 0);
}

static void test_a_public_file_is_read_by_anyone(void **state)
{
    (void)state;
    struct pem_file file;
    assert_int_equal(chmod(path, 0644), 0);
    assert_int_equal(pem_file_read(&file, path, why, sizeof why), 0);
    assert_int_equal(file.size, 4);
    pem_file_deinit(&file);
}

static void test_what_cannot_be_read(void **state)
{
    (void)state;
    check_secret("/tmp", -EISDIR);
    assert_string_equal(why, "cannot read /tmp: Is a directory");
    check_secret("/dev/null", CULVERT_ERROR_INVALID);
    assert_string_equal(why, "cannot read /dev/null: it is not a regular file");
    check_secret("/nowhere", -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_secret_is_read_by_its_owner_only, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_public_file_is_read_by_anyone, set_up, tear_down),
        cmocka_unit_test(test_what_cannot_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
