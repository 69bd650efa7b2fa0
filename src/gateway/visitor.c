/* From accept to the upgrade. */
#include "gateway/visitor.h"

#include "base/error.h"
#include "base/log.h"
#include "base/log_stranger.h"
#include "base/memory.h"
#include "carrier/websocket_carrier.h"
#include "gateway/dialect.h"
#include "gateway/plain_answer.h"
#include "gateway/poll_connection.h"
#include "gateway/poll_session.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

static const struct conn_events conn_handlers;

static void bury(struct loop_task *task)
{
    struct visitor *visitor = CONTAINER_OF(task, struct visitor, burial);
    explicit_bzero(visitor->boot, sizeof(visitor->boot));
    memory_free(visitor);
}

struct visitor *visitor_find(struct worker *worker, uint64_t id)
{
    return map_find(&worker->visitor_ids, id);
}

void visitor_end(struct visitor *visitor, int error, const char *why)
{
    if (visitor->is_over)
        return;
    visitor->is_over = true;
    if (why != NULL)
        log_debug("connection from %s ended before it logged in: %s", visitor->address, why);
    struct worker *worker = visitor->worker;
    if (visitor->conn != NULL)
        conn_close(visitor->conn, false);
    if (visitor->carrier != NULL)
        carrier_close(visitor->carrier, error, why);
    head_reader_deinit(&visitor->reader);
    if (visitor->dialect != NULL)
        visitor->dialect->end(visitor);
    resumption_free(visitor->resumption);
    if (visitor->poll != NULL)
        poll_session_end_login(visitor->poll, visitor->carrier == NULL);
    map_remove(&worker->visitor_ids, visitor->id);
    list_remove(&visitor->node);
    worker_forget_stranger(worker, &visitor->stranger);
    loop_bury(&worker->loop, &visitor->burial);
}

/* ---- limits ---- */

static uint64_t group_of(const struct visitor *visitor)
{
    return front_group(&visitor->front, visitor->worker->gateway->config->limit_loopback);
}

/* Counts its connection against the address that is known by now. */
static void count(struct visitor *visitor)
{
    worker_count_stranger(visitor->worker, &visitor->stranger, group_of(visitor));
}

/* ---- plain HTTP ---- */

static void answer_plain(struct visitor *visitor, const struct plain_answer *answer)
{
    char text[512];
    int size = snprintf(text, sizeof(text),
                        "HTTP/1.1 %s\r\n"
                        "Content-Type: text/plain; charset=utf-8\r\n"
                        "Content-Length: %zu\r\n"
                        "%s"
                        "Connection: close\r\n"
                        "\r\n"
                        "%s",
                        answer->status, strlen(answer->body), answer->fields,
                        answer->has_no_body ? "" : answer->body);
    struct iovec vector = {text, (size_t)size};
    (void)conn_write(visitor->conn, &vector,
                     1); /* a full socket at the first answer: its peer's loss */
    visitor_end(visitor, 0, answer->status);
}

static void answer_http(struct visitor *visitor, const char *status, const char *fields,
                        const char *body)
{
    const struct plain_answer answer = {.status = status, .fields = fields, .body = body};
    answer_plain(visitor, &answer);
}

/* Why the gateway cannot serve now; NULL: it can. */
static const char *find_objection(const struct worker *worker)
{
    const struct gateway *gateway = worker->gateway;
    if (shutdown_has_begun(&gateway->shutdown))
        return "the gateway is stopping\n";
    if (gateway->watch != NULL && store_watch_is_broken(gateway->watch))
        return "the gateway cannot read its store of keys\n";
    if (!authorizer_is_ready(&worker->gateway->authorizer))
        return "no process of the policy script is running\n";
    return account_level(&gateway->account) == ACCOUNT_FULL ? "the gateway is out of memory\n"
                                                            : NULL;
}

static void answer_request(struct visitor *visitor, const struct http1_head *head)
{
    const struct worker *worker = visitor->worker;
    struct plain_answer answer =
        plain_answer_to(head, worker->gateway->config->is_original, find_objection(worker));
    answer_plain(visitor, &answer);
}

static void answer_bad_head(struct visitor *visitor, int error)
{
    if (error == CULVERT_ERROR_TOO_LARGE)
        answer_http(visitor, "431 Request Header Fields Too Large", "",
                    "The request's head is too large.\n");
    else if (error == CULVERT_ERROR_PROTOCOL)
        answer_http(visitor, "400 Bad Request", "", "This is not an HTTP/1.1 request.\n");
    else
        visitor_end(visitor, error, error_text(error));
}

