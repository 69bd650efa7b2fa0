#include "gateway/poll_connection.h"

#include "base/error.h"
#include "base/log_stranger.h"
#include "base/memory.h"
#include "gateway/dialect.h"
#include "gateway/poll_move.h"
#include "gateway/poll_session.h"
#include "gateway/visitor.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

enum {
    VECTORS = 64,
    AHEAD_ROOM = 1024,  /* of what is read while a request waits */
    AHEAD_LIMIT = 4096, /* that is kept of it */
};

/* ---- answers ---- */

static void be_idle(struct poll_connection *connection)
{
    slice_queue_deinit(&connection->bytes);
    if (!connection->stays || connection->session == NULL) {
        poll_connection_close(connection);
        return;
    }
    connection->state = POLL_CONNECTION_IDLE;
    polls_clock(connection->worker, &connection->worker->polls.idle, &connection->clock_node);
    conn_want(connection->conn, CONN_READ);
    /* What was sent ahead of its time is acted on in a turn of its own. */
    if (connection->reader.size > 0)
        loop_defer_next(&connection->worker->loop, &connection->task);
    else
        head_reader_deinit(&connection->reader);
}

static void write_on(struct poll_connection *connection)
{
    struct slice_queue *bytes = &connection->bytes;
    ssize_t written = 0;
    while (bytes->bytes > 0 && written >= 0) {
        struct iovec vectors[VECTORS];
        written =
            conn_write(connection->conn, vectors, slice_queue_vectors(bytes, vectors, VECTORS));
        if (written > 0)
            slice_queue_skip(bytes, (size_t)written);
    }
    if (written < 0 && written != -EAGAIN) {
        poll_connection_close(connection);
        return;
    }
    if (bytes->bytes == 0 && (connection->stays || conn_is_drained(connection->conn))) {
        be_idle(connection);
        return;
    }
    polls_clock(connection->worker, &connection->worker->polls.busy, &connection->clock_node);
    conn_want(connection->conn, CONN_WRITE);
}

static bool settle(struct parking *parking, struct chunk_pool *pool)
{
    return slice_queue_settle(&CONTAINER_OF(parking, struct poll_connection, parking)->bytes, pool);
}

static void park(struct poll_connection *connection)
{
    connection->parking.settle = settle;
    parking_enter(&connection->parking, &connection->worker->loop.pool);
}

static int fill(struct poll_connection *connection, const struct poll_answer *answer,
                const struct slice_queue *body)
{
    char head[POLL_MAX_HEAD];
    struct slice slice = SLICE_NULL;
    slice_queue_clear(&connection->bytes);
    int size = poll_write_answer(answer, head, sizeof(head));
    if (size < 0)
        return size;
    int error = slice_copy(&connection->worker->loop.pool, head, (size_t)size, &slice);
    if (error == 0)
        error = slice_queue_push(&connection->bytes, slice);
    if (error == 0 && body != NULL)
        error = slice_queue_share(&connection->bytes, body);
    park(connection);
    return error;
}

static void answer(struct poll_connection *connection, const struct poll_answer *answer,
                   const struct slice_queue *body)
{
    connection->state = POLL_CONNECTION_ANSWERS;
    connection->stays = answer->is_kept;
    if (fill(connection, answer, body) != 0)
        poll_connection_close(connection);
    else
        write_on(connection);
}

/* Answers a request that its session has decided about. */
static void answer_status(struct poll_connection *connection, unsigned status)
{
    const struct poll_server *server = &connection->session->server;
    bool has_body = status == 200 && connection->request.kind == POLL_DOWN;
    struct poll_answer what = {
        .status = status,
        .is_kept = connection->request.is_kept && (status == 200 || status == 204 || status == 409),
        .size = has_body ? server->body.bytes : 0,
        .down = has_body ? server->down : 0,
    };
    answer(connection, &what, has_body ? &server->body : NULL);
}

/* Answers a request that is none of a session's, and ends the connection. */
static void refuse(struct poll_connection *connection, unsigned status, unsigned retry_after)
{
    struct poll_answer what = {.status = status, .retry_after = retry_after};
    answer(connection, &what, NULL);
}

static void waiter_answered(struct poll_waiter *waiter, unsigned status)
{
    answer_status(CONTAINER_OF(waiter, struct poll_connection, waiter), status);
}

/* ---- bodies that go up ---- */

static void body_is_there(struct poll_connection *connection)
{
    struct poll_session *session = connection->session;
    conn_want(connection->conn, 0);
    if (connection->state == POLL_CONNECTION_BODY) {
        session->bringer = NULL;
        connection->status = poll_server_take(&session->server, connection->request.number,
                                              connection->request.has_more, &connection->bytes);
    }
    answer_status(connection, connection->status);
}

