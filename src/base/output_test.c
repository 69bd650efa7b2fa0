#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/output.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

enum { MANY = 100000, LINE = 6000 };

struct fixture {
    int saved;
    int mine;   /* where a test reads */
    int theirs; /* is standard error */
    char *text;
};

static int set_up(void **state)
{
    static struct fixture fixture;
    fixture = (struct fixture){.saved = dup(STDERR_FILENO), .mine = -1, .theirs = -1};
    fixture.text = malloc(1 << 20);
    *state = &fixture;
    return fixture.saved < 0 || fixture.text == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    dup2(fixture->saved, STDERR_FILENO);
    close(fixture->saved);
    close(fixture->mine);
    close(fixture->theirs);
    free(fixture->text);
    output_open();
    return 0;
}

static void use(struct fixture *fixture, int mine, int theirs)
{
    fixture->mine = mine;
    fixture->theirs = theirs;
    assert_int_equal(fcntl(mine, F_SETFL, fcntl(mine, F_GETFL) | O_NONBLOCK), 0);
    assert_int_equal(dup2(theirs, STDERR_FILENO), STDERR_FILENO);
}

static size_t read_all(struct fixture *fixture)
{
    size_t size = 0;
    ssize_t got;
    while ((got = read(fixture->mine, fixture->text + size, (1 << 20) - 1 - size)) > 0)
        size += (size_t)got;
    fixture->text[size] = '\0';
    return size;
}

/* Returns how many lines were taken before the first that was not. */
static size_t fill(size_t size)
{
    char line[OUTPUT_LINE];
    size_t count = 0;
    memset(line, 'x', size);
    line[size - 1] = '\n';
    while (count < MANY && output_write(STDERR_FILENO, line, size))
        count++;
    assert_true(count > 0);
    assert_true(count < MANY);
    return count;
}

static void expect_whole_lines(const char *text, size_t size)
{
    const char *end;
    for (; (end = strchr(text, '\n')) != NULL; text = end + 1)
        assert_int_equal(end + 1 - text, size);
    assert_string_equal(text, "");
}

/* `reopens`: it is there when output_open is called. */
static void use_pipe(struct fixture *fixture, bool reopens)
{
    int end[2];
    assert_int_equal(pipe(end), 0);
    if (!reopens) {
        /* Nothing to be opened again. */
        int null = open("/dev/null", O_WRONLY);
        assert_int_equal(dup2(null, STDERR_FILENO), STDERR_FILENO);
        close(null);
        output_open();
    }
    use(fixture, end[0], end[1]);
    if (reopens)
        output_open();
}

static void a_full_pipe_drops_whole_lines(void **state)
{
    struct fixture *fixture = *state;
    use_pipe(fixture, true);
    size_t count = fill(100);
    assert_int_equal(read_all(fixture), count * 100);
    expect_whole_lines(fixture->text, 100);
    /* The description that we were given blocks as before. */
    assert_int_equal(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK, 0);
}

static void the_rest_of_a_long_line_comes_first(void **state)
{
    struct fixture *fixture = *state;
    use_pipe(fixture, true);
    size_t count = fill(LINE);
    size_t first = read_all(fixture);
    assert_true(first < count * LINE);
    assert_true(output_write(STDERR_FILENO, "end\n", 4));
    size_t rest = read_all(fixture);
    assert_int_equal(first + rest, count * LINE + 4);
    assert_string_equal(fixture->text + rest - 5, "\nend\n");
}

static void a_pipe_that_cannot_be_opened_again_is_asked(void **state)
{
    struct fixture *fixture = *state;
    use_pipe(fixture, false);
    size_t count = fill(100);
    assert_int_equal(read_all(fixture), count * 100);
    expect_whole_lines(fixture->text, 100);
    assert_true(output_write(STDERR_FILENO, "end\n", 4));
}

static void a_full_socket_drops_lines(void **state)
{
    struct fixture *fixture = *state;
    int end[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, end), 0);
    use(fixture, end[0], end[1]);
    output_open();
    fill(100);
    read_all(fixture);
    assert_true(output_write(STDERR_FILENO, "end\n", 4));
}

static void a_stopped_terminal_drops_lines(void **state)
{
    struct fixture *fixture = *state;
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(master >= 0);
    assert_int_equal(grantpt(master), 0);
    assert_int_equal(unlockpt(master), 0);
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    assert_true(slave >= 0);
    use(fixture, master, slave);
    output_open();
    assert_true(output_write(STDERR_FILENO, "a\n", 2));
    assert_int_equal(tcflow(slave, TCOOFF), 0);
    assert_false(output_write(STDERR_FILENO, "b\n", 2));
    assert_int_equal(tcflow(slave, TCOON), 0);
    assert_true(output_write(STDERR_FILENO, "c\n", 2));
}

static void the_log_says_how_many_were_dropped(void **state)
{
    struct fixture *fixture = *state;
    use_pipe(fixture, true);
    log_init(LOG_INFO, LOG_TEXT, "gateway");
    fill(4096);
    log_info("one");
    log_info("two");
    read_all(fixture);
    log_info("three");
    read_all(fixture);
    assert_non_null(strstr(fixture->text, "WARNING gateway: 2 lines of the log were dropped since "
                                          "nobody read standard error\n"));
    assert_non_null(strstr(fixture->text, "INFO gateway: three\n"));
    assert_null(strstr(fixture->text, "one"));
    log_info("four");
    read_all(fixture);
    assert_null(strstr(fixture->text, "dropped"));
}

static int expect_null_devices(void)
{
    for (int descriptor = 0; descriptor <= STDERR_FILENO; descriptor++)
        close(descriptor);
    output_open();
    for (int descriptor = 0; descriptor <= STDERR_FILENO; descriptor++) {
        char path[64];
        char target[64] = "";
        snprintf(path, sizeof(path), "/proc/self/fd/%d", descriptor);
        if (readlink(path, target, sizeof(target) - 1) < 0 || strcmp(target, "/dev/null") != 0)
            return 1;
    }
    return 0;
}

static void closed_descriptors_are_opened(void **state)
{
    (void)state;
    int status = 0;
    pid_t child = fork();
    if (child == 0)
        _exit(expect_null_devices());
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_full_pipe_drops_whole_lines),
        TEST(the_rest_of_a_long_line_comes_first),
        TEST(a_pipe_that_cannot_be_opened_again_is_asked),
        TEST(a_full_socket_drops_lines),
        TEST(a_stopped_terminal_drops_lines),
        TEST(the_log_says_how_many_were_dropped),
        cmocka_unit_test(closed_descriptors_are_opened),
    };
    return cmocka_run_group_tests_name("output", tests, NULL, NULL);
}
