#include "api/api_request.h"

#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void api_request_refuse(struct api_call *call, int status, const char *format, ...)
{
    va_list arguments;
    call->problem.status = status;
    va_start(arguments, format);
    vsnprintf(call->problem.detail, sizeof call->problem.detail, format, arguments);
    va_end(arguments);
}

/* RFC 9112 §3.2.2: a target may name the server, which then counts instead of Host. */
static void split_target(struct text target, struct text *authority, struct text *path)
{
    static const char SCHEME[] = "http://";
    const size_t size = sizeof SCHEME - 1;
    if (target.size > size && text_equals_ignore_case((struct text){target.data, size}, SCHEME)) {
        const char *start = target.data + size;
        const char *slash = memchr(start, '/', target.size - size);
        const char *end = slash != NULL ? slash : target.data + target.size;
        *authority = (struct text){start, (size_t)(end - start)};
        target = (struct text){end, target.size - size - authority->size};
    }
    const char *query = memchr(target.data, '?', target.size);
    *path = (struct text){target.data, query != NULL ? (size_t)(query - target.data) : target.size};
}

static void check_caller(const struct api_access *access, const struct http1_head *head,
                         struct text *path, struct api_call *call)
{
    const struct http1_field *host = http1_find(head, "Host");
    struct text authority = host != NULL ? host->value : TEXT_NULL;
    bool is_own = host != NULL && api_access_is_own(access, authority);
    split_target(head->target, &authority, path);
    if (!is_own || !api_access_is_own(access, authority)) {
        api_request_refuse(call, 403, "Host \"%.*s\" is not this API's own address",
                           (int)(authority.size < 100 ? authority.size : 100),
                           authority.size > 0 ? authority.data : "");
    } else if (!api_access_takes_origin(access, head)) {
        api_request_refuse(call, 403,
                           "the API takes no calls of web pages from elsewhere (Origin)");
    } else if (!api_access_knows_token(access, head)) {
        call->is_unknown_caller = true;
        api_request_refuse(call, 401,
                           "the API's token is missing or wrong; send Authorization: Bearer TOKEN");
    }
}

static void find_route(const struct api_route *routes, size_t count, const struct http1_head *head,
                       struct text path, struct api_call *call)
{
    struct text parameter;
    const struct api_route *route =
        api_route_find(routes, count, head->method, path, &parameter, call->allow);
    if (route != NULL && text_copy(parameter, call->parameter, sizeof call->parameter) == 0)
        call->route = route;
    else if (call->allow[0] != '\0')
        api_request_refuse(call, 405, "this path takes %s", call->allow);
    else
        api_request_refuse(call, 404, "the API has nothing at this path");
}

/* RFC 9110 §8.3.1: type and subtype in any case, parameters behind a semicolon. */
static bool is_json(const struct http1_head *head)
{
    const struct http1_field *field = http1_find(head, "Content-Type");
    if (field == NULL)
        return false;
    struct text type = field->value;
    const char *end = memchr(type.data, ';', type.size);
    if (end != NULL)
        type.size = (size_t)(end - type.data);
    while (type.size > 0 && (type.data[type.size - 1] == ' ' || type.data[type.size - 1] == '\t'))
        type.size--;
    return text_equals_ignore_case(type, "application/json");
}

/* Sets body_size to what the connection still brings, also of a request that is refused. */
static void measure_body(const struct http1_head *head, struct api_call *call)
{
    uint64_t length = 0;
    int error = http1_content_length(head, &length);
    if (error == 0 && length <= API_MAX_BODY) {
        call->body_size = (size_t)length;
        return;
    }
    call->keeps_open = false;
    if (call->problem.status != 0)
        return;
    if (error == CULVERT_ERROR_UNSUPPORTED)
        api_request_refuse(call, 411,
                           "send the body with a Content-Length and without a transfer "
                           "coding");
    else if (error != 0)
        api_request_refuse(call, 400, "Content-Length is not one number");
    else
        api_request_refuse(call, 413, "a body has at most %d bytes", API_MAX_BODY);
}

static void check_body(const struct http1_head *head, struct api_call *call)
{
    const struct http1_field *expect = http1_find(head, "Expect");
    call->expects_continue =
        expect != NULL && text_equals_ignore_case(expect->value, "100-continue");
    if (!call->route->has_body) {
        if (call->body_size > 0)
            api_request_refuse(call, 400, "%s takes no body here", call->route->method);
    } else if (http1_find(head, "Content-Length") == NULL) {
        api_request_refuse(call, 411, "send the body with a Content-Length");
    } else if (!is_json(head) || http1_find(head, "Content-Encoding") != NULL) {
        api_request_refuse(call, 415, "send the body as plain Content-Type: application/json");
    }
    if (call->problem.status == 0 && expect != NULL && !call->expects_continue)
        api_request_refuse(call, 417, "of Expect, only 100-continue is known");
}

void api_request_malformed(struct api_call *call, int error)
{
    *call = (struct api_call){0};
    if (error == CULVERT_ERROR_TOO_LARGE)
        api_request_refuse(call, 431, "a head has at most %d bytes in %d fields", HTTP1_MAX_HEAD,
                           HTTP1_MAX_FIELDS);
    else
        api_request_refuse(call, 400, "this is not a request of HTTP/1.1");
}

void api_request_head(const struct api_access *access, const struct api_route *routes, size_t count,
                      const struct http1_head *head, struct api_call *call)
{
    struct text path = TEXT_NULL;
    *call = (struct api_call){
        .is_head = text_equals(head->method, "HEAD"),
        .keeps_open = head->minor_version == 1 && !http1_has_token(head, "Connection", "close"),
    };
    check_caller(access, head, &path, call);
    if (call->problem.status == 0)
        find_route(routes, count, head, path, call);
    measure_body(head, call);
    if (call->problem.status == 0)
        check_body(head, call);
    if (call->problem.status != 0 && call->body_size > 0)
        call->keeps_open = false; /* the body is not read, so nothing behind it can be */
}

/* What is wrong with JSON, without the piece of it that jansson adds, which may be secret. */
static void refuse_json(struct api_call *call, const json_error_t *error)
{
    const char *near = strstr(error->text, " near '");
    int size = near != NULL ? (int)(near - error->text) : (int)strlen(error->text);
    api_request_refuse(call, 400, "the body is not JSON: line %d, column %d: %.*s", error->line,
                       error->column, size, error->text);
}

json_t *api_request_body(struct api_call *call, const uint8_t *body)
{
    json_error_t error;
    memset(&error, 0, sizeof error);
    json_t *json = json_loadb((const char *)body, call->body_size, JSON_REJECT_DUPLICATES, &error);
    if (json == NULL && json_error_code(&error) == json_error_out_of_memory)
        api_request_refuse(call, 503, "there is no memory for this at the moment");
    else if (json == NULL)
        refuse_json(call, &error);
    return json;
}
