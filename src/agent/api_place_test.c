#include "agent/api_place.h"

#include "base/error.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char home[64];
static char directory[80];
static char token_path[128];
static char url_path[128];

static int set_up(void **state)
{
    (void)state;
    strcpy(home, "/tmp/culvert-place-XXXXXX");
    assert_non_null(mkdtemp(home));
    snprintf(directory, sizeof directory, "%s/culvert", home);
    snprintf(token_path, sizeof token_path, "%s/api-token", directory);
    snprintf(url_path, sizeof url_path, "%s/api-url", directory);
    assert_int_equal(setenv("XDG_STATE_HOME", home, 1), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(token_path);
    unlink(url_path);
    rmdir(directory);
    assert_int_equal(rmdir(home), 0);
    return 0;
}

static void write_file(const char *path, const char *text, mode_t mode)
{
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static bool holds(const char *path, const char *wanted)
{
    char text[512] = "";
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    size_t size = fread(text, 1, sizeof text - 1, file);
    text[size] = '\0';
    assert_int_equal(fclose(file), 0);
    return strcmp(text, wanted) == 0;
}

/* ---- addresses ---- */

static void check_address(const char *text, const char *host, uint16_t port, const char *path,
                          bool is_loopback)
{
    struct api_address address;
    char why[512] = "";
    if (api_address_parse(text, &address, why, sizeof why) != 0)
        fail_msg("%s: %s", text, why);
    assert_string_equal(address.host, host);
    assert_int_equal(address.port, port);
    assert_string_equal(address.path, path);
    assert_int_equal(address.is_loopback, is_loopback);
}

static void test_addresses(void **state)
{
    (void)state;
    check_address("127.0.0.1:7070", "127.0.0.1", 7070, "", true);
    check_address("127.9.9.9:0", "127.9.9.9", 0, "", true);
    check_address("localhost:65535", "localhost", 65535, "", true);
    check_address("[::1]:7070", "::1", 7070, "", true);
    check_address("0.0.0.0:7070", "0.0.0.0", 7070, "", false);
    check_address("[::]:7070", "::", 7070, "", false);
    check_address("192.0.2.1:7070", "192.0.2.1", 7070, "", false);
    check_address("some.name:7070", "some.name", 7070, "", false);
    check_address("unix:/run/culvert.sock", "", 0, "/run/culvert.sock", true);
    check_address("unix:relative", "", 0, "relative", true);
}

static void test_wrong_addresses(void **state)
{
    (void)state;
    char long_path[128];
    snprintf(long_path, sizeof long_path, "unix:%0108d", 0);
    const char *const wrong[] = {
        "",
        "7070",
        ":7070",
        "localhost",
        "localhost:",
        "localhost:65536",
        "localhost:x",
        "::1:7070",
        "[::1]",
        "[localhost]:1",
        "unix:",
        "127.1:7070",
        "*:7070",
        "a b:7070",
        long_path,
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct api_address address;
        char why[512] = "";
        if (api_address_parse(wrong[i], &address, why, sizeof why) != CULVERT_ERROR_INVALID)
            fail_msg("\"%s\" was taken", wrong[i]);
        assert_non_null(strstr(why, "unix:PATH"));
    }
    snprintf(long_path, sizeof long_path, "unix:%0107d", 0);
    check_address(long_path, "", 0, long_path + 5, true);
}

/* ---- tokens ---- */

static void check_token_wrong(const char *text, mode_t mode, int error)
{
    char token[API_TOKEN_SIZE] = "untouched";
    char why[512] = "";
    write_file(token_path, text, mode);
    assert_int_equal(api_token_read(token_path, token, why, sizeof why), error);
    assert_string_equal(token, "untouched");
    assert_non_null(strstr(why, token_path));
}

static void test_a_token_file(void **state)
{
    (void)state;
    char token[API_TOKEN_SIZE];
    char text[400];
    char why[512];
    assert_int_equal(mkdir(directory, 0700), 0);
    assert_int_equal(api_token_read(token_path, token, why, sizeof why), -ENOENT);
    assert_non_null(strstr(why, token_path));
    write_file(token_path, "aA9-._~+/=\r\n", 0600);
    assert_int_equal(api_token_read(token_path, token, why, sizeof why), 0);
    assert_string_equal(token, "aA9-._~+/=");
    snprintf(text, sizeof text, "%0256d", 0);
    write_file(token_path, text, 0400);
    assert_int_equal(api_token_read(token_path, token, why, sizeof why), 0);
    assert_int_equal(strlen(token), 256);
    assert_int_equal(chmod(token_path, 0600), 0);
    snprintf(text, sizeof text, "%0257d", 0);
    check_token_wrong(text, 0600, CULVERT_ERROR_INVALID);
    check_token_wrong("", 0600, CULVERT_ERROR_INVALID);
    check_token_wrong("\n", 0600, CULVERT_ERROR_INVALID);
    check_token_wrong("two words", 0600, CULVERT_ERROR_INVALID);
    check_token_wrong("two\nlines\n", 0600, CULVERT_ERROR_INVALID);
    check_token_wrong("token", 0644, CULVERT_ERROR_PERMISSION);
    check_token_wrong("token", 0604, CULVERT_ERROR_PERMISSION);
}

static void test_the_token_is_made_once(void **state)
{
    (void)state;
    struct api_place place;
    struct stat status;
    char first[API_TOKEN_SIZE] = "";
    char second[API_TOKEN_SIZE] = "";
    char why[512] = "";
    mode_t before = umask(0);
    assert_int_equal(api_place_open(&place, first, why, sizeof why), 0);
    umask(before);
    assert_int_equal(strlen(first), 64);
    assert_int_equal(strspn(first, "0123456789abcdef"), 64);
    assert_int_equal(stat(token_path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    assert_int_equal(stat(directory, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0700);
    assert_int_equal(api_place_open(&place, second, why, sizeof why), 0);
    assert_string_equal(first, second);
    assert_int_equal(unlink(token_path), 0);
    assert_int_equal(api_place_open(&place, second, why, sizeof why), 0);
    assert_string_not_equal(first, second);
    assert_int_equal(chmod(token_path, 0644), 0);
    assert_int_equal(api_place_open(&place, second, why, sizeof why), CULVERT_ERROR_PERMISSION);
}

static void test_a_directory_that_others_may_write(void **state)
{
    (void)state;
    struct api_place place;
    char token[API_TOKEN_SIZE];
    char why[512] = "";
    char wanted[160];
    assert_int_equal(mkdir(directory, 0700), 0);
    assert_int_equal(chmod(directory, 0777), 0);
    assert_int_equal(api_place_open(&place, token, why, sizeof why), CULVERT_ERROR_PERMISSION);
    snprintf(wanted, sizeof wanted, "(mode 0777): run chmod go-w %s", directory);
    assert_non_null(strstr(why, wanted));
    assert_int_equal(chmod(directory, 0755), 0);
    assert_int_equal(api_place_open(&place, token, why, sizeof why), 0);
}

static void test_no_directory(void **state)
{
    (void)state;
    struct api_place place;
    char token[API_TOKEN_SIZE];
    char why[512] = "";
    write_file(directory, "", 0600);
    assert_int_not_equal(api_place_open(&place, token, why, sizeof why), 0);
    assert_non_null(strstr(why, directory));
    assert_int_equal(unlink(directory), 0);
}

/* ---- the URL ---- */

static void test_the_url_comes_and_goes(void **state)
{
    (void)state;
    struct api_place place;
    struct api_place other;
    char token[API_TOKEN_SIZE];
    char why[512];
    assert_int_equal(api_place_open(&place, token, why, sizeof why), 0);
    api_place_withdraw(&place);
    assert_int_equal(api_place_publish(&place, "http://127.0.0.1:7070", why, sizeof why), 0);
    assert_true(holds(url_path, "http://127.0.0.1:7070\n"));
    assert_int_equal(api_place_open(&other, token, why, sizeof why), 0);
    assert_int_equal(api_place_publish(&other, "http://127.0.0.1:707", why, sizeof why), 0);
    api_place_withdraw(&place);
    assert_true(holds(url_path, "http://127.0.0.1:707\n"));
    api_place_withdraw(&other);
    assert_int_equal(access(url_path, F_OK), -1);
    api_place_withdraw(&other);
}

static void test_a_url_that_cannot_be_written(void **state)
{
    (void)state;
    struct api_place place;
    char token[API_TOKEN_SIZE];
    char why[512] = "";
    assert_int_equal(api_place_open(&place, token, why, sizeof why), 0);
    assert_int_equal(mkdir(url_path, 0700), 0);
    assert_int_not_equal(api_place_publish(&place, "http://127.0.0.1:7070", why, sizeof why), 0);
    assert_non_null(strstr(why, url_path));
    assert_string_equal(place.url, "");
    assert_int_equal(rmdir(url_path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_wrong_addresses),
        cmocka_unit_test_setup_teardown(test_a_token_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_token_is_made_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_directory_that_others_may_write, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_directory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_url_comes_and_goes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_url_that_cannot_be_written, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
