/*
 * The limit that the tunnel is measured against: a TCP relay with nothing to it. One thread, epoll,
 * 256 KiB buffers, no framing. What comes in on LISTEN_PORT goes to TARGET_PORT and back, with
 * half-close. Three of these in a row do the system calls that a tunnel cannot do without.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER_SIZE = 256 * 1024, MAX_EVENTS = 256, MAX_PAIRS = 16 };

struct end;

/* What epoll points at: a listener or one end of a session. */
struct watched {
    int fd;
    struct end *end; /* NULL for a listener */
    struct sockaddr_in target;
};

/* One socket of a session, with what was read from the other one and could not be written yet. */
struct end {
    struct watched watched;
    struct end *other;
    uint8_t *parked;
    size_t parked_from, parked_size;
    uint32_t interest;
    bool has_ended; /* it sends no more */
    bool was_shut;  /* we send no more to it */
    bool is_dead;
    struct end *next_dead;
};

static int poller;
static uint8_t buffer[BUFFER_SIZE];
static struct end *dead;

static _Noreturn void die(const char *what)
{
    perror(what);
    exit(1);
}

static struct sockaddr_in loopback(const char *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    address.sin_port = htons((uint16_t)strtoul(port, NULL, 10));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static void watch(struct end *end, uint32_t interest)
{
    if (end->interest == interest)
        return;
    struct epoll_event event = {.events = interest, .data.ptr = &end->watched};
    if (epoll_ctl(poller, EPOLL_CTL_MOD, end->watched.fd, &event) < 0)
        die("epoll_ctl");
    end->interest = interest;
}

static void update_interest(struct end *end)
{
    bool reads = !end->has_ended && end->other->parked_size == 0;
    bool writes = end->parked_size > 0;
    watch(end, (reads ? (uint32_t)EPOLLIN : 0) | (writes ? (uint32_t)EPOLLOUT : 0));
}

/* Events of this round may still point at the ends: they are freed when it is over. */
static void close_session(struct end *end, bool abort)
{
    struct end *ends[2] = {end, end->other};
    for (int i = 0; i < 2; i++) {
        if (ends[i]->is_dead)
            continue;
        struct linger linger = {.l_onoff = 1, .l_linger = 0};
        if (abort)
            setsockopt(ends[i]->watched.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
        close(ends[i]->watched.fd);
        ends[i]->is_dead = true;
        ends[i]->next_dead = dead;
        dead = ends[i];
    }
}

static void bury(void)
{
    while (dead) {
        struct end *end = dead;
        dead = end->next_dead;
        free(end->parked);
        free(end);
    }
}

/* Passes the end of one side on to the other, once what came before has left. */
static void pass_end_on(struct end *from)
{
    struct end *to = from->other;
    if (from->has_ended && !to->was_shut && to->parked_size == 0) {
        shutdown(to->watched.fd, SHUT_WR);
        to->was_shut = true;
    }
    if (from->was_shut && to->was_shut)
        close_session(from, false);
}

static bool park(struct end *end, const uint8_t *data, size_t size)
{
    if (!end->parked && !(end->parked = malloc(BUFFER_SIZE)))
        return false;
    memcpy(end->parked, data, size);
    end->parked_from = 0;
    end->parked_size = size;
    return true;
}

/* Returns how much went out, or -1 after an error that ends the session. */
static ssize_t write_some(int fd, const uint8_t *data, size_t size)
{
    ssize_t count = write(fd, data, size);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    return count;
}

static void pump(struct end *from)
{
    struct end *to = from->other;
    ssize_t count = read(from->watched.fd, buffer, sizeof buffer);
    if (count < 0) {
        if (errno != EAGAIN && errno != EINTR)
            close_session(from, true);
        return;
    }
    if (count == 0) {
        from->has_ended = true;
        pass_end_on(from);
    } else {
        ssize_t written = write_some(to->watched.fd, buffer, (size_t)count);
        if (written < 0 ||
            (written < count && !park(to, buffer + written, (size_t)(count - written)))) {
            close_session(from, true);
            return;
        }
    }
    if (!from->is_dead) {
        update_interest(from);
        update_interest(to);
    }
}

static void drain(struct end *to)
{
    if (to->parked_size > 0) {
        ssize_t written = write_some(to->watched.fd, to->parked + to->parked_from, to->parked_size);
        if (written < 0) {
            close_session(to, true);
            return;
        }
        to->parked_from += (size_t)written;
        to->parked_size -= (size_t)written;
    }
    pass_end_on(to->other);
    if (!to->is_dead) {
        update_interest(to);
        update_interest(to->other);
    }
}

static struct end *end_new(int fd)
{
    struct end *end = calloc(1, sizeof *end);
    if (!end)
        return NULL;
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    end->watched.fd = fd;
    end->watched.end = end;
    return end;
}

static void start_session(int client_fd, const struct sockaddr_in *target)
{
    int server_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct end *client = end_new(client_fd);
    struct end *server = end_new(server_fd);
    if (server_fd < 0 || !client || !server)
        goto failed;
    if (connect(server_fd, (const struct sockaddr *)target, sizeof *target) < 0 &&
        errno != EINPROGRESS)
        goto failed;
    client->other = server;
    server->other = client;
    client->interest = server->interest = EPOLLIN;
    struct epoll_event client_event = {.events = EPOLLIN, .data.ptr = &client->watched};
    struct epoll_event server_event = {.events = EPOLLIN, .data.ptr = &server->watched};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, client_fd, &client_event) < 0 ||
        epoll_ctl(poller, EPOLL_CTL_ADD, server_fd, &server_event) < 0)
        die("epoll_ctl");
    return;

failed:
    free(client);
    free(server);
    close(client_fd);
    if (server_fd >= 0)
        close(server_fd);
}

