#include "net/http_requests.h"

#include "base/error.h"
#include "base/list.h"
#include "base/memory.h"
#include "net/address.h"
#include "net/curl_loop.h"
#include "net/http_explain.h"
#include "net/proxy_dial.h"

#include <stdio.h>
#include <string.h>

enum {
    KEPT_CONNECTIONS = 4,
    CONNECT_TIME = 10 * 1000, /* milliseconds */
    READ_SIZE = 64 * 1024,    /* at once, from a socket */
    WHY_SIZE = 1024,
    RENEWALS = 2, /* of a login, for one request */
};

struct http_requests {
    struct loop *loop;
    const struct curl_library *curl;
    struct curl_loop *transfers;
    struct proxy proxy;
    char *url;
    char *ca;
    bool insecure;
    bool is_secure;
    bool is_closed;
    bool is_without_negotiate;
    long proxy_auth; /* the method that the proxy has accepted, or all */
    struct list all;
    struct loop_task burial;
};

struct http_request {
    struct list_node node;
    struct http_requests *requests;
    CURL *easy;
    struct curl_slist *fields;
    struct http_post post;
    struct slice_cursor cursor; /* in the post's body */
    struct loop_timer timer;    /* of its patience */
    struct loop_task burial;
    uint64_t moved_at; /* microseconds: when the last byte went or came */
    bool is_busy;
    bool has_failed; /* with all others, and is not told yet */
    bool head_is_whole;
    unsigned renewals; /* since it was sent first */
    bool is_stale;     /* broken off, to be sent again to the proxy with what it has said now */
    int error;         /* why we have broken it off */
    struct slice_queue body;
    struct chunk *chunk; /* the body's end */
    size_t chunk_used;
    size_t head_size;
    char problem[CURL_ERROR_SIZE];
    uint8_t head[HTTP_MAX_HEAD];
};

/* ---- bytes, in libcurl's callbacks ---- */

static void moved(struct http_request *request)
{
    request->moved_at = loop_now(request->requests->loop);
}

static size_t read_body(char *out, size_t size, size_t count, void *context)
{
    struct http_request *request = context;
    moved(request);
    if (request->post.body == NULL)
        return 0;
    return slice_queue_read(request->post.body, &request->cursor, out, size * count);
}

/* Whether a proxy wants a newer nonce (RFC 7616 §3.3, "stale"). */
static bool is_stale_login(const struct http_request *request)
{
    return request->requests->proxy_auth == (long)CURLAUTH_DIGEST && request->head_size > 12 &&
           memcmp(request->head + 8, " 407", 4) == 0;
}

/* libcurl sends a body again on a fresh connection, and after a proxy's 407. But squid, which has
 * answered before it has read the body, may read no further request on that connection: that one is
 * broken off, and another made. */
static int seek_body(void *context, curl_off_t offset, int origin)
{
    struct http_request *request = context;
    request->is_stale = is_stale_login(request) && request->renewals++ < RENEWALS;
    if (offset != 0 || origin != SEEK_SET || request->is_stale)
        return CURL_SEEKFUNC_FAIL;
    request->cursor = (struct slice_cursor){0};
    return CURL_SEEKFUNC_OK;
}

static void drop_answer(struct http_request *request)
{
    if (request->chunk != NULL)
        chunk_unref(request->chunk);
    request->chunk = NULL;
    slice_queue_clear(&request->body);
    request->head_size = 0;
    request->head_is_whole = false;
    request->is_stale = false;
    request->error = 0;
}

static size_t break_off(struct http_request *request, int error)
{
    request->error = error;
    return 0;
}

/* The lines of each head one by one: a 100 or a proxy's 407 may come before the one that counts. */
static size_t take_head(char *line, size_t size, size_t count, void *context)
{
    struct http_request *request = context;
    moved(request);
    size *= count;
    if (size >= 5 && memcmp(line, "HTTP/", 5) == 0)
        drop_answer(request);
    if (request->head_is_whole) /* a trailer */
        return size;
    if (size > HTTP_MAX_HEAD - request->head_size)
        return break_off(request, CULVERT_ERROR_TOO_LARGE);
    memcpy(request->head + request->head_size, line, size);
    request->head_size += size;
    request->head_is_whole = line[0] == '\r' || line[0] == '\n';
    return size;
}

