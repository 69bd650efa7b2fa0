#include "agent/agent_inner.h"

#include "base/error.h"
#include "base/exit_code.h"
#include "base/log.h"

#include <stdio.h>

int agent_open_forwards(struct agent *agent)
{
    char why[AGENT_WHY_SIZE];
    struct forward *forward = NULL;
    size_t bound = 0;
    for (size_t i = 0; i < agent->config.rule_count; i++) {
        if (forward_table_add(&agent->forwards, &agent->config.rules[i], FORWARD_RULE, 0, &forward,
                              why, sizeof(why)) == 0)
            bound++;
        else
            log_error("%s", why);
    }
    if (bound > 0 || agent->config.rule_count == 0)
        return EXIT_CODE_OK;
    log_error("none of the ports could be opened");
    return EXIT_CODE_NO_PORT;
}

/* A key that is sent in clear is anybody's. */
static bool may_send_keys(const struct agent_config *config)
{
    return config->url.is_secure || config->url.is_loopback || config->insecure;
}

bool agent_exposes_key(const struct agent_config *config)
{
    bool has_key = config->key[0] != '\0';
    for (size_t i = 0; i < config->rule_count; i++)
        has_key = has_key || config->rules[i].key[0] != '\0';
    return has_key && !may_send_keys(config);
}

static int check(struct agent *agent, const struct rule *rule, enum rule_part *part, char *why,
                 size_t why_size)
{
    *part = RULE_NONE;
    if (agent->is_stopping) {
        snprintf(why, why_size, "the agent is stopping");
        return CULVERT_ERROR_CLOSED;
    }
    int error = rule_check(rule, part, why, why_size);
    if (error == 0 && rule->key[0] != '\0' && !may_send_keys(&agent->config)) {
        *part = RULE_KEY;
        snprintf(why, why_size,
                 "the key would cross the network to the gateway in clear, for its URL is not wss");
        error = CULVERT_ERROR_INVALID;
    }
    return error;
}

int agent_make_forward(struct agent *agent, const struct rule *rule, struct forward **forward,
                       enum rule_part *part, char *why, size_t why_size)
{
    int error = check(agent, rule, part, why, why_size);
    return error != 0
               ? error
               : forward_table_add(&agent->forwards, rule, FORWARD_API, 0, forward, why, why_size);
}

int agent_drop_forward(struct agent *agent, uint64_t id, char *why, size_t why_size)
{
    struct forward *forward = forward_table_find(&agent->forwards, id);
    if (forward == NULL) {
        snprintf(why, why_size, "there is no forward %llu", (unsigned long long)id);
        return CULVERT_ERROR_NOT_FOUND;
    }
    forward_remove(forward);
    return 0;
}

/* ---- from other threads ---- */

struct forward_request {
    struct control_request base;
    struct agent *agent;
    struct rule *rule;
    uint64_t id;
    char *why;
    size_t why_size;
    int error;
};

static void add(struct control_request *base)
{
    struct forward_request *request = CONTAINER_OF(base, struct forward_request, base);
    struct forward *forward = NULL;
    enum rule_part part;
    request->error = agent_make_forward(request->agent, request->rule, &forward, &part,
                                        request->why, request->why_size);
    if (request->error == 0) {
        request->id = forward->id;
        request->rule->local_port = forward_port(forward);
    }
}

static void drop(struct control_request *base)
{
    struct forward_request *request = CONTAINER_OF(base, struct forward_request, base);
    request->error =
        agent_drop_forward(request->agent, request->id, request->why, request->why_size);
}

int agent_add_forward(struct agent *agent, struct rule *rule, uint64_t *id, char *why,
                      size_t why_size)
{
    struct forward_request request = {
        .base.run = add, .agent = agent, .rule = rule, .why = why, .why_size = why_size};
    int error = control_call(&agent->control, &request.base);
    if (error != 0) {
        snprintf(why, why_size, "the agent has stopped");
        return error;
    }
    if (request.error == 0)
        *id = request.id;
    return request.error;
}

int agent_remove_forward(struct agent *agent, uint64_t id)
{
    char why[AGENT_WHY_SIZE];
    struct forward_request request = {
        .base.run = drop, .agent = agent, .id = id, .why = why, .why_size = sizeof(why)};
    int error = control_call(&agent->control, &request.base);
    return error != 0 ? error : request.error;
}
