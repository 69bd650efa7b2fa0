#include "ends/tcp_stream.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/parking.h"
#include "base/reason.h"
#include "ends/failure.h"
#include "ends/farewell.h"
#include "ends/lingering_reset.h"
#include "ends/patience.h"
#include "net/address.h"

#include <assert.h>
#include <errno.h>
#include <unistd.h>

enum {
    WRITE_VECTORS = 64,
    /* Reading pauses when no more of the window is free, and goes on when so much is: not for every
     * few bytes. */
    PAUSE_ROOM = TCP_STREAM_WINDOW / 16,
    RESUME_ROOM = TCP_STREAM_WINDOW / 4,
    /* A larger ring is not kept. */
    RING_KEPT = 8,
};

struct tcp_stream {
    struct stream base; /* must be first */
    struct loop *loop;
    struct conn *conn; /* NULL while pending, and after a reset of ours */
    struct slice_queue in;
    struct slice_queue out;
    struct parking parking; /* of `out` */
    struct loop_task flush;
    struct loop_task grave;
    void (*abandoned)(void *context);
    void *context;
    size_t outstanding;        /* delivered and not yet consumed */
    size_t dropped;            /* of what was written, since the socket failed; not yet reported */
    int failure;               /* what the socket has failed with, while is_broken */
    struct patience *patience; /* until the holder has consumed what came before the failure */
    bool is_pending;           /* dialling */
    bool is_asleep;            /* there was something to read before anybody listened */
    bool is_paused;            /* the window is used up */
    bool is_blocked;           /* the socket takes no more */
    bool fin_received, fin_wanted, fin_sent;
    bool is_broken;     /* the socket has failed: nothing is written, what is left is read */
    bool is_input_over; /* all of that was read */
    bool is_over;       /* reset, either way, or closed: no event follows */
    bool is_closed;
};

static struct tcp_stream *from_base(struct stream *base)
{
    return CONTAINER_OF(base, struct tcp_stream, base);
}

static unsigned wanted_interest(const struct tcp_stream *stream)
{
    if (stream->is_over)
        return 0;
    /* A socket that has failed would report it all the time. */
    if (stream->is_broken)
        return stream->is_input_over || stream->is_paused || stream->is_asleep ? 0 : CONN_READ;
    unsigned interest = stream->is_blocked ? CONN_WRITE : 0;
    if (stream->fin_received) {
        /* The end stays readable for ever, and once both have ended so does the hang-up. */
        return stream->fin_sent ? 0 : interest | CONN_ERROR;
    }
    return interest | (stream->is_paused || stream->is_asleep ? CONN_ERROR : CONN_READ);
}

static void update_interest(struct tcp_stream *stream)
{
    if (stream->conn == NULL)
        return;
    unsigned interest = wanted_interest(stream);
    if (interest != conn_interest(stream->conn))
        conn_want(stream->conn, interest);
}

/* ---- events ---- */

static void report_reset(struct tcp_stream *stream, int code, const char *reason)
{
    stream->is_over = true;
    slice_queue_deinit(&stream->out);
    update_interest(stream);
    stream->base.events->reset(&stream->base, code, reason);
}

static void run_out_of_patience(void *context)
{
    struct tcp_stream *stream = context;
    if (!stream->is_over)
        report_reset(stream, REASON_NOT_TAKEN, NULL);
}

/* The socket has failed: what is held for it is dropped. What came from it before is read and
 * delivered, as the window allows, and then the stream is reset. */
static void break_off(struct tcp_stream *stream, int error)
{
    loop_defer(stream->loop, &stream->flush);
    if (stream->is_broken)
        return;
    stream->is_broken = true;
    stream->failure = error;
    stream->is_blocked = false;
    stream->is_input_over = stream->is_input_over || stream->fin_received || stream->conn == NULL;
    stream->dropped += stream->out.bytes;
    slice_queue_deinit(&stream->out);
    update_interest(stream);
}

static void wait_for_holder(struct tcp_stream *stream)
{
    if (stream->patience == NULL)
        stream->patience =
            patience_start(stream->loop, stream->loop->reset_patience, run_out_of_patience, stream);
    if (stream->patience == NULL)
        report_reset(stream, REASON_NO_MEMORY, NULL);
}

