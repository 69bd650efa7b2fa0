#include "net/test_certificates.h"

#include "net/tls.h"

#include <dirent.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { HOUR = 3600 };

void test_certificates_open(char directory[static TEST_PATH_SIZE])
{
    snprintf(directory, TEST_PATH_SIZE, "/tmp/culvert-test-XXXXXX");
    assert_non_null(mkdtemp(directory));
}

void test_certificate_path(const char *directory, const char *name, const char *suffix,
                           char path[static TEST_PATH_SIZE])
{
    int length = snprintf(path, TEST_PATH_SIZE, "%s/%s%s", directory, name, suffix);
    assert_true(length > 0 && length < TEST_PATH_SIZE);
}

static FILE *open_file(const char *directory, const char *name, const char *suffix,
                       const char *mode)
{
    char path[TEST_PATH_SIZE];

    test_certificate_path(directory, name, suffix, path);
    FILE *file = fopen(path, mode);
    assert_non_null(file);
    return file;
}

static void add_extension(X509 *certificate, int kind, const char *value)
{
    X509V3_CTX context;

    X509V3_set_ctx(&context, certificate, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, kind, value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

static void sign(const char *directory, X509 *certificate, EVP_PKEY *own_key, const char *issuer)
{
    if (issuer == NULL) {
        X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
        assert_true(X509_sign(certificate, own_key, EVP_sha256()) > 0);
        return;
    }
    FILE *file = open_file(directory, issuer, ".crt", "r");
    X509 *authority = PEM_read_X509(file, NULL, NULL, NULL);
    fclose(file);
    file = open_file(directory, issuer, ".key", "r");
    EVP_PKEY *key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
    fclose(file);
    assert_non_null(authority);
    assert_non_null(key);
    X509_set_issuer_name(certificate, X509_get_subject_name(authority));
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
    EVP_PKEY_free(key);
    X509_free(authority);
}

void test_certificate_make(const char *directory, const struct test_certificate *certificate)
{
    static long serial;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x509 = X509_new();
    char path[TEST_PATH_SIZE];

    assert_non_null(key);
    X509_set_version(x509, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x509), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(x509), certificate->from);
    X509_gmtime_adj(X509_getm_notAfter(x509), certificate->until);
    X509_set_pubkey(x509, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x509), "CN", MBSTRING_UTF8,
                               (const unsigned char *)certificate->name, -1, -1, 0);
    add_extension(x509, NID_basic_constraints,
                  certificate->alternative == NULL ? "critical,CA:TRUE" : "critical,CA:FALSE");
    if (certificate->alternative != NULL)
        add_extension(x509, NID_subject_alt_name, certificate->alternative);
    sign(directory, x509, key, certificate->issuer);

    FILE *file = open_file(directory, certificate->name, ".crt", "w");
    assert_int_equal(PEM_write_X509(file, x509), 1);
    fclose(file);
    file = open_file(directory, certificate->name, ".key", "w");
    assert_int_equal(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
    fclose(file);
    test_certificate_path(directory, certificate->name, ".key", path);
    assert_int_equal(chmod(path, 0600), 0);
    X509_free(x509);
    EVP_PKEY_free(key);
}

void test_certificates_close(const char *directory)
{
    DIR *entries = opendir(directory);
    const struct dirent *entry;
    char path[TEST_PATH_SIZE];

    assert_non_null(entries);
    while ((entry = readdir(entries)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        test_certificate_path(directory, entry->d_name, "", path);
        unlink(path);
    }
    closedir(entries);
    rmdir(directory);
}

void test_certificates_contexts(struct tls_context **server, struct tls_context **client)
{
    static const struct test_certificate good = {"good", "DNS:localhost", NULL, -HOUR, HOUR};
    char directory[TEST_PATH_SIZE];
    char certificate[TEST_PATH_SIZE];
    char key[TEST_PATH_SIZE];
    char why[256];
    test_certificates_open(directory);
    test_certificate_make(directory, &good);
    test_certificate_path(directory, good.name, ".crt", certificate);
    test_certificate_path(directory, good.name, ".key", key);
    assert_int_equal(tls_server_context(certificate, key, server, why, sizeof(why)), 0);
    assert_int_equal(tls_client_context(certificate, false, client, why, sizeof(why)), 0);
    test_certificates_close(directory);
}
