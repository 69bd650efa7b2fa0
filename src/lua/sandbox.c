#include "lua/sandbox.h"

#include "base/error.h"
#include "base/memory.h"
#include "lua/excerpt.h"
#include "lua/http_module.h"
#include "lua/json_module.h"
#include "lua/request_object.h"

#include <lualib.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#ifdef LUA_JITLIBNAME
#include <luajit.h>
#endif

enum { BYTECODE = 27 /* the first byte of what string.dump gives */ };

/* ---- memory ---- */

/* Lua's allocator: `old_size` is 0 for a new block, and giving back or shrinking must not fail. */
static void *allocate(void *context, void *block, size_t old_size, size_t new_size)
{
    struct sandbox *sandbox = context;
    if (new_size == 0) {
        memory_free(block);
        sandbox->used -= old_size;
        return NULL;
    }
    if (new_size > old_size && new_size - old_size > sandbox->limit - sandbox->used)
        return NULL;
    void *moved = memory_grow(block, new_size);
    if (moved == NULL)
        return new_size <= old_size ? block : NULL;
    sandbox->used = sandbox->used - old_size + new_size;
    return moved;
}

/* ---- what scripts find ---- */

/* load and loadstring, for text alone. */
static int load_text(lua_State *state)
{
    size_t size;
    const char *text;
    if (lua_type(state, 1) == LUA_TFUNCTION) {
        lua_settop(state, 2);
        lua_pushliteral(state, "");
        for (;;) {
            lua_pushvalue(state, 1);
            lua_call(state, 0, 1);
            text = lua_tolstring(state, -1, &size);
            if (text == NULL && !lua_isnil(state, -1))
                return luaL_error(state, "reader function must return a string");
            if (text == NULL || size == 0)
                break;
            lua_concat(state, 2);
        }
        lua_pop(state, 1);
        lua_replace(state, 1);
        text = lua_tolstring(state, 1, &size);
    } else {
        text = luaL_checklstring(state, 1, &size);
    }
    const char *name = luaL_optstring(state, 2, text);
    if (size > 0 && text[0] == BYTECODE) {
        lua_pushnil(state);
        lua_pushliteral(state, "only text can be loaded, no bytecode");
        return 2;
    }
    if (luaL_loadbuffer(state, text, size, name) == 0)
        return 1;
    lua_pushnil(state);
    lua_insert(state, -2);
    return 2;
}

static int require(lua_State *state)
{
    const char *name = luaL_checkstring(state, 1);
    lua_getfield(state, lua_upvalueindex(1), name);
    if (lua_isnil(state, -1))
        return luaL_error(state, "module '%s' not found: there are http and json", name);
    if (lua_iscfunction(state, -1)) {
        lua_call(state, 0, 1);
        lua_pushvalue(state, -1);
        lua_setfield(state, lua_upvalueindex(1), name);
    }
    return 1;
}

static int print(lua_State *state)
{
    struct sandbox *sandbox = lua_touserdata(state, lua_upvalueindex(1));
    int count = lua_gettop(state);
    lua_getglobal(state, "tostring");
    lua_pushliteral(state, "");
    for (int i = 1; i <= count; i++) {
        lua_pushvalue(state, count + 1);
        lua_pushvalue(state, i);
        lua_call(state, 1, 1);
        if (lua_type(state, -1) != LUA_TSTRING)
            return luaL_error(state, "'tostring' must return a string to 'print'");
        if (i > 1) {
            lua_pushliteral(state, "\t");
            lua_insert(state, -2);
        }
        lua_concat(state, i > 1 ? 3 : 2);
    }
    size_t size;
    const char *line = lua_tolstring(state, -1, &size);
    if (sandbox->print != NULL)
        sandbox->print(sandbox->context, line, size);
    return 0;
}

/* ---- opening ---- */

static void open_library(lua_State *state, const char *name, lua_CFunction open)
{
    lua_pushcfunction(state, open);
    lua_pushstring(state, name);
    lua_call(state, 1, 0);
}

static void remove_fields(lua_State *state, const char *const *names)
{
    for (; *names != NULL; names++) {
        lua_pushnil(state);
        lua_setfield(state, -2, *names);
    }
}

/* Of the library os only what tells the time. */
static void keep_time(lua_State *state)
{
    static const char *const kept[] = {"clock", "date", "difftime", "time", NULL};
    lua_newtable(state);
    lua_getglobal(state, "os");
    for (const char *const *name = kept; *name != NULL; name++) {
        lua_getfield(state, -1, *name);
        lua_setfield(state, -3, *name);
    }
    lua_pop(state, 1);
    lua_setglobal(state, "os");
}