/* What has become due since the socket has failed. */
static void report_broken(struct tcp_stream *stream)
{
    size_t dropped = stream->dropped;
    stream->dropped = 0;
    if (dropped > 0)
        stream->base.events->written(&stream->base, dropped);
    if (stream->is_over)
        return;
    int code = failure_code(stream->failure, REASON_RESET);
    bool is_delivered = stream->is_input_over && stream->outstanding == 0;
    if (is_delivered || reason_is_immediate(code))
        report_reset(stream, code, failure_text(stream->failure));
    else
        wait_for_holder(stream);
}

/* ---- reading ---- */

/* Fills `in`, with a window's worth at most, so that one socket does not starve the others.
 * Returns -EAGAIN, 0 at the end, or an error. */
static ssize_t read_some(struct tcp_stream *stream)
{
    while (stream->outstanding < TCP_STREAM_WINDOW) {
        size_t size;
        uint8_t *space = loop_read_space(stream->loop, &size);
        if (space == NULL)
            return CULVERT_ERROR_NO_MEMORY;
        if (size > TCP_STREAM_WINDOW - stream->outstanding)
            size = TCP_STREAM_WINDOW - stream->outstanding;
        ssize_t count = conn_read(stream->conn, space, size);
        if (count <= 0)
            return count;
        struct slice slice = loop_read_commit(stream->loop, (size_t)count);
        if (slice_queue_push(&stream->in, slice) != 0)
            return CULVERT_ERROR_NO_MEMORY;
        stream->outstanding += (size_t)count;
        /* It is drained; what comes meanwhile makes it readable again. */
        if ((size_t)count < size)
            break;
    }
    return -EAGAIN;
}

static void deliver(struct tcp_stream *stream)
{
    if (stream->in.count > 0)
        stream->base.events->data(&stream->base, &stream->in);
    assert(stream->in.count == 0);
    if (stream->in.capacity > RING_KEPT)
        slice_queue_deinit(&stream->in);
}

static void read_and_deliver(struct tcp_stream *stream)
{
    ssize_t result = read_some(stream);
    bool is_fin = result == 0 && !stream->is_broken;
    if (is_fin)
        stream->fin_received = true;
    deliver(stream);
    if (stream->is_over)
        return;
    stream->is_paused = TCP_STREAM_WINDOW - stream->outstanding < PAUSE_ROOM;
    if (is_fin) {
        stream->base.events->fin(&stream->base);
    } else if (result != -EAGAIN) {
        stream->is_input_over = true;
        break_off(stream, (int)result);
    }
    update_interest(stream);
}

static void on_readable(struct conn *conn)
{
    struct tcp_stream *stream = conn_holder(conn);
    if (stream->is_over)
        return;
    if ((conn_interest(conn) & CONN_READ) == 0) {
        int error = conn_take_error(conn);
        if (error != 0)
            break_off(stream, error);
        return;
    }
    if (stream->base.events == NULL) {
        stream->is_asleep = true;
        update_interest(stream);
        return;
    }
    read_and_deliver(stream);
}

/* ---- writing ---- */

static bool settle(struct parking *parking, struct chunk_pool *pool)
{
    return slice_queue_settle(&CONTAINER_OF(parking, struct tcp_stream, parking)->out, pool);
}

/* Writes what the socket takes; the number of bytes comes back in `written` with errors too. */
static int write_out(struct tcp_stream *stream, size_t *written)
{
    *written = 0;
    while (stream->out.count > 0) {
        struct iovec vectors[WRITE_VECTORS];
        int count = slice_queue_vectors(&stream->out, vectors, WRITE_VECTORS);
        size_t offered = 0;
        for (int i = 0; i < count; i++)
            offered += vectors[i].iov_len;
        ssize_t taken = conn_write(stream->conn, vectors, count);
        if (taken < 0 && taken != -EAGAIN)
            return (int)taken;
        if (taken > 0) {
            slice_queue_skip(&stream->out, (size_t)taken);
            *written += (size_t)taken;
        }
        if (taken < 0 || (size_t)taken < offered) {
            stream->is_blocked = true;
            return 0;
        }
    }
    if (stream->out.capacity > RING_KEPT)
        slice_queue_deinit(&stream->out);
    return 0;
}

