/*
 * The timers of Hubble's mux. Those that wait for the peer stand still while it is not read: they
 * are kept on a clock of their own, which is behind the real one by all the rests so far.
 */
#include "mux/hubble_mux_internal.h"

#include "base/reason.h"

static const uint64_t second = 1000000;

static bool waits_for_peer(enum hubble_timer timer)
{
    return timer != HUBBLE_TIMER_ACCEPT && timer != HUBBLE_TIMER_PONG &&
           timer != HUBBLE_TIMER_CONSUMER;
}

static uint64_t duration(const struct hubble_mux *mux, enum hubble_timer timer)
{
    switch (timer) {
    case HUBBLE_TIMER_ANSWER:
        return (mux->role == HUBBLE_GATEWAY ? HUBBLE_ANSWER_TIME : HUBBLE_ASK_TIME) * second;
    case HUBBLE_TIMER_ACCEPT:
        return HUBBLE_ACCEPT_TIME * second;
    case HUBBLE_TIMER_PONG:
        return HUBBLE_PONG_TIME * second;
    case HUBBLE_TIMER_LINGER_ASKING:
        return HUBBLE_LINGER_ASKING * second;
    case HUBBLE_TIMER_CONSUMER:
        return mux->patience;
    default:
        return HUBBLE_LINGER_ANSWERING * second;
    }
}

/* The time by the clock of the timer. */
static uint64_t clock_of(const struct hubble_mux *mux, enum hubble_timer timer, uint64_t now)
{
    if (!waits_for_peer(timer))
        return now;
    return (mux->is_resting ? mux->rest_began : now) - mux->rested;
}

void hubble_mux_at(struct hubble_mux *mux, uint64_t now)
{
    mux->now = now;
    if (!mux->is_resting || mux->is_stopped)
        return;
    mux->rested += now - mux->rest_began;
    mux->is_resting = false;
}

void hubble_timer_start(struct hubble_stream *stream, enum hubble_timer timer)
{
    struct hubble_mux *mux = stream->mux;
    list_remove(&stream->timed);
    stream->deadline = clock_of(mux, timer, mux->now) + duration(mux, timer);
    list_append(&mux->timers[timer], &stream->timed);
}

static struct hubble_stream *first_of(const struct hubble_mux *mux, enum hubble_timer timer)
{
    struct list_node *node = list_first(&mux->timers[timer]);
    return node == NULL ? NULL : CONTAINER_OF(node, struct hubble_stream, timed);
}

uint64_t hubble_mux_deadline(const struct hubble_mux *mux)
{
    uint64_t earliest = UINT64_MAX;
    for (enum hubble_timer timer = 0; timer < HUBBLE_TIMERS; timer++) {
        const struct hubble_stream *stream = first_of(mux, timer);
        bool stands_still = waits_for_peer(timer) && mux->is_resting;
        if (stream == NULL || stands_still)
            continue;
        uint64_t due = stream->deadline + (waits_for_peer(timer) ? mux->rested : 0);
        if (due < earliest)
            earliest = due;
    }
    return earliest;
}

/* ---- data waits for a pong ---- */

static void let_send(struct hubble_stream *stream)
{
    list_remove(&stream->timed);
    stream->is_pinged = false;
    stream->may_send = true;
    hubble_stream_schedule(stream);
    /* It may have nothing but its end, whose time begins now. */
    if (stream->fin_wanted)
        hubble_stream_note(stream);
}

/* One ping at a time; those whose ack comes meanwhile share the next. */
static void ping(struct hubble_mux *mux)
{
    struct list *list = &mux->timers[HUBBLE_TIMER_PONG];
    if (mux->ping_pending || list_is_empty(list))
        return;
    for (struct list_node *node = list_first(list); node != NULL; node = list_next(list, node))
        CONTAINER_OF(node, struct hubble_stream, timed)->is_pinged = true;
    mux->ping_pending = true;
    mux->owner->wants_ping(mux);
}

void hubble_stream_await_pong(struct hubble_stream *stream)
{
    hubble_timer_start(stream, HUBBLE_TIMER_PONG);
    ping(stream->mux);
}

void hubble_mux_ponged(struct hubble_mux *mux)
{
    if (mux->failure != 0)
        return;
    struct hubble_stream *stream;
    while ((stream = first_of(mux, HUBBLE_TIMER_PONG)) != NULL && stream->is_pinged)
        let_send(stream);
    mux->ping_pending = false;
    ping(mux);
}

/* ---- what is due ---- */

/* The peer answers sessions, and is silent for long after the other end's half-close. Without an
 * answer to what was sent a clean end would pass for an empty one. */
static void give_up_answer(struct hubble_stream *stream)
{
    static const char why[] = "no answer within 30 s after the half-close";
    hubble_stream_say_end(stream, REASON_TIMED_OUT, why);
    hubble_stream_take_reset(stream, REASON_TIMED_OUT, why);
    hubble_stream_settle(stream);
}

static void end_both_directions(struct hubble_stream *stream)
{
    hubble_stream_say_end(stream, REASON_CLOSED, NULL);
    hubble_stream_tell_end(stream);
    hubble_stream_settle(stream);
}

static void expire(struct hubble_stream *stream, enum hubble_timer timer)
{
    switch (timer) {
    case HUBBLE_TIMER_PONG:
        let_send(stream);
        break;
    case HUBBLE_TIMER_ANSWER:
    case HUBBLE_TIMER_ACCEPT:
        list_remove(&stream->timed);
        if (stream->is_over)
            hubble_stream_end(stream);
        hubble_stream_fail(stream, REASON_TIMED_OUT, "no answer in time");
        break;
    case HUBBLE_TIMER_CONSUMER:
        list_remove(&stream->timed);
        hubble_stream_tell_reset(stream, REASON_NOT_TAKEN, NULL);
        break;
    default:
        if (timer == HUBBLE_TIMER_LINGER_ANSWERING && !stream->is_answered)
            give_up_answer(stream);
        else
            end_both_directions(stream);
        break;
    }
}

void hubble_mux_tick(struct hubble_mux *mux, uint64_t now)
{
    hubble_mux_at(mux, now);
    for (enum hubble_timer timer = 0; timer < HUBBLE_TIMERS; timer++) {
        struct hubble_stream *stream;
        while ((stream = first_of(mux, timer)) != NULL &&
               stream->deadline <= clock_of(mux, timer, now))
            expire(stream, timer);
    }
}