static int open_protected(lua_State *state)
{
    static const char *const globals[] = {"dofile", "loadfile", "module", "newproxy", NULL};
    static const char *const strings[] = {"dump", NULL};
    void *sandbox = lua_touserdata(state, 1);
    open_library(state, "", luaopen_base);
    open_library(state, LUA_TABLIBNAME, luaopen_table);
    open_library(state, LUA_STRLIBNAME, luaopen_string);
    open_library(state, LUA_MATHLIBNAME, luaopen_math);
    open_library(state, LUA_OSLIBNAME, luaopen_os);
#ifdef LUA_BITLIBNAME
    open_library(state, LUA_BITLIBNAME, luaopen_bit);
#endif
    lua_pushvalue(state, LUA_GLOBALSINDEX);
    remove_fields(state, globals);
    lua_getglobal(state, LUA_STRLIBNAME);
    remove_fields(state, strings);
    keep_time(state);
    lua_register(state, "load", load_text);
    lua_register(state, "loadstring", load_text);
    lua_pushlightuserdata(state, sandbox);
    lua_pushcclosure(state, print, 1);
    lua_setglobal(state, "print");
    request_object_register(state);
    lua_newtable(state);
    lua_pushcfunction(state, json_module_open);
    lua_setfield(state, -2, "json");
    lua_pushcfunction(state, http_module_open);
    lua_setfield(state, -2, "http");
    lua_pushcclosure(state, require, 1);
    lua_setglobal(state, "require");
    return 0;
}

/* Lua calls this instead of ending the process when an error has nobody to take it; the worker's
 * end is a refusal like any other. */
static int panic(lua_State *state)
{
    (void)state;
    _exit(1);
}

int sandbox_open(struct sandbox *sandbox, size_t limit)
{
    *sandbox = (struct sandbox){.limit = limit};
    sandbox->state = lua_newstate(allocate, sandbox);
    /* Some builds of LuaJIT bring their own allocator; then the process's limit must do. */
    if (sandbox->state == NULL)
        sandbox->state = luaL_newstate();
    if (sandbox->state == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    lua_atpanic(sandbox->state, panic);
#ifdef LUAJIT_MODE_OFF
    luaJIT_setmode(sandbox->state, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
#endif
    if (lua_cpcall(sandbox->state, open_protected, sandbox) == 0)
        return 0;
    sandbox_close(sandbox);
    return CULVERT_ERROR_NO_MEMORY;
}

void sandbox_close(struct sandbox *sandbox)
{
    if (sandbox->state != NULL)
        lua_close(sandbox->state);
    sandbox->state = NULL;
}

/* ---- running ---- */

void sandbox_push_global(lua_State *state, const char *name)
{
    lua_pushstring(state, name);
    lua_rawget(state, LUA_GLOBALSINDEX);
}

/* Takes the error off the stack; does not allocate. */
static int take_error(struct sandbox *sandbox, int status, const char *secret, char *why)
{
    lua_State *state = sandbox->state;
    if (status == LUA_ERRMEM) {
        snprintf(why, SANDBOX_REASON_SIZE, "the script is out of memory");
    } else if (lua_type(state, -1) == LUA_TSTRING) {
        size_t size;
        const char *text = lua_tolstring(state, -1, &size);
        excerpt_make(why, SANDBOX_REASON_SIZE, text, size, secret);
    } else if (lua_type(state, -1) == LUA_TNUMBER) {
        snprintf(why, SANDBOX_REASON_SIZE, "the script raised the error %.14g",
                 lua_tonumber(state, -1));
    } else {
        snprintf(why, SANDBOX_REASON_SIZE, "the script raised an error that is a %s, not a text",
                 luaL_typename(state, -1));
    }
    lua_settop(state, 0);
    return status == LUA_ERRMEM ? CULVERT_ERROR_NO_MEMORY : CULVERT_ERROR_INVALID;
}

int sandbox_call(struct sandbox *sandbox, lua_CFunction function, void *argument,
                 const char *secret, char why[static SANDBOX_REASON_SIZE])
{
    int status = lua_cpcall(sandbox->state, function, argument);
    return status == 0 ? 0 : take_error(sandbox, status, secret, why);
}

struct chunk_of_text {
    const char *name;
    const char *text;
    size_t size;
};

static int run_protected(lua_State *state)
{
    const struct chunk_of_text *chunk = lua_touserdata(state, 1);
    lua_pushfstring(state, "@%s", chunk->name);
    if (luaL_loadbuffer(state, chunk->text, chunk->size, lua_tostring(state, -1)) != 0)
        return lua_error(state);
    lua_call(state, 0, 0);
    return 0;
}

int sandbox_run(struct sandbox *sandbox, const char *name, const char *text, size_t size,
                char why[static SANDBOX_REASON_SIZE])
{
    static const char mark[] = "\xef\xbb\xbf"; /* of UTF-8, which some editors write */
    struct chunk_of_text chunk = {name, text, size};
    if (size >= 3 && memcmp(text, mark, 3) == 0) {
        chunk.text += 3;
        chunk.size -= 3;
    }
    if (chunk.size > 0 && chunk.text[0] == BYTECODE) {
        snprintf(why, SANDBOX_REASON_SIZE, "is bytecode, and only text is taken");
        return CULVERT_ERROR_INVALID;
    }
    /* A first line for the shell; its end stays, so that the lines count right. */
    if (chunk.size > 0 && chunk.text[0] == '#') {
        while (chunk.size > 0 && chunk.text[0] != '\n') {
            chunk.text++;
            chunk.size--;
        }
    }
    return sandbox_call(sandbox, run_protected, &chunk, NULL, why);
}
