#include "lua/request_object.h"

#include <lauxlib.h>

struct method {
    const char *name;
    const char *field; /* of the question */
};

static const char REQUEST[] = "request";
static const char AGENT[] = "agent";

/* The first four are Hubble's. */
static const struct method REQUEST_METHODS[] = {
    {"ip", "host"},   {"port", "port"},       {"gatename", "agent"},
    {"key", "key"},   {"source", "source"},   {"kind", "kind"},
    {"user", "user"}, {"address", "address"}, {NULL, NULL},
};

static const struct method AGENT_METHODS[] = {
    {"name", "source"},     {"source", "source"}, {"user", "user"},
    {"address", "address"}, {NULL, NULL},
};

/* The values lie in the object's environment. */
static int get_value(lua_State *state)
{
    luaL_checkudata(state, 1, lua_tostring(state, lua_upvalueindex(1)));
    lua_getfenv(state, 1);
    lua_pushvalue(state, lua_upvalueindex(2));
    lua_rawget(state, -2);
    return 1;
}

static void register_type(lua_State *state, const char *type, const struct method *methods)
{
    luaL_newmetatable(state, type);
    lua_newtable(state);
    for (; methods->name != NULL; methods++) {
        lua_pushstring(state, type);
        lua_pushstring(state, methods->field);
        lua_pushcclosure(state, get_value, 2);
        lua_setfield(state, -2, methods->name);
    }
    lua_setfield(state, -2, "__index");
    lua_pushboolean(state, 0);
    lua_setfield(state, -2, "__metatable");
    lua_pop(state, 1);
}

void request_object_register(lua_State *state)
{
    register_type(state, REQUEST, REQUEST_METHODS);
    register_type(state, AGENT, AGENT_METHODS);
}

static void push(lua_State *state, const char *type, const struct method *methods,
                 const json_t *question)
{
    lua_newuserdata(state, 1);
    luaL_getmetatable(state, type);
    lua_setmetatable(state, -2);
    lua_newtable(state);
    for (; methods->name != NULL; methods++) {
        const json_t *value = json_object_get(question, methods->field);
        if (json_is_string(value))
            lua_pushlstring(state, json_string_value(value), json_string_length(value));
        else
            lua_pushnumber(state, json_number_value(value));
        lua_setfield(state, -2, methods->field);
    }
    lua_setfenv(state, -2);
}

void request_object_push_request(lua_State *state, const json_t *question)
{
    push(state, REQUEST, REQUEST_METHODS, question);
}

void request_object_push_agent(lua_State *state, const json_t *question)
{
    push(state, AGENT, AGENT_METHODS, question);
}
