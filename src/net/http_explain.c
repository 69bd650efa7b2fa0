#include "net/http_explain.h"

#include "base/error.h"
#include "net/proxy_dial.h"
#include "net/tls_explain.h"

#include <stdio.h>

/* Whether the proxy, and not what is behind it, has failed. */
static bool is_of_proxy(const struct http_failure *failure)
{
    long status = 0;
    long connections = 0;
    double connected = 0;
    switch (failure->proxy->kind) {
    case PROXY_NONE:
        return false;
    case PROXY_SOCKS5:
    case PROXY_SOCKS5H:
#if LIBCURL_VERSION_NUM >= 0x074900
        if (failure->code == CURLE_PROXY)
            return true;
#endif
        return failure->code == CURLE_COULDNT_CONNECT ||
               failure->code == CURLE_COULDNT_RESOLVE_PROXY;
    case PROXY_HTTP:
    case PROXY_HTTPS:
        break;
    }
    if (!failure->is_secure)
        return true; /* no one else is talked with */
    failure->curl->easy_getinfo(failure->easy, CURLINFO_NUM_CONNECTS, &connections);
    failure->curl->easy_getinfo(failure->easy, CURLINFO_CONNECT_TIME, &connected);
    if (connections == 0 && connected > 0)
        return false; /* on a connection from before */
    failure->curl->easy_getinfo(failure->easy, CURLINFO_HTTP_CONNECTCODE, &status);
    return status / 100 != 2;
}

static void tell_certificate(const struct http_failure *failure, char *out, size_t size)
{
    long result = X509_V_OK;
    failure->curl->easy_getinfo(failure->easy, CURLINFO_SSL_VERIFYRESULT, &result);
    const char *why = tls_explain_result(result);
    char advice[256];
    tls_explain_advice(result, failure->ca, advice, sizeof(advice));
    if (why != NULL)
        snprintf(out, size, "%s%s", why, advice);
    else
        snprintf(out, size, "certificate is not accepted: %s", failure->problem);
}

static int tell_unreachable(const struct http_failure *failure, char *out, size_t size)
{
    long number = 0;
    failure->curl->easy_getinfo(failure->easy, CURLINFO_OS_ERRNO, &number);
    int error = number != 0 ? -(int)number : CULVERT_ERROR_CLOSED;
    snprintf(out, size, "%s", error_text(error));
    return error;
}

static int tell(int error, const char *words, char *out, size_t size)
{
    snprintf(out, size, "%s", words);
    return error;
}

int http_explain(const struct http_failure *failure, char *out, size_t size)
{
    const char *problem = failure->problem[0] != '\0' ? failure->problem
                                                      : failure->curl->easy_strerror(failure->code);
    if (failure->code == CURLE_OUT_OF_MEMORY)
        return tell(CULVERT_ERROR_NO_MEMORY, error_text(CULVERT_ERROR_NO_MEMORY), out, size);
    if (is_of_proxy(failure))
        return proxy_explain(failure->curl, failure->easy, failure->proxy, failure->code,
                             failure->problem, out, size);
    switch (failure->code) {
    case CURLE_COULDNT_RESOLVE_HOST:
        return tell(CULVERT_ERROR_RESOLVE, error_text(CULVERT_ERROR_RESOLVE), out, size);
    case CURLE_COULDNT_CONNECT:
        return tell_unreachable(failure, out, size);
    case CURLE_OPERATION_TIMEDOUT:
        return tell(CULVERT_ERROR_TIMED_OUT, "the server did not answer in time", out, size);
    case CURLE_PEER_FAILED_VERIFICATION:
        tell_certificate(failure, out, size);
        return CULVERT_ERROR_TLS;
    case CURLE_SSL_CACERT_BADFILE:
        snprintf(out, size,
                 "the CA certificates cannot be read (%s): install the package ca-certificates, or "
                 "give --ca FILE",
                 problem);
        return CULVERT_ERROR_TLS;
    case CURLE_SSL_CONNECT_ERROR:
        snprintf(out, size, "TLS failed: %s", problem);
        return CULVERT_ERROR_TLS;
    case CURLE_UNSUPPORTED_PROTOCOL: /* libcurl treats the answer as HTTP/0.9 */
        return tell(CULVERT_ERROR_PROTOCOL,
                    "the server there is no culvert gateway: it does not answer in HTTP", out,
                    size);
    case CURLE_GOT_NOTHING:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
        return tell(CULVERT_ERROR_CLOSED, "the server closed the connection without an answer", out,
                    size);
    case CURLE_PARTIAL_FILE:
        return tell(CULVERT_ERROR_CLOSED, "the server closed the connection within its answer", out,
                    size);
    default:
        snprintf(out, size, "the server's answer cannot be read: %s", problem);
        return CULVERT_ERROR_PROTOCOL;
    }
}
