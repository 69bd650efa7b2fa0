#include "cli/options.h"

#include "base/error.h"
#include "base/exit_code.h"
#include "base/str.h"
#include "cli/nearest.h"

#include <stdint.h>
#include <string.h>

enum { HELP_COLUMN = 28 };

struct parser {
    const struct command *command;
    char *const *words; /* the next word */
    void *settings;
    char *why;
    uint64_t seen; /* a bit an option */
};

/* The option's name in a word such as --name=value, without dashes and value. */
static struct text name_in(const char *word)
{
    while (*word == '-')
        word++;
    return (struct text){word, strcspn(word, "=")};
}

static bool is_option(const char *word)
{
    return word[0] == '-' && word[1] != '\0';
}

static const struct option *find_option(const struct command *command, struct text name)
{
    for (size_t i = 0; i < command->option_count; i++) {
        if (text_equals(name, command->options[i].name))
            return &command->options[i];
    }
    return NULL;
}

static int complain_unknown(const struct parser *parser, const char *word, struct text name)
{
    struct nearest nearest;
    int shown = (int)(strcspn(word, "=") < 100 ? strcspn(word, "=") : 100);
    nearest_init(&nearest, name.data, name.size);
    for (size_t i = 0; i < parser->command->option_count; i++) {
        if (parser->command->options[i].help != NULL)
            nearest_offer(&nearest, parser->command->options[i].name);
    }
    nearest_offer(&nearest, "help");
    const char *best = nearest_word(&nearest);
    if (best != NULL)
        snprintf(parser->why, OPTIONS_WHY_SIZE, "unknown option %.*s; did you mean --%s?", shown,
                 word, best);
    else
        snprintf(parser->why, OPTIONS_WHY_SIZE,
                 "unknown option %.*s; `culvert help %s` lists all options", shown, word,
                 parser->command->name);
    return CULVERT_ERROR_INVALID;
}

/* The value of an option that needs one: behind the `=`, or the next word unless that is an option
 * itself. NULL if there is none. */
static const char *take_value(struct parser *parser, const char *word)
{
    const char *equals = strchr(word, '=');
    if (equals != NULL)
        return equals + 1;
    const char *next = *parser->words;
    if (next == NULL || strcmp(next, "--") == 0 ||
        (is_option(next) && find_option(parser->command, name_in(next)) != NULL))
        return NULL;
    parser->words++;
    return next;
}

static int take_option(struct parser *parser, const struct option *option, const char *value)
{
    char reason[OPTIONS_WHY_SIZE] = "";
    uint64_t bit = (uint64_t)1 << (option - parser->command->options);
    if (option->value != NULL && !option->may_repeat && (parser->seen & bit) != 0) {
        snprintf(parser->why, OPTIONS_WHY_SIZE, "option --%s is given twice", option->name);
        return CULVERT_ERROR_INVALID;
    }
    parser->seen |= bit;
    int error = option->take(parser->settings, value, reason);
    if (error != 0)
        snprintf(parser->why, OPTIONS_WHY_SIZE, "--%s: %.900s", option->name,
                 reason[0] != '\0' ? reason : error_text(error));
    return error;
}

/* A flag may be said with `=true`, and taken back with `=false`, as programs written in Go allow.
 */
static int parse_flag(struct parser *parser, const struct option *option, const char *rest)
{
    if (rest[0] == '\0' || strcmp(rest, "=true") == 0)
        return take_option(parser, option, NULL);
    if (strcmp(rest, "=false") == 0)
        return 0;
    snprintf(parser->why, OPTIONS_WHY_SIZE, "option --%s takes no value", option->name);
    return CULVERT_ERROR_INVALID;
}

static int parse_option(struct parser *parser, const char *word)
{
    struct text name = name_in(word);
    const struct option *option = find_option(parser->command, name);
    if (option == NULL || (size_t)(name.data - word) > 2)
        return complain_unknown(parser, word, name);
    if (option->value == NULL)
        return parse_flag(parser, option, name.data + name.size);
    const char *value = take_value(parser, word);
    if (value == NULL) {
        snprintf(parser->why, OPTIONS_WHY_SIZE, "option --%s needs a value: --%s %s", option->name,
                 option->name, option->value);
        return CULVERT_ERROR_INVALID;
    }
    return take_option(parser, option, value);
}

