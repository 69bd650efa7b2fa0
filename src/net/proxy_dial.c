#include "net/proxy_dial.h"

#include "base/error.h"
#include "base/memory.h"
#include "net/proxy_pump.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { URL_SIZE = 300, WHY_SIZE = 1024, NEVER = 0 };

/* A socket of libcurl's that we watch for it; lives until libuv lets go of its handle. */
struct watched {
    struct list_node node;
    struct proxy_dial *dial;
    uv_poll_t poll;
    curl_socket_t socket;
};

struct proxy_dial {
    struct loop *loop;
    const struct curl_library *curl;
    struct proxy proxy;
    void (*done)(void *holder, int fd, int error, const char *why);
    void *holder;
    CURLM *multi;
    CURL *easy;
    struct list watched;
    struct loop_timer timer; /* for libcurl and the deadline, whichever comes first */
    struct loop_task result; /* tells the result, then frees */
    uint64_t deadline;       /* microseconds */
    uint64_t curl_due;       /* microseconds, or NEVER */
    int fd;
    int error;
    bool is_over;
    bool is_without_negotiate;
    char problem[CURL_ERROR_SIZE];
    char why[WHY_SIZE];
};

/* ---- the end ---- */

static void on_watched_closed(uv_handle_t *handle)
{
    memory_free(handle->data);
}

static void stop_watching(struct watched *watched)
{
    list_remove(&watched->node);
    uv_close((uv_handle_t *)&watched->poll, on_watched_closed);
}

/* libuv must let go of descriptors before libcurl closes them, and for the copy of one to live. */
static void let_go(struct proxy_dial *dial)
{
    struct list_node *node;
    dial->is_over = true;
    if (dial->multi != NULL) {
        dial->curl->multi_setopt(dial->multi, CURLMOPT_SOCKETFUNCTION, NULL);
        dial->curl->multi_setopt(dial->multi, CURLMOPT_TIMERFUNCTION, NULL);
    }
    while ((node = list_first(&dial->watched)) != NULL)
        stop_watching(CONTAINER_OF(node, struct watched, node));
    loop_timer_stop(&dial->timer);
}

static void drop_handles(struct proxy_dial *dial)
{
    if (dial->easy != NULL && dial->multi != NULL)
        dial->curl->multi_remove_handle(dial->multi, dial->easy);
    if (dial->easy != NULL)
        dial->curl->easy_cleanup(dial->easy);
    if (dial->multi != NULL)
        dial->curl->multi_cleanup(dial->multi);
    dial->easy = NULL;
    dial->multi = NULL;
}

static void free_dial(struct loop_task *task)
{
    memory_free(CONTAINER_OF(task, struct proxy_dial, result));
}

/* Frees, once the timer's handle is closed. */
static void release(struct proxy_dial *dial)
{
    proxy_wipe(&dial->proxy);
    dial->result.run = free_dial;
    loop_timer_close(&dial->timer, &dial->result);
}

static void tell_result(struct loop_task *task)
{
    struct proxy_dial *dial = CONTAINER_OF(task, struct proxy_dial, result);
    drop_handles(dial);
    release(dial);
    dial->done(dial->holder, dial->fd, dial->error, dial->error != 0 ? dial->why : NULL);
}

/* libcurl is likely to be up the stack: its handles are dropped when the result is told. */
static void finish(struct proxy_dial *dial, int fd, int error)
{
    let_go(dial);
    dial->fd = fd;
    dial->error = error;
    dial->result.run = tell_result;
    loop_defer(dial->loop, &dial->result);
}

static void fail(struct proxy_dial *dial, CURLcode code)
{
    int error = proxy_explain(dial->curl, dial->easy, &dial->proxy, code, dial->problem, dial->why,
                              sizeof(dial->why));
    finish(dial, -1, error);
}

/* ---- the result ---- */

