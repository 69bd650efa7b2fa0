#include "sessions.h"

#include "base/reason.h"

#include <string.h>

enum {
    RESET_CODE = 77,
    REFUSE_CODE = 78,
    OPEN_AGAIN = 20000, /* microseconds until an open that could not be is tried again */
};

static const uint64_t second = 1000000;

static struct trial *trial_of(const struct session_half *half)
{
    return half->session->sessions->trial;
}

static uint8_t byte_at(const struct session_half *half, uint64_t offset)
{
    uint64_t side = half == &half->session->half[1];
    return (uint8_t)(offset * 131 + (offset >> 8) * 17 + half->session->index * 29 + side * 101);
}

static void write_piece(struct session_half *half)
{
    struct trial *trial = trial_of(half);
    static uint8_t bytes[SESSION_MAX_PIECE];
    uint64_t size =
        1 + trial_below(trial, trial_chance(trial, half->small) ? 200 : SESSION_MAX_PIECE);
    if (size > half->to_send - half->sent)
        size = half->to_send - half->sent;
    for (uint64_t i = 0; i < size; i++)
        bytes[i] = byte_at(half, half->sent + i);
    struct slice slice;
    struct slice_queue queue = SLICE_QUEUE_NULL;
    struct chunk_pool *pool = half->session->sessions->pools[half->side];
    TRIAL_CHECK(trial, slice_copy(pool, bytes, (size_t)size, &slice) == 0);
    TRIAL_CHECK(trial, slice_queue_push(&queue, slice) == 0);
    half->sent += size;
    half->stream->operations->write(half->stream, &queue);
    slice_queue_deinit(&queue);
}

static void consume(struct session_half *half)
{
    struct trial *trial = trial_of(half);
    size_t bytes = half->in.bytes;
    if (!half->reads || bytes == 0)
        return;
    if (trial_chance(trial, 50))
        bytes = 1 + (size_t)trial_below(trial, bytes);
    slice_queue_skip(&half->in, bytes);
    half->stream->operations->consumed(half->stream, bytes);
}

static void close_half(struct session_half *half)
{
    slice_queue_deinit(&half->in);
    half->stream->operations->close(half->stream);
    half->stream = NULL;
    half->is_done = true;
    half->wake = TRIAL_NEVER;
}

static void reset_half(struct session_half *half, int code)
{
    half->resets = true;
    half->promised = half->written;
    half->stream->operations->reset(half->stream, code, "at random");
    close_half(half);
}

static void answer(struct session_half *half)
{
    half->needs_accept = false;
    if (half->session->is_refused)
        reset_half(half, REFUSE_CODE);
    else
        half->stream->operations->accept(half->stream);
}

static bool can_send(const struct session_half *half)
{
    return half->sent < half->to_send && half->sent - half->written < SESSION_MAX_UNWRITTEN;
}

/* Whatever the application may do now. */
static void act(struct session_half *half)
{
    struct trial *trial = trial_of(half);
    half->wake = TRIAL_NEVER;
    if (half->stream == NULL)
        return;
    if (trial->now >= half->reset_time) {
        reset_half(half, RESET_CODE);
        return;
    }
    if (half->needs_accept)
        answer(half);
    if (half->stream == NULL)
        return;
    consume(half);
    while (can_send(half)) {
        write_piece(half);
        if (trial_chance(trial, 20))
            break;
    }
    if (half->sent == half->to_send && !half->finish_called && !half->session->stays_open) {
        half->finish_called = true;
        half->stream->operations->finish(half->stream);
    }
    if (half->finished && half->fin && half->in.bytes == 0) {
        close_half(half);
        return;
    }
    if (can_send(half) || (half->reads && half->in.bytes > 0))
        half->wake = trial->now + 1 + trial_below(trial, half->pause);
    else if (half->reset_time != TRIAL_NEVER)
        half->wake = half->reset_time;
}

/* Behind each event: at once, from within it, or later. */
static void notice(struct session_half *half)
{
    struct trial *trial = trial_of(half);
    if (trial_chance(trial, half->hasty)) {
        act(half);
        return;
    }
    trial_earlier(&half->wake, trial->now + trial_below(trial, half->pause));
}

static void on_opened(struct stream *stream)
{
    struct session_half *half = stream->holder;
    struct trial *trial = trial_of(half);
    TRIAL_CHECK(trial, half == &half->session->half[0] && half->received == 0 && !half->fin);
    TRIAL_CHECK(trial, half->peer->side >= 0 && !half->session->is_refused);
    notice(half);
}

