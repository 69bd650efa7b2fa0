#include "cli/options.h"

#include "base/error.h"
#include "base/exit_code.h"
#include "cli/nearest.h"

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

static int take_argument(void *settings, const char *value, char *why)
{
    struct settings *into = settings;
    if (strcmp(value, "wrong") == 0)
        return take_wrong(settings, value, why);
    into->arguments[into->argument_count++] = value;
    return 0;
}

static const struct option OPTIONS[] = {
    {"url", "URL", "where to go", take_url, false},
    {"listen", "PORT", "a port\nor two", take_list, true},
    {"auth-grant", NULL, "grant all", take_flag, false},
    {"authgrant", NULL, NULL, take_flag, false},
    {"wrong", "X", "never right", take_wrong, false},
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
    assert_null(nearest_of("server"));
    assert_null(nearest_of("x"));
    assert_null(nearest_of(""));
    assert_null(nearest_of("a-word-that-is-longer-than-any-command-there-will-ever-be"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_ways_to_write_an_option),
        cmocka_unit_test(test_options_repeat_and_mix_with_arguments),
        cmocka_unit_test(test_wrong_options),
        cmocka_unit_test(test_an_argument_too_many),
        cmocka_unit_test(test_help_is_asked_for),
        cmocka_unit_test(test_the_help),
        cmocka_unit_test(test_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
