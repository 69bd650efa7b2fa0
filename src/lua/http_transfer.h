/* Requests over HTTP by libcurl, and what comes back, within bounds. They know nothing of Lua. */
#ifndef LUA_HTTP_TRANSFER_H
#define LUA_HTTP_TRANSFER_H

#include "net/curl_library.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HTTP_BODY_MAX = 1024 * 1024, /* bytes of an answer */
    HTTP_HEAD_MAX = 64 * 1024,   /* bytes of its fields */
    HTTP_REDIRECTS = 10,
    HTTP_AT_ONCE = 16, /* of a batch; the others wait for them */
    HTTP_WHY_SIZE = CURL_ERROR_SIZE,
    HTTP_METHOD_SIZE = 32,
};

/* Bytes that come in pieces. */
struct http_bytes {
    char *data; /* NULL while there are none */
    size_t size;
    size_t limit;
};

struct http_transfer {
    const struct curl_library *curl;
    CURL *handle;
    struct curl_slist *fields;
    char method[HTTP_METHOD_SIZE];
    bool has_body;
    bool has_content_type;
    bool is_done;
    char error_text[CURL_ERROR_SIZE];

    /* The answer, if `why` is "". */
    struct http_bytes head; /* the fields of the last answer, a line each */
    struct http_bytes body;
    char *url; /* the last one, after redirects, without a password */
    char why[HTTP_WHY_SIZE];
};

/* All of these return 0, or an error with `why` set; one that has failed is not performed. The
 * texts are copied. `method` is a token in capitals, not too long; `url` one that http_text_is_url
 * takes. */
int http_transfer_init(struct http_transfer *transfer, const struct curl_library *curl,
                       const char *method, const char *url);
/* A field of the request, checked. */
int http_transfer_add_field(struct http_transfer *transfer, const char *name, const char *value);
/* A HEAD request sends none. */
int http_transfer_set_body(struct http_transfer *transfer, const char *body, size_t size);
/* name=value pairs, with semicolons. */
int http_transfer_set_cookies(struct http_transfer *transfer, const char *cookies);
int http_transfer_set_login(struct http_transfer *transfer, const char *user, const char *password);
int http_transfer_set_timeout(struct http_transfer *transfer, uint32_t milliseconds);
/* Says what is wrong, so that it is not performed. */
void http_transfer_fail(struct http_transfer *transfer, const char *why, const char *what);
void http_transfer_deinit(struct http_transfer *transfer);

/* Performs all that have not failed, side by side, and returns when the last is done. Connections
 * stay open in `multi`. */
void http_transfer_perform(const struct curl_library *curl, CURLM *multi,
                           struct http_transfer *transfers, size_t count);

long http_transfer_status(const struct http_transfer *transfer);

#endif
