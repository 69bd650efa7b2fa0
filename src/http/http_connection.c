#include "http/http_connection.h"

#include "base/error.h"

#include <assert.h>
#include <errno.h>

enum {
    VECTORS = 64,
    PIECE = 4096, /* bytes read at once that no user gets */
};

/* ---- states ---- */

static void lose(struct http_connection *connection, int error)
{
    connection->events->lost(connection, error);
}

static unsigned interest_of(const struct http_connection *connection)
{
    switch (connection->state) {
    case HTTP_CONNECTION_IDLE:
    case HTTP_CONNECTION_HEAD:
    case HTTP_CONNECTION_BODY:
    case HTTP_CONNECTION_LINGER:
        return CONN_READ;
    case HTTP_CONNECTION_WAIT:
        return connection->peer_is_done || connection->reader.size >= HTTP_AHEAD_BYTES ? CONN_ERROR
                                                                                       : CONN_READ;
    case HTTP_CONNECTION_ANSWER:
        return CONN_WRITE;
    case HTTP_CONNECTION_CLOSED:
        break;
    }
    return 0;
}

/* Milliseconds that the request has left; at least 1. */
static uint64_t request_time_left(const struct http_connection *connection)
{
    uint64_t time = connection->limits->request_time;
    uint64_t passed = (loop_now(connection->loop) - connection->begun) / 1000;
    return passed < time ? time - passed : 1;
}

/* Milliseconds that this state may last; 0: no limit, unless the user sets one. */
static uint64_t time_of(const struct http_connection *connection)
{
    const struct http_connection_limits *limits = connection->limits;
    switch (connection->state) {
    case HTTP_CONNECTION_IDLE:
        return connection->was_used ? limits->idle_time : limits->first_time;
    case HTTP_CONNECTION_HEAD:
    case HTTP_CONNECTION_BODY:
        return request_time_left(connection);
    case HTTP_CONNECTION_ANSWER:
        return limits->answer_time;
    case HTTP_CONNECTION_LINGER:
        return HTTP_LINGER_TIME;
    case HTTP_CONNECTION_WAIT:
    case HTTP_CONNECTION_CLOSED:
        break;
    }
    return 0;
}

static void restart_timer(struct http_connection *connection)
{
    uint64_t time = time_of(connection);
    if (time > 0)
        loop_timer_start(&connection->timer, time);
    else
        loop_timer_stop(&connection->timer);
}

static void enter(struct http_connection *connection, enum http_connection_state state)
{
    connection->state = state;
    connection->since = loop_now(connection->loop);
    if (state == HTTP_CONNECTION_HEAD)
        connection->begun = connection->since;
    restart_timer(connection);
    conn_want(connection->conn, interest_of(connection));
    connection->events->changed(connection);
}

/* ---- answers ---- */

static void end_answer(struct http_connection *connection)
{
    connection->was_used = true;
    connection->events->answered(connection);
    if (connection->state != HTTP_CONNECTION_ANSWER)
        return;
    if (!connection->keeps_open) {
        head_reader_deinit(&connection->reader);
        conn_shutdown(connection->conn);
        enter(connection, HTTP_CONNECTION_LINGER);
        return;
    }
    bool has_more = connection->reader.size > 0;
    enter(connection, has_more ? HTTP_CONNECTION_HEAD : HTTP_CONNECTION_IDLE);
    /* A client that has sent many requests at once does not hold up others. */
    if (has_more && connection->state == HTTP_CONNECTION_HEAD)
        loop_defer_next(connection->loop, &connection->next);
}

static void write_answer(struct http_connection *connection)
{
    struct iovec vectors[VECTORS];
    int count;
    while ((count = connection->events->answer_vectors(connection, vectors, VECTORS)) > 0) {
        ssize_t written = conn_write(connection->conn, vectors, count);
        if (written == -EAGAIN)
            return;
        if (written < 0) {
            lose(connection, (int)written);
            return;
        }
        connection->events->answer_written(connection, (size_t)written);
    }
    if (connection->keeps_open || conn_is_drained(connection->conn))
        end_answer(connection);
}

void http_connection_answer(struct http_connection *connection, bool keeps_open)
{
    connection->keeps_open = keeps_open;
    enter(connection, HTTP_CONNECTION_ANSWER);
    if (connection->state == HTTP_CONNECTION_ANSWER)
        write_answer(connection);
}

