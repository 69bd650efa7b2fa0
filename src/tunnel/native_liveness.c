/* Whether the peer is still there, and how far away. Native carriers are always read, so a silent
 * one is a dead one. */
#include "base/error.h"
#include "tunnel/native_inner.h"

#include <stdio.h>

enum {
    SECOND = 1000 * 1000,
    BUSY_PING = SECOND, /* while data moves, the round trip is measured as often */
    GATEWAY_PATIENCE = 3 * TUNNEL_KEEPALIVE * SECOND,
    BLOCKED_PATIENCE = 10 * SECOND, /* when the carrier takes nothing and nothing is heard */
    LONGEST_PATIENCE = 6 * SECOND,  /* however far the peer is */
};

uint64_t native_round_trip(const struct native_tunnel *tunnel)
{
    uint64_t smallest = UINT64_MAX;
    for (size_t i = 0; i < sizeof(tunnel->round_trips) / sizeof(tunnel->round_trips[0]); i++) {
        if (tunnel->round_trips[i] != 0 && tunnel->round_trips[i] < smallest)
            smallest = tunnel->round_trips[i];
    }
    return smallest == UINT64_MAX ? 0 : smallest;
}

void native_take_pong(struct native_tunnel *tunnel, uint64_t opaque)
{
    uint64_t now = loop_now(tunnel->base.loop);
    if (tunnel->ping_pending == 0 || opaque < tunnel->ping_pending || opaque > now)
        return; /* not an answer to the ping that waits */
    tunnel->ping_pending = 0;
    size_t slots = sizeof(tunnel->round_trips) / sizeof(tunnel->round_trips[0]);
    tunnel->round_trips[tunnel->round_trip_next++ % slots] = now > opaque ? now - opaque : 1;
    mux_set_round_trip(&tunnel->mux, native_round_trip(tunnel));
    if (tunnel->base.owner->ponged != NULL)
        tunnel->base.owner->ponged(&tunnel->base);
}

void native_heard(struct native_tunnel *tunnel)
{
    tunnel->last_heard = loop_now(tunnel->base.loop);
    if (tunnel->is_fresh && tunnel->last_heard - tunnel->last_ping > BUSY_PING) {
        tunnel->ping_wanted = true;
        loop_defer(tunnel->base.loop, &tunnel->flush);
    }
}

void native_ping(struct tunnel *base)
{
    struct native_tunnel *tunnel = CONTAINER_OF(base, struct native_tunnel, base);
    tunnel->ping_wanted = true;
    loop_defer(tunnel->base.loop, &tunnel->flush);
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t most(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* How long nothing may be heard before a ping. While messages wait for their acknowledgement it is
 * a second. An agent, whose part it is to find out that the way is dead, also asks soon after the
 * last message that came, and then after as long a time as nothing has come. */
static uint64_t longest_silence(const struct native_tunnel *tunnel)
{
    const uint64_t keepalive = (uint64_t)TUNNEL_KEEPALIVE * SECOND;
    if (tunnel->link.count > 0)
        return SECOND;
    if (!tunnel->dials)
        return keepalive;
    uint64_t quiet = most(tunnel->last_heard, tunnel->last_ping) - tunnel->last_taken;
    return least(most(quiet, SECOND), keepalive);
}

static uint64_t ping_due(const struct native_tunnel *tunnel)
{
    if (tunnel->ping_pending != 0)
        return UINT64_MAX;
    return most(tunnel->last_heard, tunnel->last_ping) + longest_silence(tunnel);
}

/* How long an answer may take. */
static uint64_t patience(const struct native_tunnel *tunnel)
{
    uint64_t trips = most(4 * native_round_trip(tunnel), (uint64_t)TUNNEL_PATIENCE * SECOND);
    return least(trips, LONGEST_PATIENCE);
}

/* The same for a carrier that takes nothing and so cannot be pinged. It may be in the middle of a
 * batch on a slow line, or its peer too busy to read, and is given more time; but not if the peer's
 * system is silent as well. That is asked only when an answer would be overdue. */
static uint64_t blocked_death_due(const struct native_tunnel *tunnel)
{
    const struct carrier *carrier = tunnel->carrier;
    uint64_t now = loop_now(tunnel->base.loop);
    uint64_t since = most(tunnel->last_heard, tunnel->blocked_since);
    uint64_t overdue = since + patience(tunnel);
    if (carrier->operations->unacknowledged == NULL)
        return since + BLOCKED_PATIENCE;
    if (now < overdue || carrier->operations->unacknowledged(carrier) >= patience(tunnel))
        return overdue;
    return least(now + SECOND, since + BLOCKED_PATIENCE);
}

/* When to give the carrier up if nothing is heard until then. */
static uint64_t death_due(const struct native_tunnel *tunnel)
{
    if (!tunnel->dials)
        return tunnel->last_heard + GATEWAY_PATIENCE;
    if (tunnel->expects_welcome)
        return tunnel->attached_at + (uint64_t)NATIVE_WELCOME_PATIENCE * SECOND;
    if (tunnel->blocked_since != 0)
        return blocked_death_due(tunnel);
    if (tunnel->ping_pending == 0)
        return UINT64_MAX;
    return most(tunnel->last_heard, tunnel->ping_pending) + patience(tunnel);
}

/* When the next thing about the carrier is due. */
static uint64_t carrier_due(struct native_tunnel *tunnel)
{
    bool is_ready = tunnel->carrier->operations->is_ready(tunnel->carrier);
    if (is_ready)
        tunnel->blocked_since = 0;
    else if (tunnel->blocked_since == 0)
        tunnel->blocked_since = loop_now(tunnel->base.loop);
    uint64_t due = death_due(tunnel);
    /* While the carrier takes nothing, its `ready` leads to the next flush, not the clock. */
    if (tunnel->is_fresh && is_ready)
        due = least(due, least(ping_due(tunnel), link_timeout(&tunnel->link)));
    return due;
}

void native_arm_timer(struct native_tunnel *tunnel)
{
    uint64_t due = mux_deadline(&tunnel->mux);
    if (tunnel->carrier != NULL)
        due = least(due, carrier_due(tunnel));
    /* A timer that fires too early only looks again; so it is moved only towards now. */
    if (due >= tunnel->timer_due)
        return;
    uint64_t now = loop_now(tunnel->base.loop);
    tunnel->timer_due = due;
    loop_timer_start(&tunnel->timer, due <= now ? 1 : (due - now) / 1000 + 1);
}

void native_timer_fired(struct loop_timer *timer)
{
    struct native_tunnel *tunnel = timer->holder;
    uint64_t now = loop_now(tunnel->base.loop);
    tunnel->timer_due = UINT64_MAX;
    mux_tick(&tunnel->mux, now);
    /* The flush does what is due and arms the timer for what comes next. */
    loop_defer(tunnel->base.loop, &tunnel->flush);
    if (tunnel->carrier == NULL)
        return;
    if (now >= death_due(tunnel)) {
        char why[96];
        if (tunnel->expects_welcome)
            snprintf(why, sizeof(why), "the gateway did not answer in time");
        else
            snprintf(why, sizeof(why), "the peer was silent for %llu s",
                     (unsigned long long)((now - tunnel->last_heard) / SECOND));
        native_tunnel_cut(tunnel, CULVERT_ERROR_TIMED_OUT, why);
        return;
    }
    native_express_look(tunnel);
    if (tunnel->is_fresh && now >= ping_due(tunnel))
        tunnel->ping_wanted = true;
}
