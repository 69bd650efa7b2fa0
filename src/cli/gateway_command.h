/* `culvert gateway`: from words to a configuration. */
#ifndef CLI_GATEWAY_COMMAND_H
#define CLI_GATEWAY_COMMAND_H

#include "cli/common.h"
#include "gateway/gateway.h"

enum { GATEWAY_COMMAND_LISTENS = 64 };

struct gateway_command {
    struct common_settings common;
    struct gateway_config config;
    struct gateway_listen listens[GATEWAY_COMMAND_LISTENS];
};

/* Fills in all of `command`, defaults as well; `words` stand behind "gateway" and are borrowed for
 * as long as it is used. Returns as options_parse does. */
int gateway_command_parse(char *const *words, struct gateway_command *command,
                          char why[static OPTIONS_WHY_SIZE]);

/* Returns an enum exit_code. */
int gateway_command_run(char *const *words);

#endif
