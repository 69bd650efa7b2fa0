#include "carrier/poll_carrier.h"

#include "base/error.h"
#include "base/memory.h"
#include "carrier/poll_batch.h"
#include "carrier/poll_reply.h"
#include "net/loop.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    UP_PATIENCE = 20 * 1000,   /* milliseconds without a byte */
    DOWN_PATIENCE = 35 * 1000, /* the gateway answers after 25 s at the latest */
    LONGEST_WAIT = 20,         /* seconds: the gateway gives up after 40 without a request */
    LINGER = 2 * 1000,         /* milliseconds for the last batches */
    LAST_LINGER = 1000,        /* when the loop has ended */
    HUNG = 1000 * 1000,        /* microseconds: a request that was cut later than this had waited */
    FIRST_PAUSE = 10,          /* milliseconds between answers that say nothing too early */
    LAST_PAUSE = 1000,
};

/* The milliseconds before each further try. */
static const unsigned try_delays[] = {1, 100, 200, 400, 800, 1600};

/* One direction: its request, again and again. */
struct lane {
    struct poll_carrier *carrier;
    struct http_request *request;
    struct loop_timer timer; /* of the next try */
    uint64_t number;         /* of its body */
    uint64_t asked_at;       /* microseconds */
    unsigned failures;       /* in a row */
    unsigned early;          /* answers in a row that said nothing at once */
    bool is_busy;            /* there is a request, or one is to be tried again */
    struct loop_task burial;
};

struct poll_carrier {
    struct carrier base;
    struct loop *loop;
    struct http_requests *requests;
    struct lane up;
    struct lane down;
    struct slice_queue part;  /* the body on its way up, until it is taken */
    struct slice_queue batch; /* what follows it in further bodies of the same message */
    struct slice_queue last;  /* to go up after them, before the end */
    struct slice_queue body;  /* has come down and is not told yet */
    struct loop_task task;    /* goes on telling, later frees */
    struct poll_batch pace;
    unsigned open_lanes;
    bool has_body;
    bool reading;
    bool failed; /* lost was told */
    bool closed;
    bool is_lingering; /* closed, but for the last batches */
    char id[POLL_ID_TEXT_SIZE];
};

static struct poll_carrier *from_base(const struct carrier *carrier)
{
    return CONTAINER_OF(carrier, struct poll_carrier, base);
}

static void stop(struct lane *lane)
{
    lane->is_busy = false;
    loop_timer_stop(&lane->timer);
    http_request_cancel(lane->request);
}

static void end_linger(struct poll_carrier *self);

static void lost(struct poll_carrier *self, int error, const char *why)
{
    if (self->is_lingering)
        end_linger(self);
    if (self->failed || self->closed)
        return;
    self->failed = true;
    stop(&self->up);
    stop(&self->down);
    self->base.events->lost(&self->base, error, why);
}

/* ---- a lane's requests ---- */

static void try_later(struct lane *lane, unsigned milliseconds)
{
    lane->is_busy = true;
    loop_timer_start(&lane->timer, milliseconds);
}

/* After a failure, until there have been too many of them in a row. */
static void try_again(struct lane *lane, int error, const char *why)
{
    if (lane->failures >= sizeof(try_delays) / sizeof(*try_delays))
        lost(lane->carrier, error, why);
    else
        try_later(lane, try_delays[lane->failures++]);
}

static void on_up(void *holder, const struct http_answer *answer);
static void on_down(void *holder, const struct http_answer *answer);

static void ask(struct lane *lane)
{
    struct poll_carrier *self = lane->carrier;
    bool is_up = lane == &self->up;
    char id[sizeof("Culvert-Poll: ") + POLL_ID_TEXT_SIZE];
    char number[64];
    snprintf(id, sizeof(id), "Culvert-Poll: %s", self->id);
    snprintf(number, sizeof(number), "%s: %" PRIu64, is_up ? "Culvert-Up" : "Culvert-Down",
             lane->number);
    bool has_more = is_up && self->batch.bytes > 0;
    const char *const fields[] = {id, number, "Content-Type: application/octet-stream",
                                  "Cache-Control: no-store", "Culvert-More: 1"};
    struct http_post post = {
        .fields = fields,
        .field_count = sizeof(fields) / sizeof(*fields) - (has_more ? 0 : 1),
        .body = is_up ? &self->part : NULL,
        .patience = is_up ? UP_PATIENCE : DOWN_PATIENCE,
        .done = is_up ? on_up : on_down,
        .holder = self,
    };
    lane->is_busy = true;
    lane->asked_at = loop_now(self->loop);
    int error = http_request_post(lane->request, &post);
    if (error != 0)
        try_again(lane, error, error_text(error));
}

