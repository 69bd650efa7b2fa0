#include "journal/file_sink.h"

#include "base/log.h"
#include "base/memory.h"
#include "journal/event_record.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    char directory[64];
    char path[128];
    char moved[128];
    struct file_sink *sink;
};

static int set_up(void **state)
{
    static struct fixture fixture;
    fixture = (struct fixture){.directory = "/tmp/culvert-file-XXXXXX"};
    *state = &fixture;
    if (mkdtemp(fixture.directory) == NULL)
        return -1;
    snprintf(fixture.path, sizeof fixture.path, "%s/sub/events", fixture.directory);
    snprintf(fixture.moved, sizeof fixture.moved, "%s/moved", fixture.directory);
    char sub[80];
    snprintf(sub, sizeof sub, "%s/sub", fixture.directory);
    return mkdir(sub, 0700);
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
    file_sink_close(fixture->sink);
    return nftw(fixture->directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static void open_sink(struct fixture *fixture)
{
    char why[256];
    assert_int_equal(file_sink_open(fixture->path, &fixture->sink, why, sizeof why), 0);
}

static void add(struct fixture *fixture, const char *line)
{
    file_sink_add(fixture->sink, line, strlen(line));
}

static void expect_content(const char *path, const char *expected)
{
    static char content[256];
    int file = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(file >= 0);
    ssize_t size = read(file, content, sizeof content - 1);
    close(file);
    assert_true(size >= 0);
    content[size] = '\0';
    assert_string_equal(content, expected);
}

static void lines_are_appended(void **state)
{
    struct fixture *fixture = *state;
    struct stat status;
    open_sink(fixture);
    assert_int_equal(stat(fixture->path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    add(fixture, "one");
    add(fixture, "two");
    expect_content(fixture->path, "");
    file_sink_flush(fixture->sink, 1);
    expect_content(fixture->path, "one\ntwo\n");
    add(fixture, "three");
    file_sink_close(fixture->sink);
    open_sink(fixture);
    add(fixture, "four");
    file_sink_flush(fixture->sink, 1);
    expect_content(fixture->path, "one\ntwo\nthree\nfour\n");
}

static void a_file_that_cannot_be_opened(void **state)
{
    struct fixture *fixture = *state;
    char why[512] = "";
    struct file_sink *sink = NULL;
    assert_true(file_sink_open("/nowhere/events", &sink, why, sizeof why) < 0);
    assert_string_equal(why, "cannot open /nowhere/events for events: No such file or directory");
    assert_true(file_sink_open(fixture->directory, &sink, why, sizeof why) < 0);
    assert_null(sink);
    for (size_t n = 1; n <= 2; n++) {
        memory_fail_after(n);
        assert_true(file_sink_open(fixture->path, &sink, why, sizeof why) < 0);
    }
}

static void a_moved_file_is_written_until_it_is_reopened(void **state)
{
    struct fixture *fixture = *state;
    open_sink(fixture);
    add(fixture, "one");
    file_sink_flush(fixture->sink, 1);
    assert_int_equal(rename(fixture->path, fixture->moved), 0);
    add(fixture, "two");
    file_sink_flush(fixture->sink, 5000);
    add(fixture, "three");
    file_sink_reopen(fixture->sink, 5001);
    add(fixture, "four");
    file_sink_flush(fixture->sink, 5002);
    expect_content(fixture->moved, "one\ntwo\n");
    expect_content(fixture->path, "three\nfour\n");
}

static void a_directory_that_is_gone_for_a_while(void **state)
{
    struct fixture *fixture = *state;
    char sub[80];
    snprintf(sub, sizeof sub, "%s/sub", fixture->directory);
    open_sink(fixture);
    assert_int_equal(unlink(fixture->path), 0);
    assert_int_equal(rmdir(sub), 0);
    add(fixture, "one");
    file_sink_flush(fixture->sink, 10000);
    assert_int_equal(file_sink_next_try(fixture->sink), 10000 + FILE_SINK_RETRY);
    assert_int_equal(mkdir(sub, 0700), 0);
    add(fixture, "two");
    file_sink_flush(fixture->sink, 10000 + FILE_SINK_RETRY - 1);
    assert_int_equal(access(fixture->path, F_OK), -1);
    file_sink_flush(fixture->sink, 10000 + FILE_SINK_RETRY);
    assert_int_equal(file_sink_next_try(fixture->sink), 0);
    expect_content(fixture->path, "one\ntwo\n");
}

static char warning[256];

static bool note_warning(enum log_level level, const char *message)
{
    if (level == LOG_WARNING)
        snprintf(warning, sizeof warning, "%s", message);
    return true;
}

/* Closes while two lines wait and the directory is gone, or is back. */
static void close_with_lines(struct fixture *fixture, bool is_back)
{
    char sub[80];
    snprintf(sub, sizeof sub, "%s/sub", fixture->directory);
    warning[0] = '\0';
    log_set_level(LOG_WARNING);
    log_set_receiver(note_warning);
    open_sink(fixture);
    assert_int_equal(unlink(fixture->path), 0);
    assert_int_equal(rmdir(sub), 0);
    add(fixture, "one");
    file_sink_flush(fixture->sink, 10000);
    add(fixture, "two");
    if (is_back)
        assert_int_equal(mkdir(sub, 0700), 0);
    file_sink_close(fixture->sink);
    fixture->sink = NULL;
    log_set_receiver(NULL);
    log_set_level(LOG_ERROR + 1);
}

static void what_waits_at_the_end_is_written_or_told(void **state)
{
    struct fixture *fixture = *state;
    char expected[256];
    close_with_lines(fixture, true);
    expect_content(fixture->path, "one\ntwo\n");
    assert_string_equal(warning, "");
    close_with_lines(fixture, false);
    snprintf(expected, sizeof expected, "2 events could not be written to %s", fixture->path);
    assert_string_equal(warning, expected);
}

static void reopening_that_fails_keeps_the_old_file(void **state)
{
    struct fixture *fixture = *state;
    char sub[80];
    snprintf(sub, sizeof sub, "%s/sub", fixture->directory);
    open_sink(fixture);
    assert_int_equal(rename(sub, fixture->moved), 0);
    add(fixture, "one");
    file_sink_reopen(fixture->sink, 1);
    assert_int_equal(file_sink_next_try(fixture->sink), 1 + FILE_SINK_RETRY);
    assert_int_equal(mkdir(sub, 0700), 0);
    add(fixture, "two");
    file_sink_flush(fixture->sink, 1 + FILE_SINK_RETRY);
    expect_content(fixture->path, "two\n");
    char old[160];
    snprintf(old, sizeof old, "%s/events", fixture->moved);
    expect_content(old, "one\n");
}

static void a_full_disk_leaves_whole_lines(void **state)
{
    struct fixture *fixture = *state;
    struct rlimit before;
    struct rlimit small = {.rlim_cur = 10};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small.rlim_max = before.rlim_max;
    open_sink(fixture);
    add(fixture, "first");
    add(fixture, "second");
    setrlimit(RLIMIT_FSIZE, &small);
    file_sink_flush(fixture->sink, 1);
    setrlimit(RLIMIT_FSIZE, &before);
    expect_content(fixture->path, "first\n");
    assert_int_not_equal(file_sink_next_try(fixture->sink), 0);
    add(fixture, "third");
    file_sink_flush(fixture->sink, 1 + FILE_SINK_RETRY);
    expect_content(fixture->path, "first\nsecond\nthird\n");
}

/* What another program writes to the file while a write of the sink's fails, and the limit that
 * made it fail. */
static struct {
    int file;
    struct rlimit limit;
} other = {.file = -1};

/* In place of the C library's, for the sink too. */
ssize_t write(int fd, const void *buf, size_t n)
{
    ssize_t sent = syscall(SYS_write, fd, buf, n);
    if (sent >= 0 || errno != EFBIG || other.file < 0)
        return sent;
    setrlimit(RLIMIT_FSIZE, &other.limit);
    assert_int_equal(syscall(SYS_write, other.file, "other\n", 6), 6);
    errno = EFBIG;
    return -1;
}

static void what_others_wrote_is_not_cut(void **state)
{
    struct fixture *fixture = *state;
    struct rlimit small = {.rlim_cur = 10};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &other.limit), 0);
    small.rlim_max = other.limit.rlim_max;
    open_sink(fixture);
    other.file = open(fixture->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    assert_true(other.file >= 0);
    add(fixture, "first");
    add(fixture, "second");
    setrlimit(RLIMIT_FSIZE, &small);
    file_sink_flush(fixture->sink, 1);
    close(other.file);
    other.file = -1;
    file_sink_flush(fixture->sink, 1 + FILE_SINK_RETRY);
    expect_content(fixture->path, "first\nsecoother\nnd\n");
}

static void what_waits_is_bounded(void **state)
{
    struct fixture *fixture = *state;
    static char line[1024 * 1024];
    char sub[80];
    struct stat status;
    memset(line, 'a', sizeof line - 1);
    open_sink(fixture);
    snprintf(sub, sizeof sub, "%s/sub", fixture->directory);
    assert_int_equal(rename(sub, fixture->moved), 0);
    for (int i = 0; i < 10; i++)
        add(fixture, line);
    char notice[EVENT_DROPPED_SIZE];
    size_t size = event_dropped_json(6, notice) + 1;
    file_sink_reopen(fixture->sink, 1);
    char old[160];
    snprintf(old, sizeof old, "%s/events", fixture->moved);
    assert_int_equal(stat(old, &status), 0);
    assert_int_equal(status.st_size, FILE_SINK_PENDING + size);
    FILE *file = fopen(old, "r");
    assert_non_null(file);
    assert_int_equal(fseek(file, FILE_SINK_PENDING, SEEK_SET), 0);
    assert_non_null(fgets(notice, sizeof notice, file));
    fclose(file);
    assert_ptr_equal(strstr(notice, "{\"event\":\"events.dropped\",\"time\":\""), notice);
    assert_non_null(strstr(notice, "Z\",\"dropped\":6}\n"));
}

/* Before the next line, which has come through. */
static void a_line_that_is_lost_is_told(void **state)
{
    struct fixture *fixture = *state;
    open_sink(fixture);
    memory_fail_after(1);
    add(fixture, "lost");
    assert_false(memory_fail_is_pending());
    add(fixture, "next");
    file_sink_flush(fixture->sink, 1);
    char content[EVENT_DROPPED_SIZE] = "";
    FILE *file = fopen(fixture->path, "r");
    assert_non_null(file);
    assert_non_null(fgets(content, sizeof content, file));
    assert_non_null(strstr(content, "\"dropped\":1}\n"));
    assert_non_null(fgets(content, sizeof content, file));
    assert_string_equal(content, "next\n");
    assert_null(fgets(content, sizeof content, file));
    fclose(file);
}

/* Neither one that nobody reads, nor one that is full, blocks. */
static void a_named_pipe(void **state)
{
    struct fixture *fixture = *state;
    static char line[10000];
    char why[256];
    assert_int_equal(mkfifo(fixture->path, 0600), 0);
    assert_true(file_sink_open(fixture->path, &fixture->sink, why, sizeof why) < 0);
    int reader = open(fixture->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    assert_true(reader >= 0);
    open_sink(fixture);
    memset(line, 'a', sizeof line - 1);
    for (int i = 0; i < 50; i++)
        add(fixture, line);
    file_sink_flush(fixture->sink, 1);
    assert_int_not_equal(file_sink_next_try(fixture->sink), 0);
    size_t total = 0;
    for (int64_t now = 1; total < 50 * sizeof line; now += FILE_SINK_RETRY) {
        ssize_t size = read(reader, line, sizeof line);
        for (ssize_t i = 0; i < size; i++)
            assert_int_equal(line[i], (total + (size_t)i + 1) % sizeof line == 0 ? '\n' : 'a');
        if (size > 0)
            total += (size_t)size;
        file_sink_flush(fixture->sink, now);
    }
    assert_int_equal(file_sink_next_try(fixture->sink), 0);
    close(reader);
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(lines_are_appended),
        WITH_FIXTURE(a_file_that_cannot_be_opened),
        WITH_FIXTURE(a_moved_file_is_written_until_it_is_reopened),
        WITH_FIXTURE(a_directory_that_is_gone_for_a_while),
        WITH_FIXTURE(what_waits_at_the_end_is_written_or_told),
        WITH_FIXTURE(reopening_that_fails_keeps_the_old_file),
        WITH_FIXTURE(a_full_disk_leaves_whole_lines),
        WITH_FIXTURE(what_others_wrote_is_not_cut),
        WITH_FIXTURE(what_waits_is_bounded),
        WITH_FIXTURE(a_line_that_is_lost_is_told),
        WITH_FIXTURE(a_named_pipe),
    };
    log_init(LOG_ERROR + 1, LOG_TEXT, "test");
    return cmocka_run_group_tests_name("file_sink", tests, NULL, NULL);
}
