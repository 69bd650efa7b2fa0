#include "api/api_connection.h"

#include "api/api_answer.h"
#include "api/api_request.h"
#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "net/address.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    FIRST_CAPACITY = 4 * 1024,
    REFUSAL_MILLISECONDS =
        200, /* an unknown caller waits for his answer, so that he guesses slowly */
    LINGER_SECONDS = 2,
    LINGER_MAX = 1024 * 1024,
    COMPLAINT_INTERVAL = 1000000, /* microseconds */
};

enum state {
    STATE_IDLE,   /* no byte of a request is there */
    STATE_HEAD,   /* some of a request's head is */
    STATE_BODY,   /* its head is, some of its body is not */
    STATE_DELAY,  /* its refusal waits */
    STATE_ANSWER, /* its answer is being written */
    STATE_LINGER, /* the last answer is written; what still comes is thrown away, since a reset for
                     unread input could overtake the answer (RFC 9112 §9.6) */
    STATE_CLOSED,
};

struct api_connection {
    struct list_node node;
    struct api_site *site;
    struct conn *conn;
    struct loop_timer timer;
    struct loop_task next; /* looks at what was read ahead, a turn after the last request */
    struct loop_task buried;
    enum state state;
    bool has_served; /* a request of somebody with the token */
    uint64_t since;  /* when it came into this state */
    struct api_access access;
    struct api_call call;
    uint8_t *input;
    size_t input_size;
    size_t input_capacity;
    size_t lingered;
    struct api_answer answer;
};

static void proceed(struct api_connection *connection);

/* ---- closing ---- */

static void free_connection(struct loop_task *task)
{
    struct api_connection *connection = CONTAINER_OF(task, struct api_connection, buried);
    memory_free(connection);
}

/* Requests bring tokens and keys. */
static void drop_input(struct api_connection *connection)
{
    if (connection->input != NULL)
        explicit_bzero(connection->input, connection->input_capacity);
    memory_free(connection->input);
    connection->input = NULL;
    connection->input_size = connection->input_capacity = 0;
}

static void close_connection(struct api_connection *connection)
{
    if (connection->state == STATE_CLOSED)
        return;
    connection->state = STATE_CLOSED;
    list_remove(&connection->node);
    connection->site->connection_count--;
    loop_task_cancel(&connection->next);
    drop_input(connection);
    api_answer_deinit(&connection->answer);
    conn_close(connection->conn, false);
    connection->buried.run = free_connection;
    loop_timer_close(&connection->timer, &connection->buried);
    connection->site->changed(connection->site);
}

/* ---- states ---- */

static void enter(struct api_connection *connection, enum state state)
{
    struct api_site *site = connection->site;
    bool reads =
        state == STATE_IDLE || state == STATE_HEAD || state == STATE_BODY || state == STATE_LINGER;
    uint64_t milliseconds = (uint64_t)API_REQUEST_TIME * 1000;
    /* The time of a request runs from its first byte to its last. */
    bool goes_on = (connection->state == STATE_HEAD || connection->state == STATE_BODY) &&
                   (state == STATE_HEAD || state == STATE_BODY);

    connection->state = state;
    connection->since = loop_now(site->loop);
    switch (state) {
    case STATE_IDLE:
        milliseconds = (uint64_t)API_IDLE_TIME * 1000;
        break;
    case STATE_DELAY:
        milliseconds = REFUSAL_MILLISECONDS;
        break;
    case STATE_LINGER:
        milliseconds = (uint64_t)LINGER_SECONDS * 1000;
        break;
    default:
        break;
    }
    if (!goes_on)
        loop_timer_start(&connection->timer, milliseconds);
    if (reads)
        conn_want(connection->conn, CONN_READ);
    else
        conn_want(connection->conn, state == STATE_ANSWER ? CONN_WRITE : CONN_ERROR);
    site->changed(site);
}

/* ---- answering ---- */

/* The request is done: what was read behind it moves to the front. */
static void drop_request(struct api_connection *connection)
{
    size_t size = connection->call.head_size + connection->call.body_size;
    if (size >= connection->input_size) {
        drop_input(connection);
        return;
    }
    size_t rest = connection->input_size - size;
    memmove(connection->input, connection->input + size, rest);
    explicit_bzero(connection->input + rest, size);
    connection->input_size = rest;
}

