/* TLS settings (TLS 1.2 or later) shared by connections; OpenSSL is initialised only when the first
 * is made. */
#ifndef NET_TLS_H
#define NET_TLS_H

#include <stdbool.h>
#include <stddef.h>

struct tls_context;

/*
 * The charge of TLS to the account of a connection's pool, in bytes. Measured with OpenSSL 3.0 and
 * TLS 1.3 as the resident memory that 400 of them add to a gateway: idle links 15 KB each beyond
 * what links without TLS add; connections whose client has sent its ClientHello and says no more
 * 45 KB each, and 61 KB with as many bytes of a ClientHello as it may have.
 */
enum {
    TLS_SESSION_COST = 16 * 1024,
    TLS_HANDSHAKE_COST = 64 * 1024, /* until the handshake is done */
};

/* A server's context from PEM files. On failure (CULVERT_ERROR_TLS, CULVERT_ERROR_PERMISSION if
 * others may read the key, or -errno) writes a sentence into `why` that names the file. */
int tls_server_context(const char *certificate, const char *key, struct tls_context **context,
                       char *why, size_t why_size);

/* Whether clients will accept the dates of a server's certificate now. If not, writes the end of a
 * sentence, such as "expired on 2026-03-01", into `why`. */
bool tls_is_in_date(const struct tls_context *context, char *why, size_t why_size);

/* A client's context: `ca` a PEM file, or NULL for the system's (looked up in its hash directory,
 * not loaded whole); `insecure` verifies nothing. */
int tls_client_context(const char *ca, bool insecure, struct tls_context **context, char *why,
                       size_t why_size);

/* Contexts are reference-counted; safe from any thread. */
struct tls_context *tls_context_ref(struct tls_context *context);
void tls_context_unref(struct tls_context *context);

#endif
