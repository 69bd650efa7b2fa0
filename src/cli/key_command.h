/* `culvert key`: adds, lists, revokes and rotates agents' keys. */
#ifndef CLI_KEY_COMMAND_H
#define CLI_KEY_COMMAND_H

#include "cli/options.h"

#include <stdint.h>

struct key_command {
    const char *name;
    const char *user;
    const char *data; /* NULL: the default directory */
    const char *out;  /* the file that the key is written to; NULL: standard output */
    int64_t grace;    /* seconds */
    int (*run)(const struct key_command *command, int64_t now);
    const struct command *command; /* what was asked for, for help and complaints */
};

/* `words` stand behind "key" and are borrowed. Returns as options_parse does. */
int key_command_parse(char *const *words, struct key_command *command,
                      char why[static OPTIONS_WHY_SIZE]);

/* Returns an enum exit_code. */
int key_command_run(char *const *words);

#endif