static void on_timer(struct loop_timer *timer)
{
    struct lane *lane = timer->holder;
    struct poll_carrier *self = lane->carrier;
    if (self->is_lingering && lane == &self->down)
        end_linger(self);
    else
        ask(lane);
}

static void succeeded(struct lane *lane)
{
    lane->failures = 0;
    lane->is_busy = false;
}

/* A proxy that wants less to do. What is too long for the gateway's patience is for a new try. */
static void come_back(struct lane *lane, const struct poll_reply *reply)
{
    /* The clock's microseconds spread those who were told the same. */
    unsigned jitter = (unsigned)(loop_now(lane->carrier->loop) % 1000);
    if (reply->retry_after > LONGEST_WAIT)
        lost(lane->carrier, CULVERT_ERROR_CLOSED, reply->why);
    else if (lane->failures++ < sizeof(try_delays) / sizeof(*try_delays))
        try_later(lane, reply->retry_after * 1000 + jitter);
    else
        lost(lane->carrier, CULVERT_ERROR_CLOSED, reply->why);
}

/* What any other answer than the wanted one comes to. */
static void take_refusal(struct lane *lane, const struct poll_reply *reply)
{
    struct poll_carrier *self = lane->carrier;
    switch (reply->kind) {
    case POLL_REPLY_BUSY:
        come_back(lane, reply);
        break;
    case POLL_REPLY_AGAIN:
        try_again(lane, CULVERT_ERROR_CLOSED, reply->why);
        break;
    case POLL_REPLY_GONE:
        lost(self, CULVERT_ERROR_CLOSED, reply->why);
        break;
    case POLL_REPLY_OK:
    case POLL_REPLY_NOTHING:
    case POLL_REPLY_TOO_LARGE:
    case POLL_REPLY_REFUSED:
        lost(self, CULVERT_ERROR_PROTOCOL, reply->why);
        break;
    }
}

static void read_reply(const struct poll_carrier *self, const struct http_answer *answer,
                       struct poll_reply *reply)
{
    char label[PROXY_LABEL_SIZE];
    const struct proxy *proxy = http_requests_proxy(self->requests);
    if (proxy->kind != PROXY_NONE)
        proxy_label(proxy, label);
    poll_reply_read(answer->head, answer->head_size, proxy->kind != PROXY_NONE ? label : NULL,
                    reply);
}

/* ---- up ---- */

/* As much of the batch as one body may have. */
static int cut_part(struct poll_carrier *self)
{
    size_t room = poll_batch_room(&self->pace);
    int error = 0;
    if (self->batch.bytes <= room)
        return slice_queue_append(&self->part, &self->batch);
    while (error == 0 && self->part.bytes < room)
        error =
            slice_queue_push(&self->part, slice_queue_take(&self->batch, room - self->part.bytes));
    return error;
}

static void send_part(struct poll_carrier *self)
{
    int error = cut_part(self);
    if (error != 0)
        lost(self, error, error_text(error));
    else
        ask(&self->up);
}

static void begin_batch(struct poll_carrier *self)
{
    self->up.number++;
    send_part(self);
}

/* The same number again with less. If the gateway has taken the whole body from an earlier try that
 * got no answer, it refuses the smaller one (409), and the link is resumed on another carrier. */
static void send_less(struct poll_carrier *self, const struct poll_reply *reply)
{
    if (!poll_batch_refused(&self->pace, self->part.bytes)) {
        lost(self, CULVERT_ERROR_CLOSED, reply->why);
        return;
    }
    int error = slice_queue_append(&self->part, &self->batch);
    if (error != 0) {
        lost(self, error, error_text(error));
        return;
    }
    slice_queue_append(&self->batch, &self->part);
    send_part(self);
}

static void send_last(struct poll_carrier *self)
{
    slice_queue_deinit(&self->batch);
    self->batch = self->last;
    self->last = SLICE_QUEUE_NULL;
    begin_batch(self);
}

