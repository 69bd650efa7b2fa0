#include "carrier/poll_reply.h"

#include "carrier/upgrade.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { WORD_SIZE = 64, PLACE_SIZE = 160, ANSWER_SIZE = 352 };

/* What a server sends is for people's eyes only as far as it is plain ASCII. */
static void copy_printable(struct text text, char *out, size_t size)
{
    size_t length = text.size < size - 1 ? text.size : size - 1;
    for (size_t i = 0; i < length; i++)
        out[i] = text.data[i] >= ' ' && text.data[i] < 0x7f ? text.data[i] : '?';
    out[length] = '\0';
}

static void copy_field(const struct http1_head *head, const char *name, char *out, size_t size)
{
    const struct http1_field *field = http1_find(head, name);
    copy_printable(field != NULL ? field->value : TEXT_NULL, out, size);
}

/* "HTTP 302 Found, Server: nginx, which points to https://login.example/" */
static void describe(const struct http1_head *head, char *out, size_t size)
{
    char reason[WORD_SIZE];
    char server[WORD_SIZE];
    char place[PLACE_SIZE] = "";
    copy_printable(head->reason, reason, sizeof(reason));
    copy_field(head, "Server", server, sizeof(server));
    if (head->status / 100 == 3)
        copy_field(head, "Location", place, sizeof(place));
    snprintf(out, size, "HTTP %d%s%s%s%s%s%s", head->status, reason[0] != '\0' ? " " : "", reason,
             server[0] != '\0' ? ", Server: " : "", server,
             place[0] != '\0' ? ", which points to " : "", place);
}

static void explain(struct poll_reply *reply, const char *proxy, const char *answer)
{
    char *out = reply->why;
    size_t size = sizeof(reply->why);
    switch (reply->kind) {
    case POLL_REPLY_BUSY:
        snprintf(out, size, "the server is busy and wants us back after %u s", reply->retry_after);
        break;
    case POLL_REPLY_AGAIN:
        snprintf(out, size, "the gateway cannot be reached through %s: the answer was %s",
                 proxy != NULL ? proxy : "the server there", answer);
        break;
    case POLL_REPLY_TOO_LARGE:
        snprintf(out, size, "%s takes no body as large as this: the answer was %s",
                 proxy != NULL ? proxy : "the server there", answer);
        break;
    case POLL_REPLY_GONE:
        snprintf(out, size, "the gateway has ended this long poll");
        break;
    case POLL_REPLY_OK:
    case POLL_REPLY_NOTHING:
    case POLL_REPLY_REFUSED:
        if (proxy != NULL)
            snprintf(out, size,
                     "the server there is no culvert gateway, or %s lets no requests to it pass: "
                     "the answer was %s",
                     proxy, answer);
        else
            snprintf(out, size, "the server there is no culvert gateway: it answered %s", answer);
        break;
    }
}

static enum poll_reply_kind find_kind(const struct poll_reply *reply, int status)
{
    switch (status) {
    case 200:
        return POLL_REPLY_OK;
    case 204:
        return POLL_REPLY_NOTHING;
    case 410:
        return POLL_REPLY_GONE;
    case 413: /* RFC 9110 §15.5.14 */
        return POLL_REPLY_TOO_LARGE;
    case 408: /* RFC 9110 §15.5.9: the request may be repeated */
    case 425: /* RFC 8470 §5.2 */
        return POLL_REPLY_AGAIN;
    case 429: /* RFC 6585 §4 */
        return reply->retry_after > 0 ? POLL_REPLY_BUSY : POLL_REPLY_AGAIN;
    default:
        if (reply->retry_after > 0)
            return POLL_REPLY_BUSY;
        return status / 100 == 5 ? POLL_REPLY_AGAIN : POLL_REPLY_REFUSED;
    }
}

static bool read_id(const struct http1_head *head, char id[static POLL_ID_TEXT_SIZE])
{
    const struct http1_field *field = http1_find(head, "Culvert-Poll");
    if (field == NULL || field->value.size != POLL_ID_TEXT_SIZE - 1)
        return false;
    for (size_t i = 0; i < field->value.size; i++) {
        if (strchr("0123456789abcdef", field->value.data[i]) == NULL || field->value.data[i] == 0)
            return false;
    }
    return text_copy(field->value, id, POLL_ID_TEXT_SIZE) == 0;
}

static bool read_nonce(const struct http1_head *head, uint8_t nonce[static CARRIER_NONCE_SIZE])
{
    static const uint8_t none[CARRIER_NONCE_SIZE];
    upgrade_read_nonce(head, nonce);
    return memcmp(nonce, none, sizeof(none)) != 0;
}

static uint64_t read_down(const struct http1_head *head)
{
    uint64_t number = 0;
    const struct http1_field *field = http1_find(head, "Culvert-Down");
    if (field == NULL || str_parse_number(field->value, POLL_MAX_NUMBER, &number) != 0)
        return 0;
    return number;
}

void poll_reply_read(const uint8_t *head, size_t size, const char *proxy, struct poll_reply *reply)
{
    struct http1_head parsed;
    char answer[ANSWER_SIZE];
    size_t used = 0;
    memset(reply, 0, sizeof(*reply));
    if (http1_parse_response(head, size, &parsed, &used) != 0) {
        reply->kind = POLL_REPLY_REFUSED;
        explain(reply, proxy, "no valid HTTP");
        return;
    }
    reply->retry_after = upgrade_retry_after(&parsed, (int64_t)time(NULL));
    reply->kind = find_kind(reply, parsed.status);
    reply->down = read_down(&parsed);
    reply->is_open = reply->kind == POLL_REPLY_OK && read_id(&parsed, reply->id) &&
                     read_nonce(&parsed, reply->nonce);
    describe(&parsed, answer, sizeof(answer));
    explain(reply, proxy, answer);
}
