#include "agent/approach.h"

#include "base/error.h"
#include "base/memory.h"
#include "carrier/poll_client.h"
#include "carrier/upgrade.h"
#include "carrier/websocket_carrier.h"
#include "http/head_reader.h"
#include "net/conn.h"
#include "net/dial.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

struct approach {
    struct loop *loop;
    struct approach_request request; /* `tls` is a reference of its own, `link` is `link` below */
    uint8_t link[MESSAGE_LINK_ID_SIZE];
    struct loop_timer timer;
    uint64_t waits_since; /* microseconds, for the server's answers */
    struct loop_task burial;
    struct poll_client *poll; /* opening, or NULL */
    struct dial *dial;
    struct conn *conn; /* until the upgrade */
    struct head_reader reader;
    char websocket_key[WEBSOCKET_KEY_SIZE + 1];
    char dial_why[1024]; /* what is wrong, mostly with the proxy; "": the error says it */
    bool has_proxy;
    bool has_asked; /* for the upgrade */
};

/* ---- ending ---- */

static void bury(struct loop_task *task)
{
    memory_free(CONTAINER_OF(task, struct approach, burial));
}

void approach_cancel(struct approach *approach)
{
    if (approach == NULL)
        return;
    if (approach->poll != NULL)
        poll_client_cancel(approach->poll);
    if (approach->dial != NULL)
        dial_cancel(approach->dial);
    if (approach->conn != NULL)
        conn_close(approach->conn, false);
    head_reader_deinit(&approach->reader);
    tls_context_unref(approach->request.tls);
    approach->request.tls = NULL;
    loop_timer_close(&approach->timer, &approach->burial);
}

static void finish(struct approach *approach, const struct approach_result *result)
{
    struct approach_request request = approach->request;
    struct approach_result final = *result;
    final.waited = (loop_now(approach->loop) - approach->waits_since) / 1000;
    approach_cancel(approach);
    request.done(request.holder, &final);
}

static void fail(struct approach *approach, enum approach_failure failure, const char *why)
{
    struct approach_result result = {.failure = failure, .why = why};
    finish(approach, &result);
}

/* ---- the upgrade ---- */

static void upgraded(struct approach *approach, const struct http1_head *head, bool is_native,
                     size_t used)
{
    struct approach_result result = {.is_native = is_native};
    const struct head_reader *reader = &approach->reader;
    upgrade_read_nonce(head, result.nonce);
    int error = websocket_carrier_new(approach->conn, WEBSOCKET_CLIENT, reader->buffer + used,
                                      reader->size - used, &result.carrier);
    if (error != 0) {
        fail(approach, APPROACH_UNREACHABLE, error_text(error));
        return;
    }
    approach->conn = NULL;
    finish(approach, &result);
}

/* Fails with a hint where a plain connection may have met a port that expects TLS. */
static void fail_plain(struct approach *approach, enum approach_failure failure, const char *why)
{
    const struct url *url = approach->request.url;
    char text[640];
    if (url->is_secure) {
        fail(approach, failure, why);
        return;
    }
    snprintf(text, sizeof(text), "%s; does the server expect TLS (%s)?", why,
             url->is_poll ? "poll+https://" : "wss://");
    struct approach_result result = {.failure = failure, .may_want_tls = true, .why = text};
    finish(approach, &result);
}

static void fail_upgrade(struct approach *approach, const struct http1_head *head, const char *why)
{
    /* 400 is what web servers answer to plain HTTP at a port with TLS, and what a gateway answers
     * to a WebSocket of Hubble 0.1 that it was not told to serve. */
    if (head->status != 400)
        fail(approach, APPROACH_NOT_PASSED, why);
    else if (approach->request.config->dialect == AGENT_DIALECT_HUBBLE)
        fail(approach, APPROACH_NOT_PASSED,
             "the server there does not serve agents of Hubble 0.1: it answered HTTP 400; a "
             "culvert gateway serves them with --legacy hubble, or leave out --dialect hubble");
    else
        fail_plain(approach, APPROACH_NOT_PASSED, why);
}

/* The answer is not HTTP. Recognizes a TLS alert (RFC 8446 §5.1); otherwise shows the first line,
 * as far as it is plain ASCII. */
static void fail_foreign(struct approach *approach)
{
    const struct head_reader *reader = &approach->reader;
    char line[48] = "";
    char why[160];
    size_t size = 0;
    if (reader->size > 1 && reader->buffer[0] == 0x15 && reader->buffer[1] == 0x03) {
        fail_plain(approach, APPROACH_PROTOCOL, "the server answers in TLS");
        return;
    }
    while (size < reader->size && size + 1 < sizeof(line) && reader->buffer[size] != '\r' &&
           reader->buffer[size] != '\n') {
        uint8_t byte = reader->buffer[size];
        line[size++] = byte >= ' ' && byte < 0x7f && byte != '"' ? (char)byte : '?';
    }
    snprintf(why, sizeof(why),
             "the server there is no culvert gateway: it does not answer in HTTP but with \"%s\"",
             line);
    fail(approach, APPROACH_PROTOCOL, why);
}