/* What is in the chunk, to the queue. */
static int push_chunk(struct http_request *request)
{
    struct chunk *chunk = request->chunk;
    request->chunk = NULL;
    if (chunk == NULL)
        return 0;
    return slice_queue_push(&request->body,
                            (struct slice){chunk, chunk->data, request->chunk_used});
}

static int find_room(struct http_request *request, size_t size)
{
    if (request->chunk != NULL && request->chunk_used < request->chunk->size)
        return 0;
    bool is_small = request->chunk == NULL && request->body.bytes == 0 &&
                    size <= CHUNK_SMALL_SIZE - offsetof(struct chunk, data);
    int error = push_chunk(request);
    if (error != 0)
        return error;
    request->chunk =
        chunk_pool_get(&request->requests->loop->pool, is_small ? CHUNK_SMALL : CHUNK_LARGE);
    request->chunk_used = 0;
    return request->chunk != NULL ? 0 : CULVERT_ERROR_NO_MEMORY;
}

static size_t take_body(char *data, size_t size, size_t count, void *context)
{
    struct http_request *request = context;
    moved(request);
    size *= count;
    size_t have = request->body.bytes + (request->chunk != NULL ? request->chunk_used : 0);
    if (size > HTTP_MAX_BODY - have)
        return break_off(request, CULVERT_ERROR_TOO_LARGE);
    for (size_t taken = 0; taken < size;) {
        int error = find_room(request, size - taken);
        if (error != 0)
            return break_off(request, error);
        size_t room = request->chunk->size - request->chunk_used;
        size_t step = size - taken < room ? size - taken : room;
        memcpy(request->chunk->data + request->chunk_used, data + taken, step);
        request->chunk_used += step;
        taken += step;
    }
    return size;
}

/* ---- the end of a request ---- */

static void become_idle(struct http_request *request)
{
    request->is_busy = false;
    request->has_failed = false;
    loop_timer_stop(&request->timer);
    curl_loop_remove(request->requests->transfers, request->easy);
    request->requests->curl->slist_free_all(request->fields);
    request->fields = NULL;
}

static int explain(const struct http_request *request, CURLcode code, char *out, size_t size)
{
    const struct http_requests *requests = request->requests;
    struct http_failure failure = {
        .curl = requests->curl,
        .easy = request->easy,
        .proxy = &requests->proxy,
        .is_secure = requests->is_secure,
        .ca = requests->ca,
        .code = code,
        .problem = request->problem,
    };
    if (request->error == 0)
        return http_explain(&failure, out, size);
    snprintf(out, size, "%s",
             request->error == CULVERT_ERROR_TOO_LARGE ? "the server's answer is too long"
                                                       : error_text(request->error));
    return request->error;
}

static void find_peer(const struct http_request *request, struct sockaddr_storage *peer)
{
    const struct curl_library *curl = request->requests->curl;
    char *host = NULL;
    long port = 0;
    if (request->requests->proxy.kind == PROXY_NONE &&
        curl->easy_getinfo(request->easy, CURLINFO_PRIMARY_IP, &host) == CURLE_OK && host != NULL &&
        curl->easy_getinfo(request->easy, CURLINFO_PRIMARY_PORT, &port) == CURLE_OK)
        (void)address_parse(host, (uint16_t)port, peer);
}

/* Once it is known which of its methods the proxy is content with no other is tried, so that each
 * request is not refused first. */
static void keep_proxy_method(const struct http_request *request)
{
    static const unsigned long methods[] = {CURLAUTH_NEGOTIATE, CURLAUTH_DIGEST, CURLAUTH_NTLM,
                                            CURLAUTH_BASIC}; /* as libcurl prefers them */
    struct http_requests *requests = request->requests;
    long offered = 0;
    requests->curl->easy_getinfo(request->easy, CURLINFO_PROXYAUTH_AVAIL, &offered);
    unsigned long usable = (unsigned long)offered & (unsigned long)requests->proxy_auth;
    for (size_t i = 0; i < sizeof(methods) / sizeof(*methods); i++) {
        if ((usable & methods[i]) == 0)
            continue;
        requests->proxy_auth = (long)methods[i];
        return;
    }
}