static void accept_all(const struct watched *listener)
{
    for (;;) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
                perror("accept");
            return;
        }
        start_session(fd, &listener->target);
    }
}

static void start_listening(struct watched *listener, const char *port, const char *target)
{
    struct sockaddr_in address = loopback(port);
    int on = 1;
    listener->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    listener->target = loopback(target);
    setsockopt(listener->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (listener->fd < 0 ||
        bind(listener->fd, (const struct sockaddr *)&address, sizeof address) < 0 ||
        listen(listener->fd, 4096) < 0)
        die("listen");
    socklen_t size = sizeof address;
    if (getsockname(listener->fd, (struct sockaddr *)&address, &size) < 0)
        die("getsockname");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = listener};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, listener->fd, &event) < 0)
        die("epoll_ctl");
    printf("listening on 127.0.0.1:%u\n", ntohs(address.sin_port));
}

static void handle(const struct epoll_event *event)
{
    struct watched *watched = event->data.ptr;
    struct end *end = watched->end;
    if (!end) {
        accept_all(watched);
        return;
    }
    if (!end->is_dead && (event->events & EPOLLOUT))
        drain(end);
    if (end->is_dead || !(event->events & (EPOLLIN | EPOLLERR | EPOLLHUP)))
        return;
    /* Errors and hang-ups show when the socket is read, unless what was read is still parked. */
    if (end->other->parked_size == 0)
        pump(end);
    else if (event->events & EPOLLERR)
        close_session(end, true);
}

int main(int argc, char **argv)
{
    static struct watched listeners[MAX_PAIRS];
    if (argc < 3 || argc % 2 == 0 || argc > 1 + 2 * MAX_PAIRS) {
        fprintf(stderr, "usage: bare_relay LISTEN_PORT TARGET_PORT [LISTEN_PORT TARGET_PORT...]\n");
        return 2;
    }
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    signal(SIGPIPE, SIG_IGN);
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (poller < 0)
        die("epoll_create1");
    for (int i = 1; i < argc; i += 2)
        start_listening(&listeners[i / 2], argv[i], argv[i + 1]);
    fflush(stdout);
    for (;;) {
        struct epoll_event events[MAX_EVENTS];
        int count = epoll_wait(poller, events, MAX_EVENTS, -1);
        if (count < 0 && errno != EINTR)
            die("epoll_wait");
        for (int i = 0; i < count; i++)
            handle(&events[i]);
        bury();
    }
}
