#include "api/api_connection.h"

#include "api/api_answer.h"
#include "api/api_request.h"
#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "http/http_connection.h"
#include "net/address.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    REFUSAL_MILLISECONDS =
        200, /* an unknown caller waits for his answer, so that he guesses slowly */
    COMPLAINT_INTERVAL = 1000000, /* microseconds */
};

static const struct http_connection_limits LIMITS = {
    .head = HTTP1_MAX_HEAD,
    .first_time = (uint64_t)API_REQUEST_TIME * 1000, /* a client connects to send a request */
    .idle_time = (uint64_t)API_IDLE_TIME * 1000,
    .request_time = (uint64_t)API_REQUEST_TIME * 1000,
    .answer_time = (uint64_t)API_REQUEST_TIME * 1000,
};

struct api_connection {
    struct list_node node;
    struct api_site *site;
    struct http_connection http;
    struct loop_task buried;
    bool is_delayed; /* its refusal waits */
    bool has_served; /* a request of somebody with the token */
    struct api_access access;
    struct api_call call;
    uint8_t *body;    /* NULL: none */
    size_t body_used; /* bytes of it that have come */
    struct api_answer answer;
};

static struct api_connection *of_http(struct http_connection *http)
{
    return CONTAINER_OF(http, struct api_connection, http);
}

/* ---- closing ---- */

static void free_connection(struct loop_task *task)
{
    struct api_connection *connection = CONTAINER_OF(task, struct api_connection, buried);
    memory_free(connection);
}

/* Requests bring keys. */
static void drop_body(struct api_connection *connection)
{
    if (connection->body != NULL)
        explicit_bzero(connection->body, connection->call.body_size);
    memory_free(connection->body);
    connection->body = NULL;
    connection->body_used = 0;
}

static bool is_closed(const struct api_connection *connection)
{
    return connection->http.state == HTTP_CONNECTION_CLOSED;
}

static void close_connection(struct api_connection *connection)
{
    if (is_closed(connection))
        return;
    list_remove(&connection->node);
    connection->site->connection_count--;
    drop_body(connection);
    api_answer_deinit(&connection->answer);
    connection->buried.run = free_connection;
    http_connection_close(&connection->http, &connection->buried);
    connection->site->changed(connection->site);
}

/* ---- answering ---- */

static void give_answer(struct api_connection *connection, struct api_response *response)
{
    int error =
        api_answer_compose(&connection->answer, &connection->call, response, (long long)time(NULL));
    if (error != 0) {
        log_warning("the API has no memory for an answer");
        close_connection(connection);
        return;
    }
    http_connection_answer(&connection->http, connection->call.keeps_open);
}

static void complain(struct api_connection *connection)
{
    struct api_site *site = connection->site;
    uint64_t now = loop_now(site->loop);
    if (site->last_complaint != 0 && now - site->last_complaint < COMPLAINT_INTERVAL)
        return;
    char peer[ADDRESS_TEXT_SIZE];
    site->last_complaint = now;
    conn_peer_text(connection->http.conn, peer, sizeof peer);
    log_warning("the API refused a call from %s: %s", peer, connection->call.problem.detail);
}

static void refuse(struct api_connection *connection)
{
    struct api_call *call = &connection->call;
    if (call->problem.status == 401 || call->problem.status == 403)
        complain(connection);
    connection->is_delayed = call->is_unknown_caller;
    if (connection->is_delayed)
        http_connection_wait(&connection->http, REFUSAL_MILLISECONDS);
    else
        give_answer(connection, &call->problem);
}

static void run_request(struct api_connection *connection)
{
    struct api_call *call = &connection->call;
    struct api_request request = {
        .method = text_of(call->route->method),
        .parameter = text_of(call->parameter),
    };
    struct api_response response = {0};
    json_t *body = NULL;
    if (call->route->has_body) {
        body = api_request_body(call, connection->body);
        if (body == NULL) {
            give_answer(connection, &call->problem);
            return;
        }
    }
    request.body = body;
    connection->has_served = true;
    call->route->handle(connection->site->context, &request, &response);
    json_decref(body);
    log_debug("API: %s %s %s: %d", call->route->method, call->route->path, call->parameter,
              response.status);
    if (is_closed(connection)) /* the handler ended the server */
        json_decref(response.body);
    else
        give_answer(connection, &response);
}

/* ---- events ---- */

static void begin_body(struct api_connection *connection)
{
    struct api_call *call = &connection->call;
    connection->body = memory_allocate(call->body_size);
    if (connection->body == NULL) {
        log_warning("the API has no memory for a request");
        close_connection(connection);
        return;
    }
    http_connection_read_body(&connection->http, call->body_size, call->expects_continue);
}

static void on_head(struct http_connection *http, const struct http1_head *head)
{
    struct api_connection *connection = of_http(http);
    struct api_site *site = connection->site;
    if (site->refresh_token != NULL)
        site->refresh_token(site->context);
    api_request_head(&connection->access, site->routes, site->route_count, head, &connection->call);
    if (connection->call.problem.status != 0)
        refuse(connection);
    else if (connection->call.body_size > 0)
        begin_body(connection);
    else
        run_request(connection);
}

