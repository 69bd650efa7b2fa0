/* The upgrade of an HTTP/1.1 connection to a WebSocket that carries native messages (RFC 6455 §4,
 * docs/protocol.md). */
#ifndef CARRIER_UPGRADE_H
#define CARRIER_UPGRADE_H

#include "carrier/carrier.h"
#include "codec/http1.h"
#include "codec/url.h"
#include "codec/websocket.h"

#include <stdbool.h>
#include <stddef.h>

#define UPGRADE_PROTOCOL   "culvert.1"
#define UPGRADE_LINK_FIELD "Culvert-Link" /* in a request: the link that is going to be resumed */

enum {
    UPGRADE_MAX_HEAD = 2048, /* of the heads that we write */
};

enum upgrade_offer {
    UPGRADE_OFFER_NATIVE, /* asks for culvert.1 */
    UPGRADE_OFFER_NONE,   /* names no protocol, as the agents of Hubble 0.1 */
};

/* An agent's request. Borrowed. */
struct upgrade_request {
    const struct url *url;
    enum upgrade_offer offer;
    const char *key;  /* the random value of Sec-WebSocket-Key */
    const char *link; /* the link that is going to be resumed (link_name_text), or NULL */
};

/* Writes the request. Returns its size, or CULVERT_ERROR_TOO_LARGE. */
int upgrade_write_request(const struct upgrade_request *request, char *out, size_t room);

/* Whether the gateway's answer accepts, and whether it takes up culvert.1. On
 * CULVERT_ERROR_REFUSED or CULVERT_ERROR_PROTOCOL writes what the server is or did into `why`. */
int upgrade_check_response(const struct http1_head *head,
                           const char key[static WEBSOCKET_KEY_SIZE + 1], bool *is_native,
                           char *why, size_t why_size);

/* The nonce of the gateway's answer, 32 lower-case hexadecimal digits; all zero where it has sent
 * none that can be read, for which no proof will be right. */
void upgrade_read_nonce(const struct http1_head *head, uint8_t nonce[static CARRIER_NONCE_SIZE]);

enum { UPGRADE_LONGEST_WAIT = 300 }; /* seconds */

/* The seconds, 1 to UPGRADE_LONGEST_WAIT, after which a gateway with too many logins at once, or a
 * proxy, wants the agent to come back: 503 or 429 with Retry-After in seconds or as a date (RFC
 * 9110 §10.2.3, RFC 6585 §4); 0 for any other answer. A date is compared with the answer's own
 * Date, since clocks differ, or without one with `now`, seconds since 1970. */
unsigned upgrade_retry_after(const struct http1_head *head, int64_t now);

enum upgrade_kind {
    UPGRADE_NONE,    /* a plain HTTP request */
    UPGRADE_NATIVE,  /* ours */
    UPGRADE_UNKNOWN, /* a WebSocket, but not for our protocol */
    UPGRADE_BAD,     /* a malformed upgrade (RFC 6455 §4.2.1) */
    UPGRADE_PAGE,    /* asked for by a web page (it has an Origin): never an agent */
};

/* What a request at the gateway's port wants. */
enum upgrade_kind upgrade_classify(const struct http1_head *head);

/* The gateway's 101 answer to an upgrade for no protocol in particular. Returns its size. */
int upgrade_write_plain_response(const struct http1_head *head, char *out, size_t room);

/* The gateway's 101 answer to a native upgrade. Returns its size. `nonce` is random. */
int upgrade_write_response(const struct http1_head *head,
                           const uint8_t nonce[static CARRIER_NONCE_SIZE], char *out, size_t room);

#endif
