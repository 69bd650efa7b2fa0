/* What becomes of the links: registered, detached, resumed, refused, lost, left. */
#include "agent/uplink_inner.h"
#include "base/error.h"
#include "base/log.h"
#include "base/output.h"
#include "base/reason.h"

#include <stdio.h>

void uplink_end_link(struct registration **registration, int code, const char *why)
{
    struct registration *ended = *registration;
    *registration = NULL;
    if (ended != NULL)
        registration_close(ended, code, why);
}

static bool is_left(const struct uplink *uplink, const struct registration *registration)
{
    return registration != uplink->home && registration != uplink->next;
}

static const char *url_of(const struct uplink *uplink, const struct registration *registration)
{
    return uplink->places[registration->place].text;
}

static void end_left(struct uplink *uplink, struct registration *registration, const char *why)
{
    list_remove(&registration->node);
    uplink->leaving_count--;
    registration_close(registration, REASON_LINK_LOST, why);
}

/* Refusals that another try will not change, unless someone acts at the gateway. */
static bool is_final(int code)
{
    return code == REASON_FORBIDDEN || code == REASON_NAME_TAKEN || code == REASON_PROTOCOL ||
           code == REASON_UNSUPPORTED;
}

/* ---- a carrier is there ---- */

/* Whether it is for the link that there is, and not for a new one. */
static bool is_for_home(const struct uplink *uplink, const struct approach_result *result)
{
    const struct registration *home = uplink->home;
    if (home == NULL || home->place != uplink->attempt.place || !result->is_native ||
        !registration_can_resume(home))
        return false;
    bool is_beside = uplink->attempt.aim == UPLINK_TRIAL || uplink->attempt.aim == UPLINK_EXPRESS;
    return home->state == (is_beside ? REGISTRATION_UP : REGISTRATION_DETACHED);
}

static const struct registration_owner registration_handlers;

static int begin_link(struct uplink *uplink, const struct approach_result *result)
{
    int error = registration_new(&registration_handlers, uplink, uplink->loop, uplink->config,
                                 &uplink->next);
    if (error != 0)
        return error;
    uplink->next->place = uplink->attempt.place;
    uplink->next->rung = uplink->attempt.rung;
    uplink->next->key_version = uplink->credentials.key_version;
    error = registration_begin(uplink->next, result->carrier, result->is_native, uplink->boot,
                               uplink_handshake_time(uplink, result->waited));
    if (error != 0)
        uplink_end_link(&uplink->next, REASON_NO_MEMORY, NULL);
    return error;
}

static int rejoin(struct uplink *uplink, const struct approach_result *result)
{
    uplink->home->key_version = uplink->credentials.key_version;
    return registration_rejoin(uplink->home, result->carrier, result->nonce);
}

void uplink_take_carrier(struct uplink *uplink, const struct approach_result *result)
{
    enum uplink_aim aim = uplink->attempt.aim;
    int error = 0;
    if (is_for_home(uplink, result) && aim == UPLINK_EXPRESS)
        error = registration_add_express(uplink->home, result->carrier, result->nonce);
    else if (is_for_home(uplink, result))
        error = rejoin(uplink, result);
    else if (aim == UPLINK_TRIAL || aim == UPLINK_EXPRESS)
        error = CULVERT_ERROR_CLOSED;
    else
        error = begin_link(uplink, result);
    if (error == 0)
        return;
    carrier_close(result->carrier, error, NULL);
    uplink_failed(uplink, LADDER_UNREACHABLE, error_text(error));
}

/* ---- it is up ---- */

/* Sessions of a link that is up go on there until they end. */
static void leave(struct uplink *uplink, struct registration *registration, const char *why)
{
    uplink->owner->down(uplink, why);
    if (registration->state != REGISTRATION_UP || registration->native == NULL) {
        registration_close(registration, REASON_LINK_LOST, why);
        return;
    }
    list_append(&uplink->leaving, &registration->node);
    registration_drain(registration, why);
    if (++uplink->leaving_count > UPLINK_LEFT)
        end_left(uplink, CONTAINER_OF(list_first(&uplink->leaving), struct registration, node),
                 "the agent has left too many gateways since");
}