static int parse_argument(struct parser *parser, const char *word)
{
    char reason[OPTIONS_WHY_SIZE] = "";
    if (parser->command->argument == NULL) {
        snprintf(parser->why, OPTIONS_WHY_SIZE, "unexpected argument \"%.100s\"", word);
        return CULVERT_ERROR_INVALID;
    }
    int error = parser->command->argument(parser->settings, word, reason);
    if (error != 0)
        snprintf(parser->why, OPTIONS_WHY_SIZE, "\"%.100s\": %.900s", word,
                 reason[0] != '\0' ? reason : error_text(error));
    return error;
}

/* Whoever asks for help gets it, whatever else is wrong. */
static bool asks_for_help(char *const *words)
{
    for (; *words != NULL && strcmp(*words, "--") != 0; words++) {
        if (strcmp(*words, "--help") == 0 || strcmp(*words, "-help") == 0 ||
            strcmp(*words, "-h") == 0)
            return true;
    }
    return false;
}

int options_parse(const struct command *command, char *const *words, void *settings,
                  char why[static OPTIONS_WHY_SIZE])
{
    struct parser parser = {.command = command, .words = words, .settings = settings, .why = why};
    bool are_over = false;
    if (asks_for_help(words))
        return OPTIONS_HELP;
    while (*parser.words != NULL) {
        const char *word = *parser.words++;
        int result = 0;
        if (!are_over && strcmp(word, "--") == 0)
            are_over = true;
        else if (!are_over && is_option(word))
            result = parse_option(&parser, word);
        else
            result = parse_argument(&parser, word);
        if (result != 0)
            return result;
    }
    return 0;
}

/* Text whose lines after the first begin at the column. */
static void print_lines(FILE *out, const char *text, int column)
{
    for (const char *line = text; *line != '\0';) {
        size_t size = strcspn(line, "\n");
        if (line != text)
            fprintf(out, "%*s", column, "");
        fprintf(out, "%.*s\n", (int)size, line);
        line += line[size] == '\n' ? size + 1 : size;
    }
}

static void print_option(const char *name, const char *value, const char *help, FILE *out)
{
    int width =
        fprintf(out, "  --%s%s%s", name, value != NULL ? " " : "", value != NULL ? value : "");
    if (width >= HELP_COLUMN - 1) {
        fputc('\n', out);
        width = 0;
    }
    fprintf(out, "%*s", HELP_COLUMN - width, "");
    print_lines(out, help, HELP_COLUMN);
}

int options_reject(char why[static OPTIONS_WHY_SIZE], const char *sentence)
{
    snprintf(why, OPTIONS_WHY_SIZE, "%s", sentence);
    return CULVERT_ERROR_INVALID;
}

int options_take_path(const char **path, const char *value, char why[static OPTIONS_WHY_SIZE])
{
    if (value[0] == '\0')
        return options_reject(why, "the path is empty");
    *path = value;
    return 0;
}

void options_print_help(const struct command *command, FILE *out)
{
    fprintf(out, "culvert %s: %s\n\nUsage: culvert %s%s%s\n\nOptions:\n", command->name,
            command->summary, command->name, command->synopsis[0] != '\0' ? " " : "",
            command->synopsis);
    for (size_t i = 0; i < command->option_count; i++) {
        const struct option *option = &command->options[i];
        if (option->help != NULL)
            print_option(option->name, option->value, option->help, out);
    }
    print_option("help", NULL, "print this and exit", out);
    if (command->details != NULL) {
        fputc('\n', out);
        print_lines(out, command->details, 0);
    }
}

void options_complain(const struct command *command, const char *why)
{
    char line[OPTIONS_WHY_SIZE];
    size_t size = 0;
    /* What was typed stands in it and must break neither the line nor the terminal. */
    for (; size < sizeof line - 1 && why[size] != '\0'; size++)
        line[size] = (char)((unsigned char)why[size] < ' ' || why[size] == 0x7f ? '?' : why[size]);
    line[size] = '\0';
    fprintf(stderr, "culvert %s: %s\n", command->name, line);
}

int options_end(const struct command *command, int result, const char *why)
{
    if (result == OPTIONS_HELP) {
        options_print_help(command, stdout);
        return fflush(stdout) == 0 ? EXIT_CODE_OK : EXIT_CODE_FAILURE;
    }
    options_complain(command, why);
    return result == OPTIONS_BAD_FILE ? EXIT_CODE_FAILURE : EXIT_CODE_USAGE;
}
