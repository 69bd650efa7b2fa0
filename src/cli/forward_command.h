/* `culvert forward`: adds, lists and removes a running agent's forwards. */
#ifndef CLI_FORWARD_COMMAND_H
#define CLI_FORWARD_COMMAND_H

#include "agent/rule.h"
#include "cli/options.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct forward_command {
    struct rule rule; /* to add */
    bool has_rule;
    uint64_t id; /* to remove; 0: none */
    const char *api;
    const char *token_file;
    bool as_json;
    int (*run)(const struct forward_command *command);
    const struct command *command; /* what was asked for, for help and complaints */
};

/* `words` stand behind "forward" and are borrowed. Returns as options_parse does. */
int forward_command_parse(char *const *words, struct forward_command *command,
                          char why[static OPTIONS_WHY_SIZE]);

/* The API's list of forwards as a table. */
void forward_command_print(const json_t *answer, FILE *out);

/* Returns an enum exit_code. */
int forward_command_run(char *const *words);

#endif
