/* require("json"): encode(value) and decode(text), which give a result or nil and what is wrong.
 * As in gopher-json (https://github.com/layeh/gopher-json), by jansson. */
#ifndef LUA_JSON_MODULE_H
#define LUA_JSON_MODULE_H

#include <jansson.h>
#include <lua.h>

enum {
    JSON_MODULE_SIZE = 1024 * 1024, /* bytes of text, both ways */
    JSON_MODULE_DEPTH = 100,
};

/* Pushes the module's table. */
int json_module_open(lua_State *state);

/* Pushes the value as Lua has it; null is nil. May raise, also for a value that is nested too
 * deeply. */
void json_module_push(lua_State *state, const json_t *value);

#endif
