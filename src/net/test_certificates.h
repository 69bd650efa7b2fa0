/* For tests: a CA, certificates and keys as PEM files in a directory of their own. */
#ifndef NET_TEST_CERTIFICATES_H
#define NET_TEST_CERTIFICATES_H

struct test_certificate {
    const char *name;        /* files NAME.crt and NAME.key (mode 0600) */
    const char *alternative; /* subjectAltName such as "DNS:localhost,IP:127.0.0.1", or NULL */
    const char *issuer;      /* the name of an earlier one; NULL: self-signed */
    long from;               /* seconds from now */
    long until;
};

struct tls_context;

enum { TEST_PATH_SIZE = 128 };

/* Makes a new directory. */
void test_certificates_open(char directory[static TEST_PATH_SIZE]);
void test_certificate_make(const char *directory, const struct test_certificate *certificate);
/* DIRECTORY/NAME SUFFIX. */
void test_certificate_path(const char *directory, const char *name, const char *suffix,
                           char path[static TEST_PATH_SIZE]);
/* Removes the directory with what is in it. */
void test_certificates_close(const char *directory);

/* Of a server with a certificate for localhost, and of a client that trusts nothing else. The
 * caller drops both. */
void test_certificates_contexts(struct tls_context **server, struct tls_context **client);

#endif
