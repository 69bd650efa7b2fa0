#include "net/tls_explain.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { NAME_SIZE = 128, ADVICE_SIZE = 256 };

/* Certificates come from the peer: what is not plain ASCII is not shown. */
static void copy_printable(const ASN1_STRING *string, char *out, size_t size)
{
    const unsigned char *data = ASN1_STRING_get0_data(string);
    size_t length = (size_t)ASN1_STRING_length(string);

    if (length > size - 1)
        length = size - 1;
    for (size_t i = 0; i < length; i++)
        out[i] = data[i] > ' ' && data[i] < 0x7f ? (char)data[i] : '?';
    out[length] = '\0';
}

static void copy_address(const ASN1_STRING *string, char *out, size_t size)
{
    int length = ASN1_STRING_length(string);

    if (length == 4)
        inet_ntop(AF_INET, ASN1_STRING_get0_data(string), out, (socklen_t)size);
    else if (length == 16)
        inet_ntop(AF_INET6, ASN1_STRING_get0_data(string), out, (socklen_t)size);
}

/* The common name, else the organisation. */
static void copy_name(const X509_NAME *name, char *out, size_t size)
{
    int place = X509_NAME_get_index_by_NID(name, NID_commonName, -1);

    if (place < 0)
        place = X509_NAME_get_index_by_NID(name, NID_organizationName, -1);
    if (place < 0)
        return;
    const unsigned char *data =
        ASN1_STRING_get0_data(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, place)));
    int length = ASN1_STRING_length(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, place)));
    size_t used = 0;
    for (int i = 0; i < length && used + 1 < size; i++)
        out[used++] = data[i] >= ' ' && data[i] < 0x7f ? (char)data[i] : '?';
    out[used] = '\0';
}

/* Whom a certificate is for: its first alternative name, else its common name. */
static void copy_subject(X509 *certificate, char *out, size_t size)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);

    out[0] = '\0';
    for (int i = 0; i < sk_GENERAL_NAME_num(names) && out[0] == '\0'; i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type == GEN_DNS)
            copy_printable(name->d.dNSName, out, size);
        else if (name->type == GEN_IPADD)
            copy_address(name->d.iPAddress, out, size);
    }
    GENERAL_NAMES_free(names);
    if (out[0] == '\0')
        copy_name(X509_get_subject_name(certificate), out, size);
    if (out[0] == '\0')
        snprintf(out, size, "nobody");
}

const char *tls_explain_result(long result)
{
    switch (result) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return "certificate has expired";
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return "certificate is not valid yet (is this machine's clock right?)";
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        return "certificate is self-signed and not among the trusted ones";
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        return "certificate is signed by an unknown CA";
    default:
        return NULL;
    }
}

void tls_explain_advice(long result, const char *ca, char *out, size_t size)
{
    bool is_self_signed = result == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT;
    switch (result) {
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        if (ca != NULL)
            snprintf(out, size, "; it is not signed by a CA in %s (--ca)", ca);
        else
            snprintf(out, size, "; if it is the right one, give %s with --ca FILE",
                     is_self_signed ? "it" : "that CA's certificate");
        break;
    default:
        out[0] = '\0';
        break;
    }
}

void tls_explain_certificate(X509_STORE_CTX *store, const char *host, const char *ca, char *out,
                             size_t size)
{
    int error = X509_STORE_CTX_get_error(store);
    X509 *certificate = X509_STORE_CTX_get_current_cert(store);
    char name[NAME_SIZE] = "";
    char advice[ADVICE_SIZE];

    tls_explain_advice(error, ca, advice, sizeof(advice));
    switch (error) {
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        copy_subject(X509_STORE_CTX_get0_cert(store), name, sizeof(name));
        snprintf(out, size, "certificate is for %s, not for %s", name, host);
        break;
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        if (certificate != NULL)
            copy_name(X509_get_issuer_name(certificate), name, sizeof(name));
        snprintf(out, size, "%s%s%s%s", tls_explain_result(error), name[0] == '\0' ? "" : ", ",
                 name, advice);
        break;
    default:
        if (tls_explain_result(error) != NULL)
            snprintf(out, size, "%s%s", tls_explain_result(error), advice);
        else
            snprintf(out, size, "certificate is not accepted: %s",
                     X509_verify_cert_error_string(error));
        break;
    }
}

void tls_explain_code(unsigned long code, char *out, size_t size)
{
    int reason = ERR_GET_REASON(code);
    const char *text = ERR_reason_error_string(code);

    /* OpenSSL numbers the alerts that a peer sends from here (RFC 8446 §6.2). */
    if (ERR_GET_LIB(code) == ERR_LIB_SSL && reason > SSL_AD_REASON_OFFSET &&
        reason <= SSL_AD_REASON_OFFSET + 255)
        snprintf(out, size, "the peer broke TLS off: %s",
                 SSL_alert_desc_string_long(reason - SSL_AD_REASON_OFFSET));
    else
        snprintf(out, size, "TLS failed: %s", text != NULL ? text : "no reason given");
}
