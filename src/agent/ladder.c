#include "agent/ladder.h"

static const uint64_t SECOND = 1000 * 1000;

void ladder_init(struct ladder *ladder, enum agent_transport transport, unsigned retry)
{
    uint64_t first = retry > 0 ? retry : LADDER_FIRST_RETRY;
    *ladder = (struct ladder){
        .transport = transport,
        .rung = transport == AGENT_TRANSPORT_POLL ? LADDER_POLL : LADDER_WEBSOCKET,
        .first_retry = first * SECOND,
        .last_retry = (first > LADDER_LAST_RETRY ? first : LADDER_LAST_RETRY) * SECOND,
    };
}

enum ladder_rung ladder_next(const struct ladder *ladder, uint64_t now)
{
    return now >= ladder_retry_at(ladder) ? LADDER_WEBSOCKET : ladder->rung;
}

uint64_t ladder_retry_at(const struct ladder *ladder)
{
    if (ladder->transport != AGENT_TRANSPORT_AUTO || ladder->rung == LADDER_WEBSOCKET)
        return UINT64_MAX;
    return ladder->retry_at;
}

/* WebSocket is tried again, after twice the time if it has not been well since the last time. */
static void go_to_poll(struct ladder *ladder, uint64_t now)
{
    uint64_t interval =
        ladder->retry_interval == 0 ? ladder->first_retry : ladder->retry_interval * 2;
    if (interval > ladder->last_retry)
        interval = ladder->last_retry;
    ladder->rung = LADDER_POLL;
    ladder->retry_interval = interval;
    ladder->retry_at = now + interval;
}

static bool websocket_tried(struct ladder *ladder, enum ladder_outcome outcome, uint64_t now)
{
    bool is_trial = ladder->rung == LADDER_POLL;
    switch (outcome) {
    case LADDER_REGISTERED:
        /* One that comes back has to show that it lasts: a single short life ends it. */
        if (is_trial)
            ladder->short_lives = LADDER_SHORT_LIVES - 1;
        ladder->rung = LADDER_WEBSOCKET;
        ladder->is_poll_proven = false;
        return false;
    case LADDER_NOT_PASSED:
        ladder->short_lives = 0;
        go_to_poll(ladder, now);
        return true;
    case LADDER_UNREACHABLE:
        break;
    }
    if (is_trial)
        ladder->retry_at = now + ladder->retry_interval;
    return false;
}

/* Long poll that has not worked yet may be missing at the gateway, and what had let WebSocket not
 * pass may have been a moment's trouble: both are tried in turn. */
static bool poll_tried(struct ladder *ladder, enum ladder_outcome outcome)
{
    if (outcome == LADDER_REGISTERED) {
        ladder->is_poll_proven = true;
        return false;
    }
    if (!ladder->is_poll_proven || outcome == LADDER_NOT_PASSED) {
        ladder->rung = LADDER_WEBSOCKET;
        ladder->retry_interval = 0;
    }
    return false;
}

bool ladder_tried(struct ladder *ladder, enum ladder_rung rung, enum ladder_outcome outcome,
                  uint64_t now)
{
    if (ladder->transport != AGENT_TRANSPORT_AUTO)
        return false;
    return rung == LADDER_WEBSOCKET ? websocket_tried(ladder, outcome, now)
                                    : poll_tried(ladder, outcome);
}

void ladder_lost(struct ladder *ladder, enum ladder_rung rung, uint64_t lifetime, uint64_t now)
{
    if (ladder->transport != AGENT_TRANSPORT_AUTO || rung == LADDER_POLL)
        return;
    if (lifetime >= LADDER_SHORT_LIFE) {
        ladder->short_lives = 0;
        ladder->retry_interval = 0;
        return;
    }
    ladder->short_lives++;
    if (ladder->short_lives < LADDER_SHORT_LIVES)
        return;
    ladder->short_lives = 0;
    go_to_poll(ladder, now);
}
