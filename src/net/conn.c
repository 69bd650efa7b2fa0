#include "net/conn.h"

#include "base/error.h"
#include "base/memory.h"
#include "net/address.h"
#include "net/tls_session.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum {
    /* A peer that vanished is noticed after about two minutes. */
    KEEPALIVE_IDLE_SECONDS = 60,
    KEEPALIVE_INTERVAL_SECONDS = 15,
    KEEPALIVE_PROBES = 4,
};

/* The threshold of slow start that Linux shows before there is one. */
enum { NO_THRESHOLD = INT32_MAX };

/* Unread input that conn_close throws away so that the kernel sends FIN instead of RST. */
enum { DISCARD_MAX = 1024 * 1024 };

enum conn_state { STATE_OPEN, STATE_HANDSHAKE, STATE_FAILED, STATE_CLOSED };

struct conn {
    struct loop *loop;
    const struct conn_events *events;
    void *holder;
    struct tls_session *tls;
    uv_poll_t poll;
    struct loop_task arm;   /* tells libuv the mask, once a turn however often it changed */
    struct loop_task again; /* `readable` for what TLS has read ahead */
    int fd;
    enum conn_state state;
    unsigned interest;
    int polled;         /* the mask that libuv has */
    bool is_urgent;     /* urgent data is pending, which would wake us for ever */
    bool is_input_over; /* conn_read has returned the end, or an error */
    bool is_fin_due;    /* conn_shutdown was called while TLS had output pending */
};

static int wanted_mask(const struct conn *conn)
{
    int mask = 0;

    switch (conn->state) {
    case STATE_OPEN:
        if ((conn->interest & CONN_READ) != 0)
            mask |= UV_READABLE;
        if ((conn->interest & CONN_WRITE) != 0)
            mask |= UV_WRITABLE;
        /* epoll reports errors whatever the mask is, but libuv needs one to watch at all. */
        if (mask == 0 && (conn->interest & CONN_ERROR) != 0 && !conn->is_urgent)
            mask = UV_PRIORITIZED;
        break;
    case STATE_HANDSHAKE:
        mask |= UV_READABLE;
        break;
    case STATE_FAILED:
    case STATE_CLOSED:
        return 0;
    }
    if (conn->tls != NULL && !tls_session_is_drained(conn->tls))
        mask |= UV_WRITABLE;
    return mask;
}

/* To be called after whatever may change the mask. */
static void update(struct conn *conn)
{
    if (conn->state != STATE_CLOSED && wanted_mask(conn) != conn->polled)
        loop_defer(conn->loop, &conn->arm);
}

/* To be called after whatever may leave input with TLS that no event of the socket will tell. */
static void update_again(struct conn *conn)
{
    if (conn->tls != NULL && conn->state == STATE_OPEN && (conn->interest & CONN_READ) != 0 &&
        tls_session_has_input(conn->tls))
        loop_defer_next(conn->loop, &conn->again);
}

static void flush(struct conn *conn)
{
    if (tls_session_flush(conn->tls) == 0 && conn->is_fin_due) {
        conn->is_fin_due = false;
        shutdown(conn->fd, SHUT_WR);
    }
}

static void handshake(struct conn *conn)
{
    int error = tls_session_handshake(conn->tls);

    if (error != -EAGAIN) {
        conn->state = error == 0 ? STATE_OPEN : STATE_FAILED;
        conn->events->secured(conn, error);
    }
    update(conn);
    update_again(conn);
}

static void on_poll(uv_poll_t *poll, int status, int ready)
{
    struct conn *conn = poll->data;
    bool has_failed = status < 0 || (ready & UV_PRIORITIZED) != 0;

    if ((ready & UV_PRIORITIZED) != 0)
        conn->is_urgent = true;
    if (status < 0) {
        /* An error on the descriptor: libuv stops polling and does not say which error. The owner
         * learns it from the call that it makes. */
        conn->polled = 0;
        ready = UV_READABLE | UV_WRITABLE;
    }
    if (conn->tls != NULL) {
        if ((ready & UV_READABLE) != 0)
            tls_session_socket_readable(conn->tls);
        if ((ready & UV_WRITABLE) != 0)
            flush(conn);
        if (conn->state == STATE_HANDSHAKE) {
            handshake(conn);
            return;
        }
    }
    bool is_readable = (ready & UV_READABLE) != 0 && (conn->interest & CONN_READ) != 0;
    bool is_error = has_failed && (conn->interest & CONN_ERROR) != 0;
    if (conn->state == STATE_OPEN && (is_readable || is_error))
        conn->events->readable(conn);
    if (conn->state == STATE_OPEN && (ready & UV_WRITABLE) != 0 &&
        (conn->interest & CONN_WRITE) != 0 && conn_is_drained(conn))
        conn->events->writable(conn);
    update(conn);
    update_again(conn);
}

static void run_arm(struct loop_task *task)
{
    struct conn *conn = CONTAINER_OF(task, struct conn, arm);
    int mask = wanted_mask(conn);

    if (mask == conn->polled)
        return;
    int error = mask == 0 ? uv_poll_stop(&conn->poll) : uv_poll_start(&conn->poll, mask, on_poll);
    assert(error == 0);
    (void)error;
    conn->polled = mask;
}