/* The proxy's own refusal of a plain request is told as that of a CONNECT. */
static bool is_refused_by_proxy(const struct http_request *request, long status)
{
    const struct http_requests *requests = request->requests;
    bool is_plain = !requests->is_secure &&
                    (requests->proxy.kind == PROXY_HTTP || requests->proxy.kind == PROXY_HTTPS);
    return is_plain && (status == 407 || status == 401);
}

static void finish(struct http_request *request, CURLcode code)
{
    struct http_requests *requests = request->requests;
    char why[WHY_SIZE];
    long status = 0;
    struct slice_queue body = SLICE_QUEUE_NULL;
    struct http_answer answer = {.body = &body, .head = request->head, .why = why};
    requests->curl->easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status);
    if (code != CURLE_OK || is_refused_by_proxy(request, status))
        answer.error = explain(request, code, why, sizeof(why));
    else
        answer.error = push_chunk(request);
    if (answer.error == CULVERT_ERROR_NO_MEMORY)
        answer.why = error_text(answer.error);
    if (answer.error == 0) {
        answer.status = (int)status;
        answer.head_size = request->head_size;
        answer.why = NULL;
        body = request->body;
        request->body = SLICE_QUEUE_NULL;
        find_peer(request, &answer.peer);
        keep_proxy_method(request);
    }
    become_idle(request);
    request->post.done(request->post.holder, &answer);
    slice_queue_deinit(&body);
}

static void on_ended(void *holder, CURL *easy, CURLcode code)
{
    struct http_requests *requests = holder;
    struct http_request *request = NULL;
    requests->curl->easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&request);
    bool is_again = request->is_stale;
    if (!requests->is_without_negotiate &&
        proxy_drop_negotiate(requests->curl, easy, &requests->proxy)) {
        requests->is_without_negotiate = true;
        requests->proxy_auth = (long)(CURLAUTH_ANY & ~CURLAUTH_NEGOTIATE);
        is_again = true;
    }
    if (is_again) {
        curl_loop_remove(requests->transfers, easy);
        drop_answer(request);
        request->cursor = (struct slice_cursor){0};
        if (curl_loop_add(requests->transfers, easy) == 0)
            return;
        code = CURLE_OUT_OF_MEMORY;
    }
    finish(request, code);
}

static struct http_request *find_failed(const struct http_requests *requests)
{
    for (struct list_node *node = list_first(&requests->all); node != NULL;
         node = list_next(&requests->all, node)) {
        struct http_request *request = CONTAINER_OF(node, struct http_request, node);
        if (request->has_failed)
            return request;
    }
    return NULL;
}

static void on_failed(void *holder, CURLcode code)
{
    struct http_requests *requests = holder;
    struct http_request *request;
    for (struct list_node *node = list_first(&requests->all); node != NULL;
         node = list_next(&requests->all, node)) {
        request = CONTAINER_OF(node, struct http_request, node);
        request->has_failed = request->is_busy;
    }
    while (!requests->is_closed && (request = find_failed(requests)) != NULL)
        finish(request, code);
}

static const struct curl_loop_owner transfers_owner = {.ended = on_ended, .failed = on_failed};

static void on_timer(struct loop_timer *timer)
{
    struct http_request *request = timer->holder;
    uint64_t due = request->moved_at + (uint64_t)request->post.patience * 1000;
    uint64_t now = loop_now(request->requests->loop);
    if (now < due)
        loop_timer_start(timer, (due - now) / 1000 + 1);
    else
        finish(request, CURLE_OPERATION_TIMEDOUT);
}

/* ---- sending ---- */