static int keep_piece(struct poll_connection *connection, struct slice piece)
{
    park(connection);
    return slice_queue_push(&connection->bytes, piece);
}

/* The beginning of the body may have been read with the head. */
static int take_read_ahead(struct poll_connection *connection)
{
    struct head_reader *reader = &connection->reader;
    size_t size = reader->size < connection->missing ? reader->size : connection->missing;
    struct slice piece = SLICE_NULL;
    if (size == 0)
        return 0;
    int error = 0;
    if (connection->state == POLL_CONNECTION_BODY)
        error = slice_copy(&connection->worker->loop.pool, reader->buffer, size, &piece);
    if (error == 0)
        error = keep_piece(connection, piece);
    head_reader_drop(reader, size);
    connection->missing -= size;
    return error;
}

static void read_body(struct poll_connection *connection)
{
    struct loop *loop = &connection->worker->loop;
    size_t room = 0;
    uint8_t *space = loop_read_space(loop, &room);
    if (space == NULL) {
        poll_connection_close(connection);
        return;
    }
    if (room > connection->missing)
        room = connection->missing;
    ssize_t got = conn_read(connection->conn, space, room);
    if (got == -EAGAIN)
        return;
    int error = got > 0 ? 0 : CULVERT_ERROR_CLOSED;
    if (got > 0 && connection->state == POLL_CONNECTION_BODY)
        error = keep_piece(connection, loop_read_commit(loop, (size_t)got));
    if (error != 0) {
        poll_connection_close(connection);
        return;
    }
    connection->missing -= (size_t)got;
    polls_clock(connection->worker, &connection->worker->polls.busy, &connection->clock_node);
    if (connection->missing == 0)
        body_is_there(connection);
}

static void begin_body(struct poll_connection *connection)
{
    if (take_read_ahead(connection) != 0)
        poll_connection_close(connection);
    else if (connection->missing == 0)
        body_is_there(connection);
    else
        conn_want(connection->conn, CONN_READ);
}

/* RFC 9110 §10.1.1. A few bytes into a socket that has nothing else to write. */
static int ask_for_body(struct poll_connection *connection)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct iovec vector = {(void *)(uintptr_t)text, sizeof(text) - 1};
    return conn_write(connection->conn, &vector, 1) == (ssize_t)vector.iov_len
               ? 0
               : CULVERT_ERROR_CLOSED;
}

void poll_connection_read_body(struct poll_connection *connection, bool on)
{
    conn_want(connection->conn, 0);
    loop_task_cancel(&connection->task);
    if (on)
        loop_defer_next(&connection->worker->loop, &connection->task);
}

static void take_up(struct poll_connection *connection)
{
    struct poll_session *session = connection->session;
    const struct poll_request *request = &connection->request;
    unsigned status = poll_server_expects(&session->server, request->number, request->size);
    connection->missing = request->size;
    connection->status = status;
    /* Who waits to be asked for the body sends none after another answer, or it is not known. */
    if (status == 413 || (status != 0 && request->asks_first)) {
        connection->request.is_kept = false;
        answer_status(connection, status);
        return;
    }
    connection->state = status == 0 ? POLL_CONNECTION_BODY : POLL_CONNECTION_SKIP;
    polls_clock(connection->worker, &connection->worker->polls.busy, &connection->clock_node);
    if (status == 0)
        poll_session_set_bringer(session, connection);
    if (request->asks_first && connection->reader.size == 0 && ask_for_body(connection) != 0)
        poll_connection_close(connection);
    else if (status != 0 || session->server.is_reading)
        begin_body(connection);
    else
        conn_want(connection->conn, 0); /* until poll_connection_read_body */
}

/* ---- requests ---- */

static void take_down(struct poll_connection *connection)
{
    unsigned status = poll_server_ask(&connection->session->server, &connection->waiter,
                                      connection->request.number);
    if (status != 0) {
        answer_status(connection, status);
        return;
    }
    connection->state = POLL_CONNECTION_WAITS;
    list_remove(&connection->clock_node); /* the session has the time */
    conn_want(connection->conn, CONN_READ);
}

static void take_request(struct poll_connection *connection)
{
    if (connection->request.kind == POLL_UP)
        take_up(connection);
    else
        take_down(connection);
}

void poll_connection_serve(struct poll_connection *connection, uint64_t id)
{
    struct poll_session *session = poll_session_find(connection->worker, id);
    if (session == NULL) {
        refuse(connection, 410, 0);
        return;
    }
    poll_session_join(session, connection);
    take_request(connection);
}

