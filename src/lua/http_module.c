#include "lua/http_module.h"

#include "lua/http_text.h"
#include "lua/http_transfer.h"

#include <ctype.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

static const char CLIENT[] = "culvert.http.client";
static const char BATCH[] = "culvert.http.batch";

/* What all requests of a script share, so that connections are used again. */
struct client {
    const struct curl_library *curl;
    CURLM *multi;
};

/* Freed by Lua's collector when an error passes by. */
struct batch {
    size_t count;
    struct http_transfer transfers[];
};

static int close_client(lua_State *state)
{
    struct client *client = lua_touserdata(state, 1);
    if (client->multi != NULL)
        client->curl->multi_cleanup(client->multi);
    client->multi = NULL;
    return 0;
}

static int close_batch(lua_State *state)
{
    struct batch *batch = lua_touserdata(state, 1);
    for (size_t i = 0; i < batch->count; i++)
        http_transfer_deinit(&batch->transfers[i]);
    batch->count = 0;
    return 0;
}

static void set_collector(lua_State *state, const char *type, lua_CFunction collect)
{
    if (luaL_newmetatable(state, type)) {
        lua_pushcfunction(state, collect);
        lua_setfield(state, -2, "__gc");
    }
    lua_setmetatable(state, -2);
}

static struct batch *push_batch(lua_State *state, size_t count)
{
    size_t size = sizeof(struct batch) + count * sizeof(struct http_transfer);
    struct batch *batch = lua_newuserdata(state, size);
    memset(batch, 0, size);
    batch->count = count;
    set_collector(state, BATCH, close_batch);
    return batch;
}

static struct client *client_of(lua_State *state)
{
    return lua_touserdata(state, lua_upvalueindex(1));
}

/* ---- options ---- */

/* The field of the options at the top, pushed. */
static int push_option(lua_State *state, const char *name)
{
    lua_pushstring(state, name);
    lua_rawget(state, -2);
    return lua_type(state, -1);
}

static bool is_text(lua_State *state, int index)
{
    int type = lua_type(state, index);
    return type == LUA_TSTRING || type == LUA_TNUMBER;
}

/* A value as terminated text, pushed as a copy, so that a table's key stays what it is. NULL when
 * it is none, or has a zero byte in it. */
static const char *push_text(lua_State *state, int index)
{
    size_t size;
    lua_pushvalue(state, index);
    const char *text = is_text(state, -1) ? lua_tolstring(state, -1, &size) : NULL;
    return text != NULL && strlen(text) == size ? text : NULL;
}

static void set_fields(lua_State *state, struct http_transfer *transfer)
{
    if (push_option(state, "headers") == LUA_TTABLE) {
        lua_pushnil(state);
        while (lua_next(state, -2)) {
            const char *name = push_text(state, -2);
            const char *value = push_text(state, -2);
            if (name == NULL || value == NULL)
                http_transfer_fail(transfer, "a field of headers is not text", "");
            else
                http_transfer_add_field(transfer, name, value);
            lua_pop(state, 3);
        }
    }
    lua_pop(state, 1);
}

/* Builds "a=b; c=d" at the top. */
static void set_cookies(lua_State *state, struct http_transfer *transfer)
{
    if (push_option(state, "cookies") != LUA_TTABLE) {
        lua_pop(state, 1);
        return;
    }
    lua_pushliteral(state, "");
    lua_pushnil(state);
    while (lua_next(state, -3)) {
        const char *name = push_text(state, -2);
        const char *value = push_text(state, -2);
        if (name == NULL || value == NULL || !http_text_is_token(text_of(name))) {
            http_transfer_fail(transfer, "a cookie's name or value is not possible", "");
            lua_pop(state, 3);
            continue;
        }
        char *written = lua_newuserdata(state, strlen(value) + 3);
        http_text_write_cookie(text_of(value), written);
        /* options, cookies, text, key, value, name, value, written */
        lua_pushvalue(state, -6);
        lua_pushfstring(state, lua_objlen(state, -1) > 0 ? "; %s=%s" : "%s=%s", name, written);
        lua_concat(state, 2);
        lua_replace(state, -7);
        lua_pop(state, 4);
    }
    if (lua_objlen(state, -1) > 0)
        http_transfer_set_cookies(transfer, lua_tostring(state, -1));
    lua_pop(state, 2);
}

static void set_body(lua_State *state, struct http_transfer *transfer)
{
    size_t size;
    if (push_option(state, "body") != LUA_TSTRING) {
        lua_pop(state, 1);
        if (push_option(state, "form") == LUA_TSTRING && !transfer->has_content_type)
            http_transfer_add_field(transfer, "Content-Type", "application/x-www-form-urlencoded");
    }
    if (lua_type(state, -1) == LUA_TSTRING) {
        const char *body = lua_tolstring(state, -1, &size);
        http_transfer_set_body(transfer, body, size);
    }
    lua_pop(state, 1);
}