static void judge(struct approach *approach, const struct http1_head *head, size_t used)
{
    char why[512];
    bool is_native = false;
    struct approach_result busy = {.failure = APPROACH_BUSY, .why = why};
    busy.retry_after = upgrade_retry_after(head, (int64_t)time(NULL));
    if (busy.retry_after > 0) {
        snprintf(why, sizeof(why), "the server is busy and wants us back after %u s",
                 busy.retry_after);
        finish(approach, &busy);
        return;
    }
    if (upgrade_check_response(head, approach->websocket_key, &is_native, why, sizeof(why)) != 0)
        fail_upgrade(approach, head, why);
    else if (!is_native && !approach->request.may_speak_hubble)
        fail(approach, APPROACH_PROTOCOL,
             "the server there speaks WebSocket but not " UPGRADE_PROTOCOL
             ": it is no culvert gateway, or of another version");
    else
        upgraded(approach, head, is_native, used);
}

static void readable(struct conn *conn)
{
    struct approach *approach = conn_holder(conn);
    struct http1_head head;
    size_t used = 0;
    int result = head_reader_read(&approach->reader, conn, HEAD_RESPONSE, &head, &used);
    switch (result) {
    case CULVERT_NEED_MORE:
        return;
    case 0:
        judge(approach, &head, used);
        return;
    case CULVERT_ERROR_PROTOCOL:
    case CULVERT_ERROR_TOO_LARGE:
        fail_foreign(approach);
        return;
    case CULVERT_ERROR_CLOSED:
        fail_plain(approach, APPROACH_NOT_PASSED,
                   "the server closed the connection without an answer");
        return;
    default:
        fail(approach, APPROACH_NOT_PASSED, error_text(result));
        return;
    }
}

static void send_request(struct approach *approach)
{
    uint8_t random[16];
    approach->has_asked = true;
    char request[UPGRADE_MAX_HEAD + 1024];
    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random)) {
        fail(approach, APPROACH_UNREACHABLE, "no random numbers");
        return;
    }
    websocket_key_value(random, approach->websocket_key);
    enum upgrade_offer offer = approach->request.config->dialect == AGENT_DIALECT_HUBBLE
                                   ? UPGRADE_OFFER_NONE
                                   : UPGRADE_OFFER_NATIVE;
    char link[LINK_NAME_TEXT_SIZE];
    if (approach->request.link != NULL)
        link_name_text(approach->request.link, link);
    struct upgrade_request upgrade = {
        .url = approach->request.url,
        .offer = offer,
        .key = approach->websocket_key,
        .link = approach->request.link != NULL ? link : NULL,
    };
    int size = upgrade_write_request(&upgrade, request, sizeof(request));
    struct iovec vector = {request, size > 0 ? (size_t)size : 0};
    if (size < 0 || conn_write(approach->conn, &vector, 1) != size)
        fail(approach, APPROACH_UNREACHABLE, "the upgrade request could not be sent");
    else
        conn_want(approach->conn, CONN_READ);
}

static void secured(struct conn *conn, int error)
{
    struct approach *approach = conn_holder(conn);
    if (error == 0) {
        send_request(approach);
        return;
    }
    const char *why = conn_error_message(conn);
    char text[512];
    snprintf(text, sizeof(text), "%s", why != NULL ? why : error_text(error));
    fail(approach, APPROACH_UNREACHABLE, text);
}

static void writable(struct conn *conn)
{
    (void)conn;
}

static const struct conn_events conn_handlers = {
    .secured = secured,
    .readable = readable,
    .writable = writable,
};

/* ---- dialling ---- */

/* Through a proxy the peer is not the gateway: then its name tells where it is. */
static void deny_gateway(struct approach *approach, int fd)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof(address);
    if (!approach->has_proxy && getpeername(fd, (struct sockaddr *)&address, &size) == 0)
        gateway_denial_add(&approach->request.config->whitelist, &address);
}

static const char *dial_error(const struct approach *approach, int error)
{
    return approach->dial_why[0] != '\0' ? approach->dial_why : error_text(error);
}

static void dialled(void *holder, int fd, int error)
{
    struct approach *approach = holder;
    const struct approach_request *request = &approach->request;
    approach->dial = NULL;
    if (error != 0) {
        /* Such a proxy may pass on plain requests all the same. */
        bool is_closed_way = approach->has_proxy && error == CULVERT_ERROR_UNSUPPORTED;
        fail(approach,
             is_closed_way && !request->url->is_secure ? APPROACH_NOT_PASSED : APPROACH_UNREACHABLE,
             dial_error(approach, error));
        return;
    }
    deny_gateway(approach, fd);
    conn_tune_tcp(fd);
    error = conn_new(approach->loop, fd, &conn_handlers, approach, &approach->conn);
    if (error != 0) {
        close(fd);
        fail(approach, APPROACH_UNREACHABLE, error_text(error));
        return;
    }
    approach->waits_since = loop_now(approach->loop);
    loop_timer_start(&approach->timer, request->answer_time);
    if (!request->url->is_secure) {
        send_request(approach);
        return;
    }
    error = conn_secure(approach->conn, request->tls, request->url->host);
    if (error != 0)
        fail(approach, APPROACH_UNREACHABLE, error_text(error));
}

