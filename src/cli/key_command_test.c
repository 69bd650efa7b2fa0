#include "cli/key_command.h"

#include "base/error.h"
#include "base/exit_code.h"
#include "cli/test_output.h"
#include "store/store.h"

#include <ftw.h>
#include <setjmp.h>
#include <sqlite3.h>
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
    struct test_output output;
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

/* Runs a command and keeps its output. */
static int run_at(struct fixture *fixture, int64_t now, char *const *words)
{
    struct key_command command;
    char why[OPTIONS_WHY_SIZE] = "";
    if (key_command_parse(words, &command, why) != 0)
        fail_msg("%s", why);
    test_output_begin(&fixture->output);
    int result = command.run(&command, now);
    test_output_end(&fixture->output);
    return result;
}

/* The same with a standard output that is full. */
static int run_full(struct fixture *fixture, char *const *words)
{
    struct key_command command;
    char why[OPTIONS_WHY_SIZE] = "";
    if (key_command_parse(words, &command, why) != 0)
        fail_msg("%s", why);
    test_output_begin_full(&fixture->output);
    int result = command.run(&command, NOW);
    test_output_end(&fixture->output);
    return result;
}

static void test_add_prints_the_key_alone(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(run_at(fixture, NOW, WORDS("add", "agent1", fixture->data)), EXIT_CODE_OK);
    assert_int_equal(strlen(fixture->output.out), 48);
    assert_memory_equal(fixture->output.out, "cvk_", 4);
    assert_int_equal(fixture->output.out[47], '\n');

    struct store *store;
    char why[OPTIONS_WHY_SIZE];
    struct store_finding owner;
    assert_int_equal(store_open(fixture->directory, &store, why, sizeof why), 0);
    assert_int_equal(store_check(store, "agent1", fixture->output.out, 47, NOW, &owner), 0);
    store_close(store);
}

static void test_a_second_add_fails(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(run_at(fixture, NOW, WORDS("add", "agent1", fixture->data)), EXIT_CODE_OK);
    assert_int_equal(run_at(fixture, NOW, WORDS("add", "agent1", fixture->data)),
                     EXIT_CODE_FAILURE);
    assert_string_equal(fixture->output.out, "");
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
        fixture->output.out,
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
    assert_null(strstr(fixture->output.out, "never"));
    assert_int_equal(run_at(fixture, NOW, WORDS("add", "a", fixture->data)), EXIT_CODE_OK);
}

static void test_rotate(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(run_at(fixture, NOW, WORDS("rotate", "a", fixture->data)), EXIT_CODE_FAILURE);
    assert_int_equal(run_at(fixture, NOW, WORDS("add", "a", fixture->data)), EXIT_CODE_OK);
    assert_int_equal(run_at(fixture, NOW, WORDS("rotate", "a", "--grace=0s", fixture->data)),
                     EXIT_CODE_OK);
    assert_int_equal(strlen(fixture->output.out), 48);
}

static void test_a_store_that_cannot_be(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(run_at(fixture, NOW, WORDS("add", "a", "--data=/proc/culvert")),
                     EXIT_CODE_FAILURE);
    assert_string_equal(fixture->output.out, "");
}

static void check_said(struct fixture *fixture, int result, int expected, const char *said)
{
    if (strstr(fixture->output.err, said) == NULL)
        fail_msg("\"%s\", without \"%s\"", fixture->output.err, said);
    assert_int_equal(result, expected);
}

/* Each key command prints what it did and what the user should do next. */
static void test_what_is_said(void **state)
{
    struct fixture *fixture = *state;
    char wanted[200];
    int result = run_at(fixture, NOW, WORDS("add", "a", fixture->data));
    snprintf(wanted, sizeof wanted, "Made a new store in %s.\nThis is the key of a; it is not",
             fixture->directory);
    check_said(fixture, result, EXIT_CODE_OK, wanted);
    result = run_at(fixture, NOW, WORDS("add", "b", fixture->data));
    check_said(fixture, result, EXIT_CODE_OK, "This is the key of b; it is not shown again.");
    assert_null(strstr(fixture->output.err, "new store"));
    result = run_at(fixture, NOW, WORDS("add", "a", fixture->data));
    check_said(fixture, result, EXIT_CODE_FAILURE,
               "culvert key add: a has a key; `culvert key rotate a` gives it a new one\n");
    result = run_at(fixture, NOW, WORDS("rotate", "a", fixture->data));
    check_said(fixture, result, EXIT_CODE_OK, "This is the new key of a; it is not shown again.");
    check_said(fixture, result, EXIT_CODE_OK, "\nThe old key works for 24h more.\n");
    result = run_at(fixture, NOW, WORDS("rotate", "c", fixture->data));
    check_said(fixture, result, EXIT_CODE_FAILURE,
               "culvert key rotate: c has no key; `culvert key add c` gives it one\n");
    result = run_at(fixture, NOW, WORDS("revoke", "a", fixture->data));
    check_said(fixture, result, EXIT_CODE_OK, "The keys of a are revoked.\n");
    result = run_at(fixture, NOW, WORDS("revoke", "a", fixture->data));
    check_said(fixture, result, EXIT_CODE_FAILURE, "culvert key revoke: a has no key\n");
    result = run_at(fixture, NOW, WORDS("list", fixture->data));
    check_said(fixture, result, EXIT_CODE_OK, "");
    assert_string_equal(fixture->output.err, "");
}

