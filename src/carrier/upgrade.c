#include "carrier/upgrade.h"

#include "base/error.h"
#include "codec/http_date.h"

#include <stdio.h>
#include <string.h>

static int fits(int size, size_t room)
{
    return size < 0 || (size_t)size >= room ? CULVERT_ERROR_TOO_LARGE : size;
}

int upgrade_write_request(const struct upgrade_request *request, char *out, size_t room)
{
    const struct url *url = request->url;
    bool is_native = request->offer == UPGRADE_OFFER_NATIVE;
    bool has_link = is_native && request->link != NULL;
    char host[sizeof(url->host) + 16];
    int error = url_host_field(url, host, sizeof(host));
    if (error != 0)
        return error;
    return fits(snprintf(out, room,
                         "GET %s HTTP/1.1\r\n"
                         "Host: %s\r\n"
                         "Upgrade: websocket\r\n"
                         "Connection: Upgrade\r\n"
                         "Sec-WebSocket-Key: %s\r\n"
                         "Sec-WebSocket-Version: 13\r\n"
                         "%s%s%s%s"
                         "User-Agent: culvert/" CULVERT_VERSION "\r\n"
                         "\r\n",
                         url->target, host, request->key,
                         is_native ? "Sec-WebSocket-Protocol: " UPGRADE_PROTOCOL "\r\n" : "",
                         has_link ? UPGRADE_LINK_FIELD ": " : "", has_link ? request->link : "",
                         has_link ? "\r\n" : ""),
                room);
}

enum { WORD_SIZE = 64 };

/* What a server sends is shown only as far as it is plain ASCII. */
static void copy_printable(struct text text, char out[static WORD_SIZE])
{
    size_t length = text.size < WORD_SIZE - 1 ? text.size : WORD_SIZE - 1;
    for (size_t i = 0; i < length; i++)
        out[i] = text.data[i] >= ' ' && text.data[i] < 0x7f ? text.data[i] : '?';
    out[length] = '\0';
}

/* Who has answered something else than 101, and what to do. */
static void explain_status(const struct http1_head *head, char *why, size_t why_size)
{
    const struct http1_field *field = http1_find(head, "Server");
    char answer[2 * WORD_SIZE + 32];
    char reason[WORD_SIZE];
    char server[WORD_SIZE];
    copy_printable(head->reason, reason);
    copy_printable(field != NULL ? field->value : TEXT_NULL, server);
    snprintf(answer, sizeof answer, "HTTP %d%s%s%s%s", head->status, reason[0] != '\0' ? " " : "",
             reason, server[0] != '\0' ? ", Server: " : "", server);
    switch (head->status) {
    case 426: /* RFC 9110 §15.5.22 */
        snprintf(why, why_size,
                 "the gateway answers, but a proxy before it removes the Upgrade header (%s); let "
                 "the proxy pass on Upgrade and Connection (nginx: proxy_http_version 1.1, "
                 "proxy_set_header Upgrade $http_upgrade, proxy_set_header Connection upgrade), or "
                 "use --transport auto",
                 answer);
        break;
    case 502:
    case 503:
    case 504:
        snprintf(why, why_size,
                 "the proxy there does not reach the gateway: it answered %s; check that the "
                 "gateway runs and that the proxy passes requests on to its port",
                 answer);
        break;
    default:
        snprintf(why, why_size, "the server there is no culvert gateway: it answered %s", answer);
        break;
    }
}

int upgrade_check_response(const struct http1_head *head,
                           const char key[static WEBSOCKET_KEY_SIZE + 1], bool *is_native,
                           char *why, size_t why_size)
{
    if (head->status != 101) {
        explain_status(head, why, why_size);
        return CULVERT_ERROR_REFUSED;
    }
    char accept[WEBSOCKET_ACCEPT_SIZE + 1];
    websocket_accept_value(key, WEBSOCKET_KEY_SIZE, accept);
    const struct http1_field *field = http1_find(head, "Sec-WebSocket-Accept");
    const struct http1_field *protocol = http1_find(head, "Sec-WebSocket-Protocol");
    /* RFC 6455 §4.1, the client's checks 2 to 6 */
    if (!http1_has_token(head, "Upgrade", "websocket") ||
        !http1_has_token(head, "Connection", "upgrade") || field == NULL ||
        !text_equals(field->value, accept) ||
        http1_find(head, "Sec-WebSocket-Extensions") != NULL) {
        snprintf(why, why_size, "the server's answer to the WebSocket upgrade is not valid");
        return CULVERT_ERROR_PROTOCOL;
    }
    *is_native = protocol != NULL && text_equals(protocol->value, UPGRADE_PROTOCOL);
    if (protocol != NULL && !*is_native) {
        snprintf(why, why_size,
                 "the server's answer to the WebSocket upgrade names a protocol "
                 "that was not offered");
        return CULVERT_ERROR_PROTOCOL;
    }
    return 0;
}

