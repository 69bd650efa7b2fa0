/* Why a TLS handshake or connection failed, in a person's words. */
#ifndef NET_TLS_EXPLAIN_H
#define NET_TLS_EXPLAIN_H

#include <openssl/x509.h>
#include <stddef.h>

/* Why the chain in `store` was not accepted; `host` is the name of the server, `ca` the file of
 * authorities that it was checked against (NULL: the system's). */
void tls_explain_certificate(X509_STORE_CTX *store, const char *host, const char *ca, char *out,
                             size_t size);

/* The same for a verification's result alone (X509_V_ERR_...); NULL where it tells no more than
 * that the certificate is not accepted. */
const char *tls_explain_result(long result);

/* Writes what to do about such a result at an agent, to be put after what tls_explain_result says;
 * "" where there is no advice. */
void tls_explain_advice(long result, const char *ca, char *out, size_t size);

/* An error code of OpenSSL's queue. */
void tls_explain_code(unsigned long code, char *out, size_t size);

#endif
