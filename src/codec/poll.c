#include "codec/poll.h"

#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool poll_is_request(const struct http1_head *head)
{
    return http1_find(head, "Culvert-Poll") != NULL;
}

/* The field that may stand there once: 0 and its value, TEXT_NULL when it is not there; or 400. */
static int find_single(const struct http1_head *head, const char *name, struct text *value)
{
    *value = TEXT_NULL;
    for (size_t i = 0; i < head->field_count; i++) {
        if (!text_equals_ignore_case(head->fields[i].name, name))
            continue;
        if (value->data != NULL)
            return 400;
        *value = head->fields[i].value;
    }
    return 0;
}

static bool is_id(struct text text)
{
    if (text.size != POLL_ID_TEXT_SIZE - 1)
        return false;
    for (size_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
    }
    return true;
}

/* 0, or 400 for what is not 32 hexadecimal digits. */
static int take_id(struct text text, char out[static POLL_ID_TEXT_SIZE])
{
    return is_id(text) && text_copy(text, out, POLL_ID_TEXT_SIZE) == 0 ? 0 : 400;
}

/* One way to write each number: no zero in front. */
static int take_number(struct text text, uint64_t *number)
{
    if (text.size == 0 || text.data[0] == '0' ||
        str_parse_number(text, POLL_MAX_NUMBER, number) != 0)
        return 400;
    return 0;
}

static int read_kind(const struct http1_head *head, struct poll_request *request)
{
    struct text poll, up, down, link;
    if (find_single(head, "Culvert-Poll", &poll) != 0 ||
        find_single(head, "Culvert-Up", &up) != 0 ||
        find_single(head, "Culvert-Down", &down) != 0 ||
        find_single(head, "Culvert-Link", &link) != 0)
        return 400;
    if (text_equals(poll, "open")) {
        request->kind = POLL_OPEN;
        request->has_link = link.data != NULL;
        if (up.data != NULL || down.data != NULL)
            return 400;
        return request->has_link ? take_id(link, request->link) : 0;
    }
    if ((up.data == NULL) == (down.data == NULL) || link.data != NULL)
        return 400;
    request->kind = up.data != NULL ? POLL_UP : POLL_DOWN;
    int status = take_id(poll, request->id);
    return status != 0 ? status : take_number(up.data != NULL ? up : down, &request->number);
}

/* The first body is a handshake, which is never divided. */
static int read_more(const struct http1_head *head, struct poll_request *request)
{
    struct text more;
    if (find_single(head, "Culvert-More", &more) != 0)
        return 400;
    request->has_more = more.data != NULL;
    if (!request->has_more)
        return 0;
    return request->kind == POLL_UP && request->number > 1 && text_equals(more, "1") ? 0 : 400;
}

static int read_size(const struct http1_head *head, struct poll_request *request)
{
    uint64_t size = 0;
    int error = http1_content_length(head, &size);
    if (error == CULVERT_ERROR_UNSUPPORTED)
        return 411; /* a transfer coding, whose length would be known at its end only */
    if (error != 0)
        return 400;
    if (request->kind != POLL_UP)
        return size == 0 ? 0 : 400;
    if (http1_find(head, "Content-Length") == NULL)
        return 411;
    if (size > POLL_MAX_BODY)
        return 413;
    request->size = (size_t)size;
    return size > 0 ? 0 : 400;
}

/* RFC 9112 §9.3 */
static bool is_kept(const struct http1_head *head)
{
    if (http1_has_token(head, "Connection", "close"))
        return false;
    return head->minor_version > 0 || http1_has_token(head, "Connection", "keep-alive");
}

int poll_read_request(const struct http1_head *head, struct poll_request *request)
{
    memset(request, 0, sizeof(*request));
    /* Only browsers send it, and no page may speak for an agent. */
    if (http1_find(head, "Origin") != NULL)
        return 403;
    if (!text_equals(head->method, "POST"))
        return 405;
    int status = read_kind(head, request);
    if (status == 0)
        status = read_more(head, request);
    if (status == 0)
        status = read_size(head, request);
    request->is_kept = is_kept(head);
    /* RFC 9110 §10.1.1: not with HTTP/1.0, nor where no body comes. */
    request->asks_first = head->minor_version > 0 && request->kind == POLL_UP &&
                          http1_has_token(head, "Expect", "100-continue");
    return status;
}

const char *poll_reason(unsigned status)
{
    switch (status) {
    case 200:
        return "OK";
    case 204:
        return "No Content";
    case 400:
        return "Bad Request";
    case 403:
        return "Forbidden";
    case 405:
        return "Method Not Allowed";
    case 409:
        return "Conflict";
    case 410:
        return "Gone";
    case 411:
        return "Length Required";
    case 413:
        return "Content Too Large";
    case 503:
        return "Service Unavailable";
    default:
        return "Error";
    }
}

/* A head that is being written; once it is too long it stays so. */
struct output {
    char *out;
    size_t room;
    size_t size;
};

__attribute__((format(printf, 2, 3))) static void add(struct output *output, const char *format,
                                                      ...)
{
    va_list arguments;
    if (output->size >= output->room)
        return;
    va_start(arguments, format);
    int size =
        vsnprintf(output->out + output->size, output->room - output->size, format, arguments);
    va_end(arguments);
    output->size = size < 0 ? output->room : output->size + (size_t)size;
}

int poll_write_answer(const struct poll_answer *answer, char *out, size_t room)
{
    struct output output = {out, room, 0};
    add(&output, "HTTP/1.1 %u %s\r\nCache-Control: no-store\r\n", answer->status,
        poll_reason(answer->status));
    if (answer->status != 204) /* RFC 9110 §8.6: no length there */
        add(&output, "Content-Length: %zu\r\n", answer->size);
    if (answer->size > 0)
        add(&output, "Content-Type: application/octet-stream\r\n");
    if (answer->down != 0)
        add(&output, "Culvert-Down: %llu\r\n", (unsigned long long)answer->down);
    if (answer->id != NULL)
        add(&output, "Culvert-Poll: %s\r\nCulvert-Nonce: %s\r\n", answer->id, answer->nonce);
    if (answer->status == 405)
        add(&output, "Allow: POST\r\n"); /* RFC 9110 §15.5.6 */
    if (answer->retry_after > 0)
        add(&output, "Retry-After: %u\r\n", answer->retry_after);
    add(&output, "Connection: %s\r\n\r\n", answer->is_kept ? "keep-alive" : "close");
    return output.size < room ? (int)output.size : CULVERT_ERROR_TOO_LARGE;
}

void poll_write_id(const uint8_t id[static POLL_ID_SIZE], char out[static POLL_ID_TEXT_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < POLL_ID_SIZE; i++) {
        out[2 * i] = digits[id[i] >> 4];
        out[2 * i + 1] = digits[id[i] & 15];
    }
    out[POLL_ID_TEXT_SIZE - 1] = '\0';
}
