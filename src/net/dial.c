#include "net/dial.h"

#include "base/error.h"
#include "base/memory.h"
#include "net/address.h"
#include "net/proxy_dial.h"
#include "net/resolver.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    ADDRESSES_MAX = 16,
    HOST_SIZE = 256,
    NEXT_ATTEMPT_MILLISECONDS = 250, /* RFC 8305 §5 */
    EPHEMERAL_PORT_MIN = 1024,
};

/* A socket that is being connected; lives until libuv lets go of its handle. */
struct attempt {
    struct list_node node;
    struct dial *dial;
    uv_poll_t poll;
    int fd;
};

struct dial {
    struct loop *loop;
    struct dial_request request;
    struct asker *asker; /* who is charged; NULL: nobody, or no more */
    struct lookup lookup;
    struct proxy_dial *through; /* then nothing else is at work */
    struct loop_timer timer;
    struct loop_task result; /* tells the result, then frees */
    struct list attempts;
    uint64_t deadline; /* microseconds */
    unsigned next;     /* the address to try next */
    unsigned count;
    int fd;
    int error; /* the most telling one so far */
    bool is_refused;
    bool is_finished;
    struct sockaddr_storage addresses[ADDRESSES_MAX];
    char host[HOST_SIZE];
};

static void try_next(struct dial *dial);

static void on_attempt_closed(uv_handle_t *handle)
{
    memory_free(handle->data);
}

static void drop_socket(struct dial *dial)
{
    if (dial->asker != NULL)
        asker_drop_socket(dial->asker);
}

static void let_attempt_go(struct attempt *attempt)
{
    list_remove(&attempt->node);
    uv_close((uv_handle_t *)&attempt->poll, on_attempt_closed);
}

/* Takes the descriptor out of the attempt and ends it. */
static int end_attempt(struct attempt *attempt)
{
    int fd = attempt->fd;

    drop_socket(attempt->dial);
    let_attempt_go(attempt);
    return fd;
}

static void free_dial(struct loop_task *task)
{
    memory_free(CONTAINER_OF(task, struct dial, result));
}

static void let_asker_go(struct dial *dial)
{
    if (dial->asker != NULL)
        asker_end_dial(dial->asker);
    dial->asker = NULL;
}

/* Closes with a RST, so that a server that has accepted the connection meanwhile does not see an
 * orderly end. */
static void abandon(int fd)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(fd);
}

/* Ends everything but the result task. */
static void stop(struct dial *dial)
{
    struct list_node *node;

    dial->is_finished = true;
    while ((node = list_first(&dial->attempts)) != NULL)
        abandon(end_attempt(CONTAINER_OF(node, struct attempt, node)));
    resolver_cancel(&dial->lookup);
    let_asker_go(dial);
    loop_timer_stop(&dial->timer);
}

/* Frees, once the timer's handle is closed. */
static void release(struct dial *dial)
{
    dial->result.run = free_dial;
    if (dial->timer.is_open)
        loop_timer_close(&dial->timer, &dial->result);
    else
        loop_bury(dial->loop, &dial->result);
}

static void tell_result(struct loop_task *task)
{
    struct dial *dial = CONTAINER_OF(task, struct dial, result);

    release(dial);
    dial->request.done(dial->request.holder, dial->fd, dial->error);
}

static void finish(struct dial *dial, int fd, int error)
{
    stop(dial);
    dial->fd = fd;
    dial->error = error;
    dial->result.run = tell_result;
    loop_defer(dial->loop, &dial->result);
}

/* A port of our own that happens to be the target's is given back to us by simultaneous open
 * (RFC 9293 §3.5): then nobody listens there. */
static bool is_self_connected(int fd, const struct sockaddr_storage *target)
{
    struct sockaddr_storage own = {.ss_family = AF_UNSPEC};
    socklen_t size = sizeof(own);

    if (address_port(target) < EPHEMERAL_PORT_MIN || !address_is_loopback(target))
        return false;
    return getsockname(fd, (struct sockaddr *)&own, &size) == 0 &&
           address_port(&own) == address_port(target) && address_equals_host(&own, target);
}

/* "No route" of one family tells less than what another address answered. */
static void note_error(struct dial *dial, int error)
{
    bool is_dull = error == -ENETUNREACH || error == -EHOSTUNREACH || error == -EADDRNOTAVAIL ||
                   error == -EAFNOSUPPORT;
    if (dial->error == 0 || !is_dull)
        dial->error = error;
}

static uint64_t milliseconds_left(struct dial *dial)
{
    uint64_t now = loop_now(dial->loop);
    return now >= dial->deadline ? 0 : (dial->deadline - now + 999) / 1000;
}

static void on_timer(struct loop_timer *timer)
{
    struct dial *dial = timer->holder;

    if (milliseconds_left(dial) == 0)
        finish(dial, -1, CULVERT_ERROR_TIMED_OUT);
    else
        try_next(dial);
}

static void start_timer(struct dial *dial, uint64_t milliseconds)
{
    uint64_t left = milliseconds_left(dial);

    if (!dial->timer.is_open)
        loop_timer_init(dial->loop, &dial->timer, on_timer, dial);
    loop_timer_start(&dial->timer, milliseconds < left ? milliseconds : left);
}

