#include "agent/uplink_inner.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/reason.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

static const char STOPPING[] = "the agent is stopping";

/* ---- setting up ---- */

/* Hubble 0.1 knows nothing but WebSocket. */
static enum agent_transport transport_to(const struct url *url, const struct agent_config *config)
{
    if (config->dialect == AGENT_DIALECT_HUBBLE)
        return AGENT_TRANSPORT_WEBSOCKET;
    return url->is_poll ? AGENT_TRANSPORT_POLL : config->transport;
}

static int prepare_place(struct uplink_place *place, const struct url *url,
                         const struct agent_config *config)
{
    char host[sizeof(url->host) + 16];
    int error = url_host_field(url, host, sizeof(host));
    if (error != 0)
        return error;
    ladder_init(&place->ladder, transport_to(url, config), config->retry_preferred);
    place->url = url;
    snprintf(place->text, sizeof(place->text), "%s://%s%s", url->scheme, host,
             strcmp(url->target, "/") == 0 ? "" : url->target);
    return 0;
}

static int prepare_places(struct uplink *uplink)
{
    const struct agent_config *config = uplink->config;
    uint64_t random = 0;
    if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return CULVERT_ERROR_NO_MEMORY;
    if (getrandom(uplink->boot, sizeof(uplink->boot), 0) != (ssize_t)sizeof(uplink->boot))
        return CULVERT_ERROR_NO_MEMORY;
    gateways_init(&uplink->gateways, config->url_count, config->url_random, config->retry_preferred,
                  random);
    uplink->places = memory_allocate_zero(config->url_count * sizeof(*uplink->places));
    int error = uplink->places == NULL ? CULVERT_ERROR_NO_MEMORY : 0;
    for (size_t i = 0; i < config->url_count && error == 0; i++)
        error = prepare_place(&uplink->places[i], &config->urls[i], config);
    return error;
}

int uplink_init(struct uplink *uplink, const struct uplink_owner *owner, void *holder,
                struct loop *loop, struct agent_config *config, char *why, size_t why_size)
{
    *uplink = (struct uplink){
        .owner = owner,
        .holder = holder,
        .loop = loop,
        .config = config,
        .leave_at = UINT64_MAX,
    };
    list_init(&uplink->leaving);
    int error = credentials_init(&uplink->credentials, config, why, why_size);
    if (error != 0)
        return error;
    error = loop_timer_init(loop, &uplink->timer, uplink_timer_fired, uplink);
    if (error == 0)
        error = loop_timer_init(loop, &uplink->side_timer, uplink_side_timer_fired, uplink);
    if (error == 0)
        error = prepare_places(uplink);
    if (error != 0)
        snprintf(why, why_size, "%s", error_text(error));
    return error;
}

void uplink_start(struct uplink *uplink)
{
    uplink_try_home(uplink);
}

/* Resumes the link with the key that is valid from now on, so that its sessions outlive the one
 * before. */
static void prove_anew(struct uplink *uplink)
{
    struct registration *home = uplink->home;
    if (home != NULL && home->state == REGISTRATION_UP && registration_can_resume(home) &&
        home->key_version != uplink->credentials.key_version)
        native_tunnel_cut(home->native, CULVERT_ERROR_CLOSED, "the agent's key has changed");
}

void uplink_reload_files(struct uplink *uplink)
{
    credentials_refresh(&uplink->credentials, true);
    prove_anew(uplink);
}

/* ---- looking ---- */

/* The link's, also while it waits to be resumed; NULL while there is none. */
static struct tunnel *home_tunnel(const struct uplink *uplink)
{
    return uplink->home != NULL ? uplink->home->tunnel : NULL;
}

bool uplink_speaks_hubble(const struct uplink *uplink)
{
    return (uplink->home != NULL && uplink->home->native == NULL) ||
           (uplink->next != NULL && uplink->next->native == NULL);
}

const char *uplink_url_text(const struct uplink *uplink)
{
    size_t index = uplink->home != NULL ? uplink->home->place : gateways_current(&uplink->gateways);
    return uplink->places[index].text;
}

unsigned uplink_resume_window(const struct uplink *uplink)
{
    unsigned seconds = 0;
    if (uplink->home != NULL && uplink->home->native != NULL)
        (void)native_tunnel_can_resume(uplink->home->native, &seconds);
    return seconds;
}

static struct registration *first_left(const struct uplink *uplink)
{
    struct list_node *node = list_first(&uplink->leaving);
    return node != NULL ? CONTAINER_OF(node, struct registration, node) : NULL;
}

static struct registration *next_left(const struct uplink *uplink,
                                      const struct registration *registration)
{
    struct list_node *node = list_next(&uplink->leaving, &registration->node);
    return node != NULL ? CONTAINER_OF(node, struct registration, node) : NULL;
}

struct tunnel *uplink_largest(const struct uplink *uplink)
{
    struct tunnel *largest = home_tunnel(uplink);
    size_t bytes = largest != NULL ? tunnel_largest(largest) : 0;
    struct registration *left = first_left(uplink);
    for (; left != NULL; left = next_left(uplink, left)) {
        size_t held = tunnel_largest(left->tunnel);
        if (held > bytes) {
            bytes = held;
            largest = left->tunnel;
        }
    }
    return bytes > 0 ? largest : NULL;
}

bool uplink_is_drained(const struct uplink *uplink)
{
    const struct tunnel *tunnel = home_tunnel(uplink);
    bool is_drained = tunnel == NULL || tunnel_is_drained(tunnel);
    struct registration *left = first_left(uplink);
    for (; left != NULL; left = next_left(uplink, left))
        is_drained = is_drained && tunnel_is_drained(left->tunnel);
    return is_drained;
}

/* ---- ending ---- */

void uplink_announce_stop(struct uplink *uplink, unsigned seconds)
{
    if (uplink->home != NULL)
        tunnel_announce_stop(uplink->home->tunnel, STOPPING, seconds);
    struct registration *left = first_left(uplink);
    for (; left != NULL; left = next_left(uplink, left))
        tunnel_announce_stop(left->tunnel, STOPPING, seconds);
}

void uplink_close(struct uplink *uplink)
{
    struct list_node *node;
    if (uplink->is_closed)
        return;
    uplink->is_closed = true;
    loop_timer_stop(&uplink->timer);
    loop_timer_stop(&uplink->side_timer);
    approach_cancel(uplink->attempt.approach);
    uplink->attempt.approach = NULL;
    for (size_t i = 0; uplink->places != NULL && i < uplink->config->url_count; i++)
        gateway_denial_cancel(&uplink->places[i].denial);
    uplink_end_link(&uplink->next, REASON_SHUTDOWN, STOPPING);
    uplink_end_link(&uplink->home, REASON_SHUTDOWN, STOPPING);
    while ((node = list_pop(&uplink->leaving)) != NULL)
        registration_close(CONTAINER_OF(node, struct registration, node), REASON_SHUTDOWN,
                           STOPPING);
}

void uplink_deinit(struct uplink *uplink)
{
    explicit_bzero(uplink->boot, sizeof(uplink->boot));
    if (uplink->timer.is_open)
        loop_timer_close(&uplink->timer, NULL);
    if (uplink->side_timer.is_open)
        loop_timer_close(&uplink->side_timer, NULL);
    memory_free(uplink->places);
    uplink->places = NULL;
    credentials_deinit(&uplink->credentials);
}
