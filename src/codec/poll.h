/*
 * HTTP long poll (docs/protocol.md, "Long poll"): what the head of a request asks for, and the
 * heads of its answers. A link's messages go up and down in numbered bodies, so that each request
 * can be repeated without harm.
 */
#ifndef CODEC_POLL_H
#define CODEC_POLL_H

#include "codec/http1.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    POLL_ID_SIZE = 16,                        /* bytes of an id, a nonce, the name of a link */
    POLL_ID_TEXT_SIZE = 2 * POLL_ID_SIZE + 1, /* in hexadecimal digits, terminated */
    POLL_MAX_BODY = 1024 * 1024,
    POLL_MAX_HEAD = 512, /* of the heads that are written here */
};

/* The longest that a body's number may be: it never gets there. */
#define POLL_MAX_NUMBER (UINT64_MAX / 2)

enum poll_kind {
    POLL_OPEN, /* begins */
    POLL_UP,   /* brings a body */
    POLL_DOWN, /* asks for one */
};

struct poll_request {
    enum poll_kind kind;
    bool is_kept;    /* the connection can be used again after the answer (RFC 9112 §9.3) */
    bool asks_first; /* 100 (Continue) is waited for before the body (RFC 9110 §10.1.1) */
    bool has_link;   /* open: `link` will be resumed */
    char id[POLL_ID_TEXT_SIZE];   /* up, down */
    char link[POLL_ID_TEXT_SIZE]; /* open */
    uint64_t number;              /* up, down: the body's, from 1 */
    size_t size;                  /* up: bytes of the body, 1 to POLL_MAX_BODY */
    bool has_more;                /* up: the next body continues the message */
};

/* Whether the request is one of long poll at all, well-formed or not. */
bool poll_is_request(const struct http1_head *head);

/* Reads such a request's head. Returns 0, or the status to refuse it with: 400, 403 for a web
 * page's, 405, 411 without a length, 413. */
int poll_read_request(const struct http1_head *head, struct poll_request *request);

/* The answer to a request. */
struct poll_answer {
    unsigned status;      /* 200, 204, or what poll_reason knows */
    bool is_kept;         /* the connection stays for further requests */
    size_t size;          /* of the body that follows; 0 for 204 */
    uint64_t down;        /* 200 to a down: the body's number; 0: none */
    const char *id;       /* 200 to an open: hexadecimal digits; NULL: none */
    const char *nonce;    /* likewise */
    unsigned retry_after; /* 503: seconds; 0: none */
};

/* Writes the head. Returns its size; POLL_MAX_HEAD is always enough. */
int poll_write_answer(const struct poll_answer *answer, char *out, size_t room);

/* The words of a status line: "Gone" for 410; "Error" for one that is not used here. */
const char *poll_reason(unsigned status);

/* Bytes as lower-case hexadecimal digits, terminated. */
void poll_write_id(const uint8_t id[static POLL_ID_SIZE], char out[static POLL_ID_TEXT_SIZE]);

#endif