static void note_success(struct uplink *uplink)
{
    uint64_t now = loop_now(uplink->loop);
    struct uplink_place *place = &uplink->places[uplink->attempt.place];
    (void)ladder_tried(&place->ladder, uplink->attempt.rung, LADDER_REGISTERED, now);
    if (uplink->attempt.aim == UPLINK_RETURN)
        gateways_returned(&uplink->gateways, now);
    else
        gateways_registered(&uplink->gateways, now);
}

/* Logs that an earlier warning no longer applies. */
static void tell_recovery(struct uplink *uplink, const struct registration *registration)
{
    bool is_by_poll = registration->rung == LADDER_POLL;
    bool is_held_back = is_by_poll && uplink->held_back[0] != '\0';
    if (uplink->has_complained)
        log_info("registered as %s at %s%s%s%s", uplink->config->name, url_of(uplink, registration),
                 is_by_poll ? ", by long poll" : "",
                 is_held_back ? ", because WebSocket failed: " : "",
                 is_held_back ? uplink->held_back : "");
    uplink->has_complained = false;
    uplink->held_back[0] = '\0';
}

static void on_registered(struct registration *registration)
{
    struct uplink *uplink = registration->holder;
    struct registration *before = uplink->home;
    note_success(uplink);
    uplink->home = registration;
    uplink->next = NULL;
    uplink->was_up = true;
    uplink->is_moving = false;
    uplink->leave_at = UINT64_MAX;
    uplink->refusals = 0;
    if (before != NULL)
        leave(uplink, before, "the agent is registered at another gateway now");
    if (uplink->config->announces)
        output_print("registered as %s at %s", uplink->config->name, url_of(uplink, registration));
    tell_recovery(uplink, registration);
    uplink->owner->up(uplink, registration->tunnel);
    uplink_arm_side(uplink);
}

static void on_resumed(struct registration *registration)
{
    struct uplink *uplink = registration->holder;
    const struct native_gap *gap = &registration->native->gap;
    registration->rung = uplink->attempt.rung;
    uplink->has_complained = false;
    note_success(uplink);
    if (uplink->attempt.aim == UPLINK_TRIAL)
        log_info("the link to %s goes on over WebSocket", url_of(uplink, registration));
    else
        log_info("resumed the link to %s; nothing was heard for %.2f s%s",
                 url_of(uplink, registration), (double)gap->duration / 1e6,
                 registration->rung == LADDER_POLL ? ", by long poll" : "");
    bool is_leaving = uplink->is_moving || uplink->leave_at != UINT64_MAX;
    uplink->owner->resumed(uplink, is_leaving ? NULL : registration->tunnel, gap);
    if (uplink->is_moving) {
        gateways_leave(&uplink->gateways);
        loop_timer_start(&uplink->timer, uplink_back_off(uplink));
    }
    uplink_arm_side(uplink);
}

/* ---- its carrier is lost ---- */

static bool is_stable(const struct uplink *uplink, const struct registration *registration)
{
    return loop_now(uplink->loop) - registration->carried_since > (uint64_t)UPLINK_STABLE * 1000000;
}

static void end_home(struct uplink *uplink, const char *why)
{
    uplink->owner->down(uplink, why);
    uplink->leave_at = UINT64_MAX;
    uplink_end_link(&uplink->home, REASON_LINK_LOST, why);
}

static void tell_ladder_of_loss(struct uplink *uplink, const struct registration *registration)
{
    uint64_t now = loop_now(uplink->loop);
    struct uplink_place *place = &uplink->places[registration->place];
    ladder_lost(&place->ladder, registration->rung, now - registration->carried_since, now);
}

/* The gateway did not let the link go on, or the carrier was lost before it could. */
static void rejoin_failed(struct uplink *uplink, struct registration *registration, const char *why)
{
    char text[MESSAGE_MAX_REASON + 64];
    snprintf(text, sizeof(text), "%s%s", registration->refusal != 0 ? "the gateway refused: " : "",
             why);
    if (!is_final(registration->refusal)) {
        uplink_failed(uplink, registration->refusal != 0 ? LADDER_UNREACHABLE : LADDER_NOT_PASSED,
                      text);
        return;
    }
    end_home(uplink, text);
    gateways_given_up(&uplink->gateways);
    uplink_failed(uplink, LADDER_UNREACHABLE, text);
}

