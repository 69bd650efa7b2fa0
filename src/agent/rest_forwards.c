#include "agent/rest.h"

#include "agent/agent_inner.h"
#include "agent/forward_json.h"
#include "base/error.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const SOURCES[] = {
    [FORWARD_RULE] = "rule", [FORWARD_FILE] = "file", [FORWARD_API] = "api"};

static json_t *describe(const struct forward *forward)
{
    const struct rule *rule = &forward->rule;
    const struct session_tally *tally = &forward->tally;
    return json_pack("{s:I, s:i, s:s, s:s, s:s, s:i, s:b, s:s, s:b, s:I, s:I, s:I, s:I}", "id",
                     (json_int_t)forward->id, "local", (int)forward_port(forward), "bind",
                     rule->bind[0] != '\0' ? rule->bind : "127.0.0.1", "gateway", rule->agent, "ip",
                     rule->host, "remote", (int)rule->port, "has_key", (int)(rule->key[0] != '\0'),
                     "source", SOURCES[forward->source], "listening", (int)(forward->inlet != NULL),
                     "open", (json_int_t)tally->open, "total", (json_int_t)tally->total, "sent",
                     (json_int_t)tally->sent + (json_int_t)tally->open_sent, "received",
                     (json_int_t)tally->received + (json_int_t)tally->open_received);
}

void rest_list_forwards(void *context, const struct api_request *request,
                        struct api_response *response)
{
    struct agent *agent = context;
    json_t *array = json_array();
    (void)request;
    forward_table_add_up(&agent->forwards);
    const struct forward *forward = forward_table_first(&agent->forwards);
    for (; forward != NULL; forward = forward_table_next(&agent->forwards, forward)) {
        if (json_array_append_new(array, describe(forward)) != 0) {
            json_decref(array);
            array = NULL;
            break;
        }
    }
    rest_answer(response, 200, json_pack("{s:o}", "forwards", array));
}

/* The forward that the path names, or NULL after a refusal. */
static struct forward *find(struct agent *agent, const struct api_request *request,
                            struct api_response *response)
{
    uint64_t id = 0;
    struct forward *forward = NULL;
    if (rest_id(request, &id))
        forward = forward_table_find(&agent->forwards, id);
    if (forward == NULL)
        rest_refuse(response, 404, "there is no such forward; it may have been removed");
    return forward;
}

void rest_show_forward(void *context, const struct api_request *request,
                       struct api_response *response)
{
    struct agent *agent = context;
    const struct forward *forward = find(agent, request, response);
    if (forward == NULL)
        return;
    forward_table_add_up(&agent->forwards);
    rest_answer(response, 200, describe(forward));
}

void rest_remove_forward(void *context, const struct api_request *request,
                         struct api_response *response)
{
    struct agent *agent = context;
    char why[AGENT_WHY_SIZE];
    const struct forward *forward = find(agent, request, response);
    if (forward != NULL && agent_drop_forward(agent, forward->id, why, sizeof why) != 0)
        rest_refuse(response, 500, why);
}

static int status_of(int error)
{
    switch (error) {
    case CULVERT_ERROR_INVALID:
    case -EACCES:
    case -EADDRNOTAVAIL:
    case -EAFNOSUPPORT:
        return 400;
    case -EADDRINUSE:
    case CULVERT_ERROR_EXISTS:
    case CULVERT_ERROR_LIMIT:
        return 409;
    case CULVERT_ERROR_CLOSED:
        return 503;
    default:
        return 500;
    }
}

/* What a failure to open the port is about. */
static const char *field_of(int error)
{
    switch (error) {
    case -EACCES:
    case -EADDRINUSE:
    case CULVERT_ERROR_EXISTS:
        return "local";
    case -EADDRNOTAVAIL:
    case -EAFNOSUPPORT:
        return "bind";
    default:
        return "";
    }
}

static void add(struct agent *agent, const struct rule *rule, struct api_response *response)
{
    char why[AGENT_WHY_SIZE];
    struct forward *forward = NULL;
    enum rule_part part = RULE_NONE;
    int error = agent_make_forward(agent, rule, &forward, &part, why, sizeof why);
    if (error != 0) {
        rest_refuse(response, status_of(error), why);
        snprintf(response->field, sizeof response->field, "%s",
                 part != RULE_NONE ? forward_json_field(part) : field_of(error));
        return;
    }
    rest_answer(response, 201, describe(forward));
    if (response->status == 201)
        snprintf(response->location, sizeof response->location, "/v1/forwards/%" PRIu64,
                 forward->id);
}

void rest_add_forward(void *context, const struct api_request *request,
                      struct api_response *response)
{
    struct rule rule;
    struct forward_json_problem problem = {.field = ""};
    if (forward_json_decode(request->body, &rule, &problem) != 0) {
        rest_refuse(response, 400, problem.why);
        snprintf(response->field, sizeof response->field, "%s", problem.field);
        return;
    }
    add(context, &rule, response);
    explicit_bzero(rule.key, sizeof rule.key);
}
