/*
 * A connected descriptor on a loop, plain or with TLS on it, read and written by its owner: no
 * buffers of payload here but those that TLS needs. The same calls for both, so that nobody above
 * asks which it is.
 */
#ifndef NET_CONN_H
#define NET_CONN_H

#include "net/loop.h"
#include "net/tls.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

/* CONN_ERROR is for when nothing is read, because the reader pauses or has come to the end:
 * `readable` is then called when the socket has failed (conn_take_error says how), and perhaps once
 * in vain. */
enum conn_interest { CONN_READ = 1, CONN_WRITE = 2, CONN_ERROR = 4 };

struct conn;

struct conn_events {
    /* TLS only: the handshake has ended; error 0 or CULVERT_ERROR_TLS etc. (conn_error_message says
     * why). Not before this are the others called. */
    void (*secured)(struct conn *conn, int error);
    void (*readable)(struct conn *conn);
    void (*writable)(struct conn *conn);
};

/* Takes the descriptor (non-blocking, close-on-exec is set here) on success. Returns 0,
 * CULVERT_ERROR_NO_MEMORY, or -errno; then the caller still has the descriptor. */
int conn_new(struct loop *loop, int fd, const struct conn_events *events, void *holder,
             struct conn **conn);

/* Starts TLS as a server, or as a client that verifies `host` (a name, also sent as SNI, or an IP
 * address) against the context's CAs. The context is borrowed during the call (the SSL holds its
 * own reference). */
int conn_secure(struct conn *conn, const struct tls_context *context, const char *host);

/* Reads at most `size` bytes. Returns the number, 0 at the end of the stream (for TLS:
 * close_notify, or the bare end), -EAGAIN, or an error. `readable` comes again only if there is
 * interest and more to read; data that TLS has already decrypted or read ahead counts. */
ssize_t conn_read(struct conn *conn, void *buffer, size_t size);

/* Writes from the front of the vectors. Returns how many bytes were taken, -EAGAIN, or an error.
 * What TLS has taken and not yet sent is at most 512 KiB; it is sent on by itself as the socket
 * lets it. */
ssize_t conn_write(struct conn *conn, const struct iovec *vectors, int count);

/* Whether all that was taken has been handed to the kernel (always so for plain). */
bool conn_is_drained(const struct conn *conn);

/* What events are wanted, enum conn_interest bits. `readable` and `writable` are level-triggered.
 */
void conn_want(struct conn *conn, unsigned interest);
unsigned conn_interest(const struct conn *conn);

/* What the socket has failed with (a peer's reset), as -errno, or 0; told only once. */
int conn_take_error(struct conn *conn);

/* Half-close of the sending side: FIN, with close_notify before it for TLS. Call when drained. */
int conn_shutdown(struct conn *conn);

/* Closes: for `abort` with a RST (SO_LINGER 0), else with what is in the kernel's buffer still
 * sent. No event follows. The memory is freed when libuv lets go. */
void conn_close(struct conn *conn, bool abort);

/* A connection between two loops: descriptor, TLS and what was read ahead. */
struct conn_cargo;

/* Takes the connection off its loop, so that another's thread may go on with it: the conn is gone
 * afterwards and no event follows. Not during a TLS handshake. NULL: out of memory, and it is as it
 * was. */
struct conn_cargo *conn_depart(struct conn *conn);
/* Goes on on this loop, whose thread this is. Takes the cargo, also when it fails: 0,
 * CULVERT_ERROR_NO_MEMORY or -errno, and the connection is closed. */
int conn_arrive(struct conn_cargo *cargo, struct loop *loop, const struct conn_events *events,
                void *holder, struct conn **conn);
/* Closes what nobody took up. Any thread. */
void conn_cargo_drop(struct conn_cargo *cargo);

void *conn_holder(const struct conn *conn);
/* Gives the connection to another owner on the same loop. */
void conn_set_owner(struct conn *conn, const struct conn_events *events, void *holder);
struct loop *conn_loop(const struct conn *conn);
int conn_descriptor(const struct conn *conn);
bool conn_is_secure(const struct conn *conn);

/* The last TLS error in a person's words ("certificate is for other.example, not for host";
 * "certificate has expired"), or NULL. */
const char *conn_error_message(const struct conn *conn);

/* "192.0.2.1:4711" or "[2001:db8::1]:4711" of the peer, terminated. */
void conn_peer_text(const struct conn *conn, char *out, size_t size);

/* Options for any TCP descriptor of ours: TCP_NODELAY, keepalive. */
void conn_tune_tcp(int fd);
/* Whether TCP still looks for what the line carries, in its first slow start (RFC 5681 §3.1) or
 * what its congestion control has instead. */
bool conn_is_starting(const struct conn *conn);
/* Microseconds since the peer's TCP acknowledged anything, while it has something to acknowledge; 0
 * when it has not, or when that is not known. */
uint64_t conn_unacknowledged(const struct conn *conn);
/* TCP_NOTSENT_LOWAT: little is left unsent in the kernel, so that a small message never waits
 * behind megabytes. */
void conn_limit_unsent(int fd, int bytes);
/* Bytes that were written and that the peer's TCP has not acknowledged, in the kernel (SIOCOUTQ); 0
 * if the connection has ended, or is not TCP. A half-close counts as one. */
size_t conn_send_queue(const struct conn *conn);

#endif
