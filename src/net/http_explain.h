/* Why an HTTP request has got no answer, in a person's words. */
#ifndef NET_HTTP_EXPLAIN_H
#define NET_HTTP_EXPLAIN_H

#include "net/curl_library.h"
#include "net/proxy.h"

#include <stdbool.h>
#include <stddef.h>

struct http_failure {
    const struct curl_library *curl;
    CURL *easy; /* of the request that has ended */
    const struct proxy *proxy;
    bool is_secure; /* an https URL */
    const char *ca; /* the file of authorities; NULL: the system's */
    CURLcode code;
    const char *problem; /* what is in its CURLOPT_ERRORBUFFER */
};

/* Writes a sentence's end. Returns our error. */
int http_explain(const struct http_failure *failure, char *out, size_t size);

#endif