static void on_attempt(uv_poll_t *poll, int status, int ready)
{
    struct attempt *attempt = poll->data;
    struct dial *dial = attempt->dial;
    struct sockaddr_storage target = {.ss_family = AF_UNSPEC};
    socklen_t target_size = sizeof(target);
    int error = 0;
    socklen_t size = sizeof(error);

    (void)status; /* the socket itself knows better */
    (void)ready;
    int fd = end_attempt(attempt);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
        error = errno;
    if (error == 0 && getpeername(fd, (struct sockaddr *)&target, &target_size) != 0)
        error = errno;
    if (error == 0 && is_self_connected(fd, &target))
        error = ECONNREFUSED;
    if (error == 0) {
        finish(dial, fd, 0);
        return;
    }
    close(fd);
    note_error(dial, -error);
    try_next(dial);
}

static int watch(struct dial *dial, int fd)
{
    struct attempt *attempt = memory_allocate_zero(sizeof(*attempt));
    if (attempt == NULL)
        return CULVERT_ERROR_NO_MEMORY;

    int error = uv_poll_init(&dial->loop->uv, &attempt->poll, fd);
    if (error != 0) {
        memory_free(attempt);
        return error;
    }
    attempt->dial = dial;
    attempt->fd = fd;
    attempt->poll.data = attempt;
    list_append(&dial->attempts, &attempt->node);
    error = uv_poll_start(&attempt->poll, UV_WRITABLE, on_attempt);
    if (error != 0)
        let_attempt_go(attempt);
    return error;
}

/* Returns 0 when connected, -EINPROGRESS, or an error. */
static int connect_to(int fd, const struct sockaddr_storage *address)
{
    const struct sockaddr *target = (const struct sockaddr *)address;
    int result = connect(fd, target, address_size(address));

    /* The handshake on loopback is over by now, though the first call could not wait for it. */
    if (result != 0 && errno == EINPROGRESS && address_is_loopback(address))
        result = connect(fd, target, address_size(address));
    if (result != 0)
        return errno == EALREADY || errno == EINTR ? -EINPROGRESS : -errno;
    return is_self_connected(fd, address) ? -ECONNREFUSED : 0;
}

/* Returns a descriptor that the asker was charged for, or an error. */
static int open_socket(struct dial *dial, int family)
{
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int error = dial->asker != NULL ? asker_take_socket(dial->asker, fd) : 0;
    if (error != 0)
        close(fd);
    return error != 0 ? error : fd;
}

/* Returns 0 when the dial has finished or waits for this address, or an error. */
static int attempt_address(struct dial *dial, const struct sockaddr_storage *address)
{
    int fd = open_socket(dial, address->ss_family);
    if (fd < 0)
        return fd;

    int error = connect_to(fd, address);
    if (error == -EINPROGRESS) {
        error = watch(dial, fd);
        if (error == 0)
            return 0;
    }
    drop_socket(dial);
    if (error == 0)
        finish(dial, fd, 0);
    else
        close(fd);
    return error;
}

static void try_next(struct dial *dial)
{
    while (dial->next < dial->count) {
        const struct sockaddr_storage *address = &dial->addresses[dial->next++];
        int error = 0;

        if (dial->request.filter != NULL && !dial->request.filter(dial->request.holder, address)) {
            dial->is_refused = true;
            continue;
        }
        error = attempt_address(dial, address);
        if (dial->is_finished)
            return;
        if (error != 0) {
            note_error(dial, error);
            continue;
        }
        start_timer(dial, dial->next < dial->count ? NEXT_ATTEMPT_MILLISECONDS : UINT64_MAX);
        return;
    }
    if (!list_is_empty(&dial->attempts)) {
        start_timer(dial, UINT64_MAX);
        return;
    }
    if (dial->error == 0)
        dial->error = dial->is_refused ? CULVERT_ERROR_REFUSED : CULVERT_ERROR_RESOLVE;
    finish(dial, -1, dial->error);
}

/* Linux connects the unspecified address to loopback; the filter must see where it really goes. */
static void name_loopback(struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET) {
        struct sockaddr_in *ipv4 = (struct sockaddr_in *)(void *)address;
        if (ipv4->sin_addr.s_addr == htonl(INADDR_ANY))
            ipv4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    } else if (address->ss_family == AF_INET6) {
        struct in6_addr *ipv6 = &((struct sockaddr_in6 *)(void *)address)->sin6_addr;
        static const uint8_t mapped_any[16] = {[10] = 0xff, [11] = 0xff};
        static const uint8_t mapped_loopback[16] = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1};
        if (IN6_IS_ADDR_UNSPECIFIED(ipv6))
            *ipv6 = in6addr_loopback;
        else if (memcmp(ipv6->s6_addr, mapped_any, sizeof(mapped_any)) == 0)
            memcpy(ipv6->s6_addr, mapped_loopback, sizeof(mapped_loopback));
    }
}