static int add_field(struct http_request *request, const char *field)
{
    struct curl_slist *longer = request->requests->curl->slist_append(request->fields, field);
    if (longer == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    request->fields = longer;
    return 0;
}

static int set_post(struct http_request *request)
{
    const struct http_requests *requests = request->requests;
    const struct curl_library *curl = requests->curl;
    const struct http_post *post = &request->post;
    curl_off_t size = post->body != NULL ? (curl_off_t)post->body->bytes : 0;
    /* libcurl would ask before it sends a large body, and proxies may not know that. */
    int error = add_field(request, "Expect:");
    for (size_t i = 0; i < post->field_count && error == 0; i++)
        error = add_field(request, post->fields[i]);
    if (error != 0)
        return error;
    int failed = curl->easy_setopt(request->easy, CURLOPT_HTTPHEADER, request->fields) != CURLE_OK;
    failed |= curl->easy_setopt(request->easy, CURLOPT_POSTFIELDSIZE_LARGE, size) != CURLE_OK;
    failed |= curl->easy_setopt(request->easy, CURLOPT_TIMEOUT_MS, (long)post->timeout) != CURLE_OK;
    failed |= curl->easy_setopt(request->easy, CURLOPT_PROXYAUTH, requests->proxy_auth) != CURLE_OK;
    return failed ? CULVERT_ERROR_NO_MEMORY : 0;
}

int http_request_post(struct http_request *request, const struct http_post *post)
{
    drop_answer(request);
    request->post = *post;
    request->cursor = (struct slice_cursor){0};
    request->problem[0] = '\0';
    request->renewals = 0;
    moved(request);
    int error = set_post(request);
    if (error == 0)
        error = curl_loop_add(request->requests->transfers, request->easy);
    if (error != 0) {
        request->requests->curl->slist_free_all(request->fields);
        request->fields = NULL;
        return error;
    }
    request->is_busy = true;
    if (post->patience > 0)
        loop_timer_start(&request->timer, post->patience);
    return 0;
}

void http_request_cancel(struct http_request *request)
{
    if (request->is_busy)
        become_idle(request);
    drop_answer(request);
}

/* ---- life ---- */

static void bury_request(struct loop_task *task)
{
    memory_free(CONTAINER_OF(task, struct http_request, burial));
}

static void free_request(struct http_request *request)
{
    http_request_cancel(request);
    list_remove(&request->node);
    slice_queue_deinit(&request->body);
    if (request->easy != NULL)
        request->requests->curl->easy_cleanup(request->easy);
    request->burial.run = bury_request;
    loop_timer_close(&request->timer, &request->burial);
}

/* What the proxy knows of us, and whom we believe. */
static int set_trust(const struct http_requests *requests, CURL *easy)
{
    const struct curl_library *curl = requests->curl;
    long verify = !requests->insecure;
    int failed =
        curl->easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) != CURLE_OK;
    failed |= curl->easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, verify) != CURLE_OK;
    failed |= curl->easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2 * verify) != CURLE_OK;
    if (requests->ca != NULL)
        failed |= curl_library_trust(curl, easy, requests->ca, false) != 0;
    return failed ? CULVERT_ERROR_NO_MEMORY : proxy_set_options(curl, easy, &requests->proxy);
}

