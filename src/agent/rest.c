#include "agent/rest.h"

#include "agent/agent_inner.h"
#include "agent/api_place.h"
#include "agent/openapi.h"
#include "base/error.h"
#include "base/file_version.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/output.h"
#include "base/utf8.h"
#include "net/address.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { SESSIONS_LISTED = 10000 };

struct rest {
    struct agent *agent;
    struct api_server *server;
    struct api_place place;
    struct file_version token_file;
    struct sockaddr_storage own; /* what was denied to those who dial through us */
    bool is_denied;
};

/* ---- what all answers need ---- */

void rest_refuse(struct api_response *response, int status, const char *detail)
{
    /* What stands in it of what was sent may have been cut within a character. */
    char *text = utf8_repair(detail);
    response->status = status;
    snprintf(response->detail, sizeof response->detail, "%s", text != NULL ? text : "");
    memory_free(text);
}

void rest_answer(struct api_response *response, int status, json_t *body)
{
    if (body == NULL) {
        rest_refuse(response, 500, "the agent has run out of memory");
        return;
    }
    response->status = status;
    response->body = body;
}

json_t *rest_text(const char *bytes)
{
    char *text = utf8_repair(bytes);
    json_t *json = text != NULL ? json_string(text) : NULL;
    memory_free(text);
    return json;
}

bool rest_id(const struct api_request *request, uint64_t *id)
{
    return str_parse_number(request->parameter, INT64_MAX, id) == 0;
}

/* ---- status ---- */

static json_t *seconds_since(struct agent *agent, uint64_t time)
{
    return json_real((double)(loop_now(&agent->loop) - time) / 1e6);
}

static void show_status(void *context, const struct api_request *request,
                        struct api_response *response)
{
    struct agent *agent = context;
    bool is_up = agent->dialect != NULL && !agent->is_detached;
    (void)request;
    rest_answer(response, 200,
                json_pack("{s:s, s:s, s:s, s:b, s:s?, s:o, s:o, s:I, s:I}", "name",
                          agent->config.name, "version", CULVERT_VERSION, "gateway",
                          uplink_url_text(&agent->uplink), "connected", (int)is_up, "dialect",
                          is_up ? agent->dialect : NULL, "connected_seconds",
                          is_up ? seconds_since(agent, agent->registered) : json_null(),
                          "uptime_seconds", seconds_since(agent, agent->started), "forwards",
                          (json_int_t)agent->forwards.count, "sessions",
                          (json_int_t)agent->sessions.count));
}

/* ---- sessions ---- */

static json_t *describe_session(struct agent *agent, const struct session *session)
{
    const struct session_subject *subject = &session->subject;
    bool is_out = subject->direction == SESSION_OUT;
    return json_pack(
        "{s:I, s:s, s:o, s:o, s:o, s:i, s:o, s:I, s:I, s:o}", "id", (json_int_t)session->id,
        "direction", is_out ? "out" : "in", "forward",
        is_out ? json_integer((json_int_t)subject->forward) : json_null(), "agent",
        rest_text(subject->agent), "ip", rest_text(subject->host), "remote", (int)subject->port,
        "client", rest_text(subject->client), "sent", (json_int_t)session_sent(session), "received",
        (json_int_t)session_received(session), "seconds", seconds_since(agent, session->since));
}

static void list_sessions(void *context, const struct api_request *request,
                          struct api_response *response)
{
    struct agent *agent = context;
    const struct list *list = &agent->sessions.sessions;
    const struct list_node *node = list_first(list);
    json_t *array = json_array();
    (void)request;
    for (int i = 0; node != NULL && i < SESSIONS_LISTED; i++) {
        const struct session *session = CONTAINER_OF(node, struct session, node);
        if (json_array_append_new(array, describe_session(agent, session)) != 0) {
            json_decref(array);
            rest_answer(response, 200, NULL);
            return;
        }
        node = list_next(list, node);
    }
    rest_answer(
        response, 200,
        json_pack("{s:o, s:I}", "sessions", array, "total", (json_int_t)agent->sessions.count));
}

static void end_session(void *context, const struct api_request *request,
                        struct api_response *response)
{
    struct agent *agent = context;
    uint64_t id = 0;
    if (!rest_id(request, &id) ||
        session_table_end(&agent->sessions, id, "it was ended through the agent's API") != 0)
        rest_refuse(response, 404, "there is no such session; it may have ended");
}

/* ---- the document ---- */

static void show_document(void *context, const struct api_request *request,
                          struct api_response *response)
{
    (void)context;
    (void)request;
    rest_answer(response, 200, json_loadb(openapi_document, openapi_document_size, 0, NULL));
}

