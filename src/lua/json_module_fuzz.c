#include "lua/json_module.h"

#include "lua/sandbox.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const char *text;
    size_t size;
};

/* A text that is taken gives a value that can be written, and what is written can be read. */
static int check(lua_State *state)
{
    const struct input *input = lua_touserdata(state, 1);
    json_module_open(state);
    lua_getfield(state, -1, "decode");
    lua_pushlstring(state, input->text, input->size);
    lua_call(state, 1, 2);
    if (!lua_isnil(state, -1))
        return 0;
    lua_pop(state, 1);
    lua_getfield(state, -2, "encode");
    lua_insert(state, -2);
    lua_call(state, 1, 2);
    /* A hole where a null was, or a key with a zero byte, cannot be written. */
    if (lua_isnil(state, -2))
        return 0;
    lua_pop(state, 1);
    lua_getfield(state, -2, "decode");
    lua_insert(state, -2);
    lua_call(state, 1, 2);
    if (!lua_isnil(state, -1))
        abort();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sandbox sandbox;
    struct input input = {(const char *)data, size};
    char why[SANDBOX_REASON_SIZE];
    if (sandbox_open(&sandbox, (size_t)8 * 1024 * 1024) != 0)
        return 0;
    (void)sandbox_call(&sandbox, check, &input, NULL, why);
    sandbox_close(&sandbox);
    return 0;
}