/* ---- the upgrade ---- */

void visitor_take_carrier(struct visitor *visitor, struct carrier *carrier,
                          const struct dialect *dialect)
{
    visitor->carrier = carrier;
    visitor->dialect = dialect;
    dialect->begin(visitor);
    carrier->events = dialect->events;
    carrier->holder = visitor;
}

static void upgrade(struct visitor *visitor, const struct http1_head *head, size_t used,
                    const struct dialect *dialect)
{
    char text[UPGRADE_MAX_HEAD];
    if (getrandom(visitor->nonce, sizeof(visitor->nonce), 0) != (ssize_t)sizeof(visitor->nonce)) {
        visitor_end(visitor, CULVERT_ERROR_NO_MEMORY, "no random numbers");
        return;
    }
    int size = dialect->write_response(visitor, head, text, sizeof(text));
    struct iovec vector = {text, size > 0 ? (size_t)size : 0};
    if (size < 0 || conn_write(visitor->conn, &vector, 1) != size) {
        visitor_end(visitor, CULVERT_ERROR_CLOSED, "the answer to the upgrade could not be sent");
        return;
    }
    struct carrier *carrier = NULL;
    int error =
        websocket_carrier_new(visitor->conn, WEBSOCKET_SERVER, visitor->reader.buffer + used,
                              visitor->reader.size - used, &carrier);
    if (error != 0) {
        visitor_end(visitor, error, error_text(error));
        return;
    }
    visitor->conn = NULL;
    visitor_take_carrier(visitor, carrier, dialect);
    head_reader_deinit(&visitor->reader);
}

unsigned visitor_ask_admission(struct visitor *visitor, const char *link)
{
    struct worker *worker = visitor->worker;
    struct gateway *gateway = worker->gateway;
    struct member_ref member;
    bool is_known = link != NULL && registry_find(&gateway->links, link, &member) == 0;
    return admission_ask(&gateway->admission, group_of(visitor), is_known, loop_now(&worker->loop));
}

/* Too many have come in this second: the rest shall come back one after the other. */
static bool is_admitted(struct visitor *visitor, const struct http1_head *head)
{
    char link[LINK_NAME_TEXT_SIZE];
    const struct http1_field *named = http1_find(head, UPGRADE_LINK_FIELD);
    bool names_link = named != NULL && text_copy(named->value, link, sizeof(link)) == 0;
    unsigned seconds = visitor_ask_admission(visitor, names_link ? link : NULL);
    if (seconds == 0)
        return true;
    char field[64];
    snprintf(field, sizeof(field), "Retry-After: %u\r\n", seconds); /* RFC 9110 §10.2.3 */
    answer_http(visitor, "503 Service Unavailable", field,
                "Too many agents log in at the same time.\n");
    return false;
}

static void dispatch(struct visitor *visitor, const struct http1_head *head, size_t used)
{
    switch (upgrade_classify(head)) {
    case UPGRADE_NATIVE:
        if (is_admitted(visitor, head))
            upgrade(visitor, head, used, &dialect_native);
        break;
    case UPGRADE_NONE:
        answer_request(visitor, head);
        break;
    case UPGRADE_UNKNOWN:
        if (visitor->worker->gateway->config->legacy_hubble) {
            if (is_admitted(visitor, head))
                upgrade(visitor, head, used, &dialect_hubble);
            break;
        }
        answer_http(visitor, "400 Bad Request", "",
                    "This gateway serves WebSockets of the protocol " UPGRADE_PROTOCOL " only.\n");
        break;
    case UPGRADE_PAGE:
        log_stranger(visitor->address, "a web page asked to register as an agent from %s",
                     visitor->address);
        answer_http(visitor, "403 Forbidden", "", "Web pages cannot register as agents.\n");
        break;
    case UPGRADE_BAD:
        answer_http(visitor, "400 Bad Request", "Sec-WebSocket-Version: 13\r\n",
                    "The WebSocket upgrade is malformed.\n");
        break;
    }
}

void visitor_take_request(struct visitor *visitor, const struct http1_head *head, size_t used)
{
    if (poll_is_request(head)) {
        poll_connection_begin(visitor, head, used);
        return;
    }
    front_take_fields(&visitor->front, head);
    count(visitor);
    dispatch(visitor, head, used);
}

