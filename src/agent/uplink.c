#include "agent/uplink.h"

#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/reason.h"
#include "tunnel/hubble_tunnel.h"
#include "tunnel/native_tunnel.h"
#include "tunnel/upgrade.h"
#include "tunnel/websocket_carrier.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

static void close_tunnel(struct uplink *uplink, int code, const char *reason)
{
    struct tunnel *tunnel = uplink->tunnel;
    uplink->tunnel = NULL;
    if (tunnel != NULL)
        tunnel_close(tunnel, code, reason);
}

/* ---- trying again ---- */

static uint64_t next_delay(struct uplink *uplink)
{
    unsigned doublings = uplink->failures < 10 ? uplink->failures : 10;
    uint64_t delay = (uint64_t)UPLINK_FIRST_DELAY << doublings;
    uplink->failures++;
    if (delay > UPLINK_LAST_DELAY)
        delay = UPLINK_LAST_DELAY;
    /* Jitter: agents that lost the same gateway together do not come back together. */
    uint32_t random = 0;
    if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return delay;
    return delay / 2 + random % (delay / 2 + 1);
}

/* As long as the gateway said, and up to a quarter and a second more: it said the same to others.
 */
static uint64_t told_delay(struct uplink *uplink)
{
    uint64_t delay = (uint64_t)uplink->retry_after * 1000;
    uint32_t random = 0;
    uplink->retry_after = 0;
    if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return delay;
    return delay + random % (delay / 4 + 1000);
}

/* Ends whatever was under way and begins again after a while. */
static void retry(struct uplink *uplink, const char *what, const char *why)
{
    if (uplink->dial != NULL)
        dial_cancel(uplink->dial);
    uplink->dial = NULL;
    if (uplink->conn != NULL)
        conn_close(uplink->conn, false);
    uplink->conn = NULL;
    head_reader_deinit(&uplink->reader);
    uint64_t delay = uplink->retry_after > 0 ? told_delay(uplink) : next_delay(uplink);
    log_warning("%s %s: %s; trying again in %.1f s", what, uplink->url_text, why,
                (double)delay / 1000);
    close_tunnel(uplink, REASON_LINK_LOST, why);
    loop_timer_start(&uplink->timer, delay);
}

static void cannot_connect(struct uplink *uplink, const char *why)
{
    retry(uplink, "cannot register at", why);
}

/* ---- the link ---- */

static void peer_opened(struct tunnel *tunnel, struct stream *stream,
                        const struct message_open *open)
{
    struct uplink *uplink = tunnel->holder;
    uplink->owner->peer_opened(uplink, stream, open);
}

/* Refusals that another try will not change, unless someone acts at the gateway. */
static bool is_final(int code)
{
    return code == REASON_FORBIDDEN || code == REASON_NAME_TAKEN || code == REASON_PROTOCOL ||
           code == REASON_UNSUPPORTED;
}

static void take_refusal(struct uplink *uplink, const struct message_welcome *welcome)
{
    /* An agent of Hubble tries again whatever the words say (7.1 of its specification). */
    bool is_original = uplink->config->dialect == AGENT_DIALECT_HUBBLE;
    if (uplink->was_up || is_original || !is_final(welcome->code))
        return;
    char why[MESSAGE_MAX_REASON + 64];
    snprintf(why, sizeof(why), "the gateway refused: %.*s", (int)welcome->message.size,
             welcome->message.data);
    uplink->is_refused = true;
    uplink->owner->refused(uplink, welcome->code, why);
}

static void welcomed(struct tunnel *tunnel, const struct message_welcome *welcome)
{
    struct uplink *uplink = tunnel->holder;
    if (!welcome->ok) {
        take_refusal(uplink, welcome);
        return;
    }
    loop_timer_stop(&uplink->timer);
    uplink->up_since = loop_now(uplink->loop);
    uplink->was_up = true;
    if (uplink->config->announces) {
        printf("registered as %s at %s\n", uplink->config->name, uplink->url_text);
        fflush(stdout);
    }
    uplink->owner->up(uplink, tunnel);
}

static void went_away(struct tunnel *tunnel, const struct message_goaway *goaway)
{
    (void)tunnel;
    log_info("the gateway says goodbye: %.*s", (int)goaway->reason.size, goaway->reason.data);
}

static void lost(struct tunnel *tunnel, int error, const char *why)
{
    struct uplink *uplink = tunnel->holder;
    char text[MESSAGE_MAX_REASON + 64];
    if (uplink->is_refused)
        return;
    if (uplink->up_since == 0) {
        snprintf(text, sizeof(text), "%s%s",
                 error == CULVERT_ERROR_REFUSED ? "the gateway refused: " : "", why);
        cannot_connect(uplink, text);
        return;
    }
    if (loop_now(uplink->loop) - uplink->up_since > (uint64_t)UPLINK_STABLE * 1000000)
        uplink->failures = 0;
    uplink->up_since = 0;
    uplink->owner->down(uplink, why);
    retry(uplink, "lost the link to", why);
}

