/*
 * `culvert hubble-proxy` and `culvert hubble-agent`, also as programs of these names: the options
 * and defaults of the programs of Hubble 0.1, so that a unit file or a script goes on working when
 * the program is replaced. Where these were open, these are.
 */
#ifndef CLI_HUBBLE_COMMAND_H
#define CLI_HUBBLE_COMMAND_H

#include "cli/agent_command.h"
#include "cli/gateway_command.h"

/* As gateway_command_parse and agent_command_parse; `words` stand behind the program's name. */
int hubble_proxy_parse(char *const *words, struct gateway_command *command,
                       char why[static OPTIONS_WHY_SIZE]);
int hubble_agent_parse(char *const *words, struct agent_command *command,
                       char why[static OPTIONS_WHY_SIZE]);

/* Return an enum exit_code. */
int hubble_proxy_run(char *const *words);
int hubble_agent_run(char *const *words);

#endif