static void send_fin(struct tcp_stream *stream)
{
    int error = conn_shutdown(stream->conn);
    if (error != 0) {
        break_off(stream, error);
        return;
    }
    stream->fin_sent = true;
    stream->base.events->finished(&stream->base);
}

static void flush(struct tcp_stream *stream)
{
    size_t written;
    stream->is_blocked = false;
    int error = write_out(stream, &written);
    if (written > 0)
        stream->base.events->written(&stream->base, written);
    if (!stream->is_over && error != 0)
        break_off(stream, error);
    bool is_live = !stream->is_over && !stream->is_broken;
    if (is_live && stream->fin_wanted && !stream->fin_sent && stream->out.count == 0)
        send_fin(stream);
    update_interest(stream);
}

static void run_flush(struct loop_task *task)
{
    struct tcp_stream *stream = CONTAINER_OF(task, struct tcp_stream, flush);
    if (stream->is_over || stream->base.events == NULL)
        return;
    if (stream->is_broken)
        report_broken(stream);
    else if (!stream->is_pending && !stream->is_blocked)
        flush(stream);
}

static void on_writable(struct conn *conn)
{
    struct tcp_stream *stream = conn_holder(conn);
    if (!stream->is_over && !stream->is_broken)
        flush(stream);
}

static const struct conn_events conn_handlers = {.readable = on_readable, .writable = on_writable};

/* ---- operations ---- */

static void stream_accept(struct stream *base)
{
    (void)base;
}

static void stream_write(struct stream *base, struct slice_queue *data)
{
    struct tcp_stream *stream = from_base(base);
    if (stream->is_over || stream->fin_wanted) {
        slice_queue_clear(data);
        return;
    }
    if (stream->is_broken) {
        stream->dropped += data->bytes;
        slice_queue_clear(data);
        loop_defer(stream->loop, &stream->flush);
        return;
    }
    if (slice_queue_append(&stream->out, data) != 0) {
        slice_queue_clear(data);
        break_off(stream, CULVERT_ERROR_NO_MEMORY);
        return;
    }
    parking_enter(&stream->parking, &stream->loop->pool);
    if (!stream->is_blocked && !stream->is_pending)
        loop_defer(stream->loop, &stream->flush);
}

static void stream_finish(struct stream *base)
{
    struct tcp_stream *stream = from_base(base);
    if (stream->is_over || stream->is_broken || stream->fin_wanted)
        return;
    stream->fin_wanted = true;
    if (!stream->is_blocked && !stream->is_pending)
        loop_defer(stream->loop, &stream->flush);
}

/* Lets go of the socket, or of the dialling. */
static void detach(struct tcp_stream *stream, bool abort)
{
    if (stream->conn != NULL)
        conn_close(stream->conn, abort);
    stream->conn = NULL;
    if (stream->is_pending && stream->abandoned != NULL)
        stream->abandoned(stream->context);
    stream->is_pending = false;
    stream->is_over = true;
    patience_end(stream->patience);
    stream->patience = NULL;
    slice_queue_deinit(&stream->out);
    loop_task_cancel(&stream->flush);
}

static void stream_reset(struct stream *base, int code, const char *reason)
{
    struct tcp_stream *stream = from_base(base);
    (void)reason; /* a RST carries none */
    if (stream->is_closed)
        return;
    bool is_live = stream->conn != NULL && !stream->is_broken && !stream->is_over;
    if (is_live && code == REASON_CLOSED) {
        /* The far end has closed its socket, which is an orderly end. */
        farewell(stream->conn, &stream->out);
        stream->conn = NULL;
    } else if (is_live && !reason_is_immediate(code)) {
        /* What was reported as written is in the kernel; what is queued is dropped. */
        bool is_finishing = stream->fin_wanted && !stream->fin_sent && stream->out.count == 0;
        lingering_reset(stream->conn, is_finishing);
        stream->conn = NULL;
    }
    detach(stream, true);
}

