#include "base/error.h"
#include "net/proxy_dial.h"

#include <stdio.h>
#include <string.h>

enum { METHODS_SIZE = 64 };

/* What a sentence is made of. */
struct failure {
    const struct curl_library *curl;
    CURL *easy;
    const struct proxy *proxy;
    const char *problem; /* libcurl's words */
    char label[PROXY_LABEL_SIZE];
    char *out;
    size_t size;
};

static int tell(const struct failure *failure, int error, const char *words)
{
    snprintf(failure->out, failure->size, "%s %s", failure->label, words);
    return error;
}

static const char *setting(const struct failure *failure)
{
    const char *source = failure->proxy->source;
    return source != NULL ? source : "--proxy";
}

static int tell_login(const struct failure *failure, const char *with)
{
    const struct proxy *proxy = failure->proxy;
    char words[512];
    if (!proxy->login.is_given)
        snprintf(words, sizeof(words),
                 "wants a user and a password%s; give them with --proxy-user-file", with);
    else if (proxy->login.user[0] == '\0')
        snprintf(
            words, sizeof(words),
            "does not accept who this process is logged in as%s; look at klist, or give a user "
            "and a password with --proxy-user-file",
            with);
    else
        snprintf(
            words, sizeof(words),
            "does not accept the user \"%.100s\" with this password%s; check --proxy-user-file "
            "or what else names them",
            proxy->login.user, with);
    return tell(failure, CULVERT_ERROR_REFUSED, words);
}

/* "(407, Basic or Digest)" */
static int tell_unauthorized(const struct failure *failure)
{
    static const struct {
        long bit;
        const char *name;
    } methods[] = {{CURLAUTH_BASIC, "Basic"},
                   {CURLAUTH_DIGEST, "Digest"},
                   {CURLAUTH_NTLM, "NTLM"},
                   {CURLAUTH_NEGOTIATE, "Negotiate"}};
    char with[METHODS_SIZE + 32];
    long offered = 0;
    size_t used = (size_t)snprintf(with, sizeof(with), " (407");
    failure->curl->easy_getinfo(failure->easy, CURLINFO_PROXYAUTH_AVAIL, &offered);
    const char *joint = ", by ";
    for (size_t i = 0; i < sizeof(methods) / sizeof(*methods); i++) {
        if ((offered & methods[i].bit) == 0)
            continue;
        used += (size_t)snprintf(with + used, sizeof(with) - used, "%s%s", joint, methods[i].name);
        joint = " or ";
    }
    snprintf(with + used, sizeof(with) - used, ")");
    return tell_login(failure, with);
}

static int tell_status(const struct failure *failure, long status)
{
    char words[256];
    switch (status) {
    case 407:
        return tell_unauthorized(failure);
    case 401: /* tinyproxy, when they are wrong */
        return tell_login(failure, " (401)");
    case 403:
        return tell(failure, CULVERT_ERROR_UNSUPPORTED,
                    "forbids connections to that host and port (403); ask who runs it to allow "
                    "CONNECT there, or use a gateway on port 443");
    case 500:
    case 502:
    case 503:
    case 504:
        snprintf(words, sizeof(words),
                 "cannot reach the gateway (%ld); check the gateway's name and port, and that it "
                 "runs",
                 status);
        return tell(failure, CULVERT_ERROR_CLOSED, words);
    default:
        snprintf(words, sizeof(words),
                 "answered CONNECT with the status %ld; check that %s names a proxy that allows it",
                 status, setting(failure));
        return tell(failure, CULVERT_ERROR_UNSUPPORTED, words);
    }
}

