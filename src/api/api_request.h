/*
 * A request of the API: what its head asks for, whether that is taken, and its body as JSON. Knows
 * no socket and no clock.
 */
#ifndef API_API_REQUEST_H
#define API_API_REQUEST_H

#include "api/api_access.h"
#include "api/api_route.h"
#include "api/api_server.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { API_PARAMETER_SIZE = 64 /* what is longer names nothing */ };

struct api_call {
    const struct api_route *route; /* NULL: there is none, and `problem` says why */
    char parameter[API_PARAMETER_SIZE];
    size_t body_size;
    bool is_head;           /* HEAD: the answer's body is not sent */
    bool keeps_open;        /* the connection takes another request after this one */
    bool expects_continue;  /* RFC 9110 §10.1.1: the body may wait for our word */
    bool is_unknown_caller; /* the token is missing or wrong */
    char allow[API_ALLOW_SIZE];
    struct api_response problem; /* its status is 0 if the request is taken so far */
};

/* Reads a head: then either `problem` has a status and is to be answered without reading further,
 * or a body of body_size bytes comes next. */
void api_request_head(const struct api_access *access, const struct api_route *routes, size_t count,
                      const struct http1_head *head, struct api_call *call);

/* The problem of what is no request, as the parser's error says. */
void api_request_malformed(struct api_call *call, int error);

/* The body as JSON, the caller's. NULL: `problem` says what is wrong. */
json_t *api_request_body(struct api_call *call, const uint8_t *body);

/* Sets a problem. */
void api_request_refuse(struct api_call *call, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
