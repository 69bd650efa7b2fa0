/* What connect(request) and register(agent) are given: an object whose methods give texts, as in
 * request:ip(). */
#ifndef LUA_REQUEST_OBJECT_H
#define LUA_REQUEST_OBJECT_H

#include <jansson.h>
#include <lua.h>

/* Makes the two types known to the state. May raise. */
void request_object_register(lua_State *state);

/* Pushes an object over a question as it came from the pool. May raise. */
void request_object_push_request(lua_State *state, const json_t *question);
void request_object_push_agent(lua_State *state, const json_t *question);

#endif
