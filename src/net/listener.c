#include "net/listener.h"

#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "net/address.h"
#include "net/descriptors.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    BACKLOG = 4096,
    ACCEPTS_PER_TURN = 64,
    PAUSE_MILLISECONDS = 100,
    LOG_INTERVAL_MICROSECONDS = 1000000,
};

struct listener {
    struct loop *loop;
    const struct listener_events *events;
    void *holder;
    uv_poll_t poll;
    struct loop_timer pause;
    struct loop_task timer_closed;
    unsigned handles; /* that libuv still holds, once it is closed */
    int fd;
    int spare; /* given up for a moment when there are no descriptors left, or -1 */
    bool leaves_reserve;
    bool is_on;     /* the owner wants connections */
    bool is_paused; /* but there are no descriptors for them just now */
    bool is_closed;
    uint64_t last_logged; /* 0: never */
};

static void on_poll(uv_poll_t *poll, int status, int ready);

static void update(struct listener *listener)
{
    if (listener->is_on && !listener->is_paused) {
        int error = uv_poll_start(&listener->poll, UV_READABLE, on_poll);
        assert(error == 0);
        (void)error;
    } else {
        uv_poll_stop(&listener->poll);
    }
}

static void open_spare(struct listener *listener)
{
    if (listener->spare < 0)
        listener->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void on_pause_over(struct loop_timer *timer)
{
    struct listener *listener = timer->holder;

    listener->is_paused = false;
    open_spare(listener);
    update(listener);
}

/* The first in the queue learns that it cannot be served; the others wait until the pause is over,
 * so that nothing spins on a socket that stays readable. */
static void run_short(struct listener *listener, int error)
{
    uint64_t now = loop_now(listener->loop);

    if (listener->spare >= 0 && (error == EMFILE || error == ENFILE)) {
        close(listener->spare);
        listener->spare = -1;
        int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            close(fd);
        open_spare(listener);
    }
    if (listener->last_logged == 0 || now - listener->last_logged >= LOG_INTERVAL_MICROSECONDS) {
        char text[ADDRESS_TEXT_SIZE];
        listener->last_logged = now;
        listener_text(listener, text, sizeof(text));
        log_warning("%s cannot accept connections at the moment: %s", text, error_text(-error));
    }
    listener->is_paused = true;
    update(listener);
    loop_timer_start(&listener->pause, PAUSE_MILLISECONDS);
}

static void on_poll(uv_poll_t *poll, int status, int ready)
{
    struct listener *listener = poll->data;

    (void)ready;
    if (status < 0) {
        run_short(listener, -status);
        return;
    }
    for (int i = 0; i < ACCEPTS_PER_TURN && listener->is_on && !listener->is_closed; i++) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0 && listener->leaves_reserve && descriptors_left(fd) <= 0) {
            close(fd);
            run_short(listener, EMFILE);
            return;
        }
        if (fd >= 0) {
            listener->events->accepted(listener, fd);
            continue;
        }
        switch (errno) {
        case EAGAIN:
            return;
        case EMFILE:
        case ENFILE:
        case ENOBUFS:
        case ENOMEM:
        case EBADF:
        case EINVAL:
        case ENOTSOCK:
        case EOPNOTSUPP:
            run_short(listener, errno);
            return;
        default: /* this one connection is gone, the next may be well: accept(2), "Error handling"
                  */
            break;
        }
    }
}

static int set_on(int fd, int level, int option)
{
    int on = 1;
    return setsockopt(fd, level, option, &on, sizeof(on)) == 0 ? 0 : -errno;
}

static int set_options(int fd, const struct sockaddr *address,
                       const struct listener_options *options, bool reuse_port)
{
    /* Linux gives a unix socket's file the mode of the descriptor, so that there is no moment in
     * which others may connect. */
    if (address->sa_family == AF_UNIX)
        return fchmod(fd, S_IRUSR | S_IWUSR) == 0 ? 0 : -errno;
    int error = set_on(fd, SOL_SOCKET, SO_REUSEADDR);

    if (error == 0 && reuse_port)
        error = set_on(fd, SOL_SOCKET, SO_REUSEPORT);
    if (error == 0 && address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *ipv6 = (const struct sockaddr_in6 *)(const void *)address;
        int only = !(options->dual && IN6_IS_ADDR_UNSPECIFIED(&ipv6->sin6_addr));
        if (setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only)) != 0)
            error = -errno;
    }
    return error;
}

