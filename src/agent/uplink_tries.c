/* When and where a carrier is looked for. */
#include "agent/uplink_inner.h"
#include "base/log.h"
#include "base/reason.h"

#include <stdio.h>
#include <sys/random.h>

enum { SIDE_LOOK = 1000 /* milliseconds, while something else is under way */ };

/* Up to `most`; without random numbers `most`. */
static uint64_t random_up_to(uint64_t most)
{
    uint32_t random = 0;
    if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return most;
    return random % (most + 1);
}

static struct uplink_place *tried_place(struct uplink *uplink)
{
    return &uplink->places[uplink->attempt.place];
}

static bool is_waiting_to_resume(const struct uplink *uplink)
{
    return uplink->home != NULL && uplink->home->state == REGISTRATION_DETACHED;
}

/* ---- delays ---- */

/* Jitter: agents that lost the same gateway together do not come back together. */
uint64_t uplink_back_off(struct uplink *uplink)
{
    unsigned doublings = uplink->failures < 10 ? uplink->failures : 10;
    uint64_t last = is_waiting_to_resume(uplink) ? UPLINK_RESUME_DELAY : UPLINK_LAST_DELAY;
    uint64_t delay = (uint64_t)UPLINK_FIRST_DELAY << doublings;
    uplink->failures++;
    if (delay > last)
        delay = last;
    return delay / 2 + random_up_to(delay / 2);
}

/* As long as the gateway said, and up to a quarter and a second more: it said the same to others.
 */
static uint64_t told_delay(unsigned seconds)
{
    uint64_t delay = (uint64_t)seconds * 1000;
    return delay + random_up_to(delay / 4 + 999);
}

uint64_t uplink_redial_delay(struct uplink *uplink)
{
    const uint64_t interval = (uint64_t)UPLINK_REDIAL_INTERVAL * 1000;
    uint64_t now = loop_now(uplink->loop);
    uint64_t earned = now > uplink->redials_since ? (now - uplink->redials_since) / interval : 0;
    uplink->redials_since += earned * interval;
    uplink->redials = uplink->redials + earned < UPLINK_REDIALS ? uplink->redials + (unsigned)earned
                                                                : UPLINK_REDIALS;
    if (uplink->redials == 0) {
        uint64_t delay = UPLINK_REDIAL_INTERVAL + random_up_to(UPLINK_REDIAL_INTERVAL);
        uplink->redials_since = now + delay * 1000; /* the wait itself earns nothing */
        return delay;
    }
    uplink->redials--;
    return random_up_to(UPLINK_REDIAL_JITTER);
}

/* ---- a try ---- */

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

/* A gateway that is silent must not keep the agent from the next one for long. */
static bool is_next_soon(const struct uplink *uplink)
{
    return uplink->config->url_count > 1 && uplink->failures < UPLINK_SHORT_ROUNDS;
}

static unsigned answer_time(const struct uplink *uplink)
{
    return is_next_soon(uplink) ? UPLINK_SHORT_ANSWER_TIME : UPLINK_ANSWER_TIME;
}

uint64_t uplink_handshake_time(const struct uplink *uplink, uint64_t waited)
{
    if (!is_next_soon(uplink))
        return UPLINK_ANSWER_TIME;
    return waited + UPLINK_LEAST_ANSWER_TIME < UPLINK_SHORT_ANSWER_TIME
               ? UPLINK_SHORT_ANSWER_TIME - waited
               : UPLINK_LEAST_ANSWER_TIME;
}

/* For all that opens a long poll, or to connect. */
static unsigned dial_time(const struct uplink *uplink, bool resumes, enum ladder_rung rung)
{
    if (resumes)
        return UPLINK_RESUME_DIAL_TIME;
    return rung == LADDER_POLL ? answer_time(uplink) : UPLINK_DIAL_TIME;
}

static void approached(void *holder, const struct approach_result *result)
{
    struct uplink *uplink = holder;
    uplink->attempt.approach = NULL;
    uplink->attempt.may_want_tls = result->may_want_tls;
    if (result->carrier != NULL) {
        uplink->knows_native = uplink->knows_native || result->is_native;
        uplink_take_carrier(uplink, result);
    } else if (result->failure == APPROACH_BUSY) {
        uplink_busy(uplink, result->retry_after, result->why);
    } else if (result->failure == APPROACH_SILENT) {
        uplink_fell_silent(uplink, result->why);
    } else {
        uplink_failed(
            uplink, result->failure == APPROACH_NOT_PASSED ? LADDER_NOT_PASSED : LADDER_UNREACHABLE,
            result->why);
    }
}

