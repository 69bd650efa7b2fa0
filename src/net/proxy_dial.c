#include "net/proxy_dial.h"

#include "base/error.h"
#include "base/memory.h"
#include "net/curl_loop.h"
#include "net/proxy_pump.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { URL_SIZE = 300, WHY_SIZE = 1024 };

struct proxy_dial {
    struct loop *loop;
    const struct curl_library *curl;
    struct proxy proxy;
    void (*done)(void *holder, int fd, int error, const char *why);
    void *holder;
    struct curl_loop *transfers;
    CURL *easy;
    struct loop_timer deadline;
    struct loop_task result; /* tells the result, then frees */
    int fd;
    int error;
    bool is_over;
    bool is_without_negotiate;
    char problem[CURL_ERROR_SIZE];
    char why[WHY_SIZE];
};

/* ---- the end ---- */

/* libuv must let go of descriptors before libcurl closes them, and for the copy of one to live. */
static void let_go(struct proxy_dial *dial)
{
    dial->is_over = true;
    if (dial->transfers != NULL)
        curl_loop_let_go(dial->transfers);
    loop_timer_stop(&dial->deadline);
}

static void drop_handles(struct proxy_dial *dial)
{
    if (dial->easy != NULL && dial->transfers != NULL)
        curl_loop_remove(dial->transfers, dial->easy);
    if (dial->easy != NULL)
        dial->curl->easy_cleanup(dial->easy);
    if (dial->transfers != NULL)
        curl_loop_free(dial->transfers);
    dial->easy = NULL;
    dial->transfers = NULL;
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
    loop_timer_close(&dial->deadline, &dial->result);
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
    /* The dial is gone before the connection. */
    dial->curl->easy_setopt(dial->easy, CURLOPT_ERRORBUFFER, NULL);
    int error =
        proxy_pump_start(dial->loop, dial->curl, curl_loop_multi(dial->transfers), dial->easy, &fd);
    if (error != 0)
        return error;
    dial->easy = NULL;
    curl_loop_take_multi(dial->transfers);
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

static bool try_without_negotiate(struct proxy_dial *dial)
{
    if (dial->is_without_negotiate || !proxy_drop_negotiate(dial->curl, dial->easy, &dial->proxy))
        return false;
    dial->is_without_negotiate = true;
    curl_loop_remove(dial->transfers, dial->easy);
    return curl_loop_add(dial->transfers, dial->easy) == 0;
}

static void on_ended(void *holder, CURL *easy, CURLcode code)
{
    struct proxy_dial *dial = holder;
    (void)easy; /* the only one */
    if (code == CURLE_OK)
        succeed(dial);
    else if (!try_without_negotiate(dial))
        fail(dial, code);
}

static void on_failed(void *holder, CURLcode code)
{
    fail(holder, code);
}

static const struct curl_loop_owner transfers_owner = {.ended = on_ended, .failed = on_failed};

static void on_deadline(struct loop_timer *timer)
{
    fail(timer->holder, CURLE_OPERATION_TIMEDOUT);
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
    if (proxy->kind == PROXY_HTTPS && proxy->ca != NULL)
        failed |= curl_library_trust(curl, easy, proxy->ca, true) != 0;
    return failed ? CULVERT_ERROR_NO_MEMORY : 0;
}

bool proxy_drop_negotiate(const struct curl_library *curl, CURL *easy, const struct proxy *proxy)
{
    long status = 0;
    long offered = 0;
    curl->easy_getinfo(easy, CURLINFO_HTTP_CONNECTCODE, &status);
    if (status == 0)
        curl->easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    curl->easy_getinfo(easy, CURLINFO_PROXYAUTH_AVAIL, &offered);
    bool has_other = ((unsigned long)offered & ~CURLAUTH_NEGOTIATE & CURLAUTH_ANY) != 0;
    return status == 407 && proxy->login.user[0] != '\0' &&
           ((unsigned long)offered & CURLAUTH_NEGOTIATE) != 0 && has_other &&
           curl->easy_setopt(easy, CURLOPT_PROXYAUTH, (long)(CURLAUTH_ANY & ~CURLAUTH_NEGOTIATE)) ==
               CURLE_OK;
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
    failed |= curl->easy_setopt(easy, CURLOPT_WRITEFUNCTION, skip) != CURLE_OK;
    failed |= curl->easy_setopt(easy, CURLOPT_ERRORBUFFER, dial->problem) != CURLE_OK;
    if (!failed)
        failed = curl_library_set_up(curl, easy) != 0;
    return failed ? CULVERT_ERROR_NO_MEMORY : proxy_set_options(curl, easy, &dial->proxy);
}

static int open_handles(struct proxy_dial *dial, const struct proxy_dial_request *request)
{
    int error = curl_loop_new(dial->loop, dial->curl, &transfers_owner, dial, &dial->transfers);
    if (error != 0)
        return error;
    dial->easy = dial->curl->easy_init();
    if (dial->easy == NULL || set_options(dial, request->host, request->port) != 0 ||
        curl_loop_add(dial->transfers, dial->easy) != 0)
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
                               .fd = -1};
    int error = loop_timer_init(loop, &new->deadline, on_deadline, new);
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
    loop_timer_start(&new->deadline, request->timeout);
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
