#include "cli/options.h"

#include "base/error.h"
#include "base/exit_code.h"
#include "cli/nearest.h"
#include "cli/subcommands.h"
#include "cli/test_output.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

struct settings {
    const char *url;
    const char *lists[4];
    size_t list_count;
    bool flag;
    const char *arguments[4];
    size_t argument_count;
};

static int take_url(void *settings, const char *value, char *why)
{
    (void)why;
    ((struct settings *)settings)->url = value;
    return 0;
}

static int take_list(void *settings, const char *value, char *why)
{
    struct settings *into = settings;
    (void)why;
    into->lists[into->list_count++] = value;
    return 0;
}

static int take_flag(void *settings, const char *value, char *why)
{
    (void)why;
    assert_null(value);
    ((struct settings *)settings)->flag = true;
    return 0;
}

static int take_wrong(void *settings, const char *value, char *why)
{
    (void)settings;
    snprintf(why, OPTIONS_WHY_SIZE, "%s is never right", value);
    return CULVERT_ERROR_INVALID;
}

/* The error has no message, as when memory has run out. */
static int take_without_a_reason(void *settings, const char *value, char *why)
{
    (void)settings;
    (void)value;
    (void)why;
    return CULVERT_ERROR_NO_MEMORY;
}

static int take_argument(void *settings, const char *value, char *why)
{
    struct settings *into = settings;
    if (strcmp(value, "wrong") == 0)
        return take_wrong(settings, value, why);
    if (strcmp(value, "large") == 0)
        return take_without_a_reason(settings, value, why);
    into->arguments[into->argument_count++] = value;
    return 0;
}

static const struct option OPTIONS[] = {
    {"url", "URL", "where to go", take_url, false},
    {"listen", "PORT", "a port\nor two", take_list, true},
    {"auth-grant", NULL, "grant all", take_flag, false},
    {"authgrant", NULL, NULL, take_flag, false},
    {"wrong", "X", "never right", take_wrong, false},
    {"large", "X", NULL, take_without_a_reason, false},
};

static const struct command COMMAND = {
    .name = "test",
    .synopsis = "[OPTION]... [ARGUMENT]...",
    .summary = "for the tests",
    .details = "Details.",
    .options = OPTIONS,
    .option_count = sizeof OPTIONS / sizeof *OPTIONS,
    .argument = take_argument,
};

#define WORDS(...) ((char *const[]){__VA_ARGS__, NULL})

static struct settings parse(char *const *words)
{
    struct settings settings = {0};
    char why[OPTIONS_WHY_SIZE] = "";
    if (options_parse(&COMMAND, words, &settings, why) != 0)
        fail_msg("%s", why);
    return settings;
}

static void test_the_ways_to_write_an_option(void **state)
{
    (void)state;
    assert_string_equal(parse(WORDS("--url", "x")).url, "x");
    assert_string_equal(parse(WORDS("-url", "x")).url, "x");
    assert_string_equal(parse(WORDS("--url=x")).url, "x");
    assert_string_equal(parse(WORDS("-url=x")).url, "x");
    assert_string_equal(parse(WORDS("-url=x=y")).url, "x=y");
    assert_string_equal(parse(WORDS("--url=")).url, "");
    assert_string_equal(parse(WORDS("--url", "-1")).url, "-1");
    assert_string_equal(parse(WORDS("--url", "-")).url, "-");
    assert_true(parse(WORDS("--auth-grant")).flag);
    assert_true(parse(WORDS("-auth-grant", "-authgrant")).flag);
    assert_true(parse(WORDS("-authgrant")).flag);
    assert_true(parse(WORDS("-auth-grant", "--auth-grant")).flag);
    assert_true(parse(WORDS("--auth-grant=true")).flag);
    assert_false(parse(WORDS("--auth-grant=false")).flag);
}

static void test_options_repeat_and_mix_with_arguments(void **state)
{
    (void)state;
    struct settings settings =
        parse(WORDS("a", "--listen=1", "b", "-listen", "2", "-", "--", "--url=x"));
    assert_int_equal(settings.list_count, 2);
    assert_string_equal(settings.lists[0], "1");
    assert_string_equal(settings.lists[1], "2");
    assert_int_equal(settings.argument_count, 4);
    assert_string_equal(settings.arguments[0], "a");
    assert_string_equal(settings.arguments[1], "b");
    assert_string_equal(settings.arguments[2], "-");
    assert_string_equal(settings.arguments[3], "--url=x");
    assert_null(settings.url);
    assert_int_equal(parse(WORDS(NULL)).argument_count, 0);
}

static void check_wrong(char *const *words, const char *expected)
{
    struct settings settings = {0};
    char why[OPTIONS_WHY_SIZE] = "";
    assert_int_equal(options_parse(&COMMAND, words, &settings, why), CULVERT_ERROR_INVALID);
    assert_string_equal(why, expected);
}