static int take_socket(struct proxy_dial *dial)
{
    curl_socket_t socket = CURL_SOCKET_BAD;
    if (dial->curl->easy_getinfo(dial->easy, CURLINFO_ACTIVESOCKET, &socket) != CURLE_OK ||
        socket == CURL_SOCKET_BAD)
        return CULVERT_ERROR_CLOSED;
    int fd = fcntl(socket, F_DUPFD_CLOEXEC, 0);
    return fd < 0 ? -errno : fd;
}

static int take_pump(struct proxy_dial *dial)
{
    int fd = -1;
    int error = proxy_pump_start(dial->loop, dial->curl, dial->multi, dial->easy, &fd);
    if (error != 0)
        return error;
    dial->easy = NULL;
    dial->multi = NULL;
    return fd;
}

static void succeed(struct proxy_dial *dial)
{
    let_go(dial);
    int fd = dial->proxy.kind == PROXY_HTTPS ? take_pump(dial) : take_socket(dial);
    if (fd < 0) {
        char label[PROXY_LABEL_SIZE];
        proxy_label(&dial->proxy, label);
        snprintf(dial->why, sizeof(dial->why), "%s was lost: %s", label, error_text(fd));
    }
    finish(dial, fd < 0 ? -1 : fd, fd < 0 ? fd : 0);
}

/* Of the methods that a proxy offers libcurl takes Negotiate first and, where nobody is logged in
 * to Kerberos, no other. Returns whether it tries again. */
static bool try_without_negotiate(struct proxy_dial *dial)
{
    const struct curl_library *curl = dial->curl;
    long status = 0;
    long offered = 0;
    curl->easy_getinfo(dial->easy, CURLINFO_HTTP_CONNECTCODE, &status);
    curl->easy_getinfo(dial->easy, CURLINFO_PROXYAUTH_AVAIL, &offered);
    bool has_other = ((unsigned long)offered & ~CURLAUTH_NEGOTIATE & CURLAUTH_ANY) != 0;
    if (dial->is_without_negotiate || status != 407 || dial->proxy.login.user[0] == '\0' ||
        ((unsigned long)offered & CURLAUTH_NEGOTIATE) == 0 || !has_other)
        return false;
    dial->is_without_negotiate = true;
    curl->multi_remove_handle(dial->multi, dial->easy);
    return curl->easy_setopt(dial->easy, CURLOPT_PROXYAUTH,
                             (long)(CURLAUTH_ANY & ~CURLAUTH_NEGOTIATE)) == CURLE_OK &&
           curl->multi_add_handle(dial->multi, dial->easy) == CURLM_OK;
}

static void look_at_messages(struct proxy_dial *dial)
{
    CURLMsg *message;
    int left = 0;
    while (!dial->is_over && (message = dial->curl->multi_info_read(dial->multi, &left)) != NULL) {
        if (message->msg != CURLMSG_DONE)
            continue;
        CURLcode code = message->data.result;
        if (code == CURLE_OK)
            succeed(dial);
        else if (!try_without_negotiate(dial))
            fail(dial, code);
    }
}

/* ---- libcurl on the loop ---- */

static void act(struct proxy_dial *dial, curl_socket_t socket, int events)
{
    int running = 0;
    if (dial->curl->multi_socket_action(dial->multi, socket, events, &running) != CURLM_OK) {
        if (!dial->is_over)
            fail(dial, CURLE_OUT_OF_MEMORY);
        return;
    }
    look_at_messages(dial);
}

static void start_timer(struct proxy_dial *dial)
{
    uint64_t due = dial->deadline;
    uint64_t now = loop_now(dial->loop);
    if (dial->curl_due != NEVER && dial->curl_due < due)
        due = dial->curl_due;
    loop_timer_start(&dial->timer, due > now ? (due - now + 999) / 1000 : 0);
}

static void on_timer(struct loop_timer *timer)
{
    struct proxy_dial *dial = timer->holder;
    uint64_t now = loop_now(dial->loop);
    if (now >= dial->deadline) {
        fail(dial, CURLE_OPERATION_TIMEDOUT);
        return;
    }
    if (dial->curl_due != NEVER && now >= dial->curl_due) {
        dial->curl_due = NEVER;
        act(dial, CURL_SOCKET_TIMEOUT, 0);
    }
    if (!dial->is_over)
        start_timer(dial);
}