static void end_answer(struct api_connection *connection)
{
    api_answer_deinit(&connection->answer);
    if (!connection->call.keeps_open) {
        drop_input(connection);
        conn_shutdown(connection->conn);
        enter(connection, STATE_LINGER);
        return;
    }
    drop_request(connection);
    enter(connection, connection->input_size > 0 ? STATE_HEAD : STATE_IDLE);
    /* One that has sent many requests at once does not keep the loop from the others. */
    if (connection->input_size > 0)
        loop_defer_next(connection->site->loop, &connection->next);
}

static void write_answer(struct api_connection *connection)
{
    struct api_answer *answer = &connection->answer;
    while (answer->sent < answer->size) {
        struct iovec vector = {answer->data + answer->sent, answer->size - answer->sent};
        ssize_t sent = conn_write(connection->conn, &vector, 1);
        if (sent == -EAGAIN)
            return;
        if (sent < 0) {
            close_connection(connection);
            return;
        }
        answer->sent += (size_t)sent;
    }
    end_answer(connection);
}

static void give_answer(struct api_connection *connection, struct api_response *response)
{
    int error =
        api_answer_compose(&connection->answer, &connection->call, response, (long long)time(NULL));
    if (error != 0) {
        log_warning("the API has no memory for an answer");
        close_connection(connection);
        return;
    }
    enter(connection, STATE_ANSWER);
    write_answer(connection);
}

static void complain(struct api_connection *connection)
{
    struct api_site *site = connection->site;
    uint64_t now = loop_now(site->loop);
    if (site->last_complaint != 0 && now - site->last_complaint < COMPLAINT_INTERVAL)
        return;
    char peer[ADDRESS_TEXT_SIZE];
    site->last_complaint = now;
    conn_peer_text(connection->conn, peer, sizeof peer);
    log_warning("the API refused a call from %s: %s", peer, connection->call.problem.detail);
}

static void refuse(struct api_connection *connection)
{
    struct api_call *call = &connection->call;
    if (call->problem.status == 401 || call->problem.status == 403)
        complain(connection);
    if (call->is_unknown_caller)
        enter(connection, STATE_DELAY);
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
        body = api_request_body(call, connection->input + call->head_size);
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
    if (connection->state == STATE_CLOSED) /* the handler ended the server */
        json_decref(response.body);
    else
        give_answer(connection, &response);
}

/* ---- reading ---- */

