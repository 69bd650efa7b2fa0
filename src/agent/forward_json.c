#include "agent/forward_json.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/str.h"
#include "policy/host.h"

#include <stdio.h>
#include <string.h>

/* ---- one ---- */

struct decoder {
    const json_t *json;
    struct rule *rule;
    struct forward_json_problem *problem;
};

static const char *const FIELDS[] = {
    [RULE_NONE] = "",         [RULE_BIND] = "bind", [RULE_LOCAL] = "local", [RULE_KEY] = "key",
    [RULE_AGENT] = "gateway", [RULE_HOST] = "ip",   [RULE_PORT] = "remote",
};

const char *forward_json_field(enum rule_part part)
{
    return FIELDS[part];
}

static int complain(const struct decoder *decoder, const char *field, const char *what)
{
    snprintf(decoder->problem->field, sizeof decoder->problem->field, "%s", field);
    snprintf(decoder->problem->why, sizeof decoder->problem->why, "\"%s\" %s", field, what);
    return CULVERT_ERROR_INVALID;
}

static int take_port(const struct decoder *decoder, const char *field, json_int_t low,
                     uint16_t *port)
{
    const json_t *value = json_object_get(decoder->json, field);
    const char *range = low == 0 ? "must be a whole number from 0 to 65535"
                                 : "must be a whole number from 1 to 65535";
    if (value == NULL)
        return complain(decoder, field, "is missing");
    if (!json_is_integer(value) || json_integer_value(value) < low ||
        json_integer_value(value) > UINT16_MAX)
        return complain(decoder, field, range);
    *port = (uint16_t)json_integer_value(value);
    return 0;
}

static int take_text(const struct decoder *decoder, const char *field, bool is_optional, char *out,
                     size_t size)
{
    const json_t *value = json_object_get(decoder->json, field);
    if (value == NULL || (json_is_null(value) && is_optional))
        return is_optional ? 0 : complain(decoder, field, "is missing");
    if (!json_is_string(value))
        return complain(decoder, field, "must be a string");
    struct text text = {json_string_value(value), json_string_length(value)};
    if (text.size > 0 && memchr(text.data, '\0', text.size) != NULL)
        return complain(decoder, field, "has a zero byte");
    return text_copy(text, out, size) == 0 ? 0 : complain(decoder, field, "is too long");
}

/* IPv6 addresses may stand in brackets, as they do in rules. */
static int take_host(const struct decoder *decoder, const char *field, bool is_optional, char *out,
                     size_t size)
{
    char written[HOST_NAME_SIZE + 2] = "";
    int error = take_text(decoder, field, is_optional, written, sizeof written);
    if (error != 0)
        return error;
    struct text host = text_of(written);
    bool has_brackets = host_strip_brackets(&host);
    if (has_brackets && host_parse(host, NULL) != HOST_IPV6)
        return complain(decoder, field, "has brackets around what is not an IPv6 address");
    return text_copy(host, out, size) == 0 ? 0 : complain(decoder, field, "is too long");
}

static int refuse_unknown(const struct decoder *decoder)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)decoder->json, name, value)
    {
        bool is_known = false;
        for (size_t i = 1; i < sizeof FIELDS / sizeof *FIELDS; i++)
            is_known = is_known || strcmp(name, FIELDS[i]) == 0;
        if (!is_known) {
            /* Of a field's name that is cut short the bytes of a character might stay behind. */
            bool is_long = strlen(name) >= sizeof decoder->problem->field;
            snprintf(decoder->problem->field, sizeof decoder->problem->field, "%s",
                     is_long ? "" : name);
            snprintf(
                decoder->problem->why, sizeof decoder->problem->why,
                "there is no field%s%s%s; a forward has local, gateway, ip and remote, and may "
                "have bind and key",
                is_long ? " with so long a name" : " \"", is_long ? "" : name, is_long ? "" : "\"");
            return CULVERT_ERROR_INVALID;
        }
    }
    return 0;
}

int forward_json_decode(const json_t *json, struct rule *rule, struct forward_json_problem *problem)
{
    struct rule decoded = {0};
    const struct decoder decoder = {json, &decoded, problem};
    enum rule_part part = RULE_NONE;
    problem->field[0] = '\0';
    if (!json_is_object(json)) {
        snprintf(problem->why, sizeof problem->why, "a forward must be a JSON object");
        return CULVERT_ERROR_INVALID;
    }
    int error = refuse_unknown(&decoder);
    if (error == 0)
        error = take_port(&decoder, "local", 0, &decoded.local_port);
    if (error == 0)
        error = take_text(&decoder, "gateway", false, decoded.agent, sizeof decoded.agent);
    if (error == 0)
        error = take_host(&decoder, "ip", false, decoded.host, sizeof decoded.host);
    if (error == 0)
        error = take_port(&decoder, "remote", 1, &decoded.port);
    if (error == 0)
        error = take_host(&decoder, "bind", true, decoded.bind, sizeof decoded.bind);
    if (error == 0)
        error = take_text(&decoder, "key", true, decoded.key, sizeof decoded.key);
    if (error == 0) {
        error = rule_check(&decoded, &part, problem->why, sizeof problem->why);
        snprintf(problem->field, sizeof problem->field, "%s", forward_json_field(part));
    }
    if (error == 0)
        *rule = decoded;
    explicit_bzero(decoded.key, sizeof decoded.key);
    return error;
}