static int on_curl_timer(CURLM *multi, long milliseconds, void *context)
{
    struct proxy_dial *dial = context;
    (void)multi;
    if (dial->is_over)
        return 0;
    dial->curl_due =
        milliseconds < 0 ? NEVER : loop_now(dial->loop) + (uint64_t)milliseconds * 1000;
    start_timer(dial);
    return 0;
}

static void on_poll(uv_poll_t *poll, int status, int ready)
{
    struct watched *watched = poll->data;
    int events = status < 0 ? CURL_CSELECT_ERR : 0;
    events |= (ready & UV_READABLE) != 0 ? CURL_CSELECT_IN : 0;
    events |= (ready & UV_WRITABLE) != 0 ? CURL_CSELECT_OUT : 0;
    act(watched->dial, watched->socket, events);
}

static struct watched *watch(struct proxy_dial *dial, curl_socket_t socket)
{
    struct watched *watched = memory_allocate_zero(sizeof(*watched));
    if (watched == NULL)
        return NULL;
    if (uv_poll_init(&dial->loop->uv, &watched->poll, socket) != 0) {
        memory_free(watched);
        return NULL;
    }
    watched->dial = dial;
    watched->socket = socket;
    watched->poll.data = watched;
    list_append(&dial->watched, &watched->node);
    dial->curl->multi_assign(dial->multi, socket, watched);
    return watched;
}

static int on_curl_socket(CURL *easy, curl_socket_t socket, int what, void *context, void *assigned)
{
    struct proxy_dial *dial = context;
    struct watched *watched = assigned;
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (watched != NULL)
            stop_watching(watched);
        dial->curl->multi_assign(dial->multi, socket, NULL);
        return 0;
    }
    if (watched == NULL)
        watched = watch(dial, socket);
    if (watched == NULL)
        return -1;
    int events = ((what & CURL_POLL_IN) != 0 ? UV_READABLE : 0) |
                 ((what & CURL_POLL_OUT) != 0 ? UV_WRITABLE : 0);
    return uv_poll_start(&watched->poll, events, on_poll) == 0 ? 0 : -1;
}

static curl_socket_t open_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address)
{
    (void)context;
    (void)purpose;
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static size_t skip(char *data, size_t size, size_t count, void *context)
{
    (void)data;
    (void)context;
    return size * count;
}

/* ---- the beginning ---- */

int proxy_set_options(const struct curl_library *curl, CURL *easy, const struct proxy *proxy)
{
    char text[PROXY_TEXT_SIZE] = "";
    bool has_login = proxy->kind != PROXY_NONE && proxy->login.is_given;
    if (proxy->kind != PROXY_NONE)
        proxy_text(proxy, text);
    int failed = curl->easy_setopt(easy, CURLOPT_PROXY, text) != CURLE_OK;
    failed |= curl->easy_setopt(easy, CURLOPT_NOPROXY, "") != CURLE_OK;
    failed |= curl->easy_setopt(easy, CURLOPT_PROXYAUTH, (long)CURLAUTH_ANY) != CURLE_OK;
    failed |= curl->easy_setopt(easy, CURLOPT_PROXYUSERNAME,
                                has_login ? proxy->login.user : NULL) != CURLE_OK;
    failed |= curl->easy_setopt(easy, CURLOPT_PROXYPASSWORD,
                                has_login ? proxy->login.password : NULL) != CURLE_OK;
    if (proxy->kind == PROXY_HTTPS && proxy->ca != NULL) {
        failed |= curl->easy_setopt(easy, CURLOPT_PROXY_CAINFO, proxy->ca) != CURLE_OK;
        failed |= curl->easy_setopt(easy, CURLOPT_PROXY_CAPATH, NULL) != CURLE_OK;
    }
    return failed ? CULVERT_ERROR_NO_MEMORY : 0;
}

static int set_options(struct proxy_dial *dial, const char *host, uint16_t port)
{
    const struct curl_library *curl = dial->curl;
    CURL *easy = dial->easy;
    char url[URL_SIZE];
    bool is_ipv6 = strchr(host, ':') != NULL;
    snprintf(url, sizeof(url), "http://%s%s%s:%u/", is_ipv6 ? "[" : "", host, is_ipv6 ? "]" : "",
             port);
    int failed = curl->easy_setopt(easy, CURLOPT_URL, url) != CURLE_OK;
    failed |= curl->easy_setopt(easy, CURLOPT_CONNECT_ONLY, 1L) != CURLE_OK;
    failed |= curl->easy_setopt(easy, CURLOPT_HTTPPROXYTUNNEL, 1L) != CURLE_OK;
    failed |= curl->easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L) != CURLE_OK;
    failed |= curl->easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) != CURLE_OK;
    failed |= curl->easy_setopt(easy, CURLOPT_USERAGENT, "culvert/" CULVERT_VERSION) != CURLE_OK;
    failed |= curl->easy_setopt(easy, CURLOPT_WRITEFUNCTION, skip) != CURLE_OK;
    failed |= curl->easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket) != CURLE_OK;
    failed |= curl->easy_setopt(easy, CURLOPT_ERRORBUFFER, dial->problem) != CURLE_OK;
