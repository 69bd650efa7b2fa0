#include "net/tls.h"

#include "base/error.h"
#include "base/memory.h"
#include "net/pem_file.h"
#include "net/tls_bio.h"
#include "net/tls_context.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

static bool has_aes_hardware(void)
{
#if defined(__x86_64__) || defined(__i386__)
    return __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul");
#elif defined(__aarch64__)
    return (getauxval(AT_HWCAP) & HWCAP_AES) != 0;
#else
    return false;
#endif
}

static int set_ciphers(SSL_CTX *ssl)
{
    const char *suites = "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256:"
                         "TLS_AES_256_GCM_SHA384";
    const char *list = "ECDHE+CHACHA20:ECDHE+AESGCM";

    if (has_aes_hardware()) {
        suites = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
        list = "ECDHE+AES128+AESGCM:ECDHE+AESGCM:ECDHE+CHACHA20";
    }
    if (SSL_CTX_set_ciphersuites(ssl, suites) != 1 || SSL_CTX_set_cipher_list(ssl, list) != 1)
        return CULVERT_ERROR_TLS;
    return 0;
}

static struct tls_context *context_new(bool is_server)
{
    struct tls_context *context = memory_allocate_zero(sizeof(*context));
    if (context == NULL)
        return NULL;

    atomic_init(&context->references, 1);
    context->is_server = is_server;
    context->bio_method = tls_bio_method_new();
    context->ssl = SSL_CTX_new(is_server ? TLS_server_method() : TLS_client_method());
    if (context->ssl == NULL || context->bio_method == NULL ||
        SSL_CTX_set_min_proto_version(context->ssl, TLS1_2_VERSION) != 1 ||
        set_ciphers(context->ssl) != 0) {
        tls_context_unref(context);
        return NULL;
    }
    /* A client without AES hardware puts ChaCha20 first and gets it. */
    SSL_CTX_set_options(context->ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                          SSL_OP_CIPHER_SERVER_PREFERENCE |
                                          SSL_OP_PRIORITIZE_CHACHA | SSL_OP_IGNORE_UNEXPECTED_EOF);
    /* An idle connection holds no buffers, which are also the larger part of its memory. */
    SSL_CTX_set_mode(context->ssl, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(context->ssl, SSL_SESS_CACHE_OFF);
    return context;
}

struct tls_context *tls_context_ref(struct tls_context *context)
{
    atomic_fetch_add_explicit(&context->references, 1, memory_order_relaxed);
    return context;
}

void tls_context_unref(struct tls_context *context)
{
    if (context == NULL ||
        atomic_fetch_sub_explicit(&context->references, 1, memory_order_acq_rel) != 1)
        return;
    SSL_CTX_free(context->ssl);
    BIO_meth_free(context->bio_method);
    memory_free(context->ca);
    memory_free(context);
}

/* Without it OpenSSL would ask on the terminal. */
static int no_passphrase(char *buffer, int size, int is_writing, void *context)
{
    (void)buffer;
    (void)size;
    (void)is_writing;
    (void)context;
    return -1;
}

static int read_key(const char *path, EVP_PKEY **key, char *why, size_t why_size)
{
    struct pem_file file;
    int error = pem_file_read_secret(&file, path, why, why_size);
    if (error != 0)
        return error;
    BIO *bio = BIO_new_mem_buf(file.text, (int)file.size);
    *key = bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;
    if (*key == NULL) {
        bool is_encrypted = ERR_GET_REASON(ERR_peek_error()) == PEM_R_BAD_PASSWORD_READ ||
                            ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_BAD_PASSWORD_READ;
        snprintf(why, why_size,
                 is_encrypted ? "the private key in %s is protected by a passphrase; give a key "
                                "without one"
                              : "%s holds no private key in PEM form",
                 path);
        error = CULVERT_ERROR_TLS;
    }
    BIO_free(bio);
    pem_file_deinit(&file);
    return error;
}

static X509 *next_certificate(BIO *bio)
{
    return PEM_read_bio_X509_AUX(bio, NULL, no_passphrase, NULL);
}

/* The first certificate is the server's, the others lead to its authority. */
static bool use_chain(SSL_CTX *ssl, BIO *bio)
{
    X509 *certificate = next_certificate(bio);
    bool is_good = certificate != NULL && SSL_CTX_use_certificate(ssl, certificate) == 1;
    X509_free(certificate);
    while (is_good && (certificate = next_certificate(bio)) != NULL) {
        is_good = SSL_CTX_add1_chain_cert(ssl, certificate) == 1;
        X509_free(certificate);
    }
    /* What follows the last certificate, and is not one, does no harm; one that is broken does. */
    return is_good && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
}

static int load_chain(SSL_CTX *ssl, const char *path, char *why, size_t why_size)
{
    struct pem_file file;
    int error = pem_file_read(&file, path, why, why_size);
    if (error != 0)
        return error;
    BIO *bio = BIO_new_mem_buf(file.text, (int)file.size);
    if (bio == NULL || !use_chain(ssl, bio)) {
        snprintf(why, why_size, "%s holds no certificate in PEM form", path);
        error = CULVERT_ERROR_TLS;
    }
    BIO_free(bio);
    pem_file_deinit(&file);
    return error;
}

static int load_pair(SSL_CTX *ssl, const char *certificate, EVP_PKEY *key, const char *key_path,
                     char *why, size_t why_size)
{
    int error = load_chain(ssl, certificate, why, why_size);
    if (error != 0)
        return error;
    if (SSL_CTX_use_PrivateKey(ssl, key) != 1 || SSL_CTX_check_private_key(ssl) != 1) {
        snprintf(why, why_size, "the private key in %s does not belong to the certificate in %s",
                 key_path, certificate);
        return CULVERT_ERROR_TLS;
    }
    return 0;
}

int tls_server_context(const char *certificate, const char *key, struct tls_context **context,
                       char *why, size_t why_size)
{
    struct tls_context *new = NULL;
    EVP_PKEY *private_key = NULL;
    int error = read_key(key, &private_key, why, why_size);
    if (error != 0)
        goto out;
    new = context_new(true);
    if (new == NULL) {
        snprintf(why, why_size, "TLS could not be set up");
        error = CULVERT_ERROR_TLS;
        goto out;
    }
    error = load_pair(new->ssl, certificate, private_key, key, why, why_size);
    if (error != 0)
        goto out;
    *context = new;
    new = NULL;
out:
    ERR_clear_error();
    EVP_PKEY_free(private_key);
    tls_context_unref(new);
    return error;
}

static void copy_date(const ASN1_TIME *time, char *out, size_t size)
{
    struct tm parts;
    if (ASN1_TIME_to_tm(time, &parts) != 1 || strftime(out, size, "%Y-%m-%d", &parts) == 0)
        snprintf(out, size, "an unknown day");
}

bool tls_is_in_date(const struct tls_context *context, char *why, size_t why_size)
{
    char day[32];
    const X509 *certificate = SSL_CTX_get0_certificate(context->ssl);
    if (certificate == NULL)
        return true;
    if (X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0) {
        copy_date(X509_get0_notAfter(certificate), day, sizeof(day));
        snprintf(why, why_size, "expired on %s", day);
        return false;
    }
    if (X509_cmp_current_time(X509_get0_notBefore(certificate)) > 0) {
        copy_date(X509_get0_notBefore(certificate), day, sizeof(day));
        snprintf(why, why_size, "is not valid before %s", day);
        return false;
    }
    return true;
}

/* Whether the system keeps its CAs one a file, named by hash ("3513523f.0"). */
static bool has_hash_directory(void)
{
    const char *path = getenv(X509_get_default_cert_dir_env());
    DIR *directory = opendir(path != NULL ? path : X509_get_default_cert_dir());
    bool found = false;
    struct dirent *entry;

    if (directory == NULL)
        return path != NULL; /* a list of directories, for OpenSSL to take apart */
    while (!found && (entry = readdir(directory)) != NULL) {
        size_t digits = strspn(entry->d_name, "0123456789abcdef");
        found = digits == 8 && entry->d_name[digits] == '.' &&
                isdigit((unsigned char)entry->d_name[digits + 1]) != 0;
    }
    closedir(directory);
    return found;
}

/* Returns how many certificates and revocation lists were added; -1: one could not be. */
static int add_authorities(X509_STORE *store, const STACK_OF(X509_INFO) * found)
{
    int count = 0;
    for (int i = 0; i < sk_X509_INFO_num(found); i++) {
        const X509_INFO *item = sk_X509_INFO_value(found, i);
        if ((item->x509 != NULL && X509_STORE_add_cert(store, item->x509) != 1) ||
            (item->crl != NULL && X509_STORE_add_crl(store, item->crl) != 1))
            return -1;
        count += item->x509 != NULL || item->crl != NULL;
    }
    return count;
}

static int load_file(SSL_CTX *ssl, const char *path, char *why, size_t why_size)
{
    struct pem_file file;
    int error = pem_file_read(&file, path, why, why_size);
    if (error != 0)
        return error;
    BIO *bio = BIO_new_mem_buf(file.text, (int)file.size);
    STACK_OF(X509_INFO) *found =
        bio != NULL ? PEM_X509_INFO_read_bio(bio, NULL, no_passphrase, NULL) : NULL;
    if (found == NULL || add_authorities(SSL_CTX_get_cert_store(ssl), found) <= 0) {
        snprintf(why, why_size, "%s holds no certificate in PEM form", path);
        error = CULVERT_ERROR_TLS;
    }
    sk_X509_INFO_pop_free(found, X509_INFO_free);
    BIO_free(bio);
    pem_file_deinit(&file);
    return error;
}

static int load_authorities(SSL_CTX *ssl, const char *ca, char *why, size_t why_size)
{
    if (ca != NULL)
        return load_file(ssl, ca, why, why_size);
    /* The bundle of all CAs costs megabytes; the directory is read as far as a chain needs it. */
    bool has_directory = has_hash_directory();
    if (has_directory && SSL_CTX_set_default_verify_dir(ssl) != 1) {
        snprintf(why, why_size, "the system's CA certificates cannot be used");
        return CULVERT_ERROR_TLS;
    }
    const char *file = getenv(X509_get_default_cert_file_env());
    int error = file != NULL ? load_file(ssl, file, why, why_size) : 0;
    /* One that is missing is no error, as for OpenSSL: no certificate is trusted because of it. */
    if (file != NULL && error != -ENOENT)
        return error;
    if (!has_directory && SSL_CTX_set_default_verify_file(ssl) != 1) {
        snprintf(why, why_size, "this system has no CA certificates");
        return CULVERT_ERROR_TLS;
    }
    return 0;
}

int tls_client_context(const char *ca, bool insecure, struct tls_context **context, char *why,
                       size_t why_size)
{
    int error = 0;
    struct tls_context *new = context_new(false);

    if (new == NULL) {
        snprintf(why, why_size, "TLS could not be set up");
        error = CULVERT_ERROR_TLS;
        goto out;
    }
    new->is_insecure = insecure;
    new->ca = ca != NULL ? memory_copy_text(ca) : NULL;
    if (ca != NULL && new->ca == NULL) {
        snprintf(why, why_size, "%s", error_text(CULVERT_ERROR_NO_MEMORY));
        error = CULVERT_ERROR_NO_MEMORY;
        goto out;
    }
    if (insecure) {
        SSL_CTX_set_verify(new->ssl, SSL_VERIFY_NONE, NULL);
    } else {
        SSL_CTX_set_verify(new->ssl, SSL_VERIFY_PEER, tls_verify_certificate);
        error = load_authorities(new->ssl, ca, why, why_size);
        if (error != 0)
            goto out;
    }
    *context = new;
    new = NULL;
out:
    ERR_clear_error();
    tls_context_unref(new);
    return error;
}