static void on_up(void *holder, const struct http_answer *answer)
{
    struct poll_carrier *self = holder;
    struct poll_reply reply;
    if (answer->error != 0) {
        try_again(&self->up, answer->error, answer->why);
        return;
    }
    read_reply(self, answer, &reply);
    if (reply.kind == POLL_REPLY_TOO_LARGE) {
        send_less(self, &reply);
        return;
    }
    if (reply.kind != POLL_REPLY_OK || answer->body->bytes > 0) {
        take_refusal(&self->up, &reply);
        return;
    }
    succeeded(&self->up);
    poll_batch_answered(&self->pace, self->part.bytes, loop_now(self->loop) - self->up.asked_at);
    slice_queue_clear(&self->part);
    if (self->batch.bytes > 0)
        begin_batch(self);
    else if (!self->closed)
        self->base.events->ready(&self->base);
    else if (self->last.bytes > 0)
        send_last(self);
    else
        end_linger(self);
}

static bool is_ready(const struct carrier *carrier)
{
    const struct poll_carrier *self = from_base(carrier);
    return !self->up.is_busy && !self->failed && !self->closed;
}

static void send_batch(struct carrier *carrier, struct slice_queue *batch)
{
    struct poll_carrier *self = from_base(carrier);
    if (self->failed || self->closed || batch->bytes == 0) {
        slice_queue_clear(batch);
        return;
    }
    bool is_last = self->up.is_busy;
    int error = slice_queue_append(is_last ? &self->last : &self->batch, batch);
    if (error != 0) {
        slice_queue_clear(batch);
        lost(self, error, error_text(error));
        return;
    }
    if (!is_last)
        begin_batch(self);
}

/* A batch leaves when it is sent. */
static void flush(struct carrier *carrier)
{
    (void)carrier;
}

static size_t batch_limit(const struct carrier *carrier)
{
    return poll_batch_limit(&from_base(carrier)->pace);
}

/* ---- down ---- */

static void ask_down(struct poll_carrier *self)
{
    if (self->reading && !self->down.is_busy && !self->has_body && !self->failed && !self->closed)
        ask(&self->down);
}

/* Tells the body, as far as its receiver wants it, and asks for the next. */
static void tell_body(struct poll_carrier *self)
{
    const struct carrier_events *events = self->base.events;
    while (self->reading && !self->failed && !self->closed && self->body.bytes > 0)
        events->data(&self->base, slice_queue_take(&self->body, SIZE_MAX));
    if (self->failed || self->closed || self->body.bytes > 0)
        return;
    self->has_body = false;
    events->message_end(&self->base);
    if (!self->failed && !self->closed)
        events->read_end(&self->base);
    ask_down(self);
}

/* The gateway answers so after 25 s; a server that does it at once is not asked all the time. */
static void take_nothing(struct poll_carrier *self)
{
    struct lane *down = &self->down;
    bool is_early = loop_now(self->loop) - down->asked_at < HUNG;
    succeeded(down);
    if (!is_early) {
        down->early = 0;
        ask_down(self);
        return;
    }
    unsigned pause = (unsigned)FIRST_PAUSE << (down->early < 7 ? down->early++ : 7);
    try_later(down, pause < LAST_PAUSE ? pause : LAST_PAUSE);
}

static void take_down(struct poll_carrier *self, const struct http_answer *answer,
                      const struct poll_reply *reply)
{
    if (reply->down == 0) {
        take_refusal(&self->down, reply);
        return;
    }
    if (reply->down != self->down.number || answer->body->bytes == 0) {
        lost(self, CULVERT_ERROR_PROTOCOL, "the gateway has sent another body than was asked for");
        return;
    }
    int error = slice_queue_append(&self->body, answer->body);
    if (error != 0) { /* the gateway still has it */
        try_again(&self->down, error, error_text(error));
        return;
    }
    succeeded(&self->down);
    self->down.early = 0;
    self->down.number++;
    self->has_body = true;
    if (self->reading)
        tell_body(self);
}

/* Proxies cut what waits for them too long: no failure, as long as it has waited at all. */
static bool was_cut_waiting(const struct poll_carrier *self, const struct http_answer *answer,
                            const struct poll_reply *reply)
{
    return loop_now(self->loop) - self->down.asked_at >= HUNG &&
           (answer->error == 0 ? reply->kind == POLL_REPLY_AGAIN
                               : answer->error == CULVERT_ERROR_CLOSED);
}

static void on_down(void *holder, const struct http_answer *answer)
{
    struct poll_carrier *self = holder;
    struct poll_reply reply = {.kind = POLL_REPLY_AGAIN};
    if (answer->error == 0)
        read_reply(self, answer, &reply);
    if (was_cut_waiting(self, answer, &reply))
        self->down.failures = 0;
    if (answer->error != 0)
        try_again(&self->down, answer->error, answer->why);
    else if (reply.kind == POLL_REPLY_NOTHING)
        take_nothing(self);
    else if (reply.kind == POLL_REPLY_OK)
        take_down(self, answer, &reply);
    else
        take_refusal(&self->down, &reply);
}