static void test_wrong_options(void **state)
{
    (void)state;
    check_wrong(WORDS("--urk", "x"), "unknown option --urk; did you mean --url?");
    check_wrong(WORDS("-lisetn=5"), "unknown option -lisetn; did you mean --listen?");
    check_wrong(WORDS("--auth"), "unknown option --auth; did you mean --auth-grant?");
    check_wrong(WORDS("--authgrnt"), "unknown option --authgrnt; did you mean --auth-grant?");
    check_wrong(WORDS("--hlep"), "unknown option --hlep; did you mean --help?");
    check_wrong(WORDS("--completely-else"),
                "unknown option --completely-else; `culvert help test` lists all options");
    check_wrong(WORDS("---url=x"), "unknown option ---url; did you mean --url?");
    check_wrong(WORDS("--=x"), "unknown option --; `culvert help test` lists all options");
    check_wrong(WORDS("--url"), "option --url needs a value: --url URL");
    check_wrong(WORDS("--url", "--listen", "1"), "option --url needs a value: --url URL");
    check_wrong(WORDS("--url", "--", "x"), "option --url needs a value: --url URL");
    check_wrong(WORDS("--auth-grant=yes"), "option --auth-grant takes no value");
    check_wrong(WORDS("--url=a", "--url=b"), "option --url is given twice");
    check_wrong(WORDS("--wrong", "5"), "--wrong: 5 is never right");
    check_wrong(WORDS("wrong"), "\"wrong\": wrong is never right");
}

static void test_an_option_that_is_not_shown_is_not_proposed(void **state)
{
    (void)state;
    check_wrong(WORDS("--larg", "x"),
                "unknown option --larg; `culvert help test` lists all options");
}

static void test_a_word_of_any_length_is_told_in_one_line(void **state)
{
    (void)state;
    char word[3 * OPTIONS_WHY_SIZE] = "--";
    char wanted[OPTIONS_WHY_SIZE];
    memset(word + 2, 'o', sizeof word - 3);
    snprintf(wanted, sizeof wanted, "unknown option %.100s; `culvert help test` lists all options",
             word);
    check_wrong(WORDS(word), wanted);
    snprintf(wanted, sizeof wanted, "option --url is given twice");
    check_wrong(WORDS("--url", word, "--url", word), wanted);
}

static void test_an_error_without_a_sentence_is_named(void **state)
{
    (void)state;
    char *const *lines[] = {WORDS("--large=1"), WORDS("large")};
    static const char *const starts[] = {"--large: ", "\"large\": "};
    for (size_t i = 0; i < 2; i++) {
        struct settings settings = {0};
        char why[OPTIONS_WHY_SIZE] = "";
        char wanted[OPTIONS_WHY_SIZE];
        assert_int_equal(options_parse(&COMMAND, lines[i], &settings, why),
                         CULVERT_ERROR_NO_MEMORY);
        snprintf(wanted, sizeof wanted, "%s%s", starts[i], error_text(CULVERT_ERROR_NO_MEMORY));
        assert_string_equal(why, wanted);
    }
}

static void test_an_argument_too_many(void **state)
{
    (void)state;
    struct command command = COMMAND;
    char why[OPTIONS_WHY_SIZE];
    command.argument = NULL;
    assert_int_equal(options_parse(&command, WORDS("x"), NULL, why), CULVERT_ERROR_INVALID);
    assert_string_equal(why, "unexpected argument \"x\"");
}

static void test_help_is_asked_for(void **state)
{
    (void)state;
    struct settings settings = {0};
    char why[OPTIONS_WHY_SIZE];
    assert_int_equal(options_parse(&COMMAND, WORDS("--help"), &settings, why), OPTIONS_HELP);
    assert_int_equal(options_parse(&COMMAND, WORDS("-help"), &settings, why), OPTIONS_HELP);
    assert_int_equal(options_parse(&COMMAND, WORDS("-h"), &settings, why), OPTIONS_HELP);
    assert_int_equal(options_parse(&COMMAND, WORDS("--bad", "a", "-h"), &settings, why),
                     OPTIONS_HELP);
    assert_int_equal(options_parse(&COMMAND, WORDS("--", "-h"), &settings, why), 0);
    assert_int_equal(settings.argument_count, 1);
}

static void test_the_help(void **state)
{
    (void)state;
    char text[2048] = "";
    FILE *out = fmemopen(text, sizeof text, "w");
    assert_non_null(out);
    options_print_help(&COMMAND, out);
    fclose(out);
    assert_string_equal(text, "culvert test: for the tests\n"
                              "\n"
                              "Usage: culvert test [OPTION]... [ARGUMENT]...\n"
                              "\n"
                              "Options:\n"
                              "  --url URL                 where to go\n"
                              "  --listen PORT             a port\n"
                              "                            or two\n"
                              "  --auth-grant              grant all\n"
                              "  --wrong X                 never right\n"
                              "  --help                    print this and exit\n"
                              "\n"
                              "Details.\n");
}