/* A SOCKS5 proxy's answer (RFC 1928 §6, RFC 1929 §2). */
static int tell_socks(const struct failure *failure)
{
    char words[256];
    long code = CURLPX_OK;
#if LIBCURL_VERSION_NUM >= 0x074900
    failure->curl->easy_getinfo(failure->easy, CURLINFO_PROXY_ERROR, &code);
#endif
    switch (code) {
    case CURLPX_NO_AUTH:
    case CURLPX_USER_REJECTED:
        return tell_login(failure, "");
    case CURLPX_REPLY_NOT_ALLOWED:
        return tell(failure, CULVERT_ERROR_REFUSED,
                    "forbids connections to that host and port; ask who runs it to allow them, or "
                    "use a gateway on port 443");
    case CURLPX_REPLY_GENERAL_SERVER_FAILURE:
    case CURLPX_REPLY_NETWORK_UNREACHABLE:
    case CURLPX_REPLY_HOST_UNREACHABLE:
    case CURLPX_REPLY_CONNECTION_REFUSED:
    case CURLPX_REPLY_TTL_EXPIRED:
        return tell(
            failure, CULVERT_ERROR_CLOSED,
            "cannot reach the gateway; check the gateway's name and port, and that it runs");
    case CURLPX_RESOLVE_HOST:
        return tell(
            failure, CULVERT_ERROR_RESOLVE,
            "was not asked: the gateway's name cannot be resolved here; with socks5h:// the "
            "proxy resolves it");
    case CURLPX_BAD_VERSION:
        snprintf(words, sizeof(words), "does not speak SOCKS5; check %s", setting(failure));
        return tell(failure, CULVERT_ERROR_PROTOCOL, words);
    default:
        snprintf(words, sizeof(words), "broke off: %.150s; check %s", failure->problem,
                 setting(failure));
        return tell(failure, CULVERT_ERROR_CLOSED, words);
    }
}

static int tell_unreachable(const struct failure *failure)
{
    char words[256];
    long number = 0;
    failure->curl->easy_getinfo(failure->easy, CURLINFO_OS_ERRNO, &number);
    snprintf(words, sizeof(words), "cannot be reached%s%s; check %s and that it runs",
             number != 0 ? ": " : "", number != 0 ? error_text(-(int)number) : "",
             setting(failure));
    return tell(failure, number != 0 ? -(int)number : CULVERT_ERROR_CLOSED, words);
}

static int tell_other(const struct failure *failure, CURLcode code)
{
    char words[400];
    const char *problem =
        failure->problem[0] != '\0' ? failure->problem : failure->curl->easy_strerror(code);
    switch (code) {
    case CURLE_COULDNT_RESOLVE_PROXY:
        snprintf(words, sizeof(words), "has no address: its name cannot be resolved; check %s",
                 setting(failure));
        return tell(failure, CULVERT_ERROR_RESOLVE, words);
    case CURLE_COULDNT_CONNECT:
        return tell_unreachable(failure);
    case CURLE_OPERATION_TIMEDOUT:
        snprintf(words, sizeof(words), "did not answer in time; check %s, or try again later",
                 setting(failure));
        return tell(failure, CULVERT_ERROR_TIMED_OUT, words);
    case CURLE_OUT_OF_MEMORY:
        return tell(failure, CULVERT_ERROR_NO_MEMORY, "cannot be used: out of memory");
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_PEER_FAILED_VERIFICATION:
        snprintf(words, sizeof(words),
                 "cannot be verified: %.200s; --proxy-ca FILE names the CA that it is signed by",
                 problem);
        return tell(failure, CULVERT_ERROR_TLS, words);
    case CURLE_SSL_CONNECT_ERROR:
        snprintf(words, sizeof(words), "cannot speak TLS: %.200s; perhaps it is an http:// one",
                 problem);
        return tell(failure, CULVERT_ERROR_TLS, words);
    case CURLE_GOT_NOTHING:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
        snprintf(words, sizeof(words),
                 "closed the connection without an answer; check %s: its scheme and port",
                 setting(failure));
        return tell(failure, CULVERT_ERROR_CLOSED, words);
    default:
        snprintf(words, sizeof(words), "cannot be used: %.200s; check %s", problem,
                 setting(failure));
        return tell(failure, CULVERT_ERROR_PROTOCOL, words);
    }
}

int proxy_explain(const struct curl_library *curl, CURL *easy, const struct proxy *proxy,
                  CURLcode code, const char *problem, char *out, size_t size)
{
    struct failure failure = {
        .curl = curl,
        .easy = easy,
        .proxy = proxy,
        .problem = problem,
        .out = out,
        .size = size,
    };
    long status = 0;
    proxy_label(proxy, failure.label);
    curl->easy_getinfo(easy, CURLINFO_HTTP_CONNECTCODE, &status);
    if (code == CURLE_OK) /* a plain request, which the proxy has answered itself */
        curl->easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    if (status != 0 && status / 100 != 2 && code != CURLE_OPERATION_TIMEDOUT)
        return tell_status(&failure, status);
#if LIBCURL_VERSION_NUM >= 0x074900
    if (code == CURLE_PROXY)
        return tell_socks(&failure);
#endif
    return tell_other(&failure, code);
}
