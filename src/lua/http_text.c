#include "lua/http_text.h"

#include "base/error.h"

#include <string.h>
#include <strings.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool starts_with(struct text text, const char *start)
{
    size_t size = strlen(start);
    return text.size >= size && strncasecmp(text.data, start, size) == 0;
}

static void skip(struct text *text, size_t size)
{
    text->data += size;
    text->size -= size;
}

/* ---- durations ---- */

/* Digits with or without a point; false if there is no digit. */
static bool take_number(struct text *text, double *number)
{
    double unit = 1;
    bool has_point = false;
    bool has_digit = false;
    *number = 0;
    while (text->size > 0 && (is_digit(*text->data) || (*text->data == '.' && !has_point))) {
        if (*text->data == '.') {
            has_point = true;
        } else {
            has_digit = true;
            unit = has_point ? unit / 10 : unit;
            *number = has_point ? *number + (*text->data - '0') * unit
                                : *number * 10 + (*text->data - '0');
        }
        skip(text, 1);
    }
    return has_digit;
}

/* A unit's milliseconds; 0 if there is none. */
static double take_unit(struct text *text)
{
    static const struct {
        const char *name;
        double milliseconds;
    } units[] = {{"ns", 1e-6}, {"us", 1e-3}, {"\xc2\xb5s", 1e-3}, {"\xce\xbcs", 1e-3},
                 {"ms", 1},    {"s", 1e3},   {"m", 6e4},          {"h", 36e5}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        size_t size = strlen(units[i].name);
        if (text->size >= size && memcmp(text->data, units[i].name, size) == 0) {
            skip(text, size);
            return units[i].milliseconds;
        }
    }
    return 0;
}

int http_text_parse_duration(struct text text, uint32_t *milliseconds)
{
    double total = 0;
    if (text.size > 0 && *text.data == '+')
        skip(&text, 1);
    if (text.size == 0)
        return CULVERT_ERROR_INVALID;
    if (text_equals(text, "0"))
        skip(&text, 1);
    while (text.size > 0) {
        double number;
        if (!take_number(&text, &number))
            return CULVERT_ERROR_INVALID;
        double unit = take_unit(&text);
        if (unit == 0)
            return CULVERT_ERROR_INVALID;
        total += number * unit;
    }
    *milliseconds = total < HTTP_DURATION_MAX ? (uint32_t)total : HTTP_DURATION_MAX;
    return 0;
}

/* ---- fields ---- */

static bool is_token_character(char c)
{
    return c != '\0' && (is_digit(c) || is_letter(c) || strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

bool http_text_is_token(struct text text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (!is_token_character(text.data[i]))
            return false;
    }
    return text.size > 0;
}

bool http_text_is_value(struct text text)
{
    for (size_t i = 0; i < text.size; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

void http_text_spell_name(char *name, size_t size)
{
    bool is_first = true;
    if (!http_text_is_token((struct text){name, size}))
        return;
    for (size_t i = 0; i < size; i++) {
        if (is_letter(name[i]))
            name[i] = (char)(is_first ? name[i] & ~0x20 : name[i] | 0x20);
        is_first = name[i] == '-';
    }
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct text trim(struct text text)
{
    while (text.size > 0 && is_blank(text.data[text.size - 1]))
        text.size--;
    while (text.size > 0 && is_blank(text.data[0]))
        skip(&text, 1);
    return text;
}

bool http_text_take_field(struct text *block, struct text *name, struct text *value)
{
    while (block->size > 0) {
        const char *end = memchr(block->data, '\n', block->size);
        size_t size = end != NULL ? (size_t)(end - block->data) : block->size;
        struct text line = {block->data, size};
        skip(block, end != NULL ? size + 1 : size);
        const char *colon = memchr(line.data, ':', line.size);
        if (colon == NULL)
            continue;
        size_t before = (size_t)(colon - line.data);
        *name = (struct text){line.data, before};
        *value = trim((struct text){colon + 1, line.size - before - 1});
        if (http_text_is_token(*name))
            return true;
    }
    return false;
}

/* ---- cookies ---- */

/* RFC 6265 §4.1.1, and what Go lets pass beyond it. */
static bool is_cookie_character(char c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != ';' && c != '\\';
}

bool http_text_parse_cookie(struct text field, struct text *name, struct text *value)
{
    const char *end = memchr(field.data, ';', field.size);
    if (end != NULL)
        field.size = (size_t)(end - field.data);
    const char *equals = field.size > 0 ? memchr(field.data, '=', field.size) : NULL;
    if (equals == NULL)
        return false;
    size_t before = (size_t)(equals - field.data);
    *name = trim((struct text){field.data, before});
    *value = trim((struct text){equals + 1, field.size - before - 1});
    if (value->size >= 2 && value->data[0] == '"' && value->data[value->size - 1] == '"')
        *value = (struct text){value->data + 1, value->size - 2};
    for (size_t i = 0; i < value->size; i++) {
        if (!is_cookie_character(value->data[i]))
            return false;
    }
    return http_text_is_token(*name);
}

void http_text_write_cookie(struct text value, char *out)
{
    size_t size = 0;
    bool is_quoted = value.size > 0 && (memchr(value.data, ' ', value.size) != NULL ||
                                        memchr(value.data, ',', value.size) != NULL);
    if (is_quoted)
        out[size++] = '"';
    for (size_t i = 0; i < value.size; i++) {
        if (is_cookie_character(value.data[i]))
            out[size++] = value.data[i];
    }
    if (is_quoted)
        out[size++] = '"';
    out[size] = '\0';
}

/* ---- URLs ---- */

bool http_text_is_url(struct text url)
{
    for (size_t i = 0; i < url.size; i++) {
        if ((unsigned char)url.data[i] < 0x20 || url.data[i] == 0x7f)
            return false;
    }
    size_t start = starts_with(url, "http://") ? 7 : starts_with(url, "https://") ? 8 : 0;
    return start > 0 && url.size > start && strchr("/?#", url.data[start]) == NULL;
}

void http_text_strip_login(char *url)
{
    char *scheme = strstr(url, "://");
    if (scheme == NULL)
        return;
    char *host = scheme + 3;
    size_t size = strcspn(host, "/?#");
    for (size_t i = size; i > 0; i--) {
        if (host[i - 1] == '@') {
            memmove(host, host + i, strlen(host + i) + 1);
            return;
        }
    }
}