static void run_again(struct loop_task *task)
{
    struct conn *conn = CONTAINER_OF(task, struct conn, again);

    if (conn->state == STATE_HANDSHAKE) {
        handshake(conn);
        return;
    }
    if (conn->state == STATE_OPEN && (conn->interest & CONN_READ) != 0 &&
        tls_session_has_input(conn->tls))
        conn->events->readable(conn);
    update(conn);
    update_again(conn);
}

int conn_new(struct loop *loop, int fd, const struct conn_events *events, void *holder,
             struct conn **conn)
{
    struct conn *new = memory_allocate_zero(sizeof(*new));
    if (new == NULL)
        return CULVERT_ERROR_NO_MEMORY;

    int error = uv_poll_init(&loop->uv, &new->poll, fd); /* makes it non-blocking too */
    if (error != 0) {
        memory_free(new);
        return error;
    }
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    new->loop = loop;
    new->events = events;
    new->holder = holder;
    new->poll.data = new;
    new->arm.run = run_arm;
    new->again.run = run_again;
    new->fd = fd;
    new->state = STATE_OPEN;
    *conn = new;
    return 0;
}

int conn_secure(struct conn *conn, const struct tls_context *context, const char *host)
{
    assert(conn->tls == NULL && conn->state == STATE_OPEN);
    /* The session holds a reference of its own, which is all that it changes in the context. */
    int error = tls_session_new((struct tls_context *)context, host, conn->fd, &conn->loop->pool,
                                &conn->tls);
    if (error != 0)
        return error;
    conn->state = STATE_HANDSHAKE;
    loop_defer_next(conn->loop, &conn->again);
    update(conn);
    return 0;
}

static ssize_t read_plain(struct conn *conn, void *buffer, size_t size)
{
    for (;;) {
        ssize_t count = read(conn->fd, buffer, size);
        if (count >= 0)
            return count;
        if (errno != EINTR)
            return -errno;
    }
}

ssize_t conn_read(struct conn *conn, void *buffer, size_t size)
{
    ssize_t count;

    if (conn->state == STATE_HANDSHAKE)
        return -EAGAIN;
    if (conn->tls == NULL) {
        count = read_plain(conn, buffer, size);
    } else {
        count = tls_session_read(conn->tls, buffer, size);
        update(conn);
        update_again(conn);
    }
    if (count <= 0 && count != -EAGAIN && size != 0)
        conn->is_input_over = true;
    return count;
}

static ssize_t write_plain(struct conn *conn, const struct iovec *vectors, int count)
{
    /* The kernel only reads the vectors. */
    struct msghdr message = {.msg_iov = (struct iovec *)vectors, .msg_iovlen = (size_t)count};

    for (;;) {
        ssize_t sent = sendmsg(conn->fd, &message, MSG_NOSIGNAL);
        if (sent >= 0)
            return sent;
        if (errno != EINTR)
            return -errno;
    }
}

ssize_t conn_write(struct conn *conn, const struct iovec *vectors, int count)
{
    if (conn->state == STATE_HANDSHAKE)
        return -EAGAIN;
    if (conn->tls == NULL)
        return write_plain(conn, vectors, count < IOV_MAX ? count : IOV_MAX);
    ssize_t taken = tls_session_write(conn->tls, vectors, count);
    update(conn);
    return taken;
}

bool conn_is_drained(const struct conn *conn)
{
    return conn->tls == NULL || tls_session_is_drained(conn->tls);
}

void conn_want(struct conn *conn, unsigned interest)
{
    conn->interest = interest;
    conn->is_urgent = false;
    update(conn);
    update_again(conn);
}

unsigned conn_interest(const struct conn *conn)
{
    return conn->interest;
}

int conn_take_error(struct conn *conn)
{
    int error = 0;
    socklen_t size = sizeof(error);

    return getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? -error : -errno;
}

int conn_shutdown(struct conn *conn)
{
    if (conn->tls != NULL) {
        tls_session_end(conn->tls);
        tls_session_flush(conn->tls);
        if (!tls_session_is_drained(conn->tls)) {
            conn->is_fin_due = true;
            update(conn);
            return 0;
        }
    }
    return shutdown(conn->fd, SHUT_WR) == 0 ? 0 : -errno;
}

static void on_closed(uv_handle_t *handle)
{
    struct conn *conn = handle->data;

    tls_session_free(conn->tls);
    memory_free(conn);
}

/* Off the loop: no event follows, and the memory is freed later. */
static void let_go(struct conn *conn)
{
    conn->state = STATE_CLOSED;
    loop_task_cancel(&conn->arm);
    loop_task_cancel(&conn->again);
    uv_close((uv_handle_t *)&conn->poll, on_closed);
}

/* Closing a TCP socket with unread input resets it and what was sent may be lost. */
static void discard_input(int fd)
{
    char waste[4096];
    size_t discarded = 0;
    ssize_t got;

    do {
        got = recv(fd, waste, sizeof(waste), MSG_DONTWAIT);
        discarded += got > 0 ? (size_t)got : 0;
    } while (got > 0 && discarded < DISCARD_MAX);
}

