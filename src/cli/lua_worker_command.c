#include "cli/lua_worker_command.h"

#include "cli/options.h"
#include "lua/lua_pool.h"

static int take_user(void *settings, const char *value, char *why)
{
    int error = worker_user_parse(value, settings);
    return error == 0 ? 0 : options_reject(why, "a user and a group are two numbers, UID:GID");
}

static const struct option OPTIONS[] = {
    {"user", "UID:GID", "the user to run the script as", take_user, false},
};

int lua_worker_command_run(char *const *words)
{
    static const struct command command = {
        .name = "lua-worker",
        .synopsis = "[OPTION]",
        .summary = "answers a gateway's questions by its policy script; started by the gateway",
        .options = OPTIONS,
        .option_count = sizeof OPTIONS / sizeof *OPTIONS,
    };
    struct worker_user user = {.is_other = false};
    char why[OPTIONS_WHY_SIZE];
    int result = options_parse(&command, words, &user, why);
    return result != 0 ? options_end(&command, result, why) : lua_worker_run(&user);
}