static void send_continue(struct api_connection *connection)
{
    static const char WORD[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct iovec vector = {(void *)(uintptr_t)WORD, sizeof WORD - 1};
    connection->call.expects_continue = false; /* said once */
    /* A socket that has no room for this much is no loss: nothing but answers is written to it,
     * and the client does not wait for ever (RFC 9110 §10.1.1). */
    if (conn_write(connection->conn, &vector, 1) != (ssize_t)vector.iov_len)
        close_connection(connection);
}

/* Looks at what was read. */
static void proceed(struct api_connection *connection)
{
    struct api_site *site = connection->site;
    struct api_call *call = &connection->call;
    if (connection->state == STATE_HEAD) {
        if (site->refresh_token != NULL)
            site->refresh_token(site->context);
        if (api_request_head(&connection->access, site->routes, site->route_count,
                             connection->input, connection->input_size, call) == CULVERT_NEED_MORE)
            return;
        if (call->problem.status != 0) {
            refuse(connection);
            return;
        }
        enter(connection, STATE_BODY);
    }
    if (connection->state != STATE_BODY)
        return;
    if (connection->input_size - call->head_size >= call->body_size)
        run_request(connection);
    else if (call->expects_continue)
        send_continue(connection);
}

static void run_next(struct loop_task *task)
{
    proceed(CONTAINER_OF(task, struct api_connection, next));
}

static int make_room(struct api_connection *connection)
{
    if (connection->input_size < connection->input_capacity)
        return 0;
    size_t capacity =
        connection->input_capacity == 0 ? FIRST_CAPACITY : 2 * connection->input_capacity;
    if (capacity > API_REQUEST_MAX)
        capacity = API_REQUEST_MAX;
    uint8_t *input = memory_allocate(capacity);
    if (input == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    size_t size = connection->input_size;
    if (size > 0)
        memcpy(input, connection->input, size);
    drop_input(connection);
    connection->input = input;
    connection->input_size = size;
    connection->input_capacity = capacity;
    return 0;
}

static void throw_away(struct api_connection *connection)
{
    uint8_t waste[4096];
    ssize_t got = conn_read(connection->conn, waste, sizeof waste);
    if (got == -EAGAIN)
        return;
    connection->lingered += got > 0 ? (size_t)got : 0;
    if (got <= 0 || connection->lingered > LINGER_MAX)
        close_connection(connection);
}

static void on_readable(struct conn *conn)
{
    struct api_connection *connection = conn_holder(conn);
    if (connection->state == STATE_LINGER) {
        throw_away(connection);
        return;
    }
    if (connection->state == STATE_DELAY || connection->state == STATE_ANSWER) {
        if (conn_take_error(conn) != 0)
            close_connection(connection);
        return;
    }
    if (list_node_is_linked(&connection->next.node)) /* what was read ahead comes first */
        return;
    if (make_room(connection) != 0) {
        log_warning("the API has no memory for a request");
        close_connection(connection);
        return;
    }
    ssize_t got = conn_read(conn, connection->input + connection->input_size,
                            connection->input_capacity - connection->input_size);
    if (got == -EAGAIN)
        return;
    if (got <= 0) {
        close_connection(connection);
        return;
    }
    connection->input_size += (size_t)got;
    if (connection->state == STATE_IDLE)
        enter(connection, STATE_HEAD);
    proceed(connection);
}

static void on_writable(struct conn *conn)
{
    struct api_connection *connection = conn_holder(conn);
    if (connection->state == STATE_ANSWER)
        write_answer(connection);
}

static const struct conn_events EVENTS = {.readable = on_readable, .writable = on_writable};

static void on_timer(struct loop_timer *timer)
{
    struct api_connection *connection = timer->holder;
    switch (connection->state) {
    case STATE_DELAY:
        give_answer(connection, &connection->call.problem);
        break;
    case STATE_HEAD:
    case STATE_BODY: /* RFC 9110 §15.5.9 */
        connection->call.keeps_open = false;
        api_request_refuse(&connection->call, 408, "the request did not come within %d seconds",
                           API_REQUEST_TIME);
        give_answer(connection, &connection->call.problem);
        break;
    default:
        close_connection(connection);
        break;
    }
}

/* ---- opening ---- */

int api_connection_new(struct api_site *site, int fd)
{
    struct sockaddr_storage own = {.ss_family = AF_UNSPEC};
    socklen_t size = sizeof own;
    struct api_connection *new = memory_allocate_zero(sizeof *new);
    int error =
        new == NULL ? CULVERT_ERROR_NO_MEMORY : conn_new(site->loop, fd, &EVENTS, new, &new->conn);
    if (error != 0) {
        close(fd);
        memory_free(new);
        return error;
    }
    getsockname(fd, (struct sockaddr *)&own, &size);
    if (own.ss_family != AF_UNIX)
        conn_tune_tcp(fd);
    api_access_init(&new->access, site->token, site->given, &own);
    new->site = site;
    new->next.run = run_next;
    loop_timer_init(site->loop, &new->timer, on_timer, new);
    list_append(&site->connections, &new->node);
    site->connection_count++;
    enter(new, STATE_IDLE);
    /* The first request is there soon, or never. */
    loop_timer_start(&new->timer, (uint64_t)API_REQUEST_TIME * 1000);
    return 0;
}

/* Whether it is no loss: it rests after a request, or has had its time and is nobody's yet. What is
 * new is given the time to say who it is, however many come at once. */
static bool is_dispensable(const struct api_connection *connection, uint64_t now)
{
    bool is_old = now - connection->since >= (uint64_t)API_CONNECTION_GRACE * 1000;
    switch (connection->state) {
    case STATE_IDLE:
        return connection->has_served || is_old;
    case STATE_HEAD:
    case STATE_DELAY:
    case STATE_LINGER:
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
            (oldest == NULL || connection->since < oldest->since))
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