void conn_close(struct conn *conn, bool abort)
{
    assert(conn->state != STATE_CLOSED);
    if (abort) {
        struct linger linger = {.l_onoff = 1, .l_linger = 0};
        setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    } else {
        if (conn->tls != NULL) {
            if (conn->state == STATE_OPEN)
                tls_session_end(conn->tls);
            tls_session_flush(conn->tls);
        }
        if (!conn->is_input_over)
            discard_input(conn->fd);
    }
    let_go(conn);
    close(conn->fd);
    conn->fd = -1;
}

/* ---- from one loop to another ---- */

struct conn_cargo {
    struct tls_session *tls;
    int fd;
    bool is_input_over;
    bool is_fin_due;
};

struct conn_cargo *conn_depart(struct conn *conn)
{
    assert(conn->state == STATE_OPEN);
    struct conn_cargo *cargo = memory_allocate(sizeof(*cargo));
    if (cargo == NULL)
        return NULL;
    if (conn->tls != NULL && tls_session_depart(conn->tls) != 0) {
        memory_free(cargo);
        return NULL;
    }
    *cargo = (struct conn_cargo){conn->tls, conn->fd, conn->is_input_over, conn->is_fin_due};
    conn->tls = NULL;
    conn->fd = -1;
    let_go(conn);
    return cargo;
}

void conn_cargo_drop(struct conn_cargo *cargo)
{
    tls_session_free(cargo->tls);
    close(cargo->fd);
    memory_free(cargo);
}

int conn_arrive(struct conn_cargo *cargo, struct loop *loop, const struct conn_events *events,
                void *holder, struct conn **conn)
{
    int error = cargo->tls == NULL ? 0 : tls_session_arrive(cargo->tls, &loop->pool);
    if (error == 0)
        error = conn_new(loop, cargo->fd, events, holder, conn);
    if (error != 0) {
        conn_cargo_drop(cargo);
        return error;
    }
    (*conn)->tls = cargo->tls;
    (*conn)->is_input_over = cargo->is_input_over;
    (*conn)->is_fin_due = cargo->is_fin_due;
    memory_free(cargo);
    update(*conn);
    return 0;
}

void *conn_holder(const struct conn *conn)
{
    return conn->holder;
}

void conn_set_owner(struct conn *conn, const struct conn_events *events, void *holder)
{
    conn->events = events;
    conn->holder = holder;
}

struct loop *conn_loop(const struct conn *conn)
{
    return conn->loop;
}

int conn_descriptor(const struct conn *conn)
{
    return conn->fd;
}

bool conn_is_secure(const struct conn *conn)
{
    return conn->tls != NULL;
}

const char *conn_error_message(const struct conn *conn)
{
    return conn->tls == NULL ? NULL : tls_session_message(conn->tls);
}

void conn_peer_text(const struct conn *conn, char *out, size_t size)
{
    struct sockaddr_storage address = {.ss_family = AF_UNSPEC};
    socklen_t length = sizeof(address);
    char text[ADDRESS_TEXT_SIZE];

    getpeername(conn->fd, (struct sockaddr *)&address, &length);
    address_text(&address, text);
    snprintf(out, size, "%s", text);
}

static void set_tcp_option(int fd, int option, int value)
{
    setsockopt(fd, IPPROTO_TCP, option, &value, sizeof(value));
}

void conn_tune_tcp(int fd)
{
    int on = 1;

    set_tcp_option(fd, TCP_NODELAY, on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    set_tcp_option(fd, TCP_KEEPIDLE, KEEPALIVE_IDLE_SECONDS);
    set_tcp_option(fd, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_SECONDS);
    set_tcp_option(fd, TCP_KEEPCNT, KEEPALIVE_PROBES);
}

static bool ask_tcp(const struct conn *conn, struct tcp_info *info)
{
    socklen_t size = sizeof(*info);
    memset(info, 0, sizeof(*info));
    return getsockopt(conn->fd, IPPROTO_TCP, TCP_INFO, info, &size) == 0;
}

bool conn_is_starting(const struct conn *conn)
{
    struct tcp_info info;
    return ask_tcp(conn, &info) && info.tcpi_snd_ssthresh >= NO_THRESHOLD;
}

uint64_t conn_unacknowledged(const struct conn *conn)
{
    struct tcp_info info;
    if (!ask_tcp(conn, &info) || info.tcpi_unacked == 0)
        return 0;
    return (uint64_t)info.tcpi_last_ack_recv * 1000; /* milliseconds */
}

size_t conn_send_queue(const struct conn *conn)
{
    struct tcp_info info;
    int bytes = 0;
    if (!ask_tcp(conn, &info) || info.tcpi_state == TCP_CLOSE ||
        ioctl(conn->fd, SIOCOUTQ, &bytes) != 0)
        return 0;
    return (size_t)bytes;
}

void conn_limit_unsent(int fd, int bytes)
{
    set_tcp_option(fd, TCP_NOTSENT_LOWAT, bytes);
}