#if LIBCURL_VERSION_NUM >= 0x075700
    /* Cancelling must not wait for a name server. An older library does not know the option. */
    curl->easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
#endif
    failed |= curl->multi_setopt(dial->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket) != CURLM_OK;
    failed |= curl->multi_setopt(dial->multi, CURLMOPT_SOCKETDATA, dial) != CURLM_OK;
    failed |= curl->multi_setopt(dial->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer) != CURLM_OK;
    failed |= curl->multi_setopt(dial->multi, CURLMOPT_TIMERDATA, dial) != CURLM_OK;
    return failed ? CULVERT_ERROR_NO_MEMORY : proxy_set_options(curl, easy, &dial->proxy);
}

static int open_handles(struct proxy_dial *dial, const struct proxy_dial_request *request)
{
    dial->multi = dial->curl->multi_init();
    dial->easy = dial->curl->easy_init();
    if (dial->multi == NULL || dial->easy == NULL ||
        set_options(dial, request->host, request->port) != 0 ||
        dial->curl->multi_add_handle(dial->multi, dial->easy) != CURLM_OK)
        return CULVERT_ERROR_NO_MEMORY;
    return 0;
}

int proxy_dial_start(struct loop *loop, const struct proxy_dial_request *request,
                     struct proxy_dial **dial)
{
    if (strlen(request->host) >= PROXY_HOST_SIZE)
        return CULVERT_ERROR_INVALID;
    const struct curl_library *curl = curl_library();
    if (curl == NULL)
        return CULVERT_ERROR_UNSUPPORTED;
    struct proxy_dial *new = memory_allocate_zero(sizeof(*new));
    if (new == NULL)
        return CULVERT_ERROR_NO_MEMORY;

    *new = (struct proxy_dial){.loop = loop,
                               .curl = curl,
                               .proxy = *request->proxy,
                               .done = request->done,
                               .holder = request->holder,
                               .deadline = loop_now(loop) + (uint64_t)request->timeout * 1000,
                               .curl_due = NEVER,
                               .fd = -1};
    list_init(&new->watched);
    int error = loop_timer_init(loop, &new->timer, on_timer, new);
    if (error != 0) {
        proxy_wipe(&new->proxy);
        memory_free(new);
        return error;
    }
    error = open_handles(new, request);
    if (error != 0) {
        let_go(new);
        drop_handles(new);
        release(new);
        return error;
    }
    start_timer(new);
    *dial = new;
    return 0;
}

void proxy_dial_cancel(struct proxy_dial *dial)
{
    loop_task_cancel(&dial->result);
    if (dial->fd >= 0)
        close(dial->fd);
    dial->fd = -1;
    let_go(dial);
    drop_handles(dial);
    release(dial);
}
