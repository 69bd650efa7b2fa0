/*
 * A Lua state for a script that is not trusted with more than its answer: a bound on memory, no
 * compiler to machine code, and of the libraries only what touches nothing outside.
 */
#ifndef LUA_SANDBOX_H
#define LUA_SANDBOX_H

#include <lauxlib.h>
#include <lua.h>
#include <stddef.h>

struct sandbox {
    lua_State *state;
    size_t used; /* bytes */
    size_t limit;
    /* What the script prints, a line without its end. May be NULL. */
    void (*print)(void *context, const char *line, size_t size);
    void *context;
};

enum { SANDBOX_REASON_SIZE = 1000 };

/* Opens the state; `limit` in bytes. The sandbox must not move. Returns 0 or
 * CULVERT_ERROR_NO_MEMORY. */
int sandbox_open(struct sandbox *sandbox, size_t limit);
void sandbox_close(struct sandbox *sandbox);

/* Compiles the text, not bytecode, and runs it, which defines the script's functions. `name` stands
 * before the line in errors. Returns 0, or CULVERT_ERROR_INVALID with what is wrong in `why`. */
int sandbox_run(struct sandbox *sandbox, const char *name, const char *text, size_t size,
                char why[static SANDBOX_REASON_SIZE]);

/* Calls a C function with its argument as light userdata, so that no error leaves it. Returns 0,
 * CULVERT_ERROR_NO_MEMORY when the script has used up its memory, or CULVERT_ERROR_INVALID, with
 * the error's text in `why` and without `secret` (excerpt_make). */
int sandbox_call(struct sandbox *sandbox, lua_CFunction function, void *argument,
                 const char *secret, char why[static SANDBOX_REASON_SIZE]);

/* Pushes a global of the script, past its metatables. */
void sandbox_push_global(lua_State *state, const char *name);

#endif
