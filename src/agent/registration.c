#include "agent/registration.h"

#include "base/error.h"
#include "base/memory.h"
#include "net/place_mark.h"
#include "tunnel/hubble_tunnel.h"

#include <stdio.h>

/* ---- the tunnel's events ---- */

static void peer_opened(struct tunnel *tunnel, struct stream *stream,
                        const struct message_open *open)
{
    struct registration *registration = tunnel->holder;
    registration->owner->peer_opened(registration, stream, open);
}

static void welcomed(struct tunnel *tunnel, const struct message_welcome *welcome)
{
    struct registration *registration = tunnel->holder;
    if (!welcome->ok) {
        registration->refusal = welcome->code;
        return;
    }
    bool is_new = registration->state == REGISTRATION_ASKED;
    registration->state = REGISTRATION_UP;
    registration->refusal = 0;
    registration->is_counting = false;
    registration->carried_since = loop_now(registration->loop);
    if (!registration->is_draining)
        loop_timer_stop(&registration->timer);
    if (is_new)
        registration->owner->registered(registration);
    else
        registration->owner->resumed(registration);
}

static void went_away(struct tunnel *tunnel, const struct message_goaway *goaway)
{
    struct registration *registration = tunnel->holder;
    registration->owner->went_away(registration, goaway);
}

static void detached(struct tunnel *tunnel, int error, const char *why)
{
    struct registration *registration = tunnel->holder;
    enum registration_state before = registration->state;
    unsigned seconds = 0;
    (void)error;
    registration->state = REGISTRATION_DETACHED;
    if (!registration->is_counting && native_tunnel_can_resume(registration->native, &seconds)) {
        registration->is_counting = true;
        loop_timer_start(&registration->timer, (uint64_t)seconds * 1000);
    }
    registration->owner->detached(registration, before, why);
}

static void express(struct tunnel *tunnel, enum tunnel_express what, const char *why)
{
    struct registration *registration = tunnel->holder;
    registration->owner->express(registration, what, why);
}

static void lost(struct tunnel *tunnel, int error, const char *why)
{
    struct registration *registration = tunnel->holder;
    registration->owner->lost(registration, error, why);
}

static const struct tunnel_owner tunnel_handlers = {
    .peer_opened = peer_opened,
    .welcomed = welcomed,
    .went_away = went_away,
    .express = express,
    .detached = detached,
    .lost = lost,
};

/* ---- time ---- */

static bool is_idle(const struct registration *registration)
{
    const struct native_tunnel *native = registration->native;
    return (native == NULL || native->mux.streams.count == 0) &&
           tunnel_is_drained(registration->tunnel);
}

static void look_whether_drained(struct registration *registration)
{
    if (is_idle(registration))
        registration->owner->drained(registration);
    else
        loop_timer_start(&registration->timer, REGISTRATION_DRAIN_LOOK);
}

static void timer_fired(struct loop_timer *timer)
{
    struct registration *registration = timer->holder;
    if (registration->is_draining)
        look_whether_drained(registration);
    else if (registration->state == REGISTRATION_ASKED)
        registration->owner->lost(registration, CULVERT_ERROR_TIMED_OUT,
                                  "the server did not answer in time");
    else
        registration->owner->lost(registration, CULVERT_ERROR_TIMED_OUT,
                                  "it could not be resumed in time");
}

/* ---- life ---- */

static void bury(struct loop_task *task)
{
    memory_free(CONTAINER_OF(task, struct registration, burial));
}

int registration_new(const struct registration_owner *owner, void *holder, struct loop *loop,
                     const struct agent_config *config, struct registration **out)
{
    struct registration *registration = memory_allocate_zero(sizeof(*registration));
    if (registration == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    int error = loop_timer_init(loop, &registration->timer, timer_fired, registration);
    if (error != 0) {
        memory_free(registration);
        return error;
    }
    registration->owner = owner;
    registration->holder = holder;
    registration->loop = loop;
    registration->config = config;
    registration->burial.run = bury;
    *out = registration;
    return 0;
}

int registration_begin(struct registration *registration, struct carrier *carrier, bool is_native,
                       const uint8_t boot[static MESSAGE_BOOT_SIZE], uint64_t answer_time)
{
    const struct agent_config *config = registration->config;
    loop_timer_start(&registration->timer, answer_time);
    if (!is_native)
        return hubble_tunnel_register(&tunnel_handlers, registration, registration->loop, carrier,
                                      config->name, config->key, &registration->tunnel);
    struct native_tunnel *native = NULL;
    int error =
        native_tunnel_new(&tunnel_handlers, registration, registration->loop, true, &native);
    if (error != 0)
        return error;
    registration->native = native;
    registration->tunnel = &native->base;
    uint8_t place[PLACE_MARK_SIZE];
    place_mark(place);
    struct native_credentials credentials = {
        .name = config->name, .key = config->key, .boot = boot, .place = place};
    error = native_tunnel_register(native, carrier, &credentials);
    if (error != 0)
        native_tunnel_cut(native, error, error_text(error));
    return 0;
}

bool registration_can_resume(const struct registration *registration)
{
    unsigned seconds = 0;
    return registration->native != NULL && native_tunnel_can_resume(registration->native, &seconds);
}

int registration_rejoin(struct registration *registration, struct carrier *carrier,
                        const uint8_t nonce[static CARRIER_NONCE_SIZE])
{
    const struct agent_config *config = registration->config;
    int error =
        native_tunnel_rejoin(registration->native, carrier, config->name, config->key, nonce);
    if (error != 0)
        return error;
    registration->state = REGISTRATION_REJOINING;
    registration->refusal = 0;
    return 0;
}

int registration_add_express(struct registration *registration, struct carrier *carrier,
                             const uint8_t nonce[static CARRIER_NONCE_SIZE])
{
    const struct agent_config *config = registration->config;
    return native_tunnel_add_express(registration->native, carrier, config->name, config->key,
                                     nonce);
}

void registration_drain(struct registration *registration, const char *why)
{
    registration->is_draining = true;
    tunnel_announce_stop(registration->tunnel, why, 0);
    loop_timer_start(&registration->timer, REGISTRATION_DRAIN_LOOK);
}

void registration_close(struct registration *registration, int code, const char *why)
{
    if (registration->tunnel != NULL)
        tunnel_close(registration->tunnel, code, why);
    registration->tunnel = NULL;
    loop_timer_close(&registration->timer, &registration->burial);
}