static void read_on(struct carrier *carrier, bool on)
{
    struct poll_carrier *self = from_base(carrier);
    self->reading = on;
    if (!on)
        return;
    if (self->has_body)
        loop_defer(self->loop, &self->task);
    else
        ask_down(self);
}

static void go_on(struct loop_task *task)
{
    struct poll_carrier *self = CONTAINER_OF(task, struct poll_carrier, task);
    if (self->has_body && self->reading && !self->failed)
        tell_body(self);
}

/* Each request is a sign of life of ours, and each answer one of the gateway's. */
static void ping(struct carrier *carrier)
{
    ask_down(from_base(carrier));
}

/* ---- life ---- */

/* Both timers must be closed before they are freed. */
static void bury_lane(struct loop_task *task)
{
    struct poll_carrier *self = CONTAINER_OF(task, struct lane, burial)->carrier;
    if (--self->open_lanes == 0)
        memory_free(self);
}

static void close_lane(struct lane *lane)
{
    lane->burial.run = bury_lane;
    loop_timer_close(&lane->timer, &lane->burial);
}

/* A task that is buried: libcurl or the holder may be up the stack. */
static void end(struct loop_task *task)
{
    struct poll_carrier *self = CONTAINER_OF(task, struct poll_carrier, task);
    http_requests_close(self->requests);
    slice_queue_deinit(&self->part);
    slice_queue_deinit(&self->batch);
    slice_queue_deinit(&self->last);
    slice_queue_deinit(&self->body);
    close_lane(&self->up);
    close_lane(&self->down);
}

static void end_linger(struct poll_carrier *self)
{
    self->is_lingering = false;
    stop(&self->up);
    loop_timer_stop(&self->down.timer);
    loop_task_cancel(&self->task);
    self->task.run = end;
    loop_bury(self->loop, &self->task);
}

static void end_with_loop(struct loop_task *task)
{
    struct poll_carrier *self = CONTAINER_OF(task, struct poll_carrier, task);
    http_requests_finish(self->requests, LAST_LINGER);
    if (self->is_lingering)
        end_linger(self);
}

/* The last batch holds the words that end the link: it is given a moment. */
static void linger(struct poll_carrier *self)
{
    self->is_lingering = true;
    loop_timer_start(&self->down.timer, LINGER);
    self->task.run = end_with_loop;
    loop_at_end(self->loop, &self->task);
}

static void close_carrier(struct carrier *carrier, int error, const char *reason)
{
    struct poll_carrier *self = from_base(carrier);
    (void)reason; /* there is no place for it below the messages */
    if (self->closed)
        return;
    self->closed = true;
    loop_task_cancel(&self->task);
    stop(&self->down);
    if (error == 0 && self->up.is_busy) {
        linger(self);
        return;
    }
    stop(&self->up);
    self->task.run = end;
    loop_bury(self->loop, &self->task);
}

static const struct carrier_operations operations = {
    .takes_last = true,
    .send = send_batch,
    .flush = flush,
    .is_ready = is_ready,
    .batch_limit = batch_limit,
    .ping = ping,
    .read = read_on,
    .close = close_carrier,
};

static int open_lane(struct poll_carrier *self, struct lane *lane, struct http_request *request,
                     uint64_t number)
{
    lane->carrier = self;
    lane->request = request;
    lane->number = number;
    return loop_timer_init(self->loop, &lane->timer, on_timer, lane);
}

int poll_carrier_new(struct loop *loop, const struct poll_carrier_parts *parts,
                     struct carrier **carrier)
{
    struct poll_carrier *self = memory_allocate_zero(sizeof(*self));
    if (self == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    self->base.operations = &operations;
    self->loop = loop;
    self->requests = parts->requests;
    poll_batch_init(&self->pace);
    self->task.run = go_on;
    self->open_lanes = 2;
    memcpy(self->id, parts->id, sizeof(self->id));
    int error = open_lane(self, &self->up, parts->up, 0);
    if (error != 0) {
        memory_free(self);
        return error;
    }
    error = open_lane(self, &self->down, parts->down, 1);
    if (error != 0) {
        self->open_lanes = 1;
        close_lane(&self->up);
        return error;
    }
    *carrier = &self->base;
    return 0;
}