static void on_malformed(struct http_connection *http, int error)
{
    struct api_connection *connection = of_http(http);
    api_request_malformed(&connection->call, error);
    refuse(connection);
}

static void *on_body_space(struct http_connection *http, size_t *room)
{
    struct api_connection *connection = of_http(http);
    *room = connection->call.body_size - connection->body_used;
    return connection->body + connection->body_used;
}

static void on_body_came(struct http_connection *http, size_t size, bool is_last)
{
    struct api_connection *connection = of_http(http);
    connection->body_used += size;
    if (is_last)
        run_request(connection);
}

static int on_answer_vectors(struct http_connection *http, struct iovec *vectors, int max)
{
    const struct api_answer *answer = &of_http(http)->answer;
    (void)max;
    *vectors = (struct iovec){answer->data + answer->sent, answer->size - answer->sent};
    return answer->sent < answer->size ? 1 : 0;
}

static void on_answer_written(struct http_connection *http, size_t size)
{
    of_http(http)->answer.sent += size;
}

static void on_answered(struct http_connection *http)
{
    struct api_connection *connection = of_http(http);
    api_answer_deinit(&connection->answer);
    drop_body(connection);
    connection->call = (struct api_call){0};
    connection->is_delayed = false;
}

static void on_timed_out(struct http_connection *http)
{
    struct api_connection *connection = of_http(http);
    if (!connection->is_delayed) { /* RFC 9110 §15.5.9 */
        connection->call.keeps_open = false;
        api_request_refuse(&connection->call, 408, "the request did not come within %d seconds",
                           API_REQUEST_TIME);
    }
    give_answer(connection, &connection->call.problem);
}

static void on_changed(struct http_connection *http)
{
    struct api_site *site = of_http(http)->site;
    site->changed(site);
}

static void on_lost(struct http_connection *http, int error)
{
    if (error == CULVERT_ERROR_NO_MEMORY)
        log_warning("the API has no memory for a request");
    close_connection(of_http(http));
}

static const struct http_connection_events EVENTS = {
    .head = on_head,
    .malformed = on_malformed,
    .body_space = on_body_space,
    .body_came = on_body_came,
    .answer_vectors = on_answer_vectors,
    .answer_written = on_answer_written,
    .answered = on_answered,
    .timed_out = on_timed_out,
    .changed = on_changed,
    .lost = on_lost,
};

/* ---- opening ---- */

int api_connection_new(struct api_site *site, int fd)
{
    struct sockaddr_storage own = {.ss_family = AF_UNSPEC};
    socklen_t size = sizeof own;
    struct api_connection *new = memory_allocate_zero(sizeof *new);
    int error = CULVERT_ERROR_NO_MEMORY;
    if (new == NULL)
        goto failed;
    getsockname(fd, (struct sockaddr *)&own, &size);
    if (own.ss_family != AF_UNIX)
        conn_tune_tcp(fd);
    api_access_init(&new->access, site->token, site->given, &own);
    new->site = site;
    error = http_connection_init(&new->http, site->loop, fd, &LIMITS, &EVENTS);
    if (error != 0)
        goto failed;
    list_append(&site->connections, &new->node);
    site->connection_count++;
    site->changed(site);
    return 0;
failed:
    close(fd);
    memory_free(new);
    return error;
}

/* Whether it is no loss: it rests after a request, or has had its time and is nobody's yet. What is
 * new is given the time to say who it is, however many come at once. */
static bool is_dispensable(const struct api_connection *connection, uint64_t now)
{
    bool is_old = now - connection->http.since >= (uint64_t)API_CONNECTION_GRACE * 1000;
    switch (connection->http.state) {
    case HTTP_CONNECTION_IDLE:
        return connection->has_served || is_old;
    case HTTP_CONNECTION_HEAD:
    case HTTP_CONNECTION_WAIT:
    case HTTP_CONNECTION_LINGER:
        return is_old;
    default:
        return false;
    }
}

static struct api_connection *find_dispensable(const struct api_site *site)
{
    uint64_t now = loop_now(site->loop);
    struct api_connection *oldest = NULL;
    for (struct list_node *node = list_first(&site->connections); node != NULL;
         node = list_next(&site->connections, node)) {
        struct api_connection *connection = CONTAINER_OF(node, struct api_connection, node);
        if (is_dispensable(connection, now) &&
            (oldest == NULL || connection->http.since < oldest->http.since))
            oldest = connection;
    }
    return oldest;
}

bool api_connection_has_room(const struct api_site *site)
{
    return site->connection_count < API_MAX_CONNECTIONS || find_dispensable(site) != NULL;
}

void api_connection_make_room(struct api_site *site)
{
    if (site->connection_count < API_MAX_CONNECTIONS)
        return;
    struct api_connection *oldest = find_dispensable(site);
    if (oldest != NULL)
        close_connection(oldest);
}

void api_connection_close_all(struct api_site *site)
{
    struct list_node *node;
    while ((node = list_first(&site->connections)) != NULL)
        close_connection(CONTAINER_OF(node, struct api_connection, node));
}