void http_connection_wait(struct http_connection *connection, uint64_t milliseconds)
{
    loop_timer_start(&connection->timer, milliseconds);
}

/* ---- bodies ---- */

static void take_body(struct http_connection *connection, size_t size)
{
    connection->missing -= size;
    bool is_last = connection->missing == 0;
    if (is_last)
        enter(connection, HTTP_CONNECTION_WAIT);
    if (connection->state != HTTP_CONNECTION_CLOSED)
        connection->events->body_came(connection, size, is_last);
}

/* Bounded by what is missing. NULL: memory has run out, and `lost` was called. */
static void *space_for_body(struct http_connection *connection, size_t *room)
{
    void *space = connection->events->body_space(connection, room);
    if (space == NULL)
        lose(connection, CULVERT_ERROR_NO_MEMORY);
    else if (*room > connection->missing)
        *room = connection->missing;
    return space;
}

static void read_body(struct http_connection *connection)
{
    size_t room = 0;
    void *space = space_for_body(connection, &room);
    if (space == NULL)
        return;
    ssize_t got = conn_read(connection->conn, space, room);
    if (got == -EAGAIN)
        return;
    if (got <= 0)
        lose(connection, got == 0 ? CULVERT_ERROR_CLOSED : (int)got);
    else
        take_body(connection, (size_t)got);
}

/* Takes the part of the body that came with the head. */
static void take_body_ahead(struct http_connection *connection)
{
    while (connection->state == HTTP_CONNECTION_BODY && connection->reader.size > 0) {
        size_t room = 0;
        void *space = space_for_body(connection, &room);
        if (space == NULL)
            return;
        take_body(connection, head_reader_move(&connection->reader, space, room));
    }
}

static void send_continue(struct http_connection *connection)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct iovec vector = {(void *)(uintptr_t)text, sizeof text - 1};
    /* Nothing else waits in the socket: if these bytes do not fit, it has failed. */
    if (conn_write(connection->conn, &vector, 1) != (ssize_t)vector.iov_len)
        lose(connection, CULVERT_ERROR_CLOSED);
}

void http_connection_read_body(struct http_connection *connection, size_t size, bool asks_first)
{
    assert(size > 0);
    connection->missing = size;
    enter(connection, HTTP_CONNECTION_BODY);
    if (connection->state != HTTP_CONNECTION_BODY)
        return;
    if (connection->reader.size > 0)
        loop_defer(connection->loop, &connection->next);
    else if (asks_first)
        send_continue(connection);
}

/* ---- heads ---- */

/* Moves the head's buffer to `whole`, and copies the bytes behind the head to a new one. */
static int set_aside(struct http_connection *connection, struct head_reader *whole, size_t used)
{
    *whole = connection->reader;
    head_reader_init(&connection->reader, connection->limits->head);
    return head_reader_keep(&connection->reader, whole->buffer + used, whole->size - used);
}

static void take_head(struct http_connection *connection, const struct http1_head *head,
                      size_t used)
{
    struct head_reader whole;
    int error = set_aside(connection, &whole, used);
    enter(connection, HTTP_CONNECTION_WAIT);
    if (connection->state == HTTP_CONNECTION_CLOSED)
        error = 0;
    else if (error == 0)
        connection->events->head(connection, head);
    head_reader_deinit(&whole);
    if (error != 0)
        lose(connection, error);
}

static void read_head(struct http_connection *connection)
{
    struct http1_head head;
    size_t used = 0;
    int result =
        head_reader_read(&connection->reader, connection->conn, HEAD_REQUEST, &head, &used);
    if (connection->state == HTTP_CONNECTION_IDLE && connection->reader.size > 0)
        enter(connection, HTTP_CONNECTION_HEAD);
    if (connection->state == HTTP_CONNECTION_CLOSED || result == CULVERT_NEED_MORE)
        return;
    if (result == 0) {
        take_head(connection, &head, used);
    } else if (result == CULVERT_ERROR_PROTOCOL || result == CULVERT_ERROR_TOO_LARGE) {
        enter(connection, HTTP_CONNECTION_WAIT);
        connection->events->malformed(connection, result);
    } else {
        lose(connection, result);
    }
}

/* ---- events ---- */

