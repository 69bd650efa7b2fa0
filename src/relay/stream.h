/*
 * A stream is a full-duplex, flow-controlled, half-closable pipe: a TCP socket, a stream in a link,
 * a crossing between two loops. Its holder (the relay) calls the operations; the stream calls the
 * events. Both sides speak in the same words, so that joining two streams is passing events of one
 * on as operations of the other.
 *
 * Flow control is one rule: a stream delivers data until a window's worth of it is outstanding,
 * that is delivered and not yet reported as `consumed`. The stream that took the data reports
 * `written` when the bytes have left it. So no queue needs a bound of its own: it is bounded by the
 * source's window.
 *
 * A reset ends what comes after it and never revokes what was delivered before. When its far end is
 * reset, a stream drops what it holds for it and reports this, and all that is written later, as
 * `written`. Its `reset` event waits until all that it delivered has been reported as `consumed`.
 * Resets whose code is immediate (reason_is_immediate) do not wait. While a reset waits no other
 * event but `written` comes, and what the stream delivered still counts against the peer. Without
 * progress for 30 s, or for the resume window if that is longer, it ends with REASON_NOT_TAKEN.
 *
 * Events come from the loop's turn, never from inside an operation of the same stream. No event
 * comes after a reset (either way) or after close; the holder then calls close once.
 */
#ifndef RELAY_STREAM_H
#define RELAY_STREAM_H

#include "base/slice.h"

#include <stddef.h>

struct stream;

struct stream_operations {
    /* The far end of the holder's other stream is there: a stream that was opened towards us is
     * answered with yes. No effect on streams that need no answer. */
    void (*accept)(struct stream *stream);
    /* Sends; empties the queue and takes its slices. Bytes are reported by `written` in due time.
     */
    void (*write)(struct stream *stream, struct slice_queue *data);
    /* Half-close: no more writes; takes effect behind what is queued, then `finished`. */
    void (*finish)(struct stream *stream);
    /* Ends both directions at once and drops what is queued; `reason` (may be NULL) is copied. What
     * was reported as `written` still reaches the far end before the reset, unless `code` is
     * immediate. No event follows. */
    void (*reset)(struct stream *stream, int code, const char *reason);
    /* `bytes` of what this stream delivered have left at the other side; it may deliver as many
     * more. Zero bytes wake a stream that had something to tell before its events were set. */
    void (*consumed)(struct stream *stream, size_t bytes);
    /* The holder lets go: after both directions have ended, or after a reset. The stream frees
     * itself. */
    void (*close)(struct stream *stream);
};

struct stream_events {
    /* The stream that we opened or dialled is there. Comes at most once, before any data. */
    void (*opened)(struct stream *stream);
    /* Data; the holder takes all slices out of the queue. */
    void (*data)(struct stream *stream, struct slice_queue *data);
    /* The peer sends no more. */
    void (*fin)(struct stream *stream);
    /* Both directions have ended, and all that was delivered has been consumed or is to be dropped
     * now; `code` is an enum reason_code, `reason` may be NULL. */
    void (*reset)(struct stream *stream, int code, const char *reason);
    /* `bytes` of what was written have left this process or were handed to the link's carrier. */
    void (*written)(struct stream *stream, size_t bytes);
    /* All that was written has left, and the half-close behind it. */
    void (*finished)(struct stream *stream);
};

struct stream {
    const struct stream_operations *operations;
    const struct stream_events *events; /* set by the holder before the stream may call any */
    void *holder;                       /* for the holder's use */
    /* "LOCAL REMOTE", the addresses of the connection behind a stream that was dialled: set by the
     * stream while it calls `opened`. Set by its holder before `accept`, for a stream whose peer
     * shall know. NULL: not known. Borrowed. */
    const char *dialled;
};

enum { STREAM_DIALLED_SIZE = 2 * 64 };

/* Resets a stream and lets go of it, for one who has not joined it. */
static inline void stream_refuse(struct stream *stream, int code, const char *reason)
{
    stream->operations->reset(stream, code, reason);
    stream->operations->close(stream);
}

#endif
