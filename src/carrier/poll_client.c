#include "carrier/poll_client.h"

#include "base/error.h"
#include "base/memory.h"
#include "carrier/poll_carrier.h"
#include "carrier/poll_reply.h"
#include "net/http_requests.h"

#include <stdio.h>
#include <string.h>

enum { URL_SIZE = sizeof(struct url) + 64 };

struct poll_client {
    struct loop *loop;
    struct poll_carrier_parts parts; /* `requests` is NULL once the carrier has them */
    void (*done)(void *holder, const struct poll_client_result *result);
    void *holder;
    bool is_secure;
    struct loop_task burial;
};

static void bury(struct loop_task *task)
{
    memory_free(CONTAINER_OF(task, struct poll_client, burial));
}

void poll_client_cancel(struct poll_client *client)
{
    if (client->parts.requests != NULL)
        http_requests_close(client->parts.requests);
    client->parts.requests = NULL;
    client->burial.run = bury;
    loop_bury(client->loop, &client->burial);
}

static void finish(struct poll_client *client, const struct poll_client_result *result)
{
    client->done(client->holder, result);
    poll_client_cancel(client);
}

/* No connection, or what answers on it is none that we can talk with. */
static void fail(struct poll_client *client, int error, const char *why)
{
    bool is_foreign = error == CULVERT_ERROR_PROTOCOL || error == CULVERT_ERROR_TOO_LARGE;
    bool is_direct = http_requests_proxy(client->parts.requests)->kind == PROXY_NONE;
    struct poll_client_result result = {
        .failure = is_foreign ? POLL_CLIENT_REFUSED : POLL_CLIENT_UNREACHABLE,
        .may_want_tls = is_direct && !client->is_secure && error == CULVERT_ERROR_CLOSED,
        .why = why,
    };
    finish(client, &result);
}

static void refuse(struct poll_client *client, const struct poll_reply *reply)
{
    struct poll_client_result result = {.why = reply->why, .retry_after = reply->retry_after};
    switch (reply->kind) {
    case POLL_REPLY_BUSY:
        result.failure = POLL_CLIENT_BUSY;
        break;
    case POLL_REPLY_AGAIN:
        result.failure = POLL_CLIENT_UNREACHABLE;
        break;
    case POLL_REPLY_OK:
    case POLL_REPLY_NOTHING:
    case POLL_REPLY_TOO_LARGE:
    case POLL_REPLY_GONE:
    case POLL_REPLY_REFUSED:
        result.failure = POLL_CLIENT_REFUSED;
        break;
    }
    finish(client, &result);
}

static void open_carrier(struct poll_client *client, const struct http_answer *answer,
                         const struct poll_reply *reply)
{
    struct poll_client_result result = {.peer = answer->peer};
    memcpy(result.nonce, reply->nonce, sizeof(result.nonce));
    memcpy(client->parts.id, reply->id, sizeof(client->parts.id));
    int error = http_request_new(client->parts.requests, &client->parts.down);
    if (error == 0)
        error = poll_carrier_new(client->loop, &client->parts, &result.carrier);
    if (error != 0) {
        fail(client, error, error_text(error));
        return;
    }
    client->parts.requests = NULL;
    finish(client, &result);
}

static void on_answer(void *holder, const struct http_answer *answer)
{
    struct poll_client *client = holder;
    struct poll_reply reply;
    char label[PROXY_LABEL_SIZE];
    if (answer->error != 0) {
        fail(client, answer->error, answer->why);
        return;
    }
    const struct proxy *proxy = http_requests_proxy(client->parts.requests);
    proxy_label(proxy, label);
    poll_reply_read(answer->head, answer->head_size, proxy->kind != PROXY_NONE ? label : NULL,
                    &reply);
    if (reply.is_open && answer->body->bytes == 0)
        open_carrier(client, answer, &reply);
    else
        refuse(client, &reply);
}

static int send_open(struct poll_client *client, const struct poll_client_request *request)
{
    char link[sizeof("Culvert-Link: ") + POLL_ID_TEXT_SIZE] = "Culvert-Link: ";
    const char *fields[] = {"Culvert-Poll: open", "Content-Type: application/octet-stream",
                            "Cache-Control: no-store", link};
    struct http_post post = {
        .fields = fields,
        .field_count = request->link != NULL ? 4 : 3,
        .timeout = request->timeout,
        .done = on_answer,
        .holder = client,
    };
    if (request->link != NULL)
        poll_write_id(request->link, link + strlen(link));
    int error = http_request_new(client->parts.requests, &client->parts.up);
    return error != 0 ? error : http_request_post(client->parts.up, &post);
}

int poll_client_open(struct loop *loop, const struct poll_client_request *request,
                     struct poll_client **client)
{
    char host[sizeof(request->url->host) + 16];
    char text[URL_SIZE];
    struct http_target target = {
        .url = text, .proxy = request->proxy, .ca = request->ca, .insecure = request->insecure};
    int error = url_host_field(request->url, host, sizeof(host));
    if (error != 0)
        return error;
    snprintf(text, sizeof(text), "%s://%s%s", request->url->is_secure ? "https" : "http", host,
             request->url->target);
    struct poll_client *new = memory_allocate_zero(sizeof(*new));
    if (new == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    new->loop = loop;
    new->is_secure = request->url->is_secure;
    new->done = request->done;
    new->holder = request->holder;
    error = http_requests_new(loop, &target, &new->parts.requests);
    if (error == 0)
        error = send_open(new, request);
    if (error != 0) {
        poll_client_cancel(new);
        return error;
    }
    *client = new;
    return 0;
}
