#include "gateway/acl_file.h"

#include "base/error.h"
#include "base/memory.h"
#include "ends/test_loop.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

enum { NOTICE_MILLISECONDS = 30000, QUIET_MILLISECONDS = 1250, ASKERS = 2 };

#define ALLOWS   "allow a -> b * *\n"
#define REFUSES  "deny  a -> b * *\n"
#define IS_WRONG "allow a => b * *\n"

struct fixture {
    char directory[64];
    char path[80];
    char other[80];
    struct test_loop loop;
    struct acl_file *file;
    int told; /* how often */
    bool was_good;
    char why[1024];
};

static void note_reload(void *context, const char *path, const char *why)
{
    struct fixture *fixture = context;
    assert_string_equal(path, fixture->path);
    fixture->told++;
    fixture->was_good = why == NULL;
    snprintf(fixture->why, sizeof fixture->why, "%s", why != NULL ? why : "");
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fputs(text, file) >= 0, 1);
    assert_int_equal(fclose(file), 0);
}

static int set_up(void **state)
{
    static struct fixture fixture;
    fixture = (struct fixture){.directory = "/tmp/culvert-acl-XXXXXX"};
    *state = &fixture;
    if (mkdtemp(fixture.directory) == NULL)
        return -1;
    snprintf(fixture.path, sizeof fixture.path, "%s/p.acl", fixture.directory);
    snprintf(fixture.other, sizeof fixture.other, "%s/other", fixture.directory);
    test_loop_open(&fixture.loop);
    return 0;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status;
    (void)type;
    (void)walk;
    return remove(path);
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    acl_file_close(fixture->file);
    test_loop_close(&fixture->loop);
    return nftw(fixture->directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static void open_file(struct fixture *fixture)
{
    char why[1024] = "";
    if (acl_file_open(&fixture->loop.loop, fixture->path, note_reload, fixture, &fixture->file, why,
                      sizeof why) != 0)
        fail_msg("%s", why);
}

static void open_with(struct fixture *fixture, const char *text)
{
    write_file(fixture->path, text);
    open_file(fixture);
}

static bool allows(struct acl_file *file)
{
    struct policy_request request = {.source = "a",
                                     .user = "",
                                     .address = "192.0.2.1:1",
                                     .kind = "tcp",
                                     .agent = "b",
                                     .host = "h",
                                     .port = 80,
                                     .key = ""};
    struct policy_verdict verdict;
    struct acl_version *version = acl_file_hold(file);
    acl_ask(version->acl, &request, &verdict);
    acl_version_drop(version);
    assert_false(verdict.failed);
    return verdict.allowed;
}

static bool is_told(void *context)
{
    return ((struct fixture *)context)->told > 0;
}

/* Waits for one notice. */
static void expect_notice(struct fixture *fixture, bool is_good)
{
    test_loop_until(&fixture->loop, is_told, fixture);
    assert_int_equal(fixture->told, 1);
    fixture->told = 0;
    if (fixture->was_good != is_good)
        fail_msg("it was %s: %s", is_good ? "wrong" : "taken", fixture->why);
}

static void expect_notice_in_time(struct fixture *fixture, bool is_good)
{
    uint64_t before = uv_hrtime();
    expect_notice(fixture, is_good);
    assert_true((uv_hrtime() - before) / 1000000 < NOTICE_MILLISECONDS);
}

struct pause {
    uint64_t end;
};

static bool is_over(void *context)
{
    return uv_hrtime() >= ((const struct pause *)context)->end;
}

/* Lets some looks pass, in which nothing is told. */
static void expect_silence(struct fixture *fixture)
{
    struct pause pause = {uv_hrtime() + (uint64_t)QUIET_MILLISECONDS * 1000000};
    test_loop_until(&fixture->loop, is_over, &pause);
    assert_int_equal(fixture->told, 0);
}

static void test_it_is_read_at_once(void **state)
{
    struct fixture *fixture = *state;
    open_with(fixture, ALLOWS);
    assert_true(allows(fixture->file));
    expect_silence(fixture);
}

static void check_cannot_be_opened(struct fixture *fixture, int wanted, const char *piece_of_why)
{
    char why[1024] = "";
    struct acl_file *file = NULL;
    assert_int_equal(acl_file_open(&fixture->loop.loop, fixture->path, note_reload, fixture, &file,
                                   why, sizeof why),
                     wanted);
    assert_null(file);
    if (strstr(why, piece_of_why) == NULL)
        fail_msg("\"%s\", without \"%s\"", why, piece_of_why);
}

static void test_what_cannot_be_opened(void **state)
{
    struct fixture *fixture = *state;
    char wanted[200];
    check_cannot_be_opened(fixture, -ENOENT, "No such file");
    write_file(fixture->path, "\n" IS_WRONG);
    snprintf(wanted, sizeof wanted, "%s:2: ", fixture->path);
    check_cannot_be_opened(fixture, CULVERT_ERROR_INVALID, wanted);
    assert_int_equal(truncate(fixture->path, ACL_MAX_SIZE + 1), 0);
    check_cannot_be_opened(fixture, CULVERT_ERROR_TOO_LARGE, "larger than 16 MiB");
}

static void test_what_is_no_regular_file(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(mkfifo(fixture->path, 0600), 0);
    check_cannot_be_opened(fixture, CULVERT_ERROR_INVALID, "not a regular file");
    assert_int_equal(unlink(fixture->path), 0);
    assert_int_equal(mkdir(fixture->path, 0700), 0);
    check_cannot_be_opened(fixture, CULVERT_ERROR_INVALID, "not a regular file");
    assert_int_equal(rmdir(fixture->path), 0);
    assert_int_equal(symlink("/dev/zero", fixture->path), 0);
    check_cannot_be_opened(fixture, CULVERT_ERROR_INVALID, "not a regular file");
}

static void test_a_change_in_place_is_noticed(void **state)
{
    struct fixture *fixture = *state;
    open_with(fixture, ALLOWS);
    write_file(fixture->path, REFUSES);
    expect_notice_in_time(fixture, true);
    assert_false(allows(fixture->file));
    expect_silence(fixture);
}

static void test_a_change_by_rename_is_noticed(void **state)
{
    struct fixture *fixture = *state;
    open_with(fixture, ALLOWS);
    write_file(fixture->other, REFUSES);
    assert_int_equal(rename(fixture->other, fixture->path), 0);
    expect_notice_in_time(fixture, true);
    assert_false(allows(fixture->file));
    write_file(fixture->path, ALLOWS);
    expect_notice_in_time(fixture, true);
    assert_true(allows(fixture->file));
}

/* The file's times are those of the first write to the mapped page; as if both writes had happened
 * within one tick of the file system's clock. */
static void test_a_change_with_the_same_times_is_noticed(void **state)
{
    struct fixture *fixture = *state;
    const size_t size = strlen(ALLOWS);
    write_file(fixture->path, ALLOWS);
    int descriptor = open(fixture->path, O_RDWR | O_CLOEXEC);
    assert_true(descriptor >= 0);
    char *text = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    assert_true(text != MAP_FAILED);
    text[0] = 'a';
    open_file(fixture);
    assert_int_equal(strlen(REFUSES), size);
    memcpy(text, REFUSES, size);
    expect_notice_in_time(fixture, true);
    assert_false(allows(fixture->file));
    munmap(text, size);
    close(descriptor);
}

/* A slow writer: no half of the file is looked at, nor complained about. */
static void test_a_file_that_is_being_written_is_left_alone(void **state)
{
    struct fixture *fixture = *state;
    open_with(fixture, ALLOWS);
    for (unsigned i = 0; i < 15; i++) {
        struct pause pause = {uv_hrtime() + 100 * (uint64_t)1000000};
        FILE *file = fopen(fixture->path, "a");
        assert_non_null(file);
        assert_true(fputs(IS_WRONG, file) >= 0);
        assert_int_equal(fclose(file), 0);
        test_loop_until(&fixture->loop, is_over, &pause);
        assert_int_equal(fixture->told, 0);
    }
    write_file(fixture->path, REFUSES);
    expect_notice_in_time(fixture, true);
}

static void test_the_same_text_is_no_change(void **state)
{
    struct fixture *fixture = *state;
    open_with(fixture, ALLOWS);
    write_file(fixture->path, ALLOWS);
    expect_silence(fixture);
    assert_true(allows(fixture->file));
}

static void test_an_error_keeps_the_old_rules(void **state)
{
    struct fixture *fixture = *state;
    char wanted[200];
    open_with(fixture, ALLOWS);
    write_file(fixture->path, REFUSES IS_WRONG);
    expect_notice_in_time(fixture, false);
    snprintf(wanted, sizeof wanted, "%s:2: -> must stand between", fixture->path);
    assert_memory_equal(fixture->why, wanted, strlen(wanted));
    assert_true(allows(fixture->file));
    expect_silence(fixture);

    write_file(fixture->path, REFUSES);
    expect_notice_in_time(fixture, true);
    assert_false(allows(fixture->file));
}

static void test_a_file_that_vanished_keeps_the_old_rules(void **state)
{
    struct fixture *fixture = *state;
    open_with(fixture, ALLOWS);
    assert_int_equal(unlink(fixture->path), 0);
    expect_notice_in_time(fixture, false);
    assert_non_null(strstr(fixture->why, "No such file"));
    assert_true(allows(fixture->file));
    expect_silence(fixture);

    /* Also the same text again is worth a word now. */
    write_file(fixture->path, ALLOWS);
    expect_notice_in_time(fixture, true);
    assert_true(allows(fixture->file));
}

/* What reading a file fails with, on whatever thread; 0: it does not. */
static _Atomic int read_error;

/* In place of the C library's, for the file too. */
ssize_t read(int fd, void *buf, size_t nbytes)
{
    struct stat status;
    int error = read_error;
    if (error == 0 || fstat(fd, &status) != 0 || !S_ISREG(status.st_mode))
        return syscall(SYS_read, fd, buf, nbytes);
    errno = error;
    return -1;
}

/* Nothing about the file changes when it can be read again. */
static void test_a_passing_error_is_tried_again(void **state)
{
    struct fixture *fixture = *state;
    open_with(fixture, ALLOWS);
    read_error = EIO;
    write_file(fixture->path, REFUSES);
    expect_notice_in_time(fixture, false);
    assert_non_null(strstr(fixture->why, "Input/output error"));
    assert_true(allows(fixture->file));
    expect_silence(fixture);
    read_error = 0;
    expect_notice_in_time(fixture, true);
    assert_false(allows(fixture->file));
}

static void test_a_pipe_in_its_place_keeps_the_old_rules(void **state)
{
    struct fixture *fixture = *state;
    open_with(fixture, ALLOWS);
    assert_int_equal(mkfifo(fixture->other, 0600), 0);
    assert_int_equal(rename(fixture->other, fixture->path), 0);
    expect_notice_in_time(fixture, false);
    assert_non_null(strstr(fixture->why, "not a regular file"));
    assert_true(allows(fixture->file));
}

static void test_a_request_is_answered_whatever_has_changed(void **state)
{
    struct fixture *fixture = *state;
    open_with(fixture, ALLOWS);
    acl_file_reload(fixture->file);
    expect_notice(fixture, true);
    write_file(fixture->path, REFUSES);
    acl_file_reload(fixture->file);
    expect_notice(fixture, true);
    assert_false(allows(fixture->file));
    write_file(fixture->path, IS_WRONG);
    for (int i = 0; i < 2; i++) {
        acl_file_reload(fixture->file);
        expect_notice(fixture, false);
        assert_false(allows(fixture->file));
    }
    expect_silence(fixture);
}

/* ---- who else has access ---- */

#define HAS_KEY "allow a -> b * * key s3cret\n"

static void write_with_mode(struct fixture *fixture, const char *text, mode_t mode)
{
    write_file(fixture->other, text);
    assert_int_equal(chmod(fixture->other, mode), 0);
    assert_int_equal(rename(fixture->other, fixture->path), 0);
}

static void test_keys_in_a_file_that_others_may_write(void **state)
{
    struct fixture *fixture = *state;
    char wanted[200];
    write_with_mode(fixture, HAS_KEY, 0660);
    snprintf(wanted, sizeof wanted, "may write it (mode 0660): run chmod go-w %s", fixture->path);
    check_cannot_be_opened(fixture, CULVERT_ERROR_PERMISSION, wanted);
    check_cannot_be_opened(fixture, CULVERT_ERROR_PERMISSION, "has keys in it");
    write_with_mode(fixture, HAS_KEY, 0606);
    check_cannot_be_opened(fixture, CULVERT_ERROR_PERMISSION, "all users may write it (mode 0606)");
    write_with_mode(fixture, HAS_KEY, 0644);
    open_file(fixture);
}

static void test_a_file_that_all_may_write(void **state)
{
    struct fixture *fixture = *state;
    write_with_mode(fixture, ALLOWS, 0666);
    check_cannot_be_opened(fixture, CULVERT_ERROR_PERMISSION, "all users may write it (mode 0666)");
    write_with_mode(fixture, ALLOWS, 0664);
    open_file(fixture);
}

/* The text stays the same, so that nothing but the mode is news. */
static void test_a_mode_that_changes(void **state)
{
    struct fixture *fixture = *state;
    write_with_mode(fixture, REFUSES HAS_KEY, 0600);
    open_file(fixture);
    assert_int_equal(chmod(fixture->path, 0622), 0);
    expect_notice(fixture, false);
    assert_non_null(strstr(fixture->why, "(mode 0622): run chmod go-w"));
    assert_false(allows(fixture->file));
    expect_silence(fixture);

    /* Rules that were written meanwhile are not taken. */
    write_file(fixture->path, ALLOWS HAS_KEY);
    expect_notice(fixture, false);
    assert_false(allows(fixture->file));
    assert_int_equal(chmod(fixture->path, 0600), 0);
    expect_notice(fixture, true);
    assert_true(allows(fixture->file));
}

/* ---- requests ---- */

static bool is_told_twice(void *context)
{
    return ((struct fixture *)context)->told >= 2;
}

static void test_a_request_while_it_is_read_is_kept(void **state)
{
    struct fixture *fixture = *state;
    open_with(fixture, ALLOWS);
    for (int i = 0; i < 5; i++)
        acl_file_reload(fixture->file);
    test_loop_until(&fixture->loop, is_told_twice, fixture);
    assert_int_equal(fixture->told, 2);
    fixture->told = 0;
    expect_silence(fixture);
}

static void test_an_end_while_it_is_read(void **state)
{
    struct fixture *fixture = *state;
    open_with(fixture, ALLOWS);
    acl_file_reload(fixture->file);
    acl_file_close(fixture->file);
    fixture->file = NULL;
    test_loop_close(&fixture->loop);
    assert_int_equal(fixture->told, 0);
    test_loop_open(&fixture->loop);
}

struct asker {
    struct acl_file *file;
    atomic_bool is_over;
    atomic_uint answers;
};

static void *keep_asking(void *argument)
{
    struct asker *asker = argument;
    while (!asker->is_over) {
        allows(asker->file);
        asker->answers++;
    }
    return NULL;
}

static void test_others_ask_while_it_changes(void **state)
{
    struct fixture *fixture = *state;
    struct asker asker = {0};
    pthread_t threads[ASKERS];
    open_with(fixture, ALLOWS);
    asker.file = fixture->file;
    for (size_t i = 0; i < ASKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, keep_asking, &asker), 0);
    for (unsigned i = 0; i < 50; i++) {
        write_file(fixture->path, i % 2 == 0 ? REFUSES : ALLOWS);
        acl_file_reload(fixture->file);
        expect_notice(fixture, true);
        assert_int_equal(allows(fixture->file), i % 2 != 0);
    }
    asker.is_over = true;
    for (size_t i = 0; i < ASKERS; i++)
        pthread_join(threads[i], NULL);
    assert_true(asker.answers > 0);
}

static void test_memory_runs_out(void **state)
{
    struct fixture *fixture = *state;
    char why[1024];
    size_t n = 0;
    bool is_done = false;
    write_file(fixture->path, ALLOWS);
    while (!is_done) {
        memory_fail_after(++n);
        int error = acl_file_open(&fixture->loop.loop, fixture->path, note_reload, fixture,
                                  &fixture->file, why, sizeof why);
        is_done = memory_fail_is_pending();
        memory_fail_after(0);
        if (is_done)
            assert_int_equal(error, 0);
        else
            assert_int_equal(error, CULVERT_ERROR_NO_MEMORY);
    }
    assert_true(n > 5);

    /* And when the new rules are to be put in the place of the old: tried again. */
    write_file(fixture->path, REFUSES);
    memory_fail_after(1);
    expect_notice(fixture, false);
    assert_false(memory_fail_is_pending());
    assert_non_null(strstr(fixture->why, "memory"));
    assert_true(allows(fixture->file));
    expect_notice(fixture, true);
    assert_false(allows(fixture->file));
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(test_it_is_read_at_once),
        WITH_FIXTURE(test_what_cannot_be_opened),
        WITH_FIXTURE(test_what_is_no_regular_file),
        WITH_FIXTURE(test_a_change_in_place_is_noticed),
        WITH_FIXTURE(test_a_change_by_rename_is_noticed),
        WITH_FIXTURE(test_a_change_with_the_same_times_is_noticed),
        WITH_FIXTURE(test_a_file_that_is_being_written_is_left_alone),
        WITH_FIXTURE(test_the_same_text_is_no_change),
        WITH_FIXTURE(test_an_error_keeps_the_old_rules),
        WITH_FIXTURE(test_a_file_that_vanished_keeps_the_old_rules),
        WITH_FIXTURE(test_a_passing_error_is_tried_again),
        WITH_FIXTURE(test_a_pipe_in_its_place_keeps_the_old_rules),
        WITH_FIXTURE(test_keys_in_a_file_that_others_may_write),
        WITH_FIXTURE(test_a_file_that_all_may_write),
        WITH_FIXTURE(test_a_mode_that_changes),
        WITH_FIXTURE(test_a_request_is_answered_whatever_has_changed),
        WITH_FIXTURE(test_a_request_while_it_is_read_is_kept),
        WITH_FIXTURE(test_an_end_while_it_is_read),
        WITH_FIXTURE(test_others_ask_while_it_changes),
        WITH_FIXTURE(test_memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