static int digit_value(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

void upgrade_read_nonce(const struct http1_head *head, uint8_t nonce[static CARRIER_NONCE_SIZE])
{
    uint8_t read[CARRIER_NONCE_SIZE];
    const struct http1_field *field = http1_find(head, "Culvert-Nonce");
    memset(nonce, 0, CARRIER_NONCE_SIZE);
    if (field == NULL || field->value.size != 2 * sizeof(read))
        return;
    for (size_t i = 0; i < sizeof(read); i++) {
        int high = digit_value(field->value.data[2 * i]);
        int low = digit_value(field->value.data[2 * i + 1]);
        if (high < 0 || low < 0)
            return;
        read[i] = (uint8_t)(high << 4 | low);
    }
    memcpy(nonce, read, sizeof(read));
}

static bool read_date(const struct http1_head *head, const char *name, int64_t *seconds)
{
    const struct http1_field *field = http1_find(head, name);
    return field != NULL && http_date_parse(field->value, seconds) == 0;
}

static bool is_number(struct text text)
{
    size_t digits = 0;
    while (digits < text.size && text.data[digits] >= '0' && text.data[digits] <= '9')
        digits++;
    return digits > 0 && digits == text.size;
}

static unsigned bounded_wait(int64_t seconds)
{
    if (seconds > UPGRADE_LONGEST_WAIT)
        return UPGRADE_LONGEST_WAIT;
    return seconds < 1 ? 1 : (unsigned)seconds;
}

unsigned upgrade_retry_after(const struct http1_head *head, int64_t now)
{
    uint64_t seconds = 0;
    int64_t date = 0;
    const struct http1_field *field = http1_find(head, "Retry-After");
    if ((head->status != 503 && head->status != 429) || field == NULL)
        return 0;
    if (is_number(field->value)) {
        bool is_short = str_parse_number(field->value, UPGRADE_LONGEST_WAIT, &seconds) == 0;
        return bounded_wait(is_short ? (int64_t)seconds : UPGRADE_LONGEST_WAIT);
    }
    if (!read_date(head, "Retry-After", &date))
        return 0;
    (void)read_date(head, "Date", &now);
    return bounded_wait(date - now);
}

enum upgrade_kind upgrade_classify(const struct http1_head *head)
{
    if (!http1_has_token(head, "Upgrade", "websocket"))
        return UPGRADE_NONE;
    const struct http1_field *key = http1_find(head, "Sec-WebSocket-Key");
    const struct http1_field *version = http1_find(head, "Sec-WebSocket-Version");
    if (!text_equals(head->method, "GET") || head->minor_version < 1 ||
        !http1_has_token(head, "Connection", "upgrade") || key == NULL ||
        !websocket_key_is_valid(key->value.data, key->value.size) || version == NULL ||
        !text_equals(version->value, "13"))
        return UPGRADE_BAD;
    /* RFC 6455 §10.2: a browser always says where a script came from. Without this, any web page
     * could register at a gateway that its reader can reach. */
    if (http1_find(head, "Origin") != NULL)
        return UPGRADE_PAGE;
    return http1_has_token(head, "Sec-WebSocket-Protocol", UPGRADE_PROTOCOL) ? UPGRADE_NATIVE
                                                                             : UPGRADE_UNKNOWN;
}

/* `extra`: further fields, each with its line's end. */
static int write_response(const struct http1_head *head, const char *extra, char *out, size_t room)
{
    const struct http1_field *key = http1_find(head, "Sec-WebSocket-Key");
    if (key == NULL)
        return CULVERT_ERROR_PROTOCOL;
    char accept[WEBSOCKET_ACCEPT_SIZE + 1];
    websocket_accept_value(key->value.data, key->value.size, accept);
    return fits(snprintf(out, room,
                         "HTTP/1.1 101 Switching Protocols\r\n"
                         "Upgrade: websocket\r\n"
                         "Connection: Upgrade\r\n"
                         "Sec-WebSocket-Accept: %s\r\n"
                         "%s"
                         "\r\n",
                         accept, extra),
                room);
}

int upgrade_write_response(const struct http1_head *head,
                           const uint8_t nonce[static CARRIER_NONCE_SIZE], char *out, size_t room)
{
    char extra[128];
    char hex[2 * CARRIER_NONCE_SIZE + 1];
    for (size_t i = 0; i < CARRIER_NONCE_SIZE; i++)
        snprintf(hex + 2 * i, 3, "%02x", nonce[i]);
    snprintf(extra, sizeof(extra),
             "Sec-WebSocket-Protocol: " UPGRADE_PROTOCOL "\r\nCulvert-Nonce: %s\r\n", hex);
    return write_response(head, extra, out, room);
}

int upgrade_write_plain_response(const struct http1_head *head, char *out, size_t room)
{
    return write_response(head, "", out, room);
}