static void start_try(struct uplink *uplink, enum uplink_aim aim, size_t index,
                      enum ladder_rung rung)
{
    char why[1024];
    struct uplink_place *place = &uplink->places[index];
    bool resumes = is_waiting_to_resume(uplink) && uplink->home->place == index;
    credentials_refresh(&uplink->credentials, false);
    struct approach_request request = {
        .url = place->url,
        .config = uplink->config,
        .tls = uplink->credentials.tls,
        .denial = &place->denial,
        .rung = rung,
        .link = resumes ? uplink->home->native->identity.link : NULL,
        .may_speak_hubble = may_speak_hubble(uplink),
        .dial_time = dial_time(uplink, resumes, rung),
        .answer_time = answer_time(uplink),
        .done = approached,
        .holder = uplink,
    };
    uplink->attempt = (struct uplink_try){.aim = aim, .place = index, .rung = rung};
    if (approach_start(uplink->loop, &request, &uplink->attempt.approach, why, sizeof(why)) != 0)
        uplink_failed(uplink, LADDER_UNREACHABLE, why);
}

void uplink_try_home(struct uplink *uplink)
{
    size_t index = gateways_current(&uplink->gateways);
    enum ladder_rung rung = ladder_next(&uplink->places[index].ladder, loop_now(uplink->loop));
    start_try(uplink, UPLINK_HOME, index, rung);
}

/* ---- what a try comes to ---- */

void uplink_try_later(struct uplink *uplink, const char *what, const char *url, const char *why,
                      uint64_t delay)
{
    const char *next = uplink->places[gateways_current(&uplink->gateways)].text;
    char time[32] = "less than 0.1 s";
    if (delay >= 100)
        snprintf(time, sizeof(time), "%.1f s", (double)delay / 1000);
    log_warning("%s %s: %s; trying %s in %s", what, url, why, next == url ? "again" : next, time);
    uplink->has_complained = true;
    loop_timer_start(&uplink->timer, delay);
}

static void home_failed(struct uplink *uplink, const char *why, unsigned retry_after)
{
    const struct uplink_place *place = tried_place(uplink);
    bool resumes = is_waiting_to_resume(uplink) && uplink->home->place == uplink->attempt.place;
    uint64_t delay = 0;
    /* Another gateway may be back long before a very busy one wants us. */
    if (uplink->config->url_count > 1 && retry_after > UPLINK_LAST_DELAY / 1000)
        retry_after = UPLINK_LAST_DELAY / 1000;
    if (retry_after > uplink->told)
        uplink->told = retry_after;
    if (gateways_failed(&uplink->gateways, loop_now(uplink->loop))) {
        delay = uplink->told > 0 ? told_delay(uplink->told) : uplink_back_off(uplink);
        uplink->told = 0;
    }
    uplink_try_later(uplink, resumes ? "cannot resume the link at" : "cannot register at",
                     place->text, why, delay);
}

/* `other_rung`: the ladder wants the other transport to be tried at once. */
static void side_failed(struct uplink *uplink, const char *why, bool other_rung)
{
    const struct uplink_try tried = uplink->attempt;
    struct uplink_place *place = &uplink->places[tried.place];
    uint64_t now = loop_now(uplink->loop);
    if (tried.aim == UPLINK_EXPRESS) {
        log_info("%s gives no second connection, for small messages: %s", place->text, why);
    } else if (tried.aim == UPLINK_TRIAL) {
        log_info("WebSocket does not pass to %s yet: %s", place->text, why);
    } else if (other_rung) {
        start_try(uplink, tried.aim, tried.place, ladder_next(&place->ladder, now));
        return;
    } else {
        log_info("%s does not take the agent back yet: %s", place->text, why);
        gateways_stayed(&uplink->gateways, now);
    }
    uplink_arm_side(uplink);
}

static const char *rung_text(enum ladder_rung rung)
{
    return rung == LADDER_WEBSOCKET ? "WebSocket" : "long poll";
}