static void read_file(const char *path, char *out, size_t size)
{
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    out[fread(out, 1, size - 1, file)] = '\0';
    fclose(file);
}

static void test_a_key_goes_to_its_file(void **state)
{
    struct fixture *fixture = *state;
    static char *const commands[] = {"add", "rotate"};
    char path[100];
    char option[110];
    char before[64];
    char after[64];
    char wanted[300];
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s.key", fixture->directory, commands[i]);
        snprintf(option, sizeof option, "--out=%s", path);
        int result = run_at(fixture, NOW, WORDS(commands[i], "a", option, fixture->data));
        snprintf(wanted, sizeof wanted,
                 "The %skey of a is in %s (mode 0600) and is not shown again. Start the agent with "
                 "--key-file %s.\n",
                 i == 0 ? "" : "new ", path, path);
        check_said(fixture, result, EXIT_CODE_OK, wanted);
        assert_string_equal(fixture->output.out, "");
        read_file(path, before, sizeof before);
        assert_int_equal(strlen(before), 48);
        assert_int_equal(before[47], '\n');
        result =
            run_at(fixture, NOW, WORDS(commands[i], i == 0 ? "b" : "a", option, fixture->data));
        snprintf(wanted, sizeof wanted,
                 "culvert key %s: %s is there already and is not overwritten; name another file\n",
                 commands[i], path);
        check_said(fixture, result, EXIT_CODE_FAILURE, wanted);
        read_file(path, after, sizeof after);
        assert_string_equal(after, before);
    }
    assert_int_equal(run_at(fixture, NOW, WORDS("list", fixture->data)), EXIT_CODE_OK);
    assert_null(strstr(fixture->output.out, "b "));
}

/* A key that could not be printed is revoked, since nobody has it. */
static void test_a_key_that_cannot_be_given_is_none(void **state)
{
    struct fixture *fixture = *state;
    int result = run_full(fixture, WORDS("add", "a", fixture->data));
    check_said(fixture, result, EXIT_CODE_FAILURE,
               "culvert key add: the key could not be printed\n");
    result = run_at(fixture, NOW, WORDS("add", "a", "--out=/nowhere/key", fixture->data));
    check_said(fixture, result, EXIT_CODE_FAILURE,
               "culvert key add: cannot write the key to /nowhere/key: No such file or directory");
    assert_null(strstr(fixture->output.err, "not shown again"));
    assert_int_equal(run_at(fixture, NOW, WORDS("add", "a", fixture->data)), EXIT_CODE_OK);
    result = run_full(fixture, WORDS("rotate", "a", fixture->data));
    check_said(fixture, result, EXIT_CODE_FAILURE,
               "culvert key rotate: the key could not be printed\n");
    assert_null(strstr(fixture->output.err, "The old key works"));
    assert_int_equal(run_full(fixture, WORDS("list", fixture->data)), EXIT_CODE_FAILURE);
}

static void test_only_add_makes_a_store(void **state)
{
    struct fixture *fixture = *state;
    static char *const commands[] = {"list", "revoke", "rotate"};
    char wanted[200];
    for (size_t i = 0; i < 3; i++) {
        int result = run_at(fixture, NOW,
                            i == 0 ? WORDS(commands[i], fixture->data)
                                   : WORDS(commands[i], "a", fixture->data));
        snprintf(wanted, sizeof wanted,
                 "culvert key %s: there is no store in %s; `culvert key add` and the gateway make "
                 "one, --data DIR names another\n",
                 commands[i], fixture->directory);
        check_said(fixture, result, EXIT_CODE_FAILURE, wanted);
        assert_string_equal(fixture->output.out, "");
    }
    assert_int_equal(rmdir(fixture->directory), 0); /* it is empty */
    assert_int_equal(mkdir(fixture->directory, 0700), 0);
}

static void test_the_default_directory(void **state)
{
    struct fixture *fixture = *state;
    char wanted[200];
    setenv("XDG_STATE_HOME", fixture->directory, 1);
    int result = run_at(fixture, NOW, WORDS("add", "a"));
    snprintf(wanted, sizeof wanted, "Made a new store in %s/culvert.\n", fixture->directory);
    check_said(fixture, result, EXIT_CODE_OK, wanted);
}

