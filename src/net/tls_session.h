/*
 * TLS on one descriptor, for conn.c alone: it decides when to call, this does the work. No event
 * handling here. Holds buffers of the loop's pool only while there is something in them.
 */
#ifndef NET_TLS_SESSION_H
#define NET_TLS_SESSION_H

#include "base/chunk.h"
#include "net/tls.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

struct tls_session;

/* The descriptor and the pool are borrowed. `host` is for clients: the name or address that the
 * certificate must be for. Returns 0, CULVERT_ERROR_NO_MEMORY, CULVERT_ERROR_INVALID (`host`). */
int tls_session_new(struct tls_context *context, const char *host, int fd, struct chunk_pool *pool,
                    struct tls_session **session);
void tls_session_free(struct tls_session *session);

/* Goes on with the handshake. Returns 0 when it is done, -EAGAIN, or an error, which stays. */
int tls_session_handshake(struct tls_session *session);

/* As conn_read and conn_write; an error stays. */
ssize_t tls_session_read(struct tls_session *session, void *buffer, size_t size);
ssize_t tls_session_write(struct tls_session *session, const struct iovec *vectors, int count);

/* Queues the close_notify alert, once. */
void tls_session_end(struct tls_session *session);

/* Sends what is pending. Returns 0 when nothing is left (also when it was dropped because the
 * socket has failed; reads and writes then say so), or -EAGAIN. */
int tls_session_flush(struct tls_session *session);
bool tls_session_is_drained(const struct tls_session *session);

/* The socket has become readable: the next read asks it again. */
void tls_session_socket_readable(struct tls_session *session);

/* Whether a read has something to tell without asking the socket: bytes decrypted or read ahead,
 * the end or an error that has not been told yet. */
bool tls_session_has_input(const struct tls_session *session);

/* Leaves the loop's pool, so that another thread may go on with it after tls_session_arrive. 0, or
 * CULVERT_ERROR_NO_MEMORY, and it is as it was. */
int tls_session_depart(struct tls_session *session);
/* 0, or CULVERT_ERROR_NO_MEMORY: then it can only be freed. */
int tls_session_arrive(struct tls_session *session, struct chunk_pool *pool);

/* The reason of the last TLS error, or NULL. */
const char *tls_session_message(const struct tls_session *session);

#endif