/* Returns the descriptor, bound, or an error. */
static int open_bound(const struct sockaddr *address, socklen_t size,
                      const struct listener_options *options, bool reuse_port)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;

    int error = set_options(fd, address, options, reuse_port);
    if (error == 0 && bind(fd, address, size) != 0)
        error = -errno;
    if (error != 0) {
        close(fd);
        return error;
    }
    return fd;
}

static int open_listening(const struct sockaddr *address, socklen_t size,
                          const struct listener_options *options)
{
    if (options->reuse_port && options->probe) {
        int probe = open_bound(address, size, options, false);
        if (probe < 0)
            return probe;
        close(probe);
    }
    int fd = open_bound(address, size, options, options->reuse_port);
    if (fd >= 0 && listen(fd, BACKLOG) != 0) {
        int error = -errno;
        close(fd);
        return error;
    }
    return fd;
}

int listener_new(struct loop *loop, const struct sockaddr *address, socklen_t size,
                 const struct listener_options *options, const struct listener_events *events,
                 void *holder, struct listener **listener)
{
    static const struct listener_options none;
    struct listener *new = memory_allocate_zero(sizeof(*new));
    if (new == NULL)
        return CULVERT_ERROR_NO_MEMORY;

    new->loop = loop;
    new->events = events;
    new->holder = holder;
    new->poll.data = new;
    new->spare = -1;
    new->leaves_reserve = options != NULL && options->leaves_reserve;
    new->fd = open_listening(address, size, options != NULL ? options : &none);
    int error = new->fd < 0 ? new->fd : uv_poll_init(&loop->uv, &new->poll, new->fd);
    if (error != 0)
        goto out;
    loop_timer_init(loop, &new->pause, on_pause_over, new);
    open_spare(new);
    *listener = new;
    new = NULL;
out:
    if (new != NULL &&new->fd >= 0)
        close(new->fd);
    memory_free(new);
    return error;
}

void listener_accept(struct listener *listener, bool on)
{
    if (listener->is_on == on)
        return;
    listener->is_on = on;
    update(listener);
}

static void let_go(struct listener *listener)
{
    if (--listener->handles == 0)
        memory_free(listener);
}

static void on_timer_closed(struct loop_task *task)
{
    let_go(CONTAINER_OF(task, struct listener, timer_closed));
}

static void on_poll_closed(uv_handle_t *handle)
{
    let_go(handle->data);
}

void listener_close(struct listener *listener)
{
    assert(!listener->is_closed);
    listener->is_closed = true;
    listener->timer_closed.run = on_timer_closed;
    listener->handles = 2;
    loop_timer_close(&listener->pause, &listener->timer_closed);
    uv_close((uv_handle_t *)&listener->poll, on_poll_closed);
    close(listener->fd);
    if (listener->spare >= 0)
        close(listener->spare);
}

void *listener_holder(const struct listener *listener)
{
    return listener->holder;
}

static void read_address(const struct listener *listener, struct sockaddr_storage *address)
{
    socklen_t size = sizeof(*address);

    address->ss_family = AF_UNSPEC;
    getsockname(listener->fd, (struct sockaddr *)address, &size);
}

uint16_t listener_port(const struct listener *listener)
{
    struct sockaddr_storage address;

    read_address(listener, &address);
    return address_port(&address);
}

void listener_text(const struct listener *listener, char *out, size_t size)
{
    struct sockaddr_storage address;
    char text[ADDRESS_TEXT_SIZE];

    read_address(listener, &address);
    address_text(&address, text);
    snprintf(out, size, "%s", text);
}
