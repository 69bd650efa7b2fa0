#include "base/private_file.h"

#include "base/error.h"
#include "base/memory.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char directory[64];
static char path[128];

static int set_up(void **state)
{
    (void)state;
    strcpy(directory, "/tmp/culvert-private-XXXXXX");
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/file", directory);
    return 0;
}

static int count_entries(void)
{
    int count = 0;
    DIR *entries = opendir(directory);
    assert_non_null(entries);
    for (struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries))
        count += entry->d_name[0] != '.';
    closedir(entries);
    return count;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    assert_int_equal(rmdir(directory), 0);
    return 0;
}

static int read_it(size_t max, char **text, bool *is_shared)
{
    size_t size = 0;
    char why[256] = "";
    int error = private_file_read(path, max, text, &size, is_shared, why, sizeof why);
    assert_int_equal(error != 0, why[0] != '\0');
    if (error == 0)
        assert_int_equal(strlen(*text), size);
    return error;
}

static void check_content(const char *wanted)
{
    char *text = NULL;
    bool is_shared = true;
    assert_int_equal(read_it(100, &text, &is_shared), 0);
    assert_string_equal(text, wanted);
    assert_false(is_shared);
    private_file_free(text, strlen(text));
}

static void test_a_file_is_made_once(void **state)
{
    (void)state;
    mode_t before = umask(0);
    assert_int_equal(private_file_make(path, "one", 3), 0);
    umask(before);
    check_content("one");
    assert_int_equal(private_file_make(path, "two", 3), -EEXIST);
    check_content("one");
    assert_int_equal(count_entries(), 1);
}

static void test_a_file_is_replaced(void **state)
{
    (void)state;
    assert_int_equal(private_file_replace(path, "one", 3), 0);
    assert_int_equal(chmod(path, 0644), 0);
    assert_int_equal(private_file_replace(path, "", 0), 0);
    check_content("");
    assert_int_equal(private_file_replace(path, "three", 5), 0);
    check_content("three");
    assert_int_equal(count_entries(), 1);
}

static void test_a_file_that_cannot_be_written(void **state)
{
    (void)state;
    char below[256];
    char *long_path = calloc(1, 5000);
    assert_non_null(long_path);
    assert_int_equal(private_file_replace(path, "one", 3), 0);
    snprintf(below, sizeof below, "%s/below", path);
    assert_int_equal(private_file_replace(below, "two", 3), -ENOTDIR);
    memset(long_path, 'x', 4999);
    assert_int_equal(private_file_make(long_path, "two", 3), -ENAMETOOLONG);
    free(long_path);
    assert_int_equal(private_file_replace(directory, "two", 3), -EISDIR);
    check_content("one");
}

static void test_others_that_may_read(void **state)
{
    (void)state;
    char *text = NULL;
    bool is_shared = false;
    assert_int_equal(private_file_replace(path, "one", 3), 0);
    assert_int_equal(chmod(path, 0644), 0);
    size_t size = 0;
    char why[256] = "";
    assert_int_equal(private_file_read(path, 100, &text, &size, &is_shared, why, sizeof why), 0);
    assert_true(is_shared);
    assert_non_null(strstr(why, "all users may read it"));
    private_file_free(text, 3);
}

static void test_a_byte_order_mark(void **state)
{
    (void)state;
    assert_int_equal(private_file_replace(path, "\xef\xbb\xbfone", 6), 0);
    check_content("one");
    assert_int_equal(private_file_replace(path, "\xef\xbb\xbf", 3), 0);
    check_content("");
    assert_int_equal(private_file_replace(path, "\xef\xbb", 2), 0);
    check_content("\xef\xbb");
    assert_int_equal(private_file_replace(path, "one\xef\xbb\xbf", 6), 0);
    check_content("one\xef\xbb\xbf");
}

static void test_what_cannot_be_read(void **state)
{
    (void)state;
    char *text = NULL;
    bool is_shared = false;
    assert_int_equal(read_it(100, &text, &is_shared), -ENOENT);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(read_it(100, &text, &is_shared), -EISDIR);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(read_it(100, &text, &is_shared), CULVERT_ERROR_INVALID);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(private_file_replace(path, "four", 4), 0);
    assert_int_equal(read_it(3, &text, &is_shared), CULVERT_ERROR_TOO_LARGE);
    memory_fail_after(1);
    assert_int_equal(read_it(4, &text, &is_shared), CULVERT_ERROR_NO_MEMORY);
    assert_null(text);
    assert_int_equal(read_it(4, &text, &is_shared), 0);
    private_file_free(text, 4);
    private_file_free(NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_file_is_made_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_file_is_replaced, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_file_that_cannot_be_written, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_others_that_may_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_byte_order_mark, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_cannot_be_read, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