/* It is not resumed: the agent is registered elsewhere, and its gateway is mostly about to end. */
static void left_is_lost(struct uplink *uplink, struct registration *registration, const char *why)
{
    log_info("lost the link that was left to %s: %s", url_of(uplink, registration), why);
    end_left(uplink, registration, why);
}

static void on_detached(struct registration *registration, enum registration_state before,
                        const char *why)
{
    struct uplink *uplink = registration->holder;
    uint64_t now = loop_now(uplink->loop);
    bool was_trial = before == REGISTRATION_REJOINING && uplink->attempt.aim == UPLINK_TRIAL;
    if (is_left(uplink, registration)) {
        left_is_lost(uplink, registration, why);
        return;
    }
    if (before == REGISTRATION_REJOINING && !was_trial) {
        rejoin_failed(uplink, registration, why);
        return;
    }
    if (was_trial)
        (void)ladder_tried(&uplink->places[registration->place].ladder, LADDER_WEBSOCKET,
                           LADDER_NOT_PASSED, now);
    else
        tell_ladder_of_loss(uplink, registration);
    uplink_cancel_side(uplink);
    if (uplink->leave_at != UINT64_MAX) {
        /* It is stopping: nobody can come back to it. */
        const char *url = url_of(uplink, registration);
        end_home(uplink, why);
        gateways_leave(&uplink->gateways);
        uplink_try_later(uplink, "lost the link to", url, why, uplink_redial_delay(uplink));
        return;
    }
    uplink->owner->detached(uplink, why);
    if (uplink->is_moving)
        return; /* a try is under way or waits */
    gateways_lost(&uplink->gateways, true, now);
    uplink->failures = 0;
    log_warning("lost the connection to %s: %s; resuming the link", url_of(uplink, registration),
                why);
    loop_timer_start(&uplink->timer, uplink_redial_delay(uplink));
}

/* ---- it is over ---- */

#define NO_KEY_SENT " (this agent sent no key; give it one with --key-file FILE or $CULVERT_KEY)"

static bool lacks_key(const struct uplink *uplink, int refusal)
{
    return refusal == REASON_FORBIDDEN && uplink->config->key[0] == '\0';
}

static void next_lost(struct uplink *uplink, int error, const char *why)
{
    char text[MESSAGE_MAX_REASON + 160];
    int refusal = uplink->next->refusal;
    bool is_refused = refusal != 0 || error == CULVERT_ERROR_REFUSED;
    snprintf(text, sizeof(text), "%s%s%s", is_refused ? "the gateway refused: " : "", why,
             lacks_key(uplink, refusal) ? NO_KEY_SENT : "");
    uplink_end_link(&uplink->next, REASON_LINK_LOST, why);
    /* An agent of Hubble tries again whatever the words say (7.1 of its specification). */
    bool is_original = uplink->config->dialect == AGENT_DIALECT_HUBBLE;
    uplink->refusals = is_final(refusal) && !is_original ? uplink->refusals + 1 : 0;
    if (!uplink->was_up && uplink->refusals >= uplink->config->url_count)
        uplink->owner->refused(uplink, refusal, text);
    else if (error == CULVERT_ERROR_TIMED_OUT)
        uplink_fell_silent(uplink, text);
    else
        uplink_failed(uplink, is_refused ? LADDER_UNREACHABLE : LADDER_NOT_PASSED, text);
}

/* Whether the key has changed since the link was authenticated. The gateway may have ended the link
 * because the old key has expired, and accept the new one. */
static bool has_new_key(struct uplink *uplink, const struct registration *registration)
{
    credentials_refresh(&uplink->credentials, false);
    return registration->key_version != uplink->credentials.key_version;
}

