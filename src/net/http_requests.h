/*
 * HTTP/1.1 requests to one URL, at work on a loop, by libcurl: directly or through a proxy, which
 * gets plain requests for http URLs (RFC 9112 §3.2.2) and CONNECT for https ones. Connections are
 * kept between requests. Redirects are not followed. Nothing blocks the loop but Negotiate, where
 * Kerberos itself may wait for its server.
 */
#ifndef NET_HTTP_REQUESTS_H
#define NET_HTTP_REQUESTS_H

#include "base/slice.h"
#include "net/loop.h"
#include "net/proxy.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

enum {
    HTTP_MAX_HEAD = 16 * 1024,   /* of an answer */
    HTTP_MAX_BODY = 1024 * 1024, /* of one */
};

/* What all requests have in common. */
struct http_requests;

struct http_target {
    const char *url;           /* http or https; copied */
    const struct proxy *proxy; /* may be of kind PROXY_NONE; copied */
    const char *ca;            /* PEM file, NULL: the system's; copied */
    bool insecure;             /* verify nothing */
};

/* Returns 0, CULVERT_ERROR_NO_MEMORY, or CULVERT_ERROR_UNSUPPORTED where there is no libcurl. */
int http_requests_new(struct loop *loop, const struct http_target *target,
                      struct http_requests **out);

/* Cancels and frees all of its requests too, closes the connections, and frees. */
void http_requests_close(struct http_requests *self);

/* When the loop has ended: waits for the requests under way, but no longer than this. */
void http_requests_finish(struct http_requests *self, unsigned milliseconds);

/* The proxy in the way, kind PROXY_NONE if none; borrowed. */
const struct proxy *http_requests_proxy(const struct http_requests *self);

/* One request at a time, again and again. */
struct http_request;

struct http_answer {
    int error;       /* 0: there is an answer, whatever its status */
    const char *why; /* for an error: a sentence's end for people */
    int status;
    const uint8_t *head; /* from the status line to the empty line */
    size_t head_size;
    struct slice_queue *body;     /* what the receiver does not move away is dropped */
    struct sockaddr_storage peer; /* who was connected to; AF_UNSPEC through a proxy */
};

struct http_post {
    const char *const *fields; /* "Name: value"; copied */
    size_t field_count;
    const struct slice_queue *body; /* borrowed until `done`, unchanged; NULL: empty */
    unsigned timeout;               /* milliseconds for all of it; 0: none */
    unsigned patience;              /* milliseconds without a byte to or from the peer; 0: any */
    /* Called once, in a later turn; the answer is borrowed for the call. The request may be sent
     * anew from inside it, or all be closed. */
    void (*done)(void *holder, const struct http_answer *answer);
    void *holder;
};

/* Freed by http_requests_close. Returns 0 or CULVERT_ERROR_NO_MEMORY. */
int http_request_new(struct http_requests *requests, struct http_request **out);

/* Sends a POST; the request must be idle. Returns 0 or CULVERT_ERROR_NO_MEMORY, and then `done` is
 * not called. */
int http_request_post(struct http_request *request, const struct http_post *post);

/* `done` is not called any more. Nothing happens to an idle request. */
void http_request_cancel(struct http_request *request);

#endif
