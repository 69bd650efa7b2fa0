/*
 * Heads of HTTP/1.1 requests and responses (RFC 9110, RFC 9112): parsing with a cursor, and what an
 * upgrade to WebSocket needs. Strict: obsolete folding, white space before the colon, bare CR, NUL,
 * a missing or second Host, or both Content-Length and Transfer-Encoding are errors.
 */
#ifndef CODEC_HTTP1_H
#define CODEC_HTTP1_H

#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HTTP1_MAX_HEAD = 16 * 1024, /* bytes of start line and fields together */
    HTTP1_MAX_FIELDS = 100,
};

struct http1_field {
    struct text name;
    struct text value; /* without surrounding white space */
};

struct http1_head {
    struct text method; /* requests */
    struct text target;
    int status; /* responses */
    struct text reason;
    int minor_version; /* 0 or 1 */
    struct http1_field fields[HTTP1_MAX_FIELDS];
    size_t field_count;
};

/* Parse a head up to its empty line; texts are borrowed from `data`. Return 0 and set `used` to the
 * head's size, or CULVERT_NEED_MORE, CULVERT_ERROR_PROTOCOL, CULVERT_ERROR_TOO_LARGE. */
int http1_parse_request(const uint8_t *data, size_t size, struct http1_head *head, size_t *used);
int http1_parse_response(const uint8_t *data, size_t size, struct http1_head *head, size_t *used);

/* The first field of this name (case-insensitive), or NULL. */
const struct http1_field *http1_find(const struct http1_head *head, const char *name);

/* Whether a comma-separated list field, in any of its lines, has this token (case-insensitive). RFC
 * 9110 §5.6.1 */
bool http1_has_token(const struct http1_head *head, const char *name, const char *token);

/* The declared length of a request's or response's body: 0 and `length` set (0 when there is none),
 * or CULVERT_ERROR_PROTOCOL for a malformed or contradictory one, CULVERT_ERROR_UNSUPPORTED for a
 * transfer coding. RFC 9112 §6 */
int http1_content_length(const struct http1_head *head, uint64_t *length);

#endif