static void on_data(struct stream *stream, struct slice_queue *data)
{
    struct session_half *half = stream->holder;
    struct trial *trial = trial_of(half);
    TRIAL_CHECK(trial, !half->fin && data->bytes > 0);
    while (data->count > 0) {
        struct slice slice = slice_queue_take(data, SIZE_MAX);
        bool same = true;
        for (size_t i = 0; i < slice.size; i++)
            same &= slice.data[i] == byte_at(half->peer, half->received + i);
        half->received += slice.size;
        TRIAL_CHECK(trial, slice_queue_push(&half->in, slice) == 0);
        TRIAL_CHECK(trial, same);
    }
    TRIAL_CHECK(trial, half->received <= half->peer->sent);
    notice(half);
}

static void on_fin(struct stream *stream)
{
    struct session_half *half = stream->holder;
    struct trial *trial = trial_of(half);
    TRIAL_CHECK(trial, !half->fin && half->peer->finish_called);
    TRIAL_CHECK(trial, half->received == half->peer->to_send);
    half->fin = true;
    notice(half);
}

static void on_reset(struct stream *stream, int code, const char *reason)
{
    struct session_half *half = stream->holder;
    struct trial *trial = trial_of(half);
    if (code == REASON_LINK_LOST) {
        TRIAL_CHECK(trial, half->session->sessions->has_lost && half->in.bytes == 0);
        close_half(half);
        return;
    }
    if (half->session->sessions->is_relieving) {
        half->resets = true;
        half->promised = half->written;
        close_half(half);
        return;
    }
    /* A reset never revokes what was delivered before it. */
    TRIAL_CHECK(trial, half->received >= half->peer->promised && half->in.bytes == 0);
    TRIAL_CHECK(trial, half->peer->resets && reason != NULL && strcmp(reason, "at random") == 0);
    TRIAL_CHECK(trial, code == (half->session->is_refused ? REFUSE_CODE : RESET_CODE) ||
                           (code == RESET_CODE && half->session->is_refused));
    close_half(half);
}

static void on_written(struct stream *stream, size_t bytes)
{
    struct session_half *half = stream->holder;
    half->written += bytes;
    TRIAL_CHECK(trial_of(half), half->written <= half->sent);
    notice(half);
}

static void on_finished(struct stream *stream)
{
    struct session_half *half = stream->holder;
    struct trial *trial = trial_of(half);
    TRIAL_CHECK(trial, half->finish_called && !half->finished && half->written == half->to_send);
    half->finished = true;
    notice(half);
}

static const struct stream_events events = {
    .opened = on_opened,
    .data = on_data,
    .fin = on_fin,
    .reset = on_reset,
    .written = on_written,
    .finished = on_finished,
};

static void take_stream(struct session_half *half, int side, struct stream *stream)
{
    half->side = side;
    half->stream = stream;
    stream->events = &events;
    stream->holder = half;
}

void sessions_peer_opened(struct sessions *sessions, int side, struct stream *stream,
                          const struct message_open *open)
{
    struct trial *trial = sessions->trial;
    TRIAL_CHECK(trial, open->port < SESSIONS);
    struct session_half *half = &sessions->session[open->port].half[1];
    TRIAL_CHECK(trial, half->side < 0 && half->peer->side == 1 - side);
    take_stream(half, side, stream);
    half->needs_accept = true;
    notice(half);
}

void sessions_relieve(struct sessions *sessions, struct tunnel *tunnel)
{
    sessions->is_relieving = true;
    tunnel_end_largest(tunnel, RESET_CODE, "at random");
    sessions->is_relieving = false;
}

static void init_half(struct trial *trial, struct session_half *half)
{
    static const uint64_t sizes[] = {0, 1, 1000, 20000, 100000, 400000};
    static const uint64_t pauses[] = {1, 100, 5000, 100000};
    half->side = -1;
    half->in = SLICE_QUEUE_NULL;
    half->wake = TRIAL_NEVER;
    half->reset_time = TRIAL_NEVER;
    half->to_send = sizes[trial_below(trial, 6)];
    if (half->to_send > 1)
        half->to_send = 1 + trial_below(trial, half->to_send);
    half->pause = pauses[trial_below(trial, 4)];
    half->small = trial_chance(trial, 40) ? 100 : 30;
    half->hasty = (unsigned)trial_below(trial, 3) * 40;
    half->reads = !trial_chance(trial, 10);
    if (!half->reads || trial_chance(trial, 15))
        half->reset_time = trial_below(trial, 4 * second);
}

static void init_session(struct sessions *sessions, unsigned index)
{
    struct trial *trial = sessions->trial;
    struct session *session = &sessions->session[index];
    *session = (struct session){.sessions = sessions, .index = index};
    for (int i = 0; i < 2; i++) {
        struct session_half *half = &session->half[i];
        init_half(trial, half);
        half->session = session;
        half->peer = &session->half[1 - i];
    }
    session->is_refused = trial_chance(trial, 8);
    session->stays_open = !session->is_refused && trial_chance(trial, 15);
    if (session->stays_open)
        for (int i = 0; i < 2; i++) {
            session->half[i].reads = true;
            session->half[i].reset_time = TRIAL_NEVER;
        }
    /* When it is opened; by which side is seen then. */
    session->half[0].wake = trial_below(trial, 2 * second);
}