json_t *forward_json_encode(const struct rule *rule, uint16_t local)
{
    json_t *json = json_pack("{s:i, s:s, s:s, s:i}", "local", (int)local, "gateway", rule->agent,
                             "ip", rule->host, "remote", (int)rule->port);
    if (json == NULL)
        return NULL;
    if ((rule->bind[0] != '\0' &&
         json_object_set_new(json, "bind", json_string(rule->bind)) != 0) ||
        (rule->key[0] != '\0' && json_object_set_new(json, "key", json_string(rule->key)) != 0)) {
        json_decref(json);
        return NULL;
    }
    return json;
}

/* ---- many ---- */

/* So that there are numbers behind it that every reader of JSON can hold (RFC 8259 §6). */
#define MOST_ID ((json_int_t)1000000000000000)

void forward_list_deinit(struct forward_list *list)
{
    if (list->items != NULL)
        explicit_bzero(list->items, list->count * sizeof *list->items);
    memory_free(list->items);
    *list = (struct forward_list){0};
}

static json_t *load(const char *text, size_t size, char *why, size_t why_size)
{
    json_error_t error;
    json_t *json = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    if (json == NULL)
        snprintf(why, why_size, "line %d, column %d: %s", error.line, error.column, error.text);
    return json;
}

/* Takes the id out of a forward that the state file keeps. */
static int take_id(json_t *json, struct forward_list *list, size_t index, char *why,
                   size_t why_size)
{
    const json_t *id = json_object_get(json, "id");
    if (!json_is_integer(id) || json_integer_value(id) < 1 ||
        (uint64_t)json_integer_value(id) > list->last_id) {
        snprintf(why, why_size, "forward %zu: \"id\" must be a whole number from 1 to last_id",
                 index + 1);
        return CULVERT_ERROR_INVALID;
    }
    list->items[index].id = (uint64_t)json_integer_value(id);
    for (size_t i = 0; i < index; i++) {
        if (list->items[i].id == list->items[index].id) {
            snprintf(why, why_size, "forward %zu: its \"id\" is that of another", index + 1);
            return CULVERT_ERROR_INVALID;
        }
    }
    (void)json_object_del(json, "id");
    return 0;
}

static int take_all(const json_t *array, bool has_ids, struct forward_list *list, char *why,
                    size_t why_size)
{
    struct forward_json_problem problem = {.field = ""};
    size_t count = json_array_size(array);
    int error = 0;
    if (!json_is_array(array) || count > FORWARD_JSON_MAX) {
        snprintf(why, why_size, "a list of at most %d forwards is wanted", FORWARD_JSON_MAX);
        return CULVERT_ERROR_INVALID;
    }
    list->items = memory_allocate_zero(count * sizeof *list->items + 1);
    if (list->items == NULL) {
        snprintf(why, why_size, "%s", error_text(CULVERT_ERROR_NO_MEMORY));
        return CULVERT_ERROR_NO_MEMORY;
    }
    list->count = count;
    for (size_t i = 0; i < count && error == 0; i++) {
        json_t *json = json_array_get(array, i);
        if (has_ids)
            error = take_id(json, list, i, why, why_size);
        if (error != 0)
            break;
        error = forward_json_decode(json, &list->items[i].rule, &problem);
        if (error != 0)
            snprintf(why, why_size, "forward %zu: %s", i + 1, problem.why);
    }
    return error;
}

int forward_list_decode(const char *text, size_t size, struct forward_list *list, char *why,
                        size_t why_size)
{
    struct forward_list decoded = {0};
    json_t *json = load(text, size, why, why_size);
    if (json == NULL)
        return CULVERT_ERROR_INVALID;
    int error = take_all(json, false, &decoded, why, why_size);
    json_decref(json);
    if (error != 0)
        forward_list_deinit(&decoded);
    else
        *list = decoded;
    return error;
}

int forward_list_decode_state(const char *text, size_t size, struct forward_list *list, char *why,
                              size_t why_size)
{
    struct forward_list decoded = {0};
    json_t *json = load(text, size, why, why_size);
    if (json == NULL)
        return CULVERT_ERROR_INVALID;
    const json_t *last_id = json_object_get(json, "last_id");
    int error = CULVERT_ERROR_INVALID;
    if (!json_is_integer(last_id) || json_integer_value(last_id) < 0 ||
        json_integer_value(last_id) > MOST_ID) {
        snprintf(why, why_size, "it is no state of an agent: \"last_id\" is missing or wrong");
    } else {
        decoded.last_id = (uint64_t)json_integer_value(last_id);
        error = take_all(json_object_get(json, "forwards"), true, &decoded, why, why_size);
    }
    json_decref(json);
    if (error != 0)
        forward_list_deinit(&decoded);
    else
        *list = decoded;
    return error;
}
