/* What a gateway answers to plain HTTP requests: those that ask neither for a WebSocket nor for
 * long poll. */
#ifndef GATEWAY_PLAIN_ANSWER_H
#define GATEWAY_PLAIN_ANSWER_H

#include "codec/http1.h"

#include <stdbool.h>

struct plain_answer {
    const char *status; /* "200 OK" */
    const char *fields; /* further ones, each with its line's end; "" for none */
    const char *body;
    bool has_no_body; /* the request was HEAD: only the length of the body is sent */
};

/* GET and HEAD (RFC 9110 §9.3) of `/healthz` get 200, of `/readyz` 200 or, with an `objection`,
 * 503, and of `/` 200 with a sentence for people, or with `is_original` what the proxy of Hubble
 * 0.1 answers. Everything else gets 426: also a request for a WebSocket whose Upgrade field a proxy
 * has removed. `objection` says why the gateway cannot serve now, in a line; NULL: it can. */
struct plain_answer plain_answer_to(const struct http1_head *head, bool is_original,
                                    const char *objection);

#endif
