#include "agent/agent_inner.h"

#include "agent/forwards_file.h"
#include "base/error.h"
#include "base/exit_code.h"
#include "base/log.h"

#include <inttypes.h>
#include <stdio.h>

static bool leaves_machine(const struct agent_config *config, const struct url *url)
{
    struct proxy proxy;
    char why[256];
    if (proxy_choose(config->proxies, url->host, url->port, url->is_secure, &proxy, why,
                     sizeof(why)) != 0)
        return true;
    bool leaves = proxy.kind != PROXY_NONE && !proxy_is_loopback(&proxy);
    proxy_wipe(&proxy);
    return leaves;
}

/* The first gateway on whose way a key would be in clear, which makes it anybody's; or NULL. */
static const struct url *clear_url(const struct agent_config *config)
{
    for (size_t i = 0; i < config->url_count && !config->insecure; i++) {
        const struct url *url = &config->urls[i];
        if (!url->is_secure && (!url->is_loopback || leaves_machine(config, url)))
            return url;
    }
    return NULL;
}

const struct url *agent_exposes_key(const struct agent_config *config)
{
    bool has_key = config->key[0] != '\0';
    for (size_t i = 0; i < config->rule_count; i++)
        has_key = has_key || config->rules[i].key[0] != '\0';
    return has_key ? clear_url(config) : NULL;
}

int agent_check_transport(const struct agent_config *config, char *why, size_t why_size)
{
    bool is_poll = config->transport == AGENT_TRANSPORT_POLL;
    for (size_t i = 0; i < config->url_count; i++)
        is_poll = is_poll || config->urls[i].is_poll;
    if (is_poll && config->transport == AGENT_TRANSPORT_WEBSOCKET)
        snprintf(why, why_size,
                 "a URL that is for long poll and the transport websocket exclude each other");
    else if (is_poll && config->dialect == AGENT_DIALECT_HUBBLE)
        snprintf(why, why_size, "Hubble 0.1 has no long poll: give a ws:// or wss:// URL");
    else
        return 0;
    return CULVERT_ERROR_INVALID;
}

/* The link has fallen back to Hubble 0.1 because there was no key to give away. */
static bool was_not_asked_for_hubble(const struct agent *agent)
{
    return agent->config.dialect == AGENT_DIALECT_AUTO && uplink_speaks_hubble(&agent->uplink);
}

static int check(const struct agent *agent, const struct rule *rule, enum rule_part *part,
                 char *why, size_t why_size)
{
    int error = rule_check(rule, part, why, why_size);
    if (error == 0 && rule->key[0] != '\0' && clear_url(&agent->config) != NULL) {
        *part = RULE_KEY;
        snprintf(
            why, why_size,
            "the key would cross the network to a gateway in clear, for its URL is without TLS");
        error = CULVERT_ERROR_INVALID;
    }
    if (error == 0 && rule->key[0] != '\0' && was_not_asked_for_hubble(agent)) {
        *part = RULE_KEY;
        snprintf(
            why, why_size,
            "the gateway speaks Hubble 0.1, which is given no keys unless the agent is started "
            "with --dialect hubble");
        error = CULVERT_ERROR_INVALID;
    }
    return error;
}

/* An agent with a key to give away does not take up with a server that only knows Hubble 0.1. */
static void note_keys(struct agent *agent)
{
    agent->uplink.gives_keys = agent->forwards.key_count > 0;
}

/* ---- from files and the command line ---- */

static int check_list(struct agent *agent, const char *path, const struct forward_list *list)
{
    char why[AGENT_WHY_SIZE];
    enum rule_part part;
    for (size_t i = 0; i < list->count; i++) {
        int error = check(agent, &list->items[i].rule, &part, why, sizeof(why));
        if (error != 0) {
            log_error("%s: forward %zu: %s", path, i + 1, why);
            return error;
        }
    }
    return 0;
}

/* A file that is not named is empty. What is wrong is logged. */
static int read_list(struct agent *agent, const char *path,
                     int (*read)(const char *, struct forward_list *, char *, size_t),
                     struct forward_list *list)
{
    char why[AGENT_WHY_SIZE];
    *list = (struct forward_list){0};
    if (path == NULL)
        return 0;
    int error = read(path, list, why, sizeof(why));
    if (error != 0) {
        log_error("%s", why);
        return error;
    }
    error = check_list(agent, path, list);
    if (error != 0)
        forward_list_deinit(list);
    return error;
}

/* Returns whether it was added; if not, that was logged. */
static bool add_one(struct agent *agent, const struct rule *rule, enum forward_source source)
{
    char why[AGENT_WHY_SIZE];
    struct forward *forward = NULL;
    int error = forward_table_add(&agent->forwards, rule, source, 0, &forward, why, sizeof(why));
    if (error != 0)
        log_error("%s", why);
    else
        note_keys(agent);
    return error == 0;
}

/* Those of the API stay in the state file until the API removes them, port or no port. */
static int keep_all(struct agent *agent, const struct forward_list *list)
{
    char why[AGENT_WHY_SIZE];
    for (size_t i = 0; i < list->count; i++) {
        const struct forward_list_item *item = &list->items[i];
        int error = forward_table_keep(&agent->forwards, &item->rule, FORWARD_API, item->id, why,
                                       sizeof(why));
        if (why[0] != '\0')
            log_error("%s: %s", agent->config.state_file, why);
        if (error != 0)
            return error;
        note_keys(agent);
    }
    return 0;
}

