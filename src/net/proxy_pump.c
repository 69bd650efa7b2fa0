#include "net/proxy_pump.h"

#include "base/error.h"
#include "base/memory.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BUFFER_SIZE = 64 * 1024,
    ROUNDS = 16, /* buffers in a turn, for the sake of others */
};

/* What is on its way in one direction. */
struct buffer {
    size_t begin;
    size_t end;
    bool is_over; /* nothing more comes in */
    uint8_t bytes[BUFFER_SIZE];
};

struct proxy_pump {
    struct loop *loop;
    const struct curl_library *curl;
    CURLM *multi;
    CURL *easy;
    int own; /* our end of the pair */
    uv_poll_t near;
    uv_poll_t far;
    unsigned open_handles;
    struct loop_task again;
    struct loop_task ending; /* when the loop ends, then to free */
    struct buffer up;        /* towards the proxy */
    struct buffer down;
};

static bool is_empty(const struct buffer *buffer)
{
    return buffer->begin == buffer->end;
}

/* ---- one step each; they return whether something was moved, and -1 on failure ---- */

static int read_near(struct proxy_pump *pump)
{
    struct buffer *up = &pump->up;
    if (up->is_over || !is_empty(up))
        return 0;
    ssize_t got = recv(pump->own, up->bytes, BUFFER_SIZE, 0);
    if (got < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    up->begin = 0;
    up->end = (size_t)got;
    up->is_over = got == 0;
    return 1;
}

static int write_far(struct proxy_pump *pump)
{
    struct buffer *up = &pump->up;
    size_t sent = 0;
    if (is_empty(up))
        return 0;
    CURLcode code =
        pump->curl->easy_send(pump->easy, up->bytes + up->begin, up->end - up->begin, &sent);
    if (code != CURLE_OK)
        return code == CURLE_AGAIN ? 0 : -1;
    up->begin += sent;
    return sent > 0;
}

static int read_far(struct proxy_pump *pump)
{
    struct buffer *down = &pump->down;
    size_t got = 0;
    if (down->is_over || !is_empty(down))
        return 0;
    CURLcode code = pump->curl->easy_recv(pump->easy, down->bytes, BUFFER_SIZE, &got);
    if (code != CURLE_OK)
        return code == CURLE_AGAIN ? 0 : -1;
    down->begin = 0;
    down->end = got;
    down->is_over = got == 0;
    return 1;
}

static int write_near(struct proxy_pump *pump)
{
    struct buffer *down = &pump->down;
    if (is_empty(down))
        return 0;
    ssize_t sent =
        send(pump->own, down->bytes + down->begin, down->end - down->begin, MSG_NOSIGNAL);
    if (sent < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    down->begin += (size_t)sent;
    return 1;
}

/* ---- the end ---- */

static void free_pump(struct loop_task *task)
{
    memory_free(CONTAINER_OF(task, struct proxy_pump, ending));
}

static void on_closed(uv_handle_t *handle)
{
    struct proxy_pump *pump = handle->data;
    if (--pump->open_handles > 0)
        return;
    pump->ending.run = free_pump;
    loop_bury(pump->loop, &pump->ending);
}

/* The handles of libuv must let go of a descriptor before it is closed. */
static void end(struct proxy_pump *pump)
{
    loop_task_cancel(&pump->again);
    loop_task_cancel(&pump->ending);
    uv_close((uv_handle_t *)&pump->near, on_closed);
    uv_close((uv_handle_t *)&pump->far, on_closed);
    close(pump->own);
    pump->curl->multi_remove_handle(pump->multi, pump->easy);
    pump->curl->easy_cleanup(pump->easy);
    pump->curl->multi_cleanup(pump->multi);
}

static void end_with_loop(struct loop_task *task)
{
    end(CONTAINER_OF(task, struct proxy_pump, ending));
}

/* ---- at work ---- */

static void on_ready(uv_poll_t *poll, int status, int events);

static int watch(uv_poll_t *poll, bool reads, bool writes)
{
    int events = (reads ? UV_READABLE : 0) | (writes ? UV_WRITABLE : 0);
    return events == 0 ? uv_poll_stop(poll) : uv_poll_start(poll, events, on_ready);
}

static int step(struct proxy_pump *pump)
{
    int (*const steps[])(struct proxy_pump *) = {read_near, write_far, read_far, write_near};
    int moved = 0;
    for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
        int result = steps[i](pump);
        if (result < 0)
            return result;
        moved |= result;
    }
    return moved;
}

static void run(struct proxy_pump *pump)
{
    int moved = 1;
    for (int i = 0; i < ROUNDS && moved > 0; i++)
        moved = step(pump);
    bool is_over =
        (pump->up.is_over && is_empty(&pump->up)) || (pump->down.is_over && is_empty(&pump->down));
    if (moved < 0 || is_over) {
        end(pump);
        return;
    }
    /* TLS may hold what the socket does not show: so it goes on until nothing moves. */
    if (moved > 0)
        loop_defer_next(pump->loop, &pump->again);
    int error = watch(&pump->near, is_empty(&pump->up), !is_empty(&pump->down));
    if (error == 0)
        error = watch(&pump->far, is_empty(&pump->down), !is_empty(&pump->up));
    if (error != 0)
        end(pump);
}

static void run_again(struct loop_task *task)
{
    run(CONTAINER_OF(task, struct proxy_pump, again));
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    (void)status; /* the next read or write knows better */
    (void)events;
    run(poll->data);
}

/* ---- the beginning ---- */

/* Opens both handles; what is open is closed again on failure, and frees the pump when closed. */
static int open_handles(struct proxy_pump *pump, int far)
{
    int error = uv_poll_init(&pump->loop->uv, &pump->near, pump->own);
    if (error != 0) {
        memory_free(pump);
        return error;
    }
    pump->near.data = pump;
    pump->open_handles = 1;
    error = uv_poll_init(&pump->loop->uv, &pump->far, far);
    if (error != 0) {
        uv_close((uv_handle_t *)&pump->near, on_closed);
        return error;
    }
    pump->far.data = pump;
    pump->open_handles = 2;
    return 0;
}

int proxy_pump_start(struct loop *loop, const struct curl_library *curl, CURLM *multi, CURL *easy,
                     int *fd)
{
    curl_socket_t far = CURL_SOCKET_BAD;
    int pair[2];
    if (curl->easy_getinfo(easy, CURLINFO_ACTIVESOCKET, &far) != CURLE_OK || far == CURL_SOCKET_BAD)
        return CULVERT_ERROR_CLOSED;
    struct proxy_pump *pump = memory_allocate_zero(sizeof(*pump));
    if (pump == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0) {
        int error = -errno;
        memory_free(pump);
        return error;
    }
    pump->loop = loop;
    pump->curl = curl;
    pump->multi = multi;
    pump->easy = easy;
    pump->own = pair[0];
    pump->again.run = run_again;
    pump->ending.run = end_with_loop;
    int error = open_handles(pump, far);
    if (error != 0) {
        close(pair[0]);
        close(pair[1]);
        return error;
    }
    loop_at_end(loop, &pump->ending);
    loop_defer(loop, &pump->again);
    *fd = pair[1];
    return 0;
}