static void add_address(struct dial *dial, const struct addrinfo *info)
{
    struct sockaddr_storage *address = &dial->addresses[dial->count++];

    memset(address, 0, sizeof(*address));
    memcpy(address, info->ai_addr, info->ai_addrlen);
    address_set_port(address, dial->request.port);
    name_loopback(address);
}

static const struct addrinfo *next_of_family(const struct addrinfo *info, bool same, int family)
{
    while (info != NULL && ((info->ai_family == family) != same ||
                            (info->ai_family != AF_INET && info->ai_family != AF_INET6) ||
                            info->ai_addrlen > sizeof(struct sockaddr_storage)))
        info = info->ai_next;
    return info;
}

/* The families in turn, beginning with the resolver's first (RFC 8305 §4). */
static void interleave(struct dial *dial, const struct addrinfo *list)
{
    int first_family = list->ai_family;
    const struct addrinfo *lists[2] = {next_of_family(list, true, first_family),
                                       next_of_family(list, false, first_family)};

    for (unsigned turn = 0; dial->count < ADDRESSES_MAX && (lists[0] != NULL || lists[1] != NULL);
         turn ^= 1) {
        if (lists[turn] == NULL)
            continue;
        add_address(dial, lists[turn]);
        lists[turn] = next_of_family(lists[turn]->ai_next, turn == 0, first_family);
    }
}

static void on_resolved(struct lookup *lookup, int error, const struct addrinfo *list)
{
    struct dial *dial = lookup->holder;

    if (error == 0)
        interleave(dial, list);
    else if (error == CULVERT_ERROR_NO_MEMORY)
        dial->error = error;
    try_next(dial);
}

static int start_lookup(struct dial *dial)
{
    dial->lookup.done = on_resolved;
    dial->lookup.holder = dial;
    int error = resolver_start(dial->loop, &dial->lookup, dial->host, dial->asker);
    if (error == 0)
        start_timer(dial, UINT64_MAX);
    return error;
}

/* ---- through a proxy ---- */

static void on_proxy_done(void *holder, int fd, int error, const char *why)
{
    struct dial *dial = holder;

    dial->through = NULL;
    let_asker_go(dial);
    if (why != NULL && dial->request.why != NULL)
        snprintf(dial->request.why, dial->request.why_size, "%s", why);
    release(dial);
    dial->request.done(dial->request.holder, fd, error);
}

static int ask_proxy(struct dial *dial)
{
    struct proxy_dial_request request = {
        .proxy = dial->request.proxy,
        .host = dial->host,
        .port = dial->request.port,
        .timeout = dial->request.timeout,
        .done = on_proxy_done,
        .holder = dial,
    };
    char label[PROXY_LABEL_SIZE];

    int error = proxy_dial_start(dial->loop, &request, &dial->through);
    if (error == CULVERT_ERROR_UNSUPPORTED && dial->request.why != NULL) {
        proxy_label(dial->request.proxy, label);
        snprintf(dial->request.why, dial->request.why_size,
                 "%s needs libcurl (libcurl.so.4), which cannot be loaded; install libcurl4",
                 label);
    }
    dial->request.proxy = NULL; /* the caller's, for as long as the call */
    return error;
}

/* ---- starting ---- */

static int begin(struct dial *dial)
{
    if (dial->request.proxy != NULL && dial->request.proxy->kind != PROXY_NONE)
        return ask_proxy(dial);
    dial->count = resolver_know(dial->host, dial->addresses);
    if (dial->count == 0)
        return start_lookup(dial);
    for (unsigned i = 0; i < dial->count; i++) {
        address_set_port(&dial->addresses[i], dial->request.port);
        name_loopback(&dial->addresses[i]);
    }
    try_next(dial);
    return 0;
}

static int charge(struct dial *dial)
{
    int error = dial->request.asker != NULL ? asker_begin_dial(dial->request.asker) : 0;
    if (error == 0)
        dial->asker = dial->request.asker;
    return error;
}

int dial_start(struct loop *loop, const struct dial_request *request, struct dial **dial)
{
    size_t length = strlen(request->host);
    if (length == 0 || length >= HOST_SIZE)
        return CULVERT_ERROR_INVALID;
    struct dial *new = memory_allocate_zero(sizeof(*new));
    if (new == NULL)
        return CULVERT_ERROR_NO_MEMORY;

    new->loop = loop;
    new->request = *request;
    new->fd = -1;
    new->deadline = loop_now(loop) + (uint64_t)request->timeout * 1000;
    list_init(&new->attempts);
    memcpy(new->host, request->host, length + 1);
    new->request.host = new->host;
    int error = charge(new);
    if (error == 0)
        error = begin(new);
    if (error != 0) {
        let_asker_go(new);
        memory_free(new);
        return error;
    }
    *dial = new;
    return 0;
}

void dial_cancel(struct dial *dial)
{
    loop_task_cancel(&dial->result);
    if (dial->fd >= 0)
        abandon(dial->fd);
    dial->fd = -1;
    if (dial->through != NULL)
        proxy_dial_cancel(dial->through);
    dial->through = NULL;
    stop(dial);
    release(dial);
}
