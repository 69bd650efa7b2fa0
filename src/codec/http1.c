#include "codec/http1.h"

#include "base/error.h"

#include <string.h>

struct cursor {
    const char *data;
    size_t size;
    size_t at;
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter_or_digit(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_one_of(char c, const char *set)
{
    return c != '\0' && strchr(set, c) != NULL;
}

/* RFC 9110 §5.6.2 */
static bool is_token(struct text text)
{
    for (size_t i = 0; i < text.size; i++)
        if (!is_letter_or_digit(text.data[i]) && !is_one_of(text.data[i], "!#$%&'*+-.^_`|~"))
            return false;
    return text.size > 0;
}

static struct text part(struct text text, size_t start, size_t end)
{
    return (struct text){text.data + start, end - start};
}

/* RFC 9110 §5.6.3: OWS around a value or a list's element is not part of it. */
static struct text trim(struct text text)
{
    while (text.size > 0 && is_one_of(text.data[0], " \t"))
        text = part(text, 1, text.size);
    while (text.size > 0 && is_one_of(text.data[text.size - 1], " \t"))
        text.size--;
    return text;
}

/* The index of the first `c` at or behind `start`, or the text's size. */
static size_t find_char(struct text text, size_t start, char c)
{
    while (start < text.size && text.data[start] != c)
        start++;
    return start;
}

/*
 * Takes a line and its CRLF. A CR without LF and an LF without CR are errors (RFC 9112 §2.2), as is
 * every other control character but the tab (RFC 9110 §5.5). They are found before the line is
 * complete, so that something which is not HTTP at all is known by its first bytes.
 */
static int take_line(struct cursor *cursor, struct text *line)
{
    for (size_t i = cursor->at; i < cursor->size; i++) {
        unsigned char c = (unsigned char)cursor->data[i];
        if (c == '\r') {
            if (i + 1 == cursor->size)
                return CULVERT_NEED_MORE;
            if (cursor->data[i + 1] != '\n')
                return CULVERT_ERROR_PROTOCOL;
            *line = (struct text){cursor->data + cursor->at, i - cursor->at};
            cursor->at = i + 2;
            return 0;
        }
        if ((c < ' ' && c != '\t') || c == 0x7f)
            return CULVERT_ERROR_PROTOCOL;
    }
    return CULVERT_NEED_MORE;
}

/* RFC 9112 §2.3; a later minor version is read as the highest that is known (RFC 9110 §2.5). */
static int parse_version(struct text text, int *minor_version)
{
    if (text.size != 8 || memcmp(text.data, "HTTP/1.", 7) != 0 || !is_digit(text.data[7]))
        return CULVERT_ERROR_PROTOCOL;
    *minor_version = text.data[7] == '0' ? 0 : 1;
    return 0;
}

/* Whether the target has the form that goes with its method. RFC 9112 §3.2 */
static bool is_target(struct text method, struct text target)
{
    for (size_t i = 0; i < target.size; i++)
        if (target.data[i] <= ' ' || target.data[i] > '~') /* also what is not ASCII */
            return false;
    if (text_equals(method, "CONNECT"))
        return find_char(target, 0, '/') == target.size && find_char(target, 1, ':') < target.size;
    if (target.size > 0 && target.data[0] == '/')
        return true;
    if (text_equals(target, "*"))
        return text_equals(method, "OPTIONS");
    size_t colon = find_char(target, 0, ':');
    return colon > 0 && target.size - colon > 3 && memcmp(target.data + colon, "://", 3) == 0;
}

/* RFC 9112 §3 */
static int parse_request_line(struct text line, struct http1_head *head)
{
    size_t first = find_char(line, 0, ' ');
    size_t second = first < line.size ? find_char(line, first + 1, ' ') : line.size;
    if (second == line.size)
        return CULVERT_ERROR_PROTOCOL;
    head->method = part(line, 0, first);
    head->target = part(line, first + 1, second);
    if (!is_token(head->method) || !is_target(head->method, head->target))
        return CULVERT_ERROR_PROTOCOL;
    return parse_version(part(line, second + 1, line.size), &head->minor_version);
}

/* RFC 9112 §4; without a reason the space behind the status may be missing, as it often is. */
static int parse_status_line(struct text line, struct http1_head *head)
{
    const size_t status_end = sizeof("HTTP/1.1 101") - 1;
    if (line.size < status_end || line.data[8] != ' ' ||
        (line.size > status_end && line.data[status_end] != ' '))
        return CULVERT_ERROR_PROTOCOL;
    for (size_t i = 9; i < status_end; i++) {
        if (!is_digit(line.data[i]))
            return CULVERT_ERROR_PROTOCOL;
        head->status = head->status * 10 + (line.data[i] - '0');
    }
    if (head->status < 100) /* RFC 9110 §15 */
        return CULVERT_ERROR_PROTOCOL;
    if (line.size > status_end)
        head->reason = part(line, status_end + 1, line.size);
    return parse_version(part(line, 0, 8), &head->minor_version);
}

/* RFC 9112 §5. A folded line begins with white space, so that its "name" is no token (§5.2); so
 * does a name with white space before the colon end with some (§5.1). */
static int parse_field(struct text line, struct http1_head *head)
{
    size_t colon = find_char(line, 0, ':');
    if (colon == line.size || !is_token(part(line, 0, colon)))
        return CULVERT_ERROR_PROTOCOL;
    if (head->field_count == HTTP1_MAX_FIELDS)
        return CULVERT_ERROR_TOO_LARGE;
    head->fields[head->field_count++] = (struct http1_field){
        .name = part(line, 0, colon),
        .value = trim(part(line, colon + 1, line.size)),
    };
    return 0;
}

static int parse_fields(struct cursor *cursor, struct http1_head *head)
{
    for (;;) {
        struct text line;
        int result = take_line(cursor, &line);
        if (result != 0 || line.size == 0)
            return result;
        result = parse_field(line, head);
        if (result != 0)
            return result;
    }
}

static size_t count_fields(const struct http1_head *head, const char *name)
{
    size_t count = 0;
    for (size_t i = 0; i < head->field_count; i++)
        count += text_equals_ignore_case(head->fields[i].name, name);
    return count;
}

/* RFC 9112 §6.1, §6.3 item 3: two framings in one message are how requests are smuggled. */
static int check_framing(const struct http1_head *head)
{
    bool both =
        http1_find(head, "Content-Length") != NULL && http1_find(head, "Transfer-Encoding") != NULL;
    return both ? CULVERT_ERROR_PROTOCOL : 0;
}

/* RFC 9112 §3.2: exactly one Host that can be one; HTTP/1.0 may do without. RFC 9110 §7.2 */
static int check_host(const struct http1_head *head)
{
    size_t count = count_fields(head, "Host");
    if (count == 0)
        return head->minor_version == 0 ? 0 : CULVERT_ERROR_PROTOCOL;
    if (count > 1)
        return CULVERT_ERROR_PROTOCOL;
    struct text host = http1_find(head, "Host")->value;
    for (size_t i = 0; i < host.size; i++)
        if (!is_letter_or_digit(host.data[i]) && !is_one_of(host.data[i], "-._~%!$&'()*+,;=:[]"))
            return CULVERT_ERROR_PROTOCOL;
    return 0;
}

static int parse_request(struct cursor *cursor, struct http1_head *head)
{
    struct text line;
    int result = take_line(cursor, &line);
    if (result == 0 && line.size == 0) /* RFC 9112 §2.2: one empty line in front is ignored */
        result = take_line(cursor, &line);
    if (result != 0)
        return result;
    result = parse_request_line(line, head);
    if (result != 0)
        return result;
    result = parse_fields(cursor, head);
    if (result != 0)
        return result;
    result = check_framing(head);
    return result != 0 ? result : check_host(head);
}

static int parse_response(struct cursor *cursor, struct http1_head *head)
{
    struct text line;
    int result = take_line(cursor, &line);
    if (result != 0)
        return result;
    result = parse_status_line(line, head);
    if (result != 0)
        return result;
    result = parse_fields(cursor, head);
    return result != 0 ? result : check_framing(head);
}

static int parse_head(const uint8_t *data, size_t size, struct http1_head *head, size_t *used,
                      int (*parse)(struct cursor *, struct http1_head *))
{
    struct cursor cursor = {
        .data = (const char *)data,
        .size = size < HTTP1_MAX_HEAD ? size : HTTP1_MAX_HEAD,
    };
    head->method = head->target = head->reason = TEXT_NULL;
    head->status = 0;
    head->minor_version = 0;
    head->field_count = 0;

    int result = parse(&cursor, head);
    if (result == CULVERT_NEED_MORE && cursor.size == HTTP1_MAX_HEAD)
        return CULVERT_ERROR_TOO_LARGE;
    if (result == 0)
        *used = cursor.at;
    return result;
}

int http1_parse_request(const uint8_t *data, size_t size, struct http1_head *head, size_t *used)
{
    return parse_head(data, size, head, used, parse_request);
}

int http1_parse_response(const uint8_t *data, size_t size, struct http1_head *head, size_t *used)
{
    return parse_head(data, size, head, used, parse_response);
}

const struct http1_field *http1_find(const struct http1_head *head, const char *name)
{
    for (size_t i = 0; i < head->field_count; i++)
        if (text_equals_ignore_case(head->fields[i].name, name))
            return &head->fields[i];
    return NULL;
}

/* The end of the list element that begins at `start`: a comma outside quotes, or the text's end.
 * RFC 9110 §5.6.4: a comma in a quoted string separates nothing. */
static size_t element_end(struct text list, size_t start)
{
    bool quoted = false;
    size_t i = start;
    for (; i < list.size && (quoted || list.data[i] != ','); i++) {
        if (list.data[i] == '"')
            quoted = !quoted;
        else if (quoted && list.data[i] == '\\' && i + 1 < list.size)
            i++;
    }
    return i;
}

static bool list_has_token(struct text list, const char *token)
{
    size_t start = 0;
    while (start < list.size) {
        size_t end = element_end(list, start);
        if (text_equals_ignore_case(trim(part(list, start, end)), token))
            return true;
        start = end + 1;
    }
    return false;
}

bool http1_has_token(const struct http1_head *head, const char *name, const char *token)
{
    for (size_t i = 0; i < head->field_count; i++)
        if (text_equals_ignore_case(head->fields[i].name, name) &&
            list_has_token(head->fields[i].value, token))
            return true;
    return false;
}

/* RFC 9112 §6.3 item 1: these end with their head, whatever their fields say. */
static bool status_has_no_body(int status)
{
    return (status >= 100 && status < 200) || status == 204 || status == 304;
}

int http1_content_length(const struct http1_head *head, uint64_t *length)
{
    uint64_t value = 0;
    if (!status_has_no_body(head->status)) {
        if (http1_find(head, "Transfer-Encoding") != NULL)
            return CULVERT_ERROR_UNSUPPORTED;
        /* RFC 9110 §8.6 leaves open whether the same length twice is accepted: it is not. */
        size_t count = count_fields(head, "Content-Length");
        if (count > 1)
            return CULVERT_ERROR_PROTOCOL;
        if (count == 1 &&
            str_parse_number(http1_find(head, "Content-Length")->value, UINT64_MAX, &value) != 0)
            return CULVERT_ERROR_PROTOCOL;
    }
    *length = value;
    return 0;
}
