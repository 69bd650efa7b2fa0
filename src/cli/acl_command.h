/* `culvert acl`: checks an access list, and asks it what it says to a session. */
#ifndef CLI_ACL_COMMAND_H
#define CLI_ACL_COMMAND_H

#include "cli/options.h"
#include "policy/acl.h"

#include <stdint.h>

struct acl_command {
    const char *file; /* NULL: not given yet */
    const char *from;
    const char *to;
    const char *host;
    uint16_t port; /* 0: not given yet */
    char key[ACL_MAX_KEY + 1];
    int (*run)(const struct acl_command *command);
    const struct command *command; /* what was asked for, for help and complaints */
};

/* `words` stand behind "acl" and are borrowed. Returns as options_parse does. */
int acl_command_parse(char *const *words, struct acl_command *command,
                      char why[static OPTIONS_WHY_SIZE]);

/* Returns an enum exit_code: EXIT_CODE_REFUSED where the rules do not allow a session. */
int acl_command_run(char *const *words);

#endif