static void set_login(lua_State *state, struct http_transfer *transfer)
{
    if (push_option(state, "auth") == LUA_TTABLE) {
        push_option(state, "user");
        lua_insert(state, -2);
        push_option(state, "pass");
        const char *user = push_text(state, -3);
        const char *password = push_text(state, -2);
        if (user == NULL || password == NULL)
            http_transfer_fail(transfer, "auth table must contain no nil user and pass fields", "");
        else
            http_transfer_set_login(transfer, user, password);
        lua_pop(state, 4);
    }
    lua_pop(state, 1);
}

static void set_timeout(lua_State *state, struct http_transfer *transfer)
{
    uint32_t milliseconds = 0;
    int type = push_option(state, "timeout");
    if (type == LUA_TNUMBER) {
        double time = lua_tonumber(state, -1) * 1000;
        milliseconds = time >= HTTP_DURATION_MAX ? HTTP_DURATION_MAX
                       : time > 0                ? (uint32_t)time
                                                 : 0;
    } else if (type == LUA_TSTRING) {
        size_t size;
        const char *text = lua_tolstring(state, -1, &size);
        if (http_text_parse_duration((struct text){text, size}, &milliseconds) != 0)
            http_transfer_fail(transfer, "this is no duration such as 1s or 250ms: ", text);
    }
    if (type == LUA_TNUMBER || type == LUA_TSTRING)
        http_transfer_set_timeout(transfer, milliseconds);
    lua_pop(state, 1);
}

/* ---- the request ---- */

/* The URL as it is sent, pushed: `query`, if there is one, in the place of its own, without its
 * fragment, spaces escaped. */
static const char *push_url(lua_State *state, const char *url, const char *query)
{
    size_t size = strcspn(url, query != NULL ? "?#" : "#");
    lua_pushlstring(state, url, size);
    if (query != NULL && query[0] != '\0') {
        lua_pushliteral(state, "?");
        lua_pushstring(state, query);
        lua_concat(state, 3);
    }
    return luaL_gsub(state, lua_tostring(state, -1), " ", "%20");
}

static void begin_transfer(lua_State *state, struct http_transfer *transfer, const char *method,
                           const char *url)
{
    char capitals[HTTP_METHOD_SIZE] = "";
    const char *query = NULL;
    int top = lua_gettop(state);
    if (strlen(method) < sizeof capitals) {
        for (size_t i = 0; method[i] != '\0'; i++)
            capitals[i] = (char)toupper((unsigned char)method[i]);
    }
    if (lua_istable(state, top)) {
        push_option(state, "query");
        query = lua_type(state, -1) == LUA_TSTRING ? lua_tostring(state, -1) : NULL;
    }
    url = push_url(state, url, query);
    if (!http_text_is_token(text_of(capitals)))
        http_transfer_fail(transfer, "this is no method: ", method);
    else if (!http_text_is_url(text_of(url)))
        http_transfer_fail(transfer, "the URL does not begin with http:// or https:// and a host",
                           "");
    else
        http_transfer_init(transfer, client_of(state)->curl, capitals, url);
    lua_settop(state, top);
}

/* The options, if they are a table, lie at the top. */
static void prepare(lua_State *state, struct http_transfer *transfer, const char *method,
                    const char *url)
{
    luaL_checkstack(state, LUA_MINSTACK, "http");
    begin_transfer(state, transfer, method, url);
    if (transfer->why[0] != '\0' || !lua_istable(state, -1))
        return;
    set_fields(state, transfer);
    set_cookies(state, transfer);
    set_body(state, transfer);
    set_login(state, transfer);
    set_timeout(state, transfer);
}

/* ---- the response ---- */

/* Sets a field of the table at the top, unless it has it. */
static void add_text(lua_State *state, const char *name, size_t name_size, struct text value)
{
    lua_pushlstring(state, name, name_size);
    lua_pushvalue(state, -1);
    lua_rawget(state, -3);
    bool is_new = lua_isnil(state, -1);
    lua_pop(state, 1);
    if (!is_new) {
        lua_pop(state, 1);
        return;
    }
    lua_pushlstring(state, value.data, value.size);
    lua_rawset(state, -3);
}

static void push_fields(lua_State *state, struct http_transfer *transfer)
{
    struct text block = {transfer->head.data, transfer->head.size};
    struct text name;
    struct text value;
    lua_newtable(state);
    while (http_text_take_field(&block, &name, &value)) {
        /* It lies in the transfer's own memory. */
        http_text_spell_name((char *)name.data, name.size);
        add_text(state, name.data, name.size, value);
    }
}

static void push_cookies(lua_State *state, const struct http_transfer *transfer)
{
    struct text block = {transfer->head.data, transfer->head.size};
    struct text name;
    struct text value;
    lua_newtable(state);
    while (http_text_take_field(&block, &name, &value)) {
        struct text cookie;
        struct text content;
        if (text_equals_ignore_case(name, "Set-Cookie") &&
            http_text_parse_cookie(value, &cookie, &content)) {
            lua_pushlstring(state, cookie.data, cookie.size);
            lua_pushlstring(state, content.data, content.size);
            lua_rawset(state, -3);
        }
    }
}

