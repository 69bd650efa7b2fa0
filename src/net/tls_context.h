/* The inside of a TLS context, for tls.c and tls_session.c. */
#ifndef NET_TLS_CONTEXT_H
#define NET_TLS_CONTEXT_H

#include <openssl/ssl.h>
#include <stdatomic.h>
#include <stdbool.h>

struct tls_context {
    _Atomic unsigned references;
    SSL_CTX *ssl;
    BIO_METHOD *bio_method;
    char *ca; /* a client's: the file of authorities; NULL: the system's */
    bool is_server;
    bool is_insecure;
};

/* OpenSSL's callback for each certificate: notes why one is not accepted. */
int tls_verify_certificate(int accepted, X509_STORE_CTX *store);

#endif