void poll_connection_count(struct poll_connection *connection)
{
    struct worker *worker = connection->worker;
    const struct poll_session *session = connection->session;
    bool is_counted = connection->stranger.group != NULL;
    if (session != NULL && session->is_logged_in)
        worker_forget_stranger(worker, &connection->stranger);
    else if (!is_counted)
        worker_count_stranger(
            worker, &connection->stranger,
            front_group(&connection->front, worker->gateway->config->limit_loopback));
}

static void evict(struct stranger *stranger)
{
    poll_connection_close(CONTAINER_OF(stranger, struct poll_connection, stranger));
}

/* Finds the session that an up or a down is for. */
static void route(struct poll_connection *connection)
{
    struct worker *worker = connection->worker;
    struct member_ref ref;
    int error = registry_find(&worker->gateway->polls, connection->request.id, &ref);
    poll_session_leave(connection);
    poll_connection_count(connection);
    if (error != 0)
        refuse(connection, 410, 0);
    else if (ref.worker != worker->loop.index)
        poll_move_request(connection, ref);
    else
        poll_connection_serve(connection, ref.id);
}

/* Another's request: the connection begins as if it had just been accepted. */
static void become_visitor(struct poll_connection *connection, const struct http1_head *head,
                           size_t used)
{
    struct conn *conn = connection->conn;
    struct head_reader reader = connection->reader;
    connection->conn = NULL;
    head_reader_init(&connection->reader, HEAD_READER_REQUEST);
    struct visitor *visitor = visitor_adopt(connection->worker, conn, &connection->front, &reader);
    poll_connection_close(connection);
    if (visitor != NULL)
        visitor_take_request(visitor, head, used);
}

static void read_head(struct poll_connection *connection)
{
    struct http1_head head;
    size_t used = 0;
    int result =
        head_reader_read(&connection->reader, connection->conn, HEAD_REQUEST, &head, &used);
    if (result == CULVERT_NEED_MORE)
        return;
    if (result == CULVERT_ERROR_PROTOCOL || result == CULVERT_ERROR_TOO_LARGE) {
        refuse(connection, 400, 0);
        return;
    }
    if (result != 0) {
        poll_connection_close(connection);
        return;
    }
    int status = poll_is_request(&head) ? poll_read_request(&head, &connection->request) : 0;
    if (status == 0 && (!poll_is_request(&head) || connection->request.kind == POLL_OPEN)) {
        become_visitor(connection, &head, used);
        return;
    }
    head_reader_drop(&connection->reader, used);
    if (status != 0)
        refuse(connection, (unsigned)status, 0);
    else
        route(connection);
}

/* While a request waits nothing has to come but the end. */
static void read_ahead(struct poll_connection *connection)
{
    uint8_t bytes[AHEAD_ROOM];
    ssize_t got = conn_read(connection->conn, bytes, sizeof(bytes));
    if (got == -EAGAIN)
        return;
    if (got <= 0 || head_reader_keep(&connection->reader, bytes, (size_t)got) != 0)
        poll_connection_close(connection);
    else if (connection->reader.size >= AHEAD_LIMIT)
        conn_want(connection->conn, CONN_ERROR);
}

static void readable(struct conn *conn)
{
    struct poll_connection *connection = conn_holder(conn);
    switch (connection->state) {
    case POLL_CONNECTION_IDLE:
        read_head(connection);
        break;
    case POLL_CONNECTION_BODY:
    case POLL_CONNECTION_SKIP:
        read_body(connection);
        break;
    case POLL_CONNECTION_WAITS:
        if ((conn_interest(conn) & CONN_READ) != 0)
            read_ahead(connection);
        else
            poll_connection_close(connection); /* it has failed */
        break;
    case POLL_CONNECTION_ANSWERS:
        break;
    }
}

static void writable(struct conn *conn)
{
    write_on(conn_holder(conn));
}

const struct conn_events poll_connection_events = {.readable = readable, .writable = writable};

static void go_on(struct loop_task *task)
{
    struct poll_connection *connection = CONTAINER_OF(task, struct poll_connection, task);
    if (connection->state == POLL_CONNECTION_IDLE)
        read_head(connection);
    else if (connection->state == POLL_CONNECTION_BODY)
        begin_body(connection);
}

/* ---- the beginning ---- */