void uplink_failed(struct uplink *uplink, enum ladder_outcome outcome, const char *why)
{
    enum ladder_rung rung = uplink->attempt.rung;
    struct uplink_place *place = tried_place(uplink);
    uint64_t now = loop_now(uplink->loop);
    /* The link's own carrier says more of what passes. */
    bool other_rung =
        uplink->attempt.aim != UPLINK_EXPRESS && ladder_tried(&place->ladder, rung, outcome, now);
    if (uplink->attempt.aim != UPLINK_HOME) {
        side_failed(uplink, why, other_rung);
        return;
    }
    if (!other_rung) {
        home_failed(uplink, why, 0);
        return;
    }
    const char *next = rung_text(ladder_next(&place->ladder, now));
    /* At a port with TLS the other transport fails for the same reason, which is then logged. */
    if (uplink->attempt.may_want_tls)
        snprintf(uplink->held_back, sizeof(uplink->held_back), "%s", why);
    else
        log_warning("cannot reach %s by %s: %s; trying %s", place->text, rung_text(rung), why,
                    next);
    uplink->has_complained = true;
    loop_timer_start(&uplink->timer, 0);
}

/* Another gateway is tried before the other transport; that is next in the next round. */
void uplink_fell_silent(struct uplink *uplink, const char *why)
{
    if (uplink->attempt.aim != UPLINK_HOME || uplink->config->url_count == 1) {
        uplink_failed(uplink, LADDER_NOT_PASSED, why);
        return;
    }
    (void)ladder_tried(&tried_place(uplink)->ladder, uplink->attempt.rung, LADDER_NOT_PASSED,
                       loop_now(uplink->loop));
    home_failed(uplink, why, 0);
}

void uplink_busy(struct uplink *uplink, unsigned seconds, const char *why)
{
    if (uplink->attempt.aim == UPLINK_HOME)
        home_failed(uplink, why, seconds);
    else
        side_failed(uplink, why, false);
}

void uplink_timer_fired(struct loop_timer *timer)
{
    uplink_try_home(timer->holder);
}

/* ---- beside the link ---- */

static bool is_busy(const struct uplink *uplink)
{
    return uplink->attempt.approach != NULL || uplink->next != NULL || uplink->is_moving ||
           uplink->home == NULL || uplink->home->state != REGISTRATION_UP;
}

static uint64_t trial_at(const struct uplink *uplink)
{
    const struct registration *home = uplink->home;
    if (home == NULL || home->rung != LADDER_POLL || !registration_can_resume(home))
        return UINT64_MAX;
    return ladder_retry_at(&uplink->places[home->place].ladder);
}

static uint64_t return_at(const struct uplink *uplink)
{
    if (uplink->home == NULL || uplink->home->native == NULL)
        return UINT64_MAX;
    return gateways_return_at(&uplink->gateways);
}

void uplink_arm_side(struct uplink *uplink)
{
    uint64_t now = loop_now(uplink->loop);
    uint64_t due = uplink->leave_at;
    if (trial_at(uplink) < due)
        due = trial_at(uplink);
    if (return_at(uplink) < due)
        due = return_at(uplink);
    if (due == UINT64_MAX)
        loop_timer_stop(&uplink->side_timer);
    else
        loop_timer_start(&uplink->side_timer, due > now ? (due - now) / 1000 + 1 : 1);
}

/* A place at another gateway, or at the same again, is looked for before this one is left. */
static void begin_move(struct uplink *uplink)
{
    uplink->leave_at = UINT64_MAX;
    uplink->is_moving = true;
    uplink->failures = 0;
    gateways_leave(&uplink->gateways);
    uplink_try_home(uplink);
}

void uplink_side_timer_fired(struct loop_timer *timer)
{
    struct uplink *uplink = timer->holder;
    uint64_t now = loop_now(uplink->loop);
    if (is_busy(uplink)) {
        loop_timer_start(timer, SIDE_LOOK);
        return;
    }
    if (uplink->leave_at <= now) {
        begin_move(uplink);
    } else if (trial_at(uplink) <= now) {
        start_try(uplink, UPLINK_TRIAL, uplink->home->place, LADDER_WEBSOCKET);
    } else if (return_at(uplink) <= now) {
        size_t index = gateways_better(&uplink->gateways);
        start_try(uplink, UPLINK_RETURN, index, ladder_next(&uplink->places[index].ladder, now));
    } else {
        uplink_arm_side(uplink);
    }
}

void uplink_try_express(struct uplink *uplink)
{
    if (!is_busy(uplink) && uplink->home->rung == LADDER_WEBSOCKET)
        start_try(uplink, UPLINK_EXPRESS, uplink->home->place, LADDER_WEBSOCKET);
}

void uplink_cancel_side(struct uplink *uplink)
{
    if (uplink->attempt.aim == UPLINK_HOME)
        return;
    approach_cancel(uplink->attempt.approach);
    uplink->attempt.approach = NULL;
    uplink_end_link(&uplink->next, REASON_NONE, NULL);
}
