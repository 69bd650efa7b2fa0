#include "api/api_test_routes.h"

#include <stdio.h>
#include <string.h>

static void count(void *context)
{
    ((struct api_test_calls *)context)->count++;
}

static void list_things(void *context, const struct api_request *request,
                        struct api_response *response)
{
    (void)request;
    count(context);
    response->body = json_pack("{s:[]}", "things");
}

static void add_thing(void *context, const struct api_request *request,
                      struct api_response *response)
{
    count(context);
    const char *name = json_string_value(json_object_get(request->body, "name"));
    if (name == NULL) {
        response->status = 400;
        snprintf(response->detail, sizeof response->detail, "name is missing");
        snprintf(response->field, sizeof response->field, "name");
        return;
    }
    response->status = 201;
    snprintf(response->location, sizeof response->location, "/v1/things/%s", name);
    response->body = json_pack("{s:s}", "name", name);
}

static void get_thing(void *context, const struct api_request *request,
                      struct api_response *response)
{
    count(context);
    response->body =
        json_pack("{s:s%}", "name", request->parameter.data, (int)request->parameter.size);
}

static void remove_thing(void *context, const struct api_request *request,
                         struct api_response *response)
{
    (void)request;
    (void)response;
    count(context);
}

/* More than a socket's buffers hold. */
static void list_much(void *context, const struct api_request *request,
                      struct api_response *response)
{
    static char much[8 * 1024 * 1024];
    (void)request;
    count(context);
    memset(much, 'x', sizeof much - 1);
    response->body = json_pack("[s]", much);
}

static void end(void *context, const struct api_request *request, struct api_response *response)
{
    struct api_test_calls *calls = context;
    (void)request;
    count(context);
    api_server_close(calls->to_close);
    calls->to_close = NULL;
    response->body = json_object();
}

const struct api_route api_test_routes[API_TEST_ROUTES] = {
    {"GET", "/v1/things", false, list_things},
    {"POST", "/v1/things", true, add_thing},
    {"GET", "/v1/things/{id}", false, get_thing},
    {"DELETE", "/v1/things/{id}", false, remove_thing},
    {"GET", "/v1/much", false, list_much},
    {"POST", "/v1/end", true, end},
};
