#include "cli/acl_command.h"

#include "base/error.h"
#include "base/exit_code.h"
#include "cli/test_output.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define WORDS(...) ((char *const[]){__VA_ARGS__, NULL})

#define RULES                                           \
    "@ops = alice-*, bob\n"                             \
    "allow @ops -> db-?  10.0.0.0/8  5432\n"            \
    "allow -    -> web   localhost   80\n"              \
    "allow *    -> web   localhost   80   key s3cret\n" \
    "deny  eve  -> *     *           *\n"

struct fixture {
    char path[64];
    struct test_output output;
};

static int set_up(void **state)
{
    static struct fixture fixture;
    fixture = (struct fixture){.path = "/tmp/culvert-acl-XXXXXX"};
    *state = &fixture;
    int descriptor = mkstemp(fixture.path);
    if (descriptor < 0)
        return -1;
    close(descriptor);
    return 0;
}

static int tear_down(void **state)
{
    return unlink(((struct fixture *)*state)->path);
}

static void write_rules(const struct fixture *fixture, const char *text)
{
    FILE *file = fopen(fixture->path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int run(struct fixture *fixture, char *const *words)
{
    test_output_begin(&fixture->output);
    int result = acl_command_run(words);
    test_output_end(&fixture->output);
    return result;
}

static void test_check(void **state)
{
    struct fixture *fixture = *state;
    write_rules(fixture, RULES);
    assert_int_equal(run(fixture, WORDS("check", fixture->path)), EXIT_CODE_OK);
    assert_string_equal(fixture->output.out, "4 rules\n");
    assert_string_equal(fixture->output.err, "");
    write_rules(fixture, "deny * -> * * *");
    assert_int_equal(run(fixture, WORDS("check", fixture->path)), EXIT_CODE_OK);
    assert_string_equal(fixture->output.out, "1 rule\n");
    assert_string_equal(fixture->output.err, "");
    write_rules(fixture, "allow a -> b 10.0.0.1 *\ndeny * -> * 127.0.0.0/8 *\ndeny * -> * ::1 *\n");
    assert_int_equal(run(fixture, WORDS("check", fixture->path)), EXIT_CODE_OK);
    assert_string_equal(fixture->output.out, "3 rules\n");
    assert_non_null(strstr(fixture->output.err, ":2: note: this denies addresses, not names"));
    assert_null(strstr(fixture->output.err, ":3:"));
    write_rules(fixture, "");
    assert_int_equal(run(fixture, WORDS("check", fixture->path)), EXIT_CODE_OK);
    assert_string_equal(fixture->output.out, "0 rules\n");
}

static void test_every_wrong_line_is_told(void **state)
{
    struct fixture *fixture = *state;
    char wanted[200];
    write_rules(fixture, "allow a -> b h 99999\nallow a -> b h 80\n");
    assert_int_equal(run(fixture, WORDS("check", fixture->path)), EXIT_CODE_FAILURE);
    snprintf(wanted, sizeof wanted, "\nculvert acl check: 1 line of %s is wrong\n", fixture->path);
    assert_non_null(strstr(fixture->output.err, wanted));
    write_rules(fixture, "allow a -> b h 99999\nalow a -> b h 80\n");
    assert_int_equal(run(fixture, WORDS("check", fixture->path)), EXIT_CODE_FAILURE);
    snprintf(wanted, sizeof wanted, "\nculvert acl check: 2 lines of %s are wrong\n",
             fixture->path);
    assert_non_null(strstr(fixture->output.err, wanted));
    snprintf(wanted, sizeof wanted, "%s:1: ", fixture->path);
    assert_memory_equal(fixture->output.err, wanted, strlen(wanted));
    snprintf(wanted, sizeof wanted, "\n%s:2: ", fixture->path);
    assert_non_null(strstr(fixture->output.err, wanted));
}

/* If the verdict cannot be printed, the exit code is no verdict either. */
static void test_an_answer_that_cannot_be_written(void **state)
{
    struct fixture *fixture = *state;
    write_rules(fixture, "allow * -> * * *\n");
    char *const *questions[] = {WORDS("check", fixture->path),
                                WORDS("test", fixture->path, "a", "b", "h", "80"), WORDS("--help")};
    for (size_t i = 0; i < sizeof questions / sizeof *questions; i++) {
        test_output_begin_full(&fixture->output);
        int result = acl_command_run(questions[i]);
        test_output_end(&fixture->output);
        assert_int_equal(result, EXIT_CODE_FAILURE);
    }
}

static void test_a_wrong_file(void **state)
{
    struct fixture *fixture = *state;
    char wanted[200];
    write_rules(fixture, "\nallow a -> b h 99999\n");
    snprintf(wanted, sizeof wanted, "%s:2: PORTS: \"99999\" is not a port", fixture->path);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(run(fixture, i == 0 ? WORDS("check", fixture->path)
                                             : WORDS("test", fixture->path, "a", "b", "h", "80")),
                         EXIT_CODE_FAILURE);
        assert_string_equal(fixture->output.out, "");
        assert_memory_equal(fixture->output.err, wanted, strlen(wanted));
    }
    assert_int_equal(run(fixture, WORDS("test", "/nowhere/p.acl", "a", "b", "h", "80")),
                     EXIT_CODE_FAILURE);
    assert_string_equal(
        fixture->output.err,
        "culvert acl test: cannot read /nowhere/p.acl: No such file or directory\n");
    assert_int_equal(run(fixture, WORDS("check", "/nowhere/p.acl")), EXIT_CODE_FAILURE);
    assert_string_equal(
        fixture->output.err,
        "culvert acl check: cannot read /nowhere/p.acl: No such file or directory\n");
}

/* What follows "allow  " or "deny   " and the file's name. */
static void check_verdict(struct fixture *fixture, int wanted, const char *wanted_text,
                          char *const *question)
{
    char *words[16] = {"test", fixture->path};
    char line[256];
    size_t count = 2;
    for (; question[count - 2] != NULL; count++)
        words[count] = question[count - 2];
    words[count] = NULL;
    int result = run(fixture, words);
    assert_string_equal(fixture->output.err, "");
    snprintf(line, sizeof line, "%-6s %s:%s\n", wanted == EXIT_CODE_OK ? "allow" : "deny",
             wanted_text[0] == ' ' ? strrchr(fixture->path, '/') + 1 : fixture->path, wanted_text);
    assert_string_equal(fixture->output.out, line);
    assert_int_equal(result, wanted);
}

static void test_verdicts(void **state)
{
    struct fixture *fixture = *state;
    write_rules(fixture, RULES);
    check_verdict(fixture, EXIT_CODE_OK, "2: allow @ops -> db-? 10.0.0.0/8 5432",
                  WORDS("bob", "db-1", "10.1.2.3", "5432"));
    check_verdict(fixture, EXIT_CODE_OK, "2: allow @ops -> db-? 10.0.0.0/8 5432",
                  WORDS("bob", "db-1", "[::ffff:10.1.2.3]", "5432"));
    check_verdict(fixture, EXIT_CODE_REFUSED, " no rule matches",
                  WORDS("bob", "db-1", "10.1.2.3", "5433"));
    check_verdict(fixture, EXIT_CODE_REFUSED, "5: deny eve -> * * *",
                  WORDS("eve", "x", "localhost", "65535"));
    check_verdict(fixture, EXIT_CODE_OK, "3: allow - -> web localhost 80",
                  WORDS("-", "web", "LOCALHOST", "80"));
    check_verdict(fixture, EXIT_CODE_REFUSED, " no rule matches",
                  WORDS("bob", "web", "localhost", "80"));
    check_verdict(fixture, EXIT_CODE_REFUSED, "5: deny eve -> * * *",
                  WORDS("eve", "x", "localhost", "80"));
    check_verdict(fixture, EXIT_CODE_REFUSED, " the host is neither a name nor an address",
                  WORDS("bob", "db-1", "10.1", "5432"));
}

static void test_the_key_is_asked_for_and_not_shown(void **state)
{
    struct fixture *fixture = *state;
    write_rules(fixture, RULES);
    check_verdict(fixture, EXIT_CODE_OK, "4: allow * -> web localhost 80 key (hidden)",
                  WORDS("bob", "web", "localhost", "80", "--key", "s3cret"));
    check_verdict(fixture, EXIT_CODE_REFUSED, " no rule matches",
                  WORDS("--key=secret", "bob", "web", "localhost", "80"));
}

static void test_a_host_that_is_too_long(void **state)
{
    struct fixture *fixture = *state;
    char host[600];
    memset(host, 'h', sizeof host - 1);
    host[sizeof host - 1] = '\0';
    write_rules(fixture, "allow * -> * * *");
    check_verdict(fixture, EXIT_CODE_REFUSED, " the host is neither a name nor an address",
                  WORDS("a", "b", host, "80"));
}

static void check_wrong(char *const *words, const char *name, const char *piece_of_why)
{
    struct acl_command command;
    char why[OPTIONS_WHY_SIZE] = "";
    assert_int_equal(acl_command_parse(words, &command, why), CULVERT_ERROR_INVALID);
    assert_string_equal(command.command->name, name);
    if (strstr(why, piece_of_why) == NULL)
        fail_msg("\"%s\", without \"%s\"", why, piece_of_why);
}

static void test_wrong_words(void **state)
{
    (void)state;
    check_wrong(WORDS(NULL), "acl", "say what: check or test");
    check_wrong(WORDS("--key=x"), "acl", "unknown option --key");
    check_wrong(WORDS("chek", "f"), "acl", "did you mean check?");
    check_wrong(WORDS("show"), "acl", "there are check and test");
    check_wrong(WORDS("check"), "acl check", "FILE is missing");
    check_wrong(WORDS("check", ""), "acl check", "the path is empty");
    check_wrong(WORDS("check", "f", "g"), "acl check", "only one FILE");
    check_wrong(WORDS("check", "f", "--key=k"), "acl check", "unknown option --key");
    check_wrong(WORDS("test"), "acl test", "FILE is missing");
    check_wrong(WORDS("test", "f"), "acl test", "FROM, the asking agent, is missing");
    check_wrong(WORDS("test", "f", "a"), "acl test", "TO, the agent");
    check_wrong(WORDS("test", "f", "a", "b"), "acl test", "the HOST is missing");
    check_wrong(WORDS("test", "f", "a", "b", "h"), "acl test", "the PORT is missing");
    check_wrong(WORDS("test", "f", "", "b", "h", "1"), "acl test", "FROM is an agent's name");
    check_wrong(WORDS("test", "f", "gateway", "b", "h", "1"), "acl test", "FROM is an agent's");
    check_wrong(WORDS("test", "f", "a", "-", "h", "1"), "acl test", "TO is an agent's name");
    check_wrong(WORDS("test", "f", "a", "b", "h", "0"), "acl test", "from 1 to 65535");
    check_wrong(WORDS("test", "f", "a", "b", "h", "http"), "acl test", "from 1 to 65535");
    check_wrong(WORDS("test", "f", "a", "b", "h", "1", "x"), "acl test", "behind PORT");
    check_wrong(WORDS("test", "f", "a", "b", "h", "1", "--key="), "acl test", "1 to 256");
}

static void test_wrong_words_are_told(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(run(fixture, WORDS("test", "f")), EXIT_CODE_USAGE);
    assert_string_equal(fixture->output.out, "");
    assert_string_equal(fixture->output.err,
                        "culvert acl test: FROM, the asking agent, is missing\n");
}

static void test_help(void **state)
{
    (void)state;
    struct acl_command command;
    char why[OPTIONS_WHY_SIZE];
    assert_int_equal(acl_command_parse(WORDS("--help"), &command, why), OPTIONS_HELP);
    assert_string_equal(command.command->name, "acl");
    assert_int_equal(acl_command_parse(WORDS("test", "-h"), &command, why), OPTIONS_HELP);
    assert_string_equal(command.command->name, "acl test");
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(test_check),
        WITH_FIXTURE(test_every_wrong_line_is_told),
        WITH_FIXTURE(test_an_answer_that_cannot_be_written),
        WITH_FIXTURE(test_a_wrong_file),
        WITH_FIXTURE(test_wrong_words_are_told),
        WITH_FIXTURE(test_verdicts),
        WITH_FIXTURE(test_the_key_is_asked_for_and_not_shown),
        WITH_FIXTURE(test_a_host_that_is_too_long),
        cmocka_unit_test(test_wrong_words),
        cmocka_unit_test(test_help),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
