#include "lua/json_module.h"

#include "base/memory.h"
#include "base/utf8.h"

#include <lauxlib.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Whole numbers below 2^53 are written without a point. */
#define WHOLE_NUMBERS 9007199254740992.0

enum {
    NODE_COST = 8, /* bytes that a value counts as, besides its text */
    WHY_SIZE = 160,
    REPLACEMENT_SIZE = 3,
};

static const char BOX[] = "culvert.json";

/* What Lua's collector frees when an error passes by. */
struct box {
    json_t *value;
    char *text;
};

static int empty_box(lua_State *state)
{
    struct box *box = lua_touserdata(state, 1);
    json_decref(box->value);
    free(box->text);
    *box = (struct box){NULL, NULL};
    return 0;
}

static struct box *push_box(lua_State *state)
{
    struct box *box = lua_newuserdata(state, sizeof *box);
    *box = (struct box){NULL, NULL};
    if (luaL_newmetatable(state, BOX)) {
        lua_pushcfunction(state, empty_box);
        lua_setfield(state, -2, "__gc");
    }
    lua_setmetatable(state, -2);
    return box;
}

/* ---- decode ---- */

static void push_value(lua_State *state, const json_t *value, unsigned depth);

static void push_object(lua_State *state, const json_t *object, unsigned depth)
{
    const char *key;
    json_t *value;
    lua_createtable(state, 0, (int)json_object_size(object));
    json_object_foreach((json_t *)object, key, value)
    {
        push_value(state, value, depth);
        lua_setfield(state, -2, key);
    }
}

static void push_array(lua_State *state, const json_t *array, unsigned depth)
{
    size_t count = json_array_size(array);
    lua_createtable(state, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        push_value(state, json_array_get(array, i), depth);
        lua_rawseti(state, -2, (int)i + 1);
    }
}

static void push_value(lua_State *state, const json_t *value, unsigned depth)
{
    if (depth >= JSON_MODULE_DEPTH)
        luaL_error(state, "JSON is nested deeper than %d levels", JSON_MODULE_DEPTH);
    luaL_checkstack(state, 4, "JSON");
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        push_object(state, value, depth + 1);
        break;
    case JSON_ARRAY:
        push_array(state, value, depth + 1);
        break;
    case JSON_STRING:
        lua_pushlstring(state, json_string_value(value), json_string_length(value));
        break;
    case JSON_INTEGER:
    case JSON_REAL:
        lua_pushnumber(state, json_number_value(value));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        lua_pushboolean(state, json_is_true(value));
        break;
    case JSON_NULL:
        lua_pushnil(state);
        break;
    }
}

void json_module_push(lua_State *state, const json_t *value)
{
    push_value(state, value, 0);
}

static int push_protected(lua_State *state)
{
    const struct box *box = lua_touserdata(state, 1);
    json_module_push(state, box->value);
    return 1;
}

/* nil and what is wrong. */
static int give_up(lua_State *state, const char *why)
{
    lua_pushnil(state);
    lua_pushstring(state, why);
    return 2;
}

static int decode(lua_State *state)
{
    size_t size;
    const char *text = luaL_checklstring(state, 1, &size);
    json_error_t error;
    if (size > JSON_MODULE_SIZE)
        return give_up(state, "JSON text is longer than 1 MiB");
    lua_pushcfunction(state, push_protected);
    struct box *box = push_box(state);
    box->value =
        json_loadb(text, size, JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, &error);
    if (box->value == NULL)
        return give_up(state, error.text);
    lua_pushvalue(state, -1);
    lua_insert(state, 1);
    int status = lua_pcall(state, 1, 1, 0);
    json_decref(box->value);
    box->value = NULL;
    if (status == LUA_ERRMEM)
        return lua_error(state);
    if (status == 0)
        return 1;
    lua_pushnil(state);
    lua_insert(state, -2);
    return 2;
}

/* ---- encode ---- */

/* Nothing in here raises, so that what jansson has allocated is not lost: the stack is large enough
 * from the beginning, and only strings are asked for their text. */
struct encoder {
    lua_State *state;
    const void *ancestors[JSON_MODULE_DEPTH];
    unsigned depth;
    size_t cost;
    char why[WHY_SIZE];
};

static json_t *encode_value(struct encoder *encoder);

static json_t *refuse(struct encoder *encoder, const char *why)
{
    if (encoder->why[0] == '\0')
        snprintf(encoder->why, sizeof encoder->why, "%s", why);
    return NULL;
}

static bool charge(struct encoder *encoder, size_t size)
{
    encoder->cost += size + NODE_COST;
    if (encoder->cost <= JSON_MODULE_SIZE)
        return true;
    refuse(encoder, "cannot encode more than 1 MiB to JSON");
    return false;
}

static json_t *encode_number(struct encoder *encoder, double number)
{
    if (!isfinite(number))
        return refuse(encoder, "cannot encode a number that is not finite to JSON");
    if (number == trunc(number) && fabs(number) < WHOLE_NUMBERS)
        return json_integer((json_int_t)number);
    return json_real(number);
}

/* The same text with U+FFFD for what is not UTF-8. */
static json_t *encode_repaired(const char *text, size_t size)
{
    char *copy = memory_allocate(size * REPLACEMENT_SIZE + 1);
    size_t length = 0;
    if (copy == NULL)
        return NULL;
    for (size_t taken; size > 0; text += taken, size -= taken) {
        taken = utf8_character_size((const uint8_t *)text, size);
        if (taken > 0) {
            memcpy(copy + length, text, taken);
            length += taken;
        } else {
            memcpy(copy + length, "\xef\xbf\xbd", REPLACEMENT_SIZE);
            length += REPLACEMENT_SIZE;
            taken = 1;
        }
    }
    json_t *string = json_stringn(copy, length);
    memory_free(copy);
    return string;
}