static int save(struct agent *agent, char *why, size_t why_size)
{
    if (agent->config.state_file == NULL)
        return 0;
    return state_file_write(agent->config.state_file, &agent->forwards, why, why_size) == 0
               ? 0
               : CULVERT_ERROR_STORE;
}

/* At once, so that a file that cannot be written is known before anybody relies on it. */
static int keep_state(struct agent *agent, const struct forward_list *state)
{
    char why[AGENT_WHY_SIZE];
    if (keep_all(agent, state) != 0)
        return EXIT_CODE_FAILURE;
    if (save(agent, why, sizeof(why)) == 0)
        return EXIT_CODE_OK;
    log_error("%s", why);
    return EXIT_CODE_FAILURE;
}

int agent_open_forwards(struct agent *agent)
{
    const struct agent_config *config = &agent->config;
    struct forward_list state = {0};
    struct forward_list file = {0};
    size_t bound = 0;
    int code = EXIT_CODE_FAILURE;
    if (read_list(agent, config->state_file, state_file_read, &state) != 0 ||
        read_list(agent, config->forwards_file, forwards_file_read, &file) != 0)
        goto out;
    agent->forwards.last_id = state.last_id;
    for (size_t i = 0; i < config->rule_count; i++)
        bound += add_one(agent, &config->rules[i], FORWARD_RULE);
    for (size_t i = 0; i < file.count; i++)
        bound += add_one(agent, &file.items[i].rule, FORWARD_FILE);
    code = keep_state(agent, &state);
    if (code == EXIT_CODE_OK && bound == 0 && config->rule_count + file.count > 0) {
        log_error("none of the ports could be opened");
        code = EXIT_CODE_NO_PORT;
    }
out:
    forward_list_deinit(&state);
    forward_list_deinit(&file);
    return code;
}

/* Marks the first forward of the file's that says the same and was not marked before. */
static bool mark_same(struct agent *agent, const struct rule *rule)
{
    struct forward *forward = forward_table_first(&agent->forwards);
    for (; forward != NULL; forward = forward_table_next(&agent->forwards, forward)) {
        if (forward->source == FORWARD_FILE && !forward->is_marked &&
            rule_equals(&forward->rule, rule)) {
            forward->is_marked = true;
            return true;
        }
    }
    return false;
}

/* Removes those of the file that were not marked, and takes the marks off. Returns how many. */
static size_t remove_unmarked(struct agent *agent)
{
    size_t removed = 0;
    struct forward *forward = forward_table_first(&agent->forwards);
    while (forward != NULL) {
        struct forward *next = forward_table_next(&agent->forwards, forward);
        if (forward->source == FORWARD_FILE && !forward->is_marked) {
            log_info("no longer forwarding local port %u to %s", forward_port(forward),
                     forward->target);
            forward_remove(forward);
            note_keys(agent);
            removed++;
        } else {
            forward->is_marked = false;
        }
        forward = next;
    }
    return removed;
}

void agent_reload_forwards(struct agent *agent)
{
    struct forward_list file = {0};
    size_t added = 0;
    size_t kept = 0;
    if (agent->is_stopping)
        return;
    forward_table_retry(&agent->forwards);
    if (read_list(agent, agent->config.forwards_file, forwards_file_read, &file) != 0) {
        log_error("the forwards stay as they are");
        return;
    }
    for (size_t i = 0; i < file.count; i++) {
        file.items[i].is_there = mark_same(agent, &file.items[i].rule);
        kept += file.items[i].is_there;
    }
    /* What is gone goes first, so that its port is free for what comes. */
    size_t removed = remove_unmarked(agent);
    for (size_t i = 0; i < file.count; i++) {
        if (!file.items[i].is_there)
            added += add_one(agent, &file.items[i].rule, FORWARD_FILE);
    }
    log_info("%s was read again: %zu added, %zu removed, %zu kept", agent->config.forwards_file,
             added, removed, kept);
    forward_list_deinit(&file);
}

/* ---- from the API ---- */

int agent_make_forward(struct agent *agent, const struct rule *rule, struct forward **forward,
                       enum rule_part *part, char *why, size_t why_size)
{
    struct forward *made = NULL;
    *part = RULE_NONE;
    if (agent->is_stopping) {
        snprintf(why, why_size, "the agent is stopping");
        return CULVERT_ERROR_CLOSED;
    }
    int error = check(agent, rule, part, why, why_size);
    if (error == 0)
        error = forward_table_add(&agent->forwards, rule, FORWARD_API, 0, &made, why, why_size);
    if (error != 0)
        return error;
    error = save(agent, why, why_size);
    if (error != 0) {
        forward_remove(made);
        return error;
    }
    note_keys(agent);
    *forward = made;
    return 0;
}

int agent_drop_forward(struct agent *agent, uint64_t id, char *why, size_t why_size)
{
    struct forward *forward = forward_table_find(&agent->forwards, id);
    if (forward == NULL) {
        snprintf(why, why_size, "there is no forward %" PRIu64, id);
        return CULVERT_ERROR_NOT_FOUND;
    }
    bool is_saved = forward->source == FORWARD_API;
    forward_remove(forward);
    note_keys(agent);
    return is_saved ? save(agent, why, why_size) : 0;
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