static void check_help(const struct command *command, const char *wanted)
{
    char text[2048] = "";
    FILE *out = fmemopen(text, sizeof text, "w");
    assert_non_null(out);
    options_print_help(command, out);
    fclose(out);
    assert_string_equal(text, wanted);
}

static void test_the_help_of_a_command_that_takes_nothing(void **state)
{
    (void)state;
    static const struct command command = {.name = "bare", .synopsis = "", .summary = "takes none"};
    check_help(&command, "culvert bare: takes none\n"
                         "\n"
                         "Usage: culvert bare\n"
                         "\n"
                         "Options:\n"
                         "  --help                    print this and exit\n");
}

/* After a long option name the help text begins on the next line. */
static void test_the_help_of_long_options(void **state)
{
    (void)state;
    static const struct option options[] = {
        {"an-option-of-23-letters", NULL, "long", take_flag, false},
        {"option-of-22-letters--", NULL, "short", take_flag, false},
        {"an-option", "OF-MANY-LETTERS", "longer", take_url, false},
    };
    struct command command = COMMAND;
    command.details = NULL;
    command.options = options;
    command.option_count = sizeof options / sizeof *options;
    check_help(&command, "culvert test: for the tests\n"
                         "\n"
                         "Usage: culvert test [OPTION]... [ARGUMENT]...\n"
                         "\n"
                         "Options:\n"
                         "  --an-option-of-23-letters\n"
                         "                            long\n"
                         "  --option-of-22-letters--  short\n"
                         "  --an-option OF-MANY-LETTERS\n"
                         "                            longer\n"
                         "  --help                    print this and exit\n");
}

/* An error message quotes the user's words. It stays one line, without control characters. */
static void test_a_complaint_is_one_line_of_text(void **state)
{
    (void)state;
    struct test_output output;
    char why[OPTIONS_WHY_SIZE];
    test_output_begin(&output);
    options_complain(&COMMAND, "a\nb\x1b[2J\x7f \xc3\xa9~");
    test_output_end(&output);
    assert_string_equal(output.err, "culvert test: a?b?[2J? \xc3\xa9~\n");
    assert_string_equal(output.out, "");
    memset(why, 'w', sizeof why - 1);
    why[sizeof why - 1] = '\0';
    test_output_begin(&output);
    options_complain(&COMMAND, why);
    test_output_end(&output);
    assert_int_equal(strlen(output.err), strlen("culvert test: \n") + sizeof why - 1);
}

static void test_what_a_command_ends_with(void **state)
{
    (void)state;
    struct test_output output;
    test_output_begin(&output);
    int help = options_end(&COMMAND, OPTIONS_HELP, "");
    test_output_end(&output);
    assert_int_equal(help, EXIT_CODE_OK);
    assert_memory_equal(output.out, "culvert test: for", 17);
    assert_string_equal(output.err, "");
    test_output_begin_full(&output);
    help = options_end(&COMMAND, OPTIONS_HELP, "");
    test_output_end(&output);
    assert_int_equal(help, EXIT_CODE_FAILURE);
    test_output_begin(&output);
    int wrong = options_end(&COMMAND, CULVERT_ERROR_INVALID, "no");
    int bad_file = options_end(&COMMAND, OPTIONS_BAD_FILE, "file");
    test_output_end(&output);
    assert_int_equal(wrong, EXIT_CODE_USAGE);
    assert_int_equal(bad_file, EXIT_CODE_FAILURE);
    assert_string_equal(output.out, "");
    assert_string_equal(output.err, "culvert test: no\nculvert test: file\n");
}

/* ---- commands of a command ---- */

static void check_subcommand(char *const *words, int result, const char *name, const char *expected)
{
    static const struct command commands[] = {{.name = "test url", .synopsis = ""},
                                              {.name = "test listen", .synopsis = ""}};
    static const struct subcommands all = {
        .all = {.name = "test", .synopsis = ""}, .commands = commands, .count = 2};
    const struct command *chosen = NULL;
    char why[OPTIONS_WHY_SIZE] = "";
    assert_int_equal(subcommands_parse(&all, words, NULL, &chosen, why), result);
    assert_string_equal(chosen->name, name);
    assert_string_equal(why, expected);
}

