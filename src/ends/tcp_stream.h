/* A TCP connection as a stream. */
#ifndef ENDS_TCP_STREAM_H
#define ENDS_TCP_STREAM_H

#include "net/conn.h"
#include "relay/stream.h"

enum { TCP_STREAM_WINDOW = 512 * 1024 };

/* A stream over a connected descriptor, which it takes on success. It reads when it has events,
 * from the next turn on. */
int tcp_stream_new(struct loop *loop, int fd, struct stream **stream);

/* A stream whose descriptor comes later (dialling): it queues writes. tcp_stream_connected takes
 * the descriptor and reports `opened`; tcp_stream_failed reports a reset. */
struct tcp_stream;
int tcp_stream_pending(struct loop *loop, struct tcp_stream **stream);
struct stream *tcp_stream_base(struct tcp_stream *stream);
void tcp_stream_connected(struct tcp_stream *stream, int fd);
void tcp_stream_failed(struct tcp_stream *stream, int code, const char *reason);
/* Called when a pending stream is reset or closed by its holder, so that the dialling can be
 * cancelled. */
void tcp_stream_on_abandon(struct tcp_stream *stream, void (*abandoned)(void *context),
                           void *context);

#endif