static const struct tunnel_owner tunnel_handlers = {
    .peer_opened = peer_opened,
    .welcomed = welcomed,
    .went_away = went_away,
    .lost = lost,
};

/* Makes the tunnel, which takes the carrier unless it fails. */
static int make_tunnel(struct uplink *uplink, struct carrier *carrier, bool is_native)
{
    const struct agent_config *config = uplink->config;
    if (!is_native)
        return hubble_tunnel_register(&tunnel_handlers, uplink, uplink->loop, carrier, config->name,
                                      config->key, &uplink->tunnel);
    struct native_tunnel *tunnel = NULL;
    int error = native_tunnel_new(&tunnel_handlers, uplink, uplink->loop, true, &tunnel);
    if (error != 0)
        return error;
    uplink->tunnel = &tunnel->base;
    error = native_tunnel_register(tunnel, carrier, config->name, config->key);
    if (error != 0)
        native_tunnel_fail(tunnel, error, error_text(error));
    return 0;
}

/* ---- the upgrade ---- */

/* A server that does not know culvert.1 may be one of Hubble 0.1. Without being told, it is spoken
 * with only if there is nothing to give away, and if it has never known better. */
static bool may_speak_hubble(const struct uplink *uplink)
{
    const struct agent_config *config = uplink->config;
    switch (config->dialect) {
    case AGENT_DIALECT_HUBBLE:
        return true;
    case AGENT_DIALECT_NATIVE:
        return false;
    case AGENT_DIALECT_AUTO:
        break;
    }
    bool has_key = config->key[0] != '\0' || uplink->gives_keys;
    for (size_t i = 0; i < config->rule_count; i++)
        has_key = has_key || config->rules[i].key[0] != '\0';
    return !has_key && !uplink->knows_native;
}

static void upgraded(struct uplink *uplink, bool is_native, const uint8_t *ahead, size_t ahead_size)
{
    struct carrier *carrier = NULL;
    uplink->knows_native = uplink->knows_native || is_native;
    int error = websocket_carrier_new(uplink->conn, WEBSOCKET_CLIENT, ahead, ahead_size, &carrier);
    if (error != 0) {
        cannot_connect(uplink, error_text(error));
        return;
    }
    uplink->conn = NULL;
    head_reader_deinit(&uplink->reader);
    error = make_tunnel(uplink, carrier, is_native);
    if (error == 0)
        return;
    carrier_close(carrier, error, NULL);
    cannot_connect(uplink, error_text(error));
}

static void readable(struct conn *conn)
{
    struct uplink *uplink = conn_holder(conn);
    struct http1_head head;
    size_t used = 0;
    char why[512];
    int result = head_reader_read(&uplink->reader, conn, HEAD_RESPONSE, &head, &used);
    switch (result) {
    case CULVERT_NEED_MORE:
        return;
    case 0:
        break;
    case CULVERT_ERROR_PROTOCOL:
    case CULVERT_ERROR_TOO_LARGE:
        cannot_connect(uplink,
                       "the server there is no culvert gateway: it does not answer in HTTP");
        return;
    case CULVERT_ERROR_CLOSED:
        cannot_connect(uplink, "the server closed the connection without an answer");
        return;
    default:
        cannot_connect(uplink, error_text(result));
        return;
    }
    uplink->retry_after = upgrade_retry_after(&head);
    if (uplink->retry_after > 0) {
        snprintf(why, sizeof(why), "the server is busy and wants us back after %u s",
                 uplink->retry_after);
        cannot_connect(uplink, why);
        return;
    }
    bool is_native = false;
    result = upgrade_check_response(&head, uplink->websocket_key, &is_native, why, sizeof(why));
    if (result != 0)
        cannot_connect(uplink, why);
    else if (!is_native && !may_speak_hubble(uplink))
        cannot_connect(uplink, "the server there speaks WebSocket but not " UPGRADE_PROTOCOL
                               ": it is no culvert gateway, or of another version");
    else
        upgraded(uplink, is_native, uplink->reader.buffer + used, uplink->reader.size - used);
}

static void send_request(struct uplink *uplink)
{
    uint8_t random[16];
    char request[UPGRADE_MAX_HEAD + 1024];
    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random)) {
        cannot_connect(uplink, "no random numbers");
        return;
    }
    websocket_key_value(random, uplink->websocket_key);
    const struct agent_config *config = uplink->config;
    enum upgrade_offer offer =
        config->dialect == AGENT_DIALECT_HUBBLE ? UPGRADE_OFFER_NONE : UPGRADE_OFFER_NATIVE;
    int size =
        upgrade_write_request(&config->url, offer, uplink->websocket_key, request, sizeof(request));
    struct iovec vector = {request, size > 0 ? (size_t)size : 0};
    if (size < 0 || conn_write(uplink->conn, &vector, 1) != size)
        cannot_connect(uplink, "the upgrade request could not be sent");
    else
        conn_want(uplink->conn, CONN_READ);
}