static void test_subcommands(void **state)
{
    (void)state;
    check_subcommand(WORDS("url"), 0, "test url", "");
    check_subcommand(WORDS("listen", "-h"), OPTIONS_HELP, "test listen", "");
    check_subcommand(WORDS("-h"), OPTIONS_HELP, "test", "");
    check_subcommand(WORDS(NULL), CULVERT_ERROR_INVALID, "test", "say what: url or listen");
    check_subcommand(WORDS("--"), CULVERT_ERROR_INVALID, "test", "say what: url or listen");
    check_subcommand(WORDS("lsiten"), CULVERT_ERROR_INVALID, "test",
                     "unknown command lsiten; did you mean listen?");
    check_subcommand(WORDS("connect"), CULVERT_ERROR_INVALID, "test",
                     "unknown command connect; there are url and listen");
}

static const char *nearest_of(const char *word)
{
    struct nearest nearest;
    nearest_init(&nearest, word, strlen(word));
    nearest_offer(&nearest, "gateway");
    nearest_offer(&nearest, "agent");
    nearest_offer(&nearest, "key");
    return nearest_word(&nearest);
}

static void test_nearest(void **state)
{
    (void)state;
    assert_string_equal(nearest_of("gatway"), "gateway");
    assert_string_equal(nearest_of("gateawy"), "gateway");
    assert_string_equal(nearest_of("agents"), "agent");
    assert_string_equal(nearest_of("kye"), "key");
    assert_string_equal(nearest_of("ga"), "gateway");
    assert_string_equal(nearest_of("keyy"), "key");
    assert_string_equal(nearest_of("ke"), "key");
    assert_string_equal(nearest_of("eky"), "key");
    assert_string_equal(nearest_of("agant"), "agent");
    assert_null(nearest_of("k"));
    assert_null(nearest_of("kxx"));
    assert_null(nearest_of("server"));
    assert_null(nearest_of("x"));
    assert_null(nearest_of(""));
    assert_null(nearest_of("a-word-that-is-longer-than-any-command-there-will-ever-be"));
}

/* A longer word may have more wrong letters. */
static void test_how_near_is_near(void **state)
{
    (void)state;
    static const struct {
        const char *word;
        const char *candidate;
        bool is_near;
    } cases[] = {
        {"abx", "abc", true},
        {"axx", "abc", false},
        {"abxx", "abcd", true},
        {"axxx", "abcd", false},
        {"abcdxx", "abcdef", true},
        {"abcxxx", "abcdef", false},
        {"abcdxxx", "abcdefg", true},
        {"abcxxxx", "abcdefg", false},
        {"bacdefg", "abcdefg", true},
        {"badcfeg", "abcdefg", true},
        {"bcd", "abcd", true},
        {"xabcd", "abcd", true},
        {"ab", "abcdefghijklm", true},
        {"a", "abcdefghijklm", false},
        {"abcdefghijklmnopqrstuvwxyz01234x", "abcdefghijklmnopqrstuvwxyz012345", true},
        {"abcdefghijklmnopqrstuvwxyz012345x", "abcdefghijklmnopqrstuvwxyz012345", false},
        {"abc", "abcdefghijklmnopqrstuvwxyz0123456", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct nearest nearest;
        nearest_init(&nearest, cases[i].word, strlen(cases[i].word));
        nearest_offer(&nearest, cases[i].candidate);
        if ((nearest_word(&nearest) != NULL) != cases[i].is_near)
            fail_msg("%s and %s", cases[i].word, cases[i].candidate);
    }
}

/* Of two equally near words, the one that the help lists first is proposed. */
static void test_the_first_of_the_nearest(void **state)
{
    (void)state;
    struct nearest nearest;
    nearest_init(&nearest, "auth", 4);
    nearest_offer(&nearest, "allow");
    nearest_offer(&nearest, "auth-grant");
    nearest_offer(&nearest, "auth-deny");
    assert_string_equal(nearest_word(&nearest), "auth-grant");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_ways_to_write_an_option),
        cmocka_unit_test(test_options_repeat_and_mix_with_arguments),
        cmocka_unit_test(test_wrong_options),
        cmocka_unit_test(test_an_option_that_is_not_shown_is_not_proposed),
        cmocka_unit_test(test_a_word_of_any_length_is_told_in_one_line),
        cmocka_unit_test(test_an_error_without_a_sentence_is_named),
        cmocka_unit_test(test_an_argument_too_many),
        cmocka_unit_test(test_help_is_asked_for),
        cmocka_unit_test(test_the_help),
        cmocka_unit_test(test_the_help_of_a_command_that_takes_nothing),
        cmocka_unit_test(test_the_help_of_long_options),
        cmocka_unit_test(test_a_complaint_is_one_line_of_text),
        cmocka_unit_test(test_what_a_command_ends_with),
        cmocka_unit_test(test_subcommands),
        cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_how_near_is_near),
        cmocka_unit_test(test_the_first_of_the_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
