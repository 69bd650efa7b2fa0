/*
 * Input: a byte (bit 0: request or response, the rest: where to cut), then what a peer sent. Each
 * beginning must need more or fail as the whole does; what was parsed lies in the input and,
 * written out again, parses to the same.
 */
#include "base/error.h"
#include "codec/guarded_page.h"
#include "codec/http1.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef int parse_function(const uint8_t *data, size_t size, struct http1_head *head, size_t *used);

static struct guarded_page page;

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void require_inside(struct text text, const uint8_t *data, size_t size)
{
    if (text.data == NULL) {
        require(text.size == 0);
        return;
    }
    size_t start = (size_t)((const uint8_t *)text.data - data);
    require(start <= size && text.size <= size - start);
    for (size_t i = 0; i < text.size; i++) {
        unsigned char c = (unsigned char)text.data[i];
        require((c >= ' ' && c != 0x7f) || c == '\t');
    }
}

static void check_texts(const struct http1_head *head, const uint8_t *data, size_t used)
{
    require_inside(head->method, data, used);
    require_inside(head->target, data, used);
    require_inside(head->reason, data, used);
    require(head->field_count <= HTTP1_MAX_FIELDS);
    for (size_t i = 0; i < head->field_count; i++) {
        const struct http1_field *field = &head->fields[i];
        require_inside(field->name, data, used);
        require_inside(field->value, data, used);
        require(field->name.size > 0);
        if (field->value.size > 0) {
            require(field->value.data[0] != ' ' && field->value.data[0] != '\t');
            char last = field->value.data[field->value.size - 1];
            require(last != ' ' && last != '\t');
        }
    }
}

static void check_beginnings(parse_function *parse, const uint8_t *data, size_t size, int whole,
                             size_t step)
{
    struct http1_head head;
    size_t used;
    bool failed = false;
    for (size_t i = 0; i < size; i += step) {
        int result = parse(guarded_page_put(&page, data, i), i, &head, &used);
        require(result == whole ? whole != 0 : result == CULVERT_NEED_MORE && !failed);
        failed = result < 0;
    }
}

static size_t write_text(char *out, size_t at, struct text text, const char *after)
{
    size_t size = strlen(after);
    if (text.size > 0)
        memcpy(out + at, text.data, text.size);
    memcpy(out + at + text.size, after, size);
    return at + text.size + size;
}

static bool same_text(struct text a, struct text b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

static void check_rewritten(parse_function *parse, const struct http1_head *head)
{
    static char out[HTTP1_MAX_HEAD + 256];
    char start[32];
    struct http1_head again;
    size_t used, size = 0;
    if (head->status != 0) {
        snprintf(start, sizeof(start), "HTTP/1.%d %d ", head->minor_version, head->status);
        size = write_text(out, 0, text_of(start), "");
        size = write_text(out, size, head->reason, "\r\n");
    } else {
        snprintf(start, sizeof(start), " HTTP/1.%d\r\n", head->minor_version);
        size = write_text(out, size, head->method, " ");
        size = write_text(out, size, head->target, start);
    }
    for (size_t i = 0; i < head->field_count; i++) {
        size = write_text(out, size, head->fields[i].name, ":");
        size = write_text(out, size, head->fields[i].value, "\r\n");
    }
    size = write_text(out, size, TEXT_NULL, "\r\n");
    if (size > HTTP1_MAX_HEAD)
        return;
    require(parse((const uint8_t *)out, size, &again, &used) == 0 && used == size);
    require(same_text(head->method, again.method) && same_text(head->target, again.target));
    require(same_text(head->reason, again.reason) && head->status == again.status);
    require(head->field_count == again.field_count);
    for (size_t i = 0; i < head->field_count; i++)
        require(same_text(head->fields[i].name, again.fields[i].name) &&
                same_text(head->fields[i].value, again.fields[i].value));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (page.bytes == NULL)
        page = guarded_page_new(1024 * 1024);
    if (size < 1 || size > page.capacity)
        return 0;
    parse_function *parse = (data[0] & 1) != 0 ? http1_parse_response : http1_parse_request;
    size_t step = size < 256 ? 1 : 1 + data[0] / 2;
    data++;
    size--;

    struct http1_head head;
    size_t used = 0;
    uint8_t *copy = guarded_page_put(&page, data, size);
    int whole = parse(copy, size, &head, &used);
    require(whole == 0 || whole == CULVERT_NEED_MORE || whole == CULVERT_ERROR_PROTOCOL ||
            whole == CULVERT_ERROR_TOO_LARGE);
    if (whole == 0) {
        uint64_t length;
        require(used > 0 && used <= size && used <= HTTP1_MAX_HEAD);
        check_texts(&head, copy, used);
        http1_has_token(&head, "Connection", "upgrade");
        http1_content_length(&head, &length);
        check_rewritten(parse, &head);
    }
    check_beginnings(parse, data, whole == 0 ? used : size, whole, step);
    return 0;
}
