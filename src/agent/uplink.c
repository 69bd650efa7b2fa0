#include "agent/uplink.h"

#include "base/error.h"
#include "base/log.h"
#include "base/reason.h"
#include "tunnel/hubble_tunnel.h"
#include "tunnel/native_tunnel.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

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
static uint64_t told_delay(unsigned seconds)
{
    uint64_t delay = (uint64_t)seconds * 1000;
    uint32_t random = 0;
    if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return delay;
    return delay + random % (delay / 4 + 1000);
}

/* Ends whatever was under way and begins again after a while. */
static void retry(struct uplink *uplink, const char *what, const char *why, uint64_t delay)
{
    log_warning("%s %s: %s; trying again in %.1f s", what, uplink->url_text, why,
                (double)delay / 1000);
    close_tunnel(uplink, REASON_LINK_LOST, why);
    loop_timer_start(&uplink->timer, delay);
}

static void cannot_connect(struct uplink *uplink, const char *why)
{
    retry(uplink, "cannot register at", why, next_delay(uplink));
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
    retry(uplink, "lost the link to", why, next_delay(uplink));
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

/* ---- the way to it ---- */

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

static void approached(void *holder, const struct approach_result *result)
{
    struct uplink *uplink = holder;
    uplink->approach = NULL;
    if (result->carrier == NULL) {
        uint64_t delay =
            result->failure == APPROACH_BUSY ? told_delay(result->retry_after) : next_delay(uplink);
        retry(uplink, "cannot register at", result->why, delay);
        return;
    }
    uplink->knows_native = uplink->knows_native || result->is_native;
    loop_timer_start(&uplink->timer, UPLINK_LOGIN_TIME);
    int error = make_tunnel(uplink, result->carrier, result->is_native);
    if (error == 0)
        return;
    carrier_close(result->carrier, error, NULL);
    cannot_connect(uplink, error_text(error));
}

static void approach_gateway(struct uplink *uplink)
{
    char why[1024];
    struct approach_request request = {
        .url = &uplink->config->urls[0],
        .config = uplink->config,
        .tls = uplink->tls,
        .denial = &uplink->denial,
        .may_speak_hubble = may_speak_hubble(uplink),
        .done = approached,
        .holder = uplink,
    };
    if (approach_start(uplink->loop, &request, &uplink->approach, why, sizeof(why)) != 0)
        cannot_connect(uplink, why);
}

static void timer_fired(struct loop_timer *timer)
{
    struct uplink *uplink = timer->holder;
    if (uplink->tunnel != NULL)
        cannot_connect(uplink, "the server did not answer in time");
    else
        approach_gateway(uplink);
}

/* ---- life ---- */

int uplink_init(struct uplink *uplink, const struct uplink_owner *owner, void *holder,
                struct loop *loop, struct agent_config *config, char *why, size_t why_size)
{
    *uplink = (struct uplink){.owner = owner, .holder = holder, .loop = loop, .config = config};
    const struct url *url = &config->urls[0];
    char host[sizeof(url->host) + 16];
    int error = url_host_field(url, host, sizeof(host));
    if (error == 0)
        error = loop_timer_init(loop, &uplink->timer, timer_fired, uplink);
    if (error != 0) {
        snprintf(why, why_size, "%s", error_text(error));
        return error;
    }
    snprintf(uplink->url_text, sizeof(uplink->url_text), "%s://%s%s", url->scheme, host,
             strcmp(url->target, "/") == 0 ? "" : url->target);
    if (url->is_secure)
        error = tls_client_context(config->ca, config->insecure, &uplink->tls, why, why_size);
    return error;
}

void uplink_start(struct uplink *uplink)
{
    approach_gateway(uplink);
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
    approach_cancel(uplink->approach);
    uplink->approach = NULL;
    gateway_denial_cancel(&uplink->denial);
    close_tunnel(uplink, REASON_SHUTDOWN, "the agent is stopping");
}

void uplink_deinit(struct uplink *uplink)
{
    loop_timer_close(&uplink->timer, NULL);
    tls_context_unref(uplink->tls);
    uplink->tls = NULL;
}