/* The database file is damaged. */
static void test_a_store_that_is_broken(void **state)
{
    struct fixture *fixture = *state;
    static char *const commands[] = {"list", "revoke", "rotate", "add"};
    char path[100];
    char wanted[64];
    snprintf(path, sizeof path, "%s/culvert.db", fixture->directory);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("this is no database, however long one reads on and on and on in it", file);
    fclose(file);
    assert_int_equal(chmod(path, 0600), 0);
    for (size_t i = 0; i < 4; i++) {
        int result = run_at(fixture, NOW,
                            i == 0 ? WORDS(commands[i], fixture->data)
                                   : WORDS(commands[i], "a", fixture->data));
        snprintf(wanted, sizeof wanted, "culvert key %s: ", commands[i]);
        check_said(fixture, result, EXIT_CODE_FAILURE, wanted);
        check_said(fixture, result, EXIT_CODE_FAILURE, "not a database");
        assert_string_equal(fixture->output.out, "");
    }
}

/* A store that opens, and fails each query. */
static void test_a_store_without_its_keys(void **state)
{
    struct fixture *fixture = *state;
    static char *const commands[] = {"list", "revoke", "rotate", "add"};
    char path[100];
    char wanted[64];
    sqlite3 *database = NULL;
    assert_int_equal(run_at(fixture, NOW, WORDS("add", "a", fixture->data)), EXIT_CODE_OK);
    snprintf(path, sizeof path, "%s/culvert.db", fixture->directory);
    assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
    assert_int_equal(sqlite3_exec(database, "ALTER TABLE keys RENAME TO lost", NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_close(database), SQLITE_OK);
    for (size_t i = 0; i < 4; i++) {
        int result = run_at(fixture, NOW,
                            i == 0 ? WORDS(commands[i], fixture->data)
                                   : WORDS(commands[i], "a", fixture->data));
        snprintf(wanted, sizeof wanted, "culvert key %s: ", commands[i]);
        check_said(fixture, result, EXIT_CODE_FAILURE, wanted);
        check_said(fixture, result, EXIT_CODE_FAILURE, "no such table");
        assert_null(strstr(fixture->output.out, "cvk_"));
    }
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
    assert_int_equal(key_command_parse(WORDS("rotate", "--grace=3650d", "a"), &command, why), 0);
    assert_int_equal(command.grace, 3650 * DAY);
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
    struct key_command command;
    char why[OPTIONS_WHY_SIZE] = "";
    char user[130] = "";
    memset(user, 'u', 129);
    check_wrong(WORDS(NULL), "key", "add, list, revoke or rotate");
    check_wrong(WORDS("--data=x"), "key", "unknown option --data");
    check_wrong(WORDS("ad"), "key", "did you mean add?");
    check_wrong(WORDS("rotat", "x"), "key", "did you mean rotate?");
    check_wrong(WORDS("show"), "key", "there are add, list, revoke and rotate");
    check_wrong(WORDS("add"), "key add", "NAME is missing");
    check_wrong(WORDS("add", "a", "b"), "key add", "only one NAME");
    check_wrong(WORDS("add", "gateway"), "key add", "1 to 128 of A-Z");
    check_wrong(WORDS("add", "a", "--user", "a b"), "key add", "one word");
    check_wrong(WORDS("add", "a", "--user", "a\x1f"), "key add", "without control characters");
    check_wrong(WORDS("add", "a", "--user", "a\x7f"), "key add", "without control characters");
    check_wrong(WORDS("add", "a", "--user", user), "key add", "at most 128 bytes");
    user[128] = '\0';
    assert_int_equal(key_command_parse(WORDS("add", "a", "--user", user), &command, why), 0);
    assert_string_equal(command.user, user);
    check_wrong(WORDS("add", "a", "--out="), "key add", "the path is empty");
    check_wrong(WORDS("revoke"), "key revoke", "NAME is missing");
    check_wrong(WORDS("rotate"), "key rotate", "NAME is missing");
    check_wrong(WORDS("add", "a", "--grace=1d"), "key add", "unknown option --grace");
    check_wrong(WORDS("revoke", "a", "--data="), "key revoke", "the path is empty");
    check_wrong(WORDS("list", "a"), "key list", "unexpected argument");
    check_wrong(WORDS("rotate", "a", "--grace=soon"), "key rotate", "not a duration");
    check_wrong(WORDS("rotate", "a", "--grace=3651d"), "key rotate", "not a duration");
}

static void test_the_exit_code_of_wrong_words(void **state)
{
    struct fixture *fixture = *state;
    test_output_begin(&fixture->output);
    int result = key_command_run(WORDS("add"));
    test_output_end(&fixture->output);
    check_said(fixture, result, EXIT_CODE_USAGE, "culvert key add: the agent's NAME is missing\n");
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
        WITH_FIXTURE(test_what_is_said),
        WITH_FIXTURE(test_a_key_goes_to_its_file),
        WITH_FIXTURE(test_a_key_that_cannot_be_given_is_none),
        WITH_FIXTURE(test_only_add_makes_a_store),
        WITH_FIXTURE(test_the_default_directory),
        WITH_FIXTURE(test_a_store_that_is_broken),
        WITH_FIXTURE(test_a_store_without_its_keys),
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_wrong_words),
        WITH_FIXTURE(test_the_exit_code_of_wrong_words),
        cmocka_unit_test(test_help),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
