/* `culvert lua-worker`: the process that runs a gateway's policy script (lua/lua_pool.h). Not for
 * users, and not in the usage. */
#ifndef CLI_LUA_WORKER_COMMAND_H
#define CLI_LUA_WORKER_COMMAND_H

/* Returns an enum exit_code. */
int lua_worker_command_run(char *const *words);

#endif