static void push_response(lua_State *state, struct http_transfer *transfer)
{
    lua_createtable(state, 0, 6);
    push_fields(state, transfer);
    lua_setfield(state, -2, "headers");
    push_cookies(state, transfer);
    lua_setfield(state, -2, "cookies");
    lua_pushnumber(state, (lua_Number)http_transfer_status(transfer));
    lua_setfield(state, -2, "status_code");
    lua_pushstring(state, transfer->url);
    lua_setfield(state, -2, "url");
    lua_pushlstring(state, transfer->body.data != NULL ? transfer->body.data : "",
                    transfer->body.size);
    lua_setfield(state, -2, "body");
    lua_pushnumber(state, (lua_Number)transfer->body.size);
    lua_setfield(state, -2, "body_size");
}

/* ---- the functions ---- */

static void perform(lua_State *state, struct http_transfer *transfers, size_t count)
{
    const struct client *client = client_of(state);
    http_transfer_perform(client->curl, client->multi, transfers, count);
}

/* One request, its options (or anything else) at the top. */
static int perform_one(lua_State *state, const char *method, const char *url)
{
    struct batch *batch = push_batch(state, 1);
    struct http_transfer *transfer = &batch->transfers[0];
    lua_insert(state, -2);
    prepare(state, transfer, method, url);
    perform(state, transfer, 1);
    if (transfer->why[0] != '\0') {
        lua_pushnil(state);
        lua_pushstring(state, transfer->why);
    } else {
        push_response(state, transfer);
    }
    int results = transfer->why[0] != '\0' ? 2 : 1;
    http_transfer_deinit(transfer);
    return results;
}

/* get(url, options) and the like: the method is the second upvalue. */
static int request_by_name(lua_State *state)
{
    const char *url = lua_isstring(state, 1) ? lua_tostring(state, 1) : "";
    lua_settop(state, 2);
    return perform_one(state, lua_tostring(state, lua_upvalueindex(2)), url);
}

static int request(lua_State *state)
{
    const char *method = lua_isstring(state, 1) ? lua_tostring(state, 1) : "";
    const char *url = lua_isstring(state, 2) ? lua_tostring(state, 2) : "";
    lua_settop(state, 3);
    return perform_one(state, method, url);
}

/* {method, url, options} at the top. */
static void prepare_entry(lua_State *state, struct http_transfer *transfer)
{
    if (!lua_istable(state, -1)) {
        http_transfer_fail(transfer, "Request must be a table", "");
        return;
    }
    lua_rawgeti(state, -1, 1);
    const char *method = push_text(state, -1);
    lua_rawgeti(state, -3, 2);
    const char *url = push_text(state, -1);
    lua_rawgeti(state, -5, 3);
    prepare(state, transfer, method != NULL ? method : "", url != NULL ? url : "");
    lua_pop(state, 5);
}

static int request_batch(lua_State *state)
{
    luaL_checktype(state, 1, LUA_TTABLE);
    size_t count = lua_objlen(state, 1);
    if (count > HTTP_MODULE_BATCH)
        return luaL_error(state, "request_batch takes at most %d requests", HTTP_MODULE_BATCH);
    struct batch *batch = push_batch(state, count);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(state, 1, (int)i + 1);
        prepare_entry(state, &batch->transfers[i]);
        lua_pop(state, 1);
    }
    perform(state, batch->transfers, count);
    bool has_errors = false;
    lua_createtable(state, (int)count, 0);
    lua_newtable(state);
    for (size_t i = 0; i < count; i++) {
        struct http_transfer *transfer = &batch->transfers[i];
        if (transfer->why[0] != '\0') {
            has_errors = true;
            lua_pushstring(state, transfer->why);
            lua_rawseti(state, -2, (int)i + 1);
        } else {
            push_response(state, transfer);
            lua_rawseti(state, -3, (int)i + 1);
        }
        http_transfer_deinit(transfer);
    }
    lua_settop(state, has_errors ? -1 : -2);
    return has_errors ? 2 : 1;
}

static void push_client(lua_State *state)
{
    struct client *client = lua_newuserdata(state, sizeof *client);
    *client = (struct client){.curl = curl_library()};
    set_collector(state, CLIENT, close_client);
    if (client->curl == NULL) {
        luaL_error(state, "there is no libcurl on this machine");
        return;
    }
    /* curl takes this one in small letters alone, Hubble took both. */
    const char *proxy = getenv("HTTP_PROXY");
    if (proxy != NULL)
        setenv("http_proxy", proxy, 0);
    client->multi = client->curl->multi_init();
    if (client->multi == NULL)
        luaL_error(state, "memory has run out");
}

int http_module_open(lua_State *state)
{
    static const char *const methods[] = {"get", "post", "put", "patch", "delete", "head"};
    push_client(state);
    lua_newtable(state);
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        lua_pushvalue(state, -2);
        lua_pushstring(state, methods[i]);
        lua_pushcclosure(state, request_by_name, 2);
        lua_setfield(state, -2, methods[i]);
    }
    lua_pushvalue(state, -2);
    lua_pushcclosure(state, request, 1);
    lua_setfield(state, -2, "request");
    lua_pushvalue(state, -2);
    lua_pushcclosure(state, request_batch, 1);
    lua_setfield(state, -2, "request_batch");
    return 1;
}