static const struct api_route ROUTES[] = {
    {"GET", "/v1/status", false, show_status},
    {"GET", "/v1/forwards", false, rest_list_forwards},
    {"POST", "/v1/forwards", true, rest_add_forward},
    {"GET", "/v1/forwards/{id}", false, rest_show_forward},
    {"DELETE", "/v1/forwards/{id}", false, rest_remove_forward},
    {"GET", "/v1/sessions", false, list_sessions},
    {"DELETE", "/v1/sessions/{id}", false, end_session},
    {"GET", "/v1/openapi.json", false, show_document},
};

/* ---- life ---- */

static int find_token(struct rest *rest, char token[static API_TOKEN_SIZE], char *why,
                      size_t why_size)
{
    const char *path = rest->agent->config.api_token_file;
    return path != NULL ? api_token_read(path, token, why, why_size)
                        : api_place_open(&rest->place, token, why, why_size);
}

static const char *token_path(const struct rest *rest)
{
    const char *path = rest->agent->config.api_token_file;
    return path != NULL ? path : rest->place.token_path;
}

void rest_reload_token(struct rest *rest)
{
    char token[API_TOKEN_SIZE] = "";
    char why[AGENT_WHY_SIZE];
    (void)file_version_update(&rest->token_file, token_path(rest));
    int error = api_token_read(token_path(rest), token, why, sizeof why);
    if (error == 0)
        error = api_server_set_token(rest->server, token);
    explicit_bzero(token, sizeof token);
    if (error != 0)
        log_warning("the API's token: %s; the token that was read before stays valid", why);
    else
        log_info("read the API's token in %s again", token_path(rest));
}

static void refresh_token(void *context)
{
    const struct agent *agent = context;
    struct rest *rest = agent->rest;
    if (rest != NULL && file_version_update(&rest->token_file, token_path(rest)))
        rest_reload_token(rest);
}

/* An agent that reaches this one must not reach its API. */
static int deny_own_port(struct rest *rest, char *why, size_t why_size)
{
    uint16_t port = api_server_port(rest->server);
    if (port == 0)
        return 0;
    int error = address_parse("0.0.0.0", port, &rest->own);
    if (error == 0)
        error = whitelist_deny(&rest->agent->config.whitelist, &rest->own);
    rest->is_denied = error == 0;
    if (error != 0)
        snprintf(why, why_size, "%s", error_text(error));
    return error;
}

static int serve(struct rest *rest, const struct api_address *address, const char *token, char *why,
                 size_t why_size)
{
    bool is_socket = address->path[0] != '\0';
    struct api_server_config config = {
        .host = is_socket ? NULL : address->host,
        .port = address->port,
        .path = is_socket ? address->path : NULL,
        .token = token,
        .refresh_token = refresh_token,
        .routes = ROUTES,
        .route_count = sizeof ROUTES / sizeof *ROUTES,
        .context = rest->agent,
    };
    int error = api_server_new(&rest->agent->loop, &config, &rest->server, why, why_size);
    return error != 0 ? error : deny_own_port(rest, why, why_size);
}

/* Tells clients and people where it is. */
static int announce(struct rest *rest, const struct api_address *address, char *why,
                    size_t why_size)
{
    char url[API_URL_SIZE];
    api_server_text(rest->server, url, sizeof url);
    if (rest->agent->config.api_token_file == NULL) {
        int error = api_place_publish(&rest->place, url, why, why_size);
        if (error != 0)
            return error;
    }
    if (!address->is_loopback)
        log_warning("the API on %s is plain HTTP and open to other machines: who can listen on the "
                    "way there learns its token",
                    url);
    if (rest->agent->config.announces)
        output_print("api on %s", url);
    return 0;
}

int rest_open(struct agent *agent, struct rest **rest, char *why, size_t why_size)
{
    char token[API_TOKEN_SIZE] = "";
    struct api_address address;
    struct rest *opened = NULL;
    int error = api_address_parse(agent->config.api, &address, why, why_size);
    if (error != 0)
        return error;
    opened = memory_allocate_zero(sizeof *opened);
    if (opened == NULL) {
        snprintf(why, why_size, "%s", error_text(CULVERT_ERROR_NO_MEMORY));
        return CULVERT_ERROR_NO_MEMORY;
    }
    opened->agent = agent;
    error = find_token(opened, token, why, why_size);
    (void)file_version_update(&opened->token_file, token_path(opened));
    if (error == 0)
        error = serve(opened, &address, token, why, why_size);
    explicit_bzero(token, sizeof token);
    if (error == 0)
        error = announce(opened, &address, why, why_size);
    if (error != 0)
        rest_close(opened);
    else
        *rest = opened;
    return error;
}

void rest_close(struct rest *rest)
{
    if (rest == NULL)
        return;
    api_place_withdraw(&rest->place);
    if (rest->is_denied)
        whitelist_allow_again(&rest->agent->config.whitelist, &rest->own);
    if (rest->server != NULL)
        api_server_close(rest->server);
    memory_free(rest);
}