static json_t *encode_text(struct encoder *encoder, int index)
{
    size_t size;
    const char *text = lua_tolstring(encoder->state, index, &size);
    if (!charge(encoder, size))
        return NULL;
    json_t *string = json_stringn(text, size);
    return string != NULL ? string : encode_repaired(text, size);
}

/* The pairs of a table at the top, whose first key lies above it and is text. */
static json_t *encode_object(struct encoder *encoder)
{
    lua_State *state = encoder->state;
    json_t *object = json_object();
    int more = 1;
    while (more && object != NULL) {
        json_t *value = encode_value(encoder);
        lua_pop(state, 1);
        if (lua_type(state, -1) != LUA_TSTRING)
            refuse(encoder, "cannot encode mixed or invalid key types");
        json_t *key = encoder->why[0] == '\0' ? encode_text(encoder, -1) : NULL;
        if (key != NULL && strlen(json_string_value(key)) != json_string_length(key))
            refuse(encoder, "cannot encode a key with a zero byte");
        bool is_set = key != NULL && encoder->why[0] == '\0' &&
                      json_object_set(object, json_string_value(key), value) == 0;
        json_decref(key);
        json_decref(value);
        if (!is_set) {
            json_decref(object);
            object = NULL;
        }
        more = is_set ? lua_next(state, -2) : 0;
    }
    return object;
}

/* Whether the table at `index` has the keys 1 to `*count`, in whatever order, and no other. */
static bool is_sequence(struct encoder *encoder, int index, size_t *count)
{
    lua_State *state = encoder->state;
    double most = 0;
    *count = 0;
    lua_pushnil(state);
    while (lua_next(state, index)) {
        lua_pop(state, 1);
        double key = lua_tonumber(state, -1);
        if (lua_type(state, -1) != LUA_TNUMBER)
            return refuse(encoder, "cannot encode mixed or invalid key types") != NULL;
        if (key < 1 || key != trunc(key))
            return refuse(encoder, "cannot encode sparse array") != NULL;
        most = key > most ? key : most;
        ++*count;
    }
    return most == (double)*count || refuse(encoder, "cannot encode sparse array") != NULL;
}

static json_t *encode_array(struct encoder *encoder, int index)
{
    size_t count;
    json_t *array = is_sequence(encoder, index, &count) ? json_array() : NULL;
    for (size_t i = 0; array != NULL && i < count; i++) {
        lua_rawgeti(encoder->state, index, (int)i + 1);
        json_t *value = encode_value(encoder);
        lua_pop(encoder->state, 1);
        if (value == NULL || json_array_append_new(array, value) != 0) {
            json_decref(array);
            array = NULL;
        }
    }
    return array;
}

static json_t *encode_table(struct encoder *encoder)
{
    lua_State *state = encoder->state;
    const void *table = lua_topointer(state, -1);
    json_t *result = NULL;
    for (unsigned i = 0; i < encoder->depth; i++) {
        if (encoder->ancestors[i] == table)
            return refuse(encoder, "cannot encode recursively nested tables to JSON");
    }
    if (encoder->depth == JSON_MODULE_DEPTH)
        return refuse(encoder, "cannot encode tables that are nested deeper than 100 levels");
    encoder->ancestors[encoder->depth++] = table;
    int top = lua_gettop(state);
    lua_pushnil(state);
    if (!lua_next(state, -2))
        result = json_array();
    else if (lua_type(state, -2) == LUA_TNUMBER)
        result = encode_array(encoder, top);
    else
        result = encode_object(encoder);
    lua_settop(state, top);
    encoder->depth--;
    return result;
}

/* Of the value at the top, which stays. NULL with what is wrong, or when memory has run out. */
static json_t *encode_value(struct encoder *encoder)
{
    lua_State *state = encoder->state;
    char why[WHY_SIZE];
    int type = lua_type(state, -1);
    if (type != LUA_TSTRING && !charge(encoder, 0))
        return NULL;
    switch (type) {
    case LUA_TNIL:
        return json_null();
    case LUA_TBOOLEAN:
        return json_boolean(lua_toboolean(state, -1));
    case LUA_TNUMBER:
        return encode_number(encoder, lua_tonumber(state, -1));
    case LUA_TSTRING:
        return encode_text(encoder, -1);
    case LUA_TTABLE:
        return encode_table(encoder);
    default:
        snprintf(why, sizeof why, "cannot encode %s to JSON", lua_typename(state, type));
        return refuse(encoder, why);
    }
}

static int encode(lua_State *state)
{
    struct encoder encoder = {.state = state};
    luaL_checkany(state, 1);
    luaL_checkstack(state, 3 * JSON_MODULE_DEPTH + LUA_MINSTACK, "JSON");
    struct box *box = push_box(state);
    lua_pushvalue(state, 1);
    box->value = encode_value(&encoder);
    if (box->value != NULL)
        box->text = json_dumps(box->value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(box->value);
    box->value = NULL;
    if (box->text == NULL)
        return give_up(state, encoder.why[0] != '\0' ? encoder.why : "memory has run out");
    lua_pushstring(state, box->text);
    free(box->text);
    box->text = NULL;
    return 1;
}

int json_module_open(lua_State *state)
{
    static const luaL_Reg functions[] = {{"decode", decode}, {"encode", encode}, {NULL, NULL}};
    lua_newtable(state);
    luaL_register(state, NULL, functions);
    return 1;
}