static void secured(struct conn *conn, int error)
{
    struct uplink *uplink = conn_holder(conn);
    if (error == 0) {
        send_request(uplink);
        return;
    }
    const char *why = conn_error_message(conn);
    char text[256];
    snprintf(text, sizeof(text), "%s", why != NULL ? why : error_text(error));
    cannot_connect(uplink, text);
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
static void deny_gateway(struct uplink *uplink, int fd)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof(address);
    if (!uplink->has_proxy && getpeername(fd, (struct sockaddr *)&address, &size) == 0)
        gateway_denial_add(&uplink->config->whitelist, &address);
}

static const char *dial_error(const struct uplink *uplink, int error)
{
    return uplink->dial_why[0] != '\0' ? uplink->dial_why : error_text(error);
}

static void dialled(void *holder, int fd, int error)
{
    struct uplink *uplink = holder;
    uplink->dial = NULL;
    if (error != 0) {
        cannot_connect(uplink, dial_error(uplink, error));
        return;
    }
    deny_gateway(uplink, fd);
    conn_tune_tcp(fd);
    error = conn_new(uplink->loop, fd, &conn_handlers, uplink, &uplink->conn);
    if (error != 0) {
        close(fd);
        cannot_connect(uplink, error_text(error));
        return;
    }
    loop_timer_start(&uplink->timer, UPLINK_LOGIN_TIME);
    if (uplink->tls == NULL) {
        send_request(uplink);
        return;
    }
    error = conn_secure(uplink->conn, uplink->tls, uplink->config->url.host);
    if (error != 0)
        cannot_connect(uplink, error_text(error));
}

static void dial_gateway(struct uplink *uplink)
{
    const struct url *url = &uplink->config->url;
    struct proxy proxy;
    struct dial_request request = {
        .host = url->host,
        .port = url->port,
        .timeout = UPLINK_DIAL_TIME,
        .done = dialled,
        .holder = uplink,
        .proxy = &proxy,
        .why = uplink->dial_why,
        .why_size = sizeof(uplink->dial_why),
    };
    uplink->dial_why[0] = '\0';
    int error = proxy_choose(uplink->config->proxies, url->host, url->port, url->is_secure, &proxy,
                             uplink->dial_why, sizeof(uplink->dial_why));
    uplink->has_proxy = proxy.kind != PROXY_NONE;
    if (error == 0 && uplink->has_proxy)
        gateway_denial_start(&uplink->denial, uplink->loop, &uplink->config->whitelist, url->host,
                             url->port);
    if (error == 0)
        error = dial_start(uplink->loop, &request, &uplink->dial);
    proxy_wipe(&proxy);
    if (error != 0)
        cannot_connect(uplink, dial_error(uplink, error));
}

static void timer_fired(struct loop_timer *timer)
{
    struct uplink *uplink = timer->holder;
    if (uplink->conn != NULL || uplink->tunnel != NULL)
        cannot_connect(uplink, "the server did not answer in time");
    else
        dial_gateway(uplink);
}

/* ---- life ---- */

int uplink_init(struct uplink *uplink, const struct uplink_owner *owner, void *holder,
                struct loop *loop, struct agent_config *config, char *why, size_t why_size)
{
    *uplink = (struct uplink){.owner = owner, .holder = holder, .loop = loop, .config = config};
    char host[sizeof(config->url.host) + 16];
    int error = url_host_field(&config->url, host, sizeof(host));
    if (error == 0)
        error = loop_timer_init(loop, &uplink->timer, timer_fired, uplink);
    if (error != 0) {
        snprintf(why, why_size, "%s", error_text(error));
        return error;
    }
    snprintf(uplink->url_text, sizeof(uplink->url_text), "%s://%s%s", config->url.scheme, host,
             strcmp(config->url.target, "/") == 0 ? "" : config->url.target);
    if (config->url.is_secure)
        error = tls_client_context(config->ca, config->insecure, &uplink->tls, why, why_size);
    return error;
}

void uplink_start(struct uplink *uplink)
{
    dial_gateway(uplink);
}

struct tunnel *uplink_tunnel(struct uplink *uplink)
{
    return uplink->tunnel;
}

void uplink_announce_stop(struct uplink *uplink, unsigned seconds)
{
    if (uplink->up_since != 0)
        tunnel_announce_stop(uplink->tunnel, "the agent is stopping", seconds);
}

bool uplink_is_drained(const struct uplink *uplink)
{
    return uplink->up_since == 0 || tunnel_is_drained(uplink->tunnel);
}

void uplink_close(struct uplink *uplink)
{
    if (uplink->is_closed)
        return;
    uplink->is_closed = true;
    loop_timer_stop(&uplink->timer);
    if (uplink->dial != NULL)
        dial_cancel(uplink->dial);
    uplink->dial = NULL;
    gateway_denial_cancel(&uplink->denial);
    if (uplink->conn != NULL)
        conn_close(uplink->conn, false);
    uplink->conn = NULL;
    close_tunnel(uplink, REASON_SHUTDOWN, "the agent is stopping");
}

void uplink_deinit(struct uplink *uplink)
{
    loop_timer_close(&uplink->timer, NULL);
    head_reader_deinit(&uplink->reader);
    tls_context_unref(uplink->tls);
    uplink->tls = NULL;
}
