#include "cli/lua_worker_command.h"

#include "cli/options.h"
#include "lua/lua_pool.h"

int lua_worker_command_run(char *const *words)
{
    static const struct command command = {
        .name = "lua-worker",
        .synopsis = "",
        .summary = "answers a gateway's questions by its policy script; started by the gateway",
    };
    char why[OPTIONS_WHY_SIZE];
    int result = options_parse(&command, words, NULL, why);
    return result != 0 ? options_end(&command, result, why) : lua_worker_run();
}
