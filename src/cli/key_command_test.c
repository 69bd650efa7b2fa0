#include "cli/key_command.h"

#include "base/error.h"
#include "base/exit_code.h"
#include "store/store.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { NOW = 1700000000, DAY = 24 * 60 * 60 }; /* 2023-11-14T22:13:20Z */

#define WORDS(...) ((char *const[]){__VA_ARGS__, NULL})

struct fixture {
    char directory[64];
    char data[80]; /* --data=... */
    char output[4096];
};

static int set_up(void **state)
{
    static struct fixture fixture;
    fixture = (struct fixture){.directory = "/tmp/culvert-cli-XXXXXX"};
    *state = &fixture;
    if (mkdtemp(fixture.directory) == NULL)
        return -1;
    snprintf(fixture.data, sizeof fixture.data, "--data=%s", fixture.directory);
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
    return nftw(fixture->directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

/* Runs a command at a time and gives what it wrote to standard output. */
static int run_at(struct fixture *fixture, int64_t now, char *const *words)
{
    struct key_command command;
    char why[OPTIONS_WHY_SIZE] = "";
    if (key_command_parse(words, &command, why) != 0)
        fail_msg("%s", why);
    FILE *captured = tmpfile();
    assert_non_null(captured);
    fflush(stdout);
    int before = dup(STDOUT_FILENO);
    assert_true(before >= 0);
    assert_true(dup2(fileno(captured), STDOUT_FILENO) >= 0);
    int result = command.run(&command, now);
    fflush(stdout);
    assert_true(dup2(before, STDOUT_FILENO) >= 0);
    close(before);
    rewind(captured);
    size_t size = fread(fixture->output, 1, sizeof fixture->output - 1, captured);
    fixture->output[size] = '\0';
    fclose(captured);
    return result;
}

static void test_add_prints_the_key_alone(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(run_at(fixture, NOW, WORDS("add", "agent1", fixture->data)), EXIT_CODE_OK);
    assert_int_equal(strlen(fixture->output), 48);
    assert_memory_equal(fixture->output, "cvk_", 4);
    assert_int_equal(fixture->output[47], '\n');

    struct store *store;
    char why[OPTIONS_WHY_SIZE];
    struct store_finding owner;
    assert_int_equal(store_open(fixture->directory, &store, why, sizeof why), 0);
    assert_int_equal(store_check(store, "agent1", fixture->output, 47, NOW, &owner), 0);
    store_close(store);
}

static void test_a_second_add_fails(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(run_at(fixture, NOW, WORDS("add", "agent1", fixture->data)), EXIT_CODE_OK);
    assert_int_equal(run_at(fixture, NOW, WORDS("add", "agent1", fixture->data)),
                     EXIT_CODE_FAILURE);
    assert_string_equal(fixture->output, "");
}

static void test_list(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(run_at(fixture, NOW, WORDS("add", "b", fixture->data)), EXIT_CODE_OK);
    assert_int_equal(run_at(fixture, NOW, WORDS("add", "a", "--user", "ada", fixture->data)),
                     EXIT_CODE_OK);
    assert_int_equal(run_at(fixture, NOW + 60, WORDS("rotate", "a", fixture->data)), EXIT_CODE_OK);
    assert_int_equal(run_at(fixture, NOW + 60, WORDS("list", fixture->data)), EXIT_CODE_OK);
    assert_string_equal(
        fixture->output,
        "NAME                     USER             CREATED              EXPIRES\n"
        "a                        ada              2023-11-14T22:13:20Z 2023-11-15T22:14:20Z\n"
        "a                        ada              2023-11-14T22:14:20Z never\n"
        "b                        -                2023-11-14T22:13:20Z never\n");
}

static void test_revoke(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(run_at(fixture, NOW, WORDS("revoke", "a", fixture->data)), EXIT_CODE_FAILURE);
    assert_int_equal(run_at(fixture, NOW, WORDS("add", "a", fixture->data)), EXIT_CODE_OK);
    assert_int_equal(run_at(fixture, NOW, WORDS("revoke", "a", fixture->data)), EXIT_CODE_OK);
    assert_int_equal(run_at(fixture, NOW, WORDS("list", fixture->data)), EXIT_CODE_OK);
    assert_null(strstr(fixture->output, "never"));
    assert_int_equal(run_at(fixture, NOW, WORDS("add", "a", fixture->data)), EXIT_CODE_OK);
}

static void test_rotate(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(run_at(fixture, NOW, WORDS("rotate", "a", fixture->data)), EXIT_CODE_FAILURE);
    assert_int_equal(run_at(fixture, NOW, WORDS("add", "a", fixture->data)), EXIT_CODE_OK);
    assert_int_equal(run_at(fixture, NOW, WORDS("rotate", "a", "--grace=0s", fixture->data)),
                     EXIT_CODE_OK);
    assert_int_equal(strlen(fixture->output), 48);
}

static void test_a_store_that_cannot_be(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(run_at(fixture, NOW, WORDS("add", "a", "--data=/proc/culvert")),
                     EXIT_CODE_FAILURE);
    assert_string_equal(fixture->output, "");
}

static void test_durations(void **state)
{
    (void)state;
    struct key_command command;
    char why[OPTIONS_WHY_SIZE] = "";
    assert_int_equal(key_command_parse(WORDS("rotate", "a"), &command, why), 0);
    assert_int_equal(command.grace, DAY);
    assert_int_equal(key_command_parse(WORDS("rotate", "--grace", "7d", "a"), &command, why), 0);
    assert_int_equal(command.grace, 7 * DAY);
    assert_string_equal(command.name, "a");
}

static void check_wrong(char *const *words, const char *name, const char *piece_of_why)
{
    struct key_command command;
    char why[OPTIONS_WHY_SIZE] = "";
    assert_int_equal(key_command_parse(words, &command, why), CULVERT_ERROR_INVALID);
    assert_string_equal(command.command->name, name);
    if (strstr(why, piece_of_why) == NULL)
        fail_msg("\"%s\", without \"%s\"", why, piece_of_why);
}

static void test_wrong_words(void **state)
{
    (void)state;
    check_wrong(WORDS(NULL), "key", "add, list, revoke or rotate");
    check_wrong(WORDS("--data=x"), "key", "unknown option --data");
    check_wrong(WORDS("ad"), "key", "did you mean add?");
    check_wrong(WORDS("rotat", "x"), "key", "did you mean rotate?");
    check_wrong(WORDS("show"), "key", "there are add, list, revoke and rotate");
    check_wrong(WORDS("add"), "key add", "NAME is missing");
    check_wrong(WORDS("add", "a", "b"), "key add", "only one NAME");
    check_wrong(WORDS("add", "gateway"), "key add", "1 to 128 of A-Z");
    check_wrong(WORDS("add", "a", "--user", "a b"), "key add", "one word");
    check_wrong(WORDS("add", "a", "--grace=1d"), "key add", "unknown option --grace");
    check_wrong(WORDS("revoke", "a", "--data="), "key revoke", "the path is empty");
    check_wrong(WORDS("list", "a"), "key list", "unexpected argument");
    check_wrong(WORDS("rotate", "a", "--grace=soon"), "key rotate", "not a duration");
    check_wrong(WORDS("rotate", "a", "--grace=3651d"), "key rotate", "not a duration");
}

static void test_help(void **state)
{
    (void)state;
    struct key_command command;
    char why[OPTIONS_WHY_SIZE];
    assert_int_equal(key_command_parse(WORDS("--help"), &command, why), OPTIONS_HELP);
    assert_string_equal(command.command->name, "key");
    assert_int_equal(key_command_parse(WORDS("add", "-h"), &command, why), OPTIONS_HELP);
    assert_string_equal(command.command->name, "key add");
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(test_add_prints_the_key_alone),
        WITH_FIXTURE(test_a_second_add_fails),
        WITH_FIXTURE(test_list),
        WITH_FIXTURE(test_revoke),
        WITH_FIXTURE(test_rotate),
        WITH_FIXTURE(test_a_store_that_cannot_be),
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_wrong_words),
        cmocka_unit_test(test_help),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