/* Returns 0 when HTTP comes next, on a plain connection, or as front_read. */
static int pass_front(struct visitor *visitor)
{
    const struct worker *worker = visitor->worker;
    int result = front_read(&visitor->front, &visitor->reader, visitor->conn);
    if (result == 0)
        count(visitor);
    if (result != 0 || worker->tls == NULL)
        return result;
    if (visitor->reader.size > 0)
        return CULVERT_ERROR_PROTOCOL; /* half a PROXY header, which no TLS begins with */
    result = conn_secure(visitor->conn, worker->tls, NULL);
    return result == 0 ? CULVERT_NEED_MORE : result;
}

static void readable(struct conn *conn)
{
    struct visitor *visitor = conn_holder(conn);
    int passed = visitor->front.is_passed ? 0 : pass_front(visitor);
    if (passed != 0) {
        if (passed != CULVERT_NEED_MORE)
            visitor_end(visitor, passed, error_text(passed));
        return;
    }
    struct http1_head head;
    size_t used = 0;
    int result = head_reader_read(&visitor->reader, conn, HEAD_REQUEST, &head, &used);
    if (result == 0)
        visitor_take_request(visitor, &head, used);
    else if (result != CULVERT_NEED_MORE)
        answer_bad_head(visitor, result);
}

static void writable(struct conn *conn)
{
    (void)conn;
}

static void secured(struct conn *conn, int error)
{
    struct visitor *visitor = conn_holder(conn);
    if (error != 0) {
        const char *why = conn_error_message(conn);
        visitor_end(visitor, error, why != NULL ? why : error_text(error));
    }
}

static const struct conn_events conn_handlers = {
    .secured = secured,
    .readable = readable,
    .writable = writable,
};

/* ---- life ---- */

static void evict(struct stranger *stranger)
{
    visitor_end(CONTAINER_OF(stranger, struct visitor, stranger), CULVERT_ERROR_LIMIT,
                "too many connections that do not log in");
}

struct conn *visitor_give_conn(struct visitor *visitor)
{
    struct conn *conn = visitor->conn;
    visitor->conn = NULL;
    worker_forget_stranger(visitor->worker, &visitor->stranger);
    return conn;
}

/* One without a connection. */
static struct visitor *make(struct worker *worker)
{
    struct visitor *visitor = memory_allocate_zero(sizeof(*visitor));
    if (visitor == NULL)
        return NULL;
    visitor->worker = worker;
    visitor->id = atomic_fetch_add(&worker->gateway->next_id, 1) + 1;
    visitor->since = loop_now(&worker->loop);
    visitor->burial.run = bury;
    visitor->stranger.evict = evict;
    visitor->address = visitor->front.text;
    head_reader_init(&visitor->reader, HEAD_READER_REQUEST);
    if (map_insert(&worker->visitor_ids, visitor->id, visitor) != 0) {
        memory_free(visitor);
        return NULL;
    }
    if (list_is_empty(&worker->visitors))
        loop_timer_start(&worker->sweep, 1000);
    list_append(&worker->visitors, &visitor->node);
    return visitor;
}

void visitor_new(struct worker *worker, int fd)
{
    struct visitor *visitor = make(worker);
    if (visitor == NULL) {
        close(fd);
        return;
    }
    conn_tune_tcp(fd);
    int error = conn_new(&worker->loop, fd, &conn_handlers, visitor, &visitor->conn);
    if (error != 0) {
        close(fd);
        visitor_end(visitor, error, error_text(error));
        return;
    }
    const struct gateway_config *config = worker->gateway->config;
    front_init(&visitor->front, config->trusted, config->trusted_count, visitor->conn);
    count(visitor);
    conn_want(visitor->conn, CONN_READ);
}

struct visitor *visitor_adopt(struct worker *worker, struct conn *conn, const struct front *front,
                              struct head_reader *reader)
{
    struct visitor *visitor = make(worker);
    if (visitor == NULL) {
        if (conn != NULL)
            conn_close(conn, false);
        if (reader != NULL)
            head_reader_deinit(reader);
        return NULL;
    }
    visitor->front = *front;
    visitor->conn = conn;
    if (conn != NULL) {
        conn_set_owner(conn, &conn_handlers, visitor);
        conn_want(conn, CONN_READ);
        count(visitor);
    }
    if (reader != NULL)
        visitor->reader = *reader;
    return visitor;
}