/* Keeps, up to a bound, what the peer sends while a request waits, and notices its end. */
static void read_ahead(struct http_connection *connection)
{
    uint8_t bytes[PIECE];
    size_t room = HTTP_AHEAD_BYTES - connection->reader.size;
    ssize_t got = conn_read(connection->conn, bytes, room < sizeof bytes ? room : sizeof bytes);
    if (got == -EAGAIN)
        return;
    if (got < 0) {
        lose(connection, (int)got);
        return;
    }
    int error = got > 0 ? head_reader_keep(&connection->reader, bytes, (size_t)got) : 0;
    connection->peer_is_done = got == 0;
    conn_want(connection->conn, interest_of(connection));
    if (error != 0)
        lose(connection, error);
}

static void discard(struct http_connection *connection)
{
    uint8_t waste[PIECE];
    ssize_t got = conn_read(connection->conn, waste, sizeof waste);
    if (got == -EAGAIN)
        return;
    connection->discarded += got > 0 ? (size_t)got : 0;
    if (got <= 0 || connection->discarded > HTTP_LINGER_BYTES)
        lose(connection, CULVERT_ERROR_CLOSED);
}

static void look_for_error(struct http_connection *connection)
{
    int error = conn_take_error(connection->conn);
    if (error != 0)
        lose(connection, error);
}

static void on_readable(struct conn *conn)
{
    struct http_connection *connection = conn_holder(conn);
    if ((conn_interest(conn) & CONN_READ) == 0) {
        look_for_error(connection);
        return;
    }
    if (list_node_is_linked(&connection->next.node)) /* what was read ahead comes before it */
        return;
    switch (connection->state) {
    case HTTP_CONNECTION_IDLE:
    case HTTP_CONNECTION_HEAD:
        read_head(connection);
        break;
    case HTTP_CONNECTION_BODY:
        read_body(connection);
        break;
    case HTTP_CONNECTION_WAIT:
        read_ahead(connection);
        break;
    case HTTP_CONNECTION_LINGER:
        discard(connection);
        break;
    case HTTP_CONNECTION_ANSWER:
    case HTTP_CONNECTION_CLOSED:
        break;
    }
}

static void on_writable(struct conn *conn)
{
    struct http_connection *connection = conn_holder(conn);
    if (connection->state == HTTP_CONNECTION_ANSWER)
        write_answer(connection);
}

static const struct conn_events conn_handlers = {.readable = on_readable, .writable = on_writable};

static void run_next(struct loop_task *task)
{
    struct http_connection *connection = CONTAINER_OF(task, struct http_connection, next);
    if (connection->state == HTTP_CONNECTION_HEAD)
        read_head(connection);
    else if (connection->state == HTTP_CONNECTION_BODY)
        take_body_ahead(connection);
}

static void on_timer(struct loop_timer *timer)
{
    struct http_connection *connection = CONTAINER_OF(timer, struct http_connection, timer);
    switch (connection->state) {
    case HTTP_CONNECTION_HEAD:
    case HTTP_CONNECTION_BODY:
    case HTTP_CONNECTION_WAIT:
        loop_task_cancel(&connection->next);
        enter(connection, HTTP_CONNECTION_WAIT);
        if (connection->state == HTTP_CONNECTION_WAIT)
            connection->events->timed_out(connection);
        break;
    default:
        lose(connection, CULVERT_ERROR_TIMED_OUT);
        break;
    }
}

/* ---- life ---- */

int http_connection_init(struct http_connection *connection, struct loop *loop, int fd,
                         const struct http_connection_limits *limits,
                         const struct http_connection_events *events)
{
    *connection = (struct http_connection){.events = events, .limits = limits, .loop = loop};
    int error = conn_new(loop, fd, &conn_handlers, connection, &connection->conn);
    if (error != 0)
        return error;
    error = loop_timer_init(loop, &connection->timer, on_timer, connection);
    assert(error == 0); /* a timer takes nothing from the system */
    connection->next.run = run_next;
    head_reader_init(&connection->reader, limits->head);
    enter(connection, HTTP_CONNECTION_IDLE);
    return error;
}

void http_connection_close(struct http_connection *connection, struct loop_task *closed)
{
    assert(connection->state != HTTP_CONNECTION_CLOSED);
    connection->state = HTTP_CONNECTION_CLOSED;
    loop_task_cancel(&connection->next);
    head_reader_deinit(&connection->reader);
    conn_close(connection->conn, false);
    loop_timer_close(&connection->timer, closed);
}