void poll_connection_open(struct poll_connection *connection, struct visitor *visitor)
{
    struct poll_session *session = NULL;
    if (getrandom(visitor->nonce, sizeof(visitor->nonce), 0) == (ssize_t)sizeof(visitor->nonce))
        session = poll_session_new(visitor);
    if (session == NULL) {
        refuse(connection, 503, 0);
        visitor_end(visitor, CULVERT_ERROR_NO_MEMORY, "out of memory");
        return;
    }
    visitor_take_carrier(visitor, &session->server.carrier, &dialect_native);
    poll_session_join(session, connection);
    char nonce[POLL_ID_TEXT_SIZE];
    poll_write_id(visitor->nonce, nonce);
    struct poll_answer what = {
        .status = 200,
        .is_kept = connection->request.is_kept,
        .id = session->name,
        .nonce = nonce,
    };
    answer(connection, &what, NULL);
}

/* Where a session shall live: with the link that it is going to resume. */
static unsigned choose_worker(const struct poll_connection *connection)
{
    struct worker *worker = connection->worker;
    struct member_ref ref;
    if (connection->request.has_link &&
        registry_find(&worker->gateway->links, connection->request.link, &ref) == 0)
        return ref.worker;
    return worker->loop.index;
}

static void begin_open(struct poll_connection *connection, struct visitor *visitor)
{
    struct worker *worker = connection->worker;
    const char *link = connection->request.has_link ? connection->request.link : NULL;
    unsigned seconds = visitor_ask_admission(visitor, link);
    if (seconds > 0) {
        refuse(connection, 503, seconds);
        visitor_end(visitor, CULVERT_ERROR_LIMIT, "too many agents log in at the same time");
        return;
    }
    unsigned chosen = choose_worker(connection);
    if (chosen == worker->loop.index) {
        poll_connection_open(connection, visitor);
        return;
    }
    struct front agent = visitor->front;
    visitor_end(visitor, 0, NULL);
    poll_move_open(connection, chosen, &agent);
}

static struct poll_connection *take_from(struct visitor *visitor)
{
    struct poll_connection *connection = memory_allocate_zero(sizeof(*connection));
    if (connection == NULL)
        return NULL;
    connection->worker = visitor->worker;
    connection->conn = visitor_give_conn(visitor);
    connection->front = visitor->front;
    connection->reader = visitor->reader;
    connection->task.run = go_on;
    connection->waiter.answered = waiter_answered;
    conn_set_owner(connection->conn, &poll_connection_events, connection);
    conn_want(connection->conn, 0);
    head_reader_init(&visitor->reader, HEAD_READER_REQUEST);
    connection->stranger.evict = evict;
    poll_connection_count(connection);
    return connection;
}

void poll_connection_begin(struct visitor *visitor, const struct http1_head *head, size_t used)
{
    struct poll_connection *connection = take_from(visitor);
    if (connection == NULL) {
        visitor_end(visitor, CULVERT_ERROR_NO_MEMORY, "out of memory");
        return;
    }
    int status = poll_read_request(head, &connection->request);
    front_take_fields(&visitor->front, head);
    head_reader_drop(&connection->reader, used);
    if (status == 0 && connection->request.kind == POLL_OPEN) {
        begin_open(connection, visitor);
        return;
    }
    if (status == 403)
        log_stranger(visitor->address, "a web page asked to register as an agent from %s",
                     visitor->address);
    visitor_end(visitor, 0, status != 0 ? poll_reason((unsigned)status) : NULL);
    if (status != 0)
        refuse(connection, (unsigned)status, 0);
    else
        route(connection);
}

/* ---- the end ---- */

bool poll_connection_is_idle(const struct poll_connection *connection)
{
    return connection->state == POLL_CONNECTION_IDLE;
}

void poll_connection_let_go(struct poll_connection *connection)
{
    if (connection->state == POLL_CONNECTION_ANSWERS) {
        poll_session_leave(connection);
        poll_connection_count(connection);
        connection->stays = false;
    } else {
        poll_connection_close(connection);
    }
}

static void bury(struct loop_task *task)
{
    memory_free(CONTAINER_OF(task, struct poll_connection, task));
}

void poll_connection_close(struct poll_connection *connection)
{
    if (connection->is_over)
        return;
    connection->is_over = true;
    poll_session_leave(connection);
    worker_forget_stranger(connection->worker, &connection->stranger);
    list_remove(&connection->clock_node);
    if (connection->conn != NULL)
        conn_close(connection->conn, false);
    connection->conn = NULL;
    head_reader_deinit(&connection->reader);
    parking_leave(&connection->parking);
    slice_queue_deinit(&connection->bytes);
    loop_task_cancel(&connection->task);
    connection->task.run = bury;
    loop_bury(&connection->worker->loop, &connection->task);
}
