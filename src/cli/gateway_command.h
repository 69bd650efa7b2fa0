/* `culvert gateway`: from words to a configuration. */
#ifndef CLI_GATEWAY_COMMAND_H
#define CLI_GATEWAY_COMMAND_H

#include "cli/common.h"
#include "gateway/gateway.h"

enum {
    GATEWAY_COMMAND_LISTENS = 64,
    GATEWAY_COMMAND_TRUSTED_PROXIES = 64,
    GATEWAY_COMMAND_LUA_WORKERS = 64,
    GATEWAY_COMMAND_AUTH_TIMEOUT = 600,       /* seconds */
    GATEWAY_COMMAND_HANDSHAKES = 1000 * 1000, /* a second, at most */
    GATEWAY_COMMAND_DRAIN = 5,                /* seconds, where no option says otherwise */
    GATEWAY_COMMAND_DAY = 24 * 60 * 60,
    GATEWAY_COMMAND_SECRET_SIZE = 257,
};

struct gateway_command {
    struct common_settings common;
    struct gateway_config config;
    struct journal_config journal;
    bool has_script_options; /* --lua-workers or --auth-timeout */
    char webhook_secret[GATEWAY_COMMAND_SECRET_SIZE];
    struct gateway_listen listens[GATEWAY_COMMAND_LISTENS];
    struct network trusted[GATEWAY_COMMAND_TRUSTED_PROXIES];
};

/* Fills in all of `command`, defaults as well; `words` stand behind "gateway" and are borrowed for
 * as long as it is used. Returns as options_parse does. */
int gateway_command_parse(char *const *words, struct gateway_command *command,
                          char why[static OPTIONS_WHY_SIZE]);

/* What holds when no option says otherwise; it has no policy and no listener. */
void gateway_command_init(struct gateway_command *command);

/* Runs the gateway that the command describes. Returns an enum exit_code. */
int gateway_command_serve(struct gateway_command *command);

/* Returns an enum exit_code. */
int gateway_command_run(char *const *words);

#endif