static void stream_consumed(struct stream *base, size_t bytes)
{
    struct tcp_stream *stream = from_base(base);
    if (stream->is_over)
        return;
    assert(bytes <= stream->outstanding);
    stream->outstanding -= bytes;
    if (stream->is_paused && TCP_STREAM_WINDOW - stream->outstanding >= RESUME_ROOM)
        stream->is_paused = false;
    stream->is_asleep = false;
    if (stream->patience != NULL && bytes > 0)
        patience_renew(stream->patience);
    if (stream->is_broken)
        loop_defer(stream->loop, &stream->flush);
    update_interest(stream);
}

static void run_grave(struct loop_task *task)
{
    struct tcp_stream *stream = CONTAINER_OF(task, struct tcp_stream, grave);
    parking_leave(&stream->parking);
    slice_queue_deinit(&stream->in);
    memory_free(stream);
}

static void stream_close(struct stream *base)
{
    struct tcp_stream *stream = from_base(base);
    if (stream->is_closed)
        return;
    bool has_ended = stream->fin_received && stream->fin_sent && !stream->is_over;
    detach(stream, !has_ended);
    stream->is_closed = true;
    loop_bury(stream->loop, &stream->grave);
}

static const struct stream_operations tcp_operations = {
    .accept = stream_accept,
    .write = stream_write,
    .finish = stream_finish,
    .reset = stream_reset,
    .consumed = stream_consumed,
    .close = stream_close,
};

/* ---- life ---- */

static struct tcp_stream *create(struct loop *loop)
{
    struct tcp_stream *stream = memory_allocate_zero(sizeof(*stream));
    if (stream == NULL)
        return NULL;
    stream->base.operations = &tcp_operations;
    stream->loop = loop;
    stream->flush.run = run_flush;
    stream->parking.settle = settle;
    stream->grave.run = run_grave;
    return stream;
}

/* The byte of urgent data (RFC 6093 §3.2) comes at its place among the others, and is not lost. */
static void take_urgent_inline(int fd)
{
    int on = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on));
}

static int attach(struct tcp_stream *stream, int fd)
{
    int error = conn_new(stream->loop, fd, &conn_handlers, stream, &stream->conn);
    if (error != 0)
        return error;
    conn_tune_tcp(fd);
    take_urgent_inline(fd);
    update_interest(stream);
    return 0;
}

int tcp_stream_new(struct loop *loop, int fd, struct stream **stream)
{
    struct tcp_stream *new = create(loop);
    if (new == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    int error = attach(new, fd);
    if (error != 0) {
        memory_free(new);
        return error;
    }
    *stream = &new->base;
    return 0;
}

int tcp_stream_pending(struct loop *loop, struct tcp_stream **stream)
{
    struct tcp_stream *new = create(loop);
    if (new == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    new->is_pending = true;
    *stream = new;
    return 0;
}

struct stream *tcp_stream_base(struct tcp_stream *stream)
{
    return &stream->base;
}

void tcp_stream_connected(struct tcp_stream *stream, int fd)
{
    assert(stream->is_pending);
    stream->is_pending = false;
    if (stream->is_over || stream->is_broken) {
        close(fd);
        return;
    }
    int error = attach(stream, fd);
    if (error != 0) {
        close(fd);
        break_off(stream, error);
        return;
    }
    char dialled[STREAM_DIALLED_SIZE];
    stream->base.dialled = address_pair_text(fd, true, dialled, sizeof(dialled));
    stream->base.events->opened(&stream->base);
    stream->base.dialled = NULL;
    if (!stream->is_over)
        loop_defer(stream->loop, &stream->flush);
}

void tcp_stream_failed(struct tcp_stream *stream, int code, const char *reason)
{
    assert(stream->is_pending);
    stream->is_pending = false;
    if (!stream->is_over)
        report_reset(stream, code, reason);
}

void tcp_stream_on_abandon(struct tcp_stream *stream, void (*abandoned)(void *context),
                           void *context)
{
    stream->abandoned = abandoned;
    stream->context = context;
}
