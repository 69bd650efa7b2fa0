/*
 * A subcommand's options and arguments, as a table. Options are accepted with one dash or two, with
 * `=` or a space before the value, and between arguments; `--` ends them.
 */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum { OPTIONS_WHY_SIZE = 1024 };

/* What options_parse returns beside 0 and errors. */
enum {
    OPTIONS_HELP = 1,    /* help was asked for */
    OPTIONS_BAD_FILE = 2 /* an option names a file that cannot be read, or holds something wrong */
};

/* Takes a value into the subcommand's settings. Values outlive the settings: they are argv's.
 * Returns 0, or an error or OPTIONS_BAD_FILE with a sentence in `why` (of OPTIONS_WHY_SIZE bytes).
 */
typedef int options_take(void *settings, const char *value, char *why);

struct option {
    const char *name;  /* without dashes */
    const char *value; /* what the value is called in the help; NULL: a flag, taken with NULL */
    const char *help;  /* lines; NULL: another way to write an option, not shown */
    options_take *take;
    bool may_repeat;
};

struct command {
    const char *name;     /* "key add" */
    const char *synopsis; /* what follows "culvert NAME" */
    const char *summary;
    const char *details; /* lines behind the options, or NULL */
    const struct option *options;
    size_t option_count;    /* at most 64 */
    options_take *argument; /* NULL: takes none */
};

/* Parses the words after the subcommand. Returns 0, OPTIONS_HELP, or CULVERT_ERROR_INVALID (or
 * what a take function returned) with one line in `why`. */
int options_parse(const struct command *command, char *const *words, void *settings,
                  char why[static OPTIONS_WHY_SIZE]);

/* For a take function: writes the sentence into `why`, returns CULVERT_ERROR_INVALID. */
int options_reject(char why[static OPTIONS_WHY_SIZE], const char *sentence);

/* For a take function of a path: which is not empty, and borrowed. */
int options_take_path(const char **path, const char *value, char why[static OPTIONS_WHY_SIZE]);

void options_print_help(const struct command *command, FILE *out);

/* Prints `why` in one line on standard error, under the command's name. */
void options_complain(const struct command *command, const char *why);

/* What a command whose words did not parse ends with: prints the help or the complaint. Returns an
 * enum exit_code. */
int options_end(const struct command *command, int result, const char *why);

#endif