static int set_options(const struct http_requests *requests, struct http_request *request)
{
    const struct curl_library *curl = requests->curl;
    CURL *easy = request->easy;
    int failed = curl->easy_setopt(easy, CURLOPT_URL, requests->url) != CURLE_OK;
    failed |= curl->easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L) != CURLE_OK;
    failed |=
        curl->easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) != CURLE_OK;
    failed |= curl->easy_setopt(easy, CURLOPT_POST, 1L) != CURLE_OK;
    failed |= curl->easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L) != CURLE_OK;
    failed |= curl->easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L) != CURLE_OK;
    failed |= curl->easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIME) != CURLE_OK;
    failed |= curl->easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L) != CURLE_OK;
    failed |= curl->easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)READ_SIZE) != CURLE_OK;
    failed |= curl->easy_setopt(easy, CURLOPT_READFUNCTION, read_body) != CURLE_OK;
    failed |= curl->easy_setopt(easy, CURLOPT_READDATA, request) != CURLE_OK;
    failed |= curl->easy_setopt(easy, CURLOPT_SEEKFUNCTION, seek_body) != CURLE_OK;
    failed |= curl->easy_setopt(easy, CURLOPT_SEEKDATA, request) != CURLE_OK;
    failed |= curl->easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_head) != CURLE_OK;
    failed |= curl->easy_setopt(easy, CURLOPT_HEADERDATA, request) != CURLE_OK;
    failed |= curl->easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body) != CURLE_OK;
    failed |= curl->easy_setopt(easy, CURLOPT_WRITEDATA, request) != CURLE_OK;
    failed |= curl->easy_setopt(easy, CURLOPT_ERRORBUFFER, request->problem) != CURLE_OK;
    failed |= curl->easy_setopt(easy, CURLOPT_PRIVATE, request) != CURLE_OK;
    if (failed || curl_library_set_up(curl, easy) != 0)
        return CULVERT_ERROR_NO_MEMORY;
    return set_trust(requests, easy);
}

int http_request_new(struct http_requests *requests, struct http_request **out)
{
    struct http_request *request = memory_allocate_zero(sizeof(*request));
    if (request == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    request->requests = requests;
    int error = loop_timer_init(requests->loop, &request->timer, on_timer, request);
    if (error != 0) {
        memory_free(request);
        return error;
    }
    list_append(&requests->all, &request->node);
    request->easy = requests->curl->easy_init();
    if (request->easy == NULL || set_options(requests, request) != 0) {
        free_request(request);
        return CULVERT_ERROR_NO_MEMORY;
    }
    *out = request;
    return 0;
}

static void bury(struct loop_task *task)
{
    memory_free(CONTAINER_OF(task, struct http_requests, burial));
}

void http_requests_close(struct http_requests *self)
{
    struct list_node *node;
    self->is_closed = true;
    if (self->transfers != NULL)
        curl_loop_let_go(self->transfers);
    while ((node = list_first(&self->all)) != NULL)
        free_request(CONTAINER_OF(node, struct http_request, node));
    if (self->transfers != NULL)
        curl_loop_free(self->transfers);
    proxy_wipe(&self->proxy);
    memory_free(self->url);
    memory_free(self->ca);
    self->burial.run = bury;
    loop_bury(self->loop, &self->burial);
}

int http_requests_new(struct loop *loop, const struct http_target *target,
                      struct http_requests **out)
{
    const struct curl_library *curl = curl_library();
    if (curl == NULL)
        return CULVERT_ERROR_UNSUPPORTED;
    struct http_requests *self = memory_allocate_zero(sizeof(*self));
    if (self == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    self->loop = loop;
    self->curl = curl;
    self->proxy = *target->proxy;
    self->insecure = target->insecure;
    self->is_secure = strncmp(target->url, "https:", 6) == 0;
    self->proxy_auth = (long)CURLAUTH_ANY;
    list_init(&self->all);
    self->url = memory_copy_text(target->url);
    if (target->ca != NULL)
        self->ca = memory_copy_text(target->ca);
    int error = self->url == NULL || (target->ca != NULL && self->ca == NULL)
                    ? CULVERT_ERROR_NO_MEMORY
                    : curl_loop_new(loop, curl, &transfers_owner, self, &self->transfers);
    if (error == 0 && curl->multi_setopt(curl_loop_multi(self->transfers), CURLMOPT_MAXCONNECTS,
                                         (long)KEPT_CONNECTIONS) != CURLM_OK)
        error = CULVERT_ERROR_NO_MEMORY;
    if (error != 0) {
        http_requests_close(self);
        return error;
    }
    *out = self;
    return 0;
}

void http_requests_finish(struct http_requests *self, unsigned milliseconds)
{
    curl_loop_finish(self->transfers, milliseconds);
}

const struct proxy *http_requests_proxy(const struct http_requests *self)
{
    return &self->proxy;
}