/* The link was up, or is not known to the gateway any more. */
static void home_lost(struct uplink *uplink, struct registration *registration, const char *why)
{
    bool was_up = registration->state == REGISTRATION_UP;
    bool is_good = was_up && is_stable(uplink, registration);
    bool is_same_next = has_new_key(uplink, registration);
    const char *url = url_of(uplink, registration);
    const struct native_tunnel *native = registration->native;
    if (was_up && (native == NULL || native->loss == NATIVE_LOSS_CARRIER))
        tell_ladder_of_loss(uplink, registration);
    uplink_cancel_side(uplink);
    end_home(uplink, why);
    if (is_good)
        uplink->failures = 0;
    if (uplink->is_moving) {
        log_warning("lost the link to %s: %s", url, why);
        uplink->is_moving = false;
        return;
    }
    if (was_up) {
        gateways_lost(&uplink->gateways, is_same_next, loop_now(uplink->loop));
        gateways_given_up(&uplink->gateways);
        uplink_try_later(uplink, "lost the link to", url, why, uplink_back_off(uplink));
    } else {
        gateways_given_up(&uplink->gateways);
        uplink_try_later(uplink, "the link cannot be resumed at", url, why,
                         uplink_redial_delay(uplink));
    }
}

static void on_lost(struct registration *registration, int error, const char *why)
{
    struct uplink *uplink = registration->holder;
    if (is_left(uplink, registration)) {
        left_is_lost(uplink, registration, why);
    } else if (registration == uplink->next) {
        next_lost(uplink, error, why);
    } else if (registration->state == REGISTRATION_DETACHED) {
        /* The try that is under way, or waits, goes on for a new link. */
        log_warning("gave up the link to %s: %s", url_of(uplink, registration), why);
        end_home(uplink, why);
        gateways_given_up(&uplink->gateways);
    } else {
        home_lost(uplink, registration, why);
    }
}

/* There is nothing to wait for: new sessions are refused there from now on. */
static void leave_only_gateway(struct uplink *uplink)
{
    struct registration *left = uplink->home;
    if (is_stable(uplink, left))
        uplink->failures = 0;
    uplink_cancel_side(uplink);
    uplink->home = NULL;
    leave(uplink, left, "the gateway is stopping");
    gateways_leave(&uplink->gateways);
    loop_timer_start(&uplink->timer, uplink_back_off(uplink));
}

static void on_express(struct registration *registration, enum tunnel_express what, const char *why)
{
    struct uplink *uplink = registration->holder;
    const char *url = url_of(uplink, registration);
    switch (what) {
    case TUNNEL_EXPRESS_WANTED:
        if (registration == uplink->home)
            uplink_try_express(uplink);
        break;
    case TUNNEL_EXPRESS_UP:
        log_info("small messages to %s have a connection of their own while large ones fill the "
                 "first",
                 url);
        break;
    case TUNNEL_EXPRESS_OVER:
        log_info("small messages to %s go without a connection of their own: %s", url, why);
        break;
    }
}

static void on_went_away(struct registration *registration, const struct message_goaway *goaway)
{
    struct uplink *uplink = registration->holder;
    log_info("the gateway %s says goodbye: %.*s", url_of(uplink, registration),
             (int)goaway->reason.size, goaway->reason.data);
    if (registration != uplink->home || uplink->is_moving)
        return;
    uplink->has_complained = true;
    if (uplink->config->url_count == 1) {
        leave_only_gateway(uplink);
        return;
    }
    uint64_t earliest = registration->carried_since + (uint64_t)UPLINK_SHORTEST_STAY * 1000000;
    uplink->leave_at =
        loop_now(uplink->loop) + gateways_leave_delay(&uplink->gateways, goaway->seconds) * 1000;
    if (uplink->leave_at < earliest)
        uplink->leave_at = earliest;
    uplink->owner->leaving(uplink);
    uplink_arm_side(uplink);
}

static void on_drained(struct registration *registration)
{
    end_left(registration->holder, registration, "the agent has left");
}

static void on_peer_opened(struct registration *registration, struct stream *stream,
                           const struct message_open *open)
{
    struct uplink *uplink = registration->holder;
    uplink->owner->peer_opened(uplink, stream, open);
}

static const struct registration_owner registration_handlers = {
    .registered = on_registered,
    .resumed = on_resumed,
    .detached = on_detached,
    .lost = on_lost,
    .express = on_express,
    .went_away = on_went_away,
    .drained = on_drained,
    .peer_opened = on_peer_opened,
};