static void out_of_time(struct loop_timer *timer)
{
    struct approach *approach = timer->holder;
    fail(approach, approach->has_asked ? APPROACH_SILENT : APPROACH_UNREACHABLE,
         "the server did not answer in time");
}

static int dial_gateway(struct approach *approach, const struct proxy *proxy)
{
    const struct url *url = approach->request.url;
    struct dial_request request = {
        .host = url->host,
        .port = url->port,
        .timeout = approach->request.dial_time,
        .done = dialled,
        .holder = approach,
        .proxy = proxy,
        .why = approach->dial_why,
        .why_size = sizeof(approach->dial_why),
    };
    return dial_start(approach->loop, &request, &approach->dial);
}

/* ---- long poll ---- */

static void poll_opened(void *holder, const struct poll_client_result *opened)
{
    struct approach *approach = holder;
    struct approach_result result = {.carrier = opened->carrier, .is_native = true};
    approach->poll = NULL;
    if (opened->carrier != NULL) {
        if (opened->peer.ss_family != AF_UNSPEC)
            gateway_denial_add(&approach->request.config->whitelist, &opened->peer);
        memcpy(result.nonce, opened->nonce, sizeof(result.nonce));
        finish(approach, &result);
        return;
    }
    if (opened->may_want_tls) {
        fail_plain(approach, APPROACH_UNREACHABLE, opened->why);
        return;
    }
    switch (opened->failure) {
    case POLL_CLIENT_UNREACHABLE:
        result.failure = APPROACH_UNREACHABLE;
        break;
    case POLL_CLIENT_BUSY:
        result.failure = APPROACH_BUSY;
        break;
    case POLL_CLIENT_REFUSED:
        result.failure = APPROACH_NOT_PASSED;
        break;
    }
    result.retry_after = opened->retry_after;
    result.why = opened->why;
    finish(approach, &result);
}

static int open_poll(struct approach *approach, const struct proxy *proxy)
{
    struct poll_client_request request = {
        .url = approach->request.url,
        .proxy = proxy,
        .ca = approach->request.config->ca,
        .insecure = approach->request.config->insecure,
        .link = approach->request.link,
        .timeout = approach->request.dial_time,
        .done = poll_opened,
        .holder = approach,
    };
    int error = poll_client_open(approach->loop, &request, &approach->poll);
    if (error == CULVERT_ERROR_UNSUPPORTED)
        snprintf(approach->dial_why, sizeof(approach->dial_why),
                 "long poll needs libcurl, which is not on this machine");
    return error;
}

/* ---- beginning ---- */

static int begin(struct approach *approach)
{
    const struct url *url = approach->request.url;
    struct agent_config *config = approach->request.config;
    struct proxy proxy;
    int error = proxy_choose(config->proxies, url->host, url->port, url->is_secure, &proxy,
                             approach->dial_why, sizeof(approach->dial_why));
    approach->has_proxy = proxy.kind != PROXY_NONE;
    if (error == 0 && approach->has_proxy)
        gateway_denial_start(approach->request.denial, approach->loop, &config->whitelist,
                             url->host, url->port);
    if (error == 0)
        error = approach->request.rung == LADDER_POLL ? open_poll(approach, &proxy)
                                                      : dial_gateway(approach, &proxy);
    proxy_wipe(&proxy);
    return error;
}

int approach_start(struct loop *loop, const struct approach_request *request, struct approach **out,
                   char *why, size_t why_size)
{
    struct approach *approach = memory_allocate_zero(sizeof(*approach));
    int error = approach == NULL ? CULVERT_ERROR_NO_MEMORY : 0;
    if (error == 0)
        error = loop_timer_init(loop, &approach->timer, out_of_time, approach);
    if (error != 0) {
        snprintf(why, why_size, "%s", error_text(error));
        memory_free(approach);
        return error;
    }
    approach->loop = loop;
    approach->waits_since = loop_now(loop);
    approach->request = *request;
    if (request->tls != NULL)
        tls_context_ref(request->tls);
    if (request->link != NULL) {
        memcpy(approach->link, request->link, sizeof(approach->link));
        approach->request.link = approach->link;
    }
    approach->burial.run = bury;
    head_reader_init(&approach->reader, HEAD_READER_RESPONSE);
    error = begin(approach);
    if (error != 0) {
        snprintf(why, why_size, "%s", dial_error(approach, error));
        approach_cancel(approach);
        return error;
    }
    *out = approach;
    return 0;
}
