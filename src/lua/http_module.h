/* require("http"): get, post, put, patch, delete and head(url [, options]), request(method, url [,
 * options]) and request_batch(requests), with the arguments and results of gluahttp
 * (https://github.com/cjoudrey/gluahttp), by libcurl. */
#ifndef LUA_HTTP_MODULE_H
#define LUA_HTTP_MODULE_H

#include <lua.h>

enum { HTTP_MODULE_BATCH = 256 /* requests in one */ };

/* Pushes the module's table; raises if this machine has no libcurl. */
int http_module_open(lua_State *state);

#endif
