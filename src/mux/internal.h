/* What the files of the mux share with one another. */
#ifndef MUX_INTERNAL_H
#define MUX_INTERNAL_H

#include "mux/mux.h"

/* A stream on the map, not yet announced; NULL when memory has run out. */
struct mux_stream *mux_stream_create(struct mux *mux, uint64_t id, bool is_ours, uint64_t now);

/* Takes the stream off the map and all lists, drops what it has queued, and puts it on `list` until
 * its holder closes it. */
void mux_stream_detach(struct mux_stream *stream, struct list *list);

/* Ends the stream and tells its holder. */
void mux_stream_end(struct mux_stream *stream, int code, const char *reason);

/* ---- mux_reset.c ---- */

/* The peer has reset the stream, or the link is lost: ends it, now or when its holder has consumed
 * all that came before. */
void mux_stream_take_reset(struct mux_stream *stream, int code, const char *reason, uint64_t now);
/* The holder has written to a stream whose reset waits, or consumed of it. */
void mux_stream_drop(struct mux_stream *stream, struct slice_queue *data);
void mux_stream_progress(struct mux_stream *stream);
/* Reports events that could not come inside an operation. */
void mux_report_news(struct mux *mux, uint64_t now);

/* The stream does not count against the peer any more. */
void mux_stream_release_place(struct mux_stream *stream);

/* ---- mux_control.c ---- */

/* Says no to an open for which there is no stream. */
void mux_refuse(struct mux *mux, uint64_t id, int code, const char *reason);
/* To be sent before all data, in the order of these calls for a stream. An error is the caller's
 * and leaves all as it was. */
int mux_announce_open(struct mux_stream *stream, const struct message_open *open);
void mux_announce_ack(struct mux_stream *stream);
/* Of a stream that is then reset. */
void mux_announce_fin(struct mux_stream *stream);
/* A reset, or an ack that says no if the stream still waits for its ack from us; nothing if the
 * peer was not told of the stream yet. Called before the stream is detached. */
void mux_announce_reset(struct mux_stream *stream, int code, const char *reason);
/* Takes the next message. Returns 1, 0 if there is none, or an error. */
int mux_pull_control(struct mux *mux, struct slice *out);
/* Nothing can be sent any more. */
void mux_forget_control(struct mux *mux);

/* Remembers the first error and sees to it that the owner learns of it. */
void mux_fail(struct mux *mux, int error);
/* Asks the owner to pull, once. */
void mux_wake(struct mux *mux);

/* Puts the stream in line if it has something that it may send. `was_idle`: its queue was empty
 * until now. */
void mux_schedule(struct mux_stream *stream, bool was_idle);

/* The stream is accepted, or over: what came early counts as any data. */
static inline void mux_stream_forget_early(struct mux_stream *stream)
{
    stream->mux->early -= stream->early;
    stream->early = 0;
}

/* What the stream's queue adds to mux->queued. */
static inline size_t mux_stream_cost(const struct mux_stream *stream)
{
    return stream->out.bytes + (size_t)stream->out.count * MUX_SLICE_COST;
}

/* Bytes that were delivered and not yet reported as consumed. */
static inline uint64_t mux_stream_outstanding(const struct mux_stream *stream)
{
    return stream->receive.undelivered - stream->consumed;
}

extern const struct stream_operations mux_stream_operations;

#endif
