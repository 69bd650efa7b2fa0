/* `culvert agent`: from words to a configuration. */
#ifndef CLI_AGENT_COMMAND_H
#define CLI_AGENT_COMMAND_H

#include "agent/agent.h"
#include "cli/common.h"

enum {
    AGENT_COMMAND_RULES = 1024,
    AGENT_COMMAND_RETRY_MAX = 24 * 60 * 60,  /* seconds */
    AGENT_COMMAND_DIAL_TIMEOUT_MAX = 5 * 60, /* seconds */
    AGENT_COMMAND_DIALS_MAX = 100000,
    AGENT_COMMAND_LOOKUPS_MAX = 256,
};

struct agent_command {
    struct common_settings common;
    struct agent_config config;
    struct rule *rules;
    struct proxy_settings proxies;
    struct url urls[GATEWAYS_MAX];
    const char *key_option;
    bool has_allow;
    char key[AGENT_KEY_SIZE];
};

/* What holds when no option says otherwise; nothing may be dialled. */
void agent_command_init(struct agent_command *command);

/* CULVERT_ERROR_INVALID when it is malformed or there are too many. */
int agent_command_add_url(struct agent_command *command, const char *value, char *why);

/* Copies the rule. CULVERT_ERROR_INVALID when there are too many, CULVERT_ERROR_NO_MEMORY. */
int agent_command_add_rule(struct agent_command *command, const struct rule *rule, char *why);

/* Runs the agent that the command describes. Returns an enum exit_code. */
int agent_command_serve(struct agent_command *command);

/* Fills in all of `command`, defaults as well; `words` stand behind "agent" and are borrowed for as
 * long as it is used. `environment` is getenv or like it. Returns as options_parse does; to be
 * followed by agent_command_deinit whatever it returns. */
int agent_command_parse(char *const *words, char *(*environment)(const char *name),
                        struct agent_command *command, char why[static OPTIONS_WHY_SIZE]);
void agent_command_deinit(struct agent_command *command);

/* Returns an enum exit_code. */
int agent_command_run(char *const *words);

#endif