void sessions_init(struct sessions *sessions)
{
    sessions->has_lost = sessions->is_relieving = false;
    for (unsigned i = 0; i < SESSIONS; i++)
        init_session(sessions, i);
}

static void open_session(struct session_half *half)
{
    struct sessions *sessions = half->session->sessions;
    int side = (int)trial_below(sessions->trial, 2);
    struct message_open open = {
        .kind = text_of("tcp"),
        .agent = text_of("agent2"),
        .host = text_of("127.0.0.1"),
        .port = (uint16_t)half->session->index,
    };
    struct stream *stream = sessions->open(sessions, side, &open);
    if (stream == NULL)
        half->wake = sessions->trial->now + OPEN_AGAIN;
    else
        take_stream(half, side, stream);
}

void sessions_run(struct sessions *sessions)
{
    for (int i = 0; i < SESSIONS; i++) {
        for (int n = 0; n < 2; n++) {
            struct session_half *half = &sessions->session[i].half[n];
            if (half->wake > sessions->trial->now)
                continue;
            if (half->side < 0)
                open_session(half);
            if (half->side >= 0)
                act(half);
        }
    }
}

uint64_t sessions_next(const struct sessions *sessions)
{
    uint64_t next = TRIAL_NEVER;
    for (int i = 0; i < SESSIONS; i++)
        for (int n = 0; n < 2; n++)
            trial_earlier(&next, sessions->session[i].half[n].wake);
    return next;
}

void sessions_check_bounds(struct sessions *sessions, int side, const struct mux *mux)
{
    struct trial *trial = sessions->trial;
    size_t queued = 0;
    for (int i = 0; i < SESSIONS; i++) {
        for (int n = 0; n < 2; n++) {
            struct session_half *half = &sessions->session[i].half[n];
            if (half->side != side || half->stream == NULL)
                continue;
            struct mux_stream *stream = mux_stream_from(half->stream);
            /* Its link was lost: the half reads what it has. */
            if (stream->is_dead || stream->mux != mux)
                continue;
            queued += stream->out.bytes + stream->out.count * MUX_SLICE_COST;
            TRIAL_CHECK(trial, stream->out.bytes <= SESSION_MAX_UNWRITTEN + SESSION_MAX_PIECE);
            TRIAL_CHECK(trial,
                        half->in.bytes + stream->receive.outstanding <= stream->receive.window);
        }
    }
    TRIAL_CHECK(trial, mux->queued == queued);
    TRIAL_CHECK(trial, mux->control.bytes <= MUX_MAX_CONTROL);
    TRIAL_CHECK(trial, mux->unopened <= MUX_MAX_CONTROL / 2 + MESSAGE_MAX_CONTROL);
    TRIAL_CHECK(trial, mux->refusals <= MUX_MAX_REFUSALS);
}

static bool half_is_at_rest(const struct session_half *half)
{
    if (half->is_done)
        return true;
    return half->stream != NULL && half->session->stays_open && !half->needs_accept &&
           half->written == half->to_send && half->received == half->peer->to_send &&
           half->in.bytes == 0;
}

bool sessions_are_over(const struct sessions *sessions)
{
    for (int i = 0; i < SESSIONS; i++) {
        const struct session_half *opener = &sessions->session[i].half[0];
        const struct session_half *other = opener->peer;
        /* One that was ended before its open was sent is never heard of. */
        bool is_unknown = opener->is_done && other->side < 0;
        if (!half_is_at_rest(opener) || (!half_is_at_rest(other) && !is_unknown))
            return false;
    }
    return true;
}

void sessions_check_credit(struct sessions *sessions)
{
    struct trial *trial = sessions->trial;
    for (int i = 0; i < SESSIONS; i++) {
        for (int n = 0; n < 2; n++) {
            struct session_half *half = &sessions->session[i].half[n];
            if (half->stream == NULL)
                continue;
            TRIAL_CHECK(trial, half->peer->stream != NULL);
            struct mux_stream *from = mux_stream_from(half->stream);
            struct mux_stream *to = mux_stream_from(half->peer->stream);
            TRIAL_CHECK(trial, from->send.withheld == 0);
            TRIAL_CHECK(trial, from->send.available == to->receive.outstanding);
            TRIAL_CHECK(trial, to->receive.undelivered == to->consumed && to->receive.due == 0);
            TRIAL_CHECK(trial, to->receive.window == to->receive.outstanding + to->consumed);
        }
    }
}

void sessions_close(struct sessions *sessions)
{
    for (int i = 0; i < SESSIONS; i++) {
        for (int n = 0; n < 2; n++) {
            struct session_half *half = &sessions->session[i].half[n];
            half->peer->resets = true;
            if (half->stream != NULL)
                close_half(half);
        }
    }
}
