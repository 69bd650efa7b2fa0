#include "base/str.h"

#include "base/error.h"
#include "base/utf8.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct text text_of(const char *string)
{
    return string == NULL ? TEXT_NULL : (struct text){string, strlen(string)};
}

bool text_equals(struct text a, const char *b)
{
    size_t size = strlen(b);
    return a.size == size && (size == 0 || memcmp(a.data, b, size) == 0);
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

bool text_equals_ignore_case(struct text a, const char *b)
{
    if (a.size != strlen(b))
        return false;
    for (size_t i = 0; i < a.size; i++) {
        if (lower(a.data[i]) != lower(b[i]))
            return false;
    }
    return true;
}

int text_copy(struct text text, char *buffer, size_t size)
{
    if (text.size >= size)
        return CULVERT_ERROR_TOO_LARGE;
    if (text.size > 0)
        memcpy(buffer, text.data, text.size);
    buffer[text.size] = '\0';
    return 0;
}

int str_parse_number(struct text text, uint64_t max, uint64_t *number)
{
    uint64_t value = 0;
    if (text.size == 0)
        return CULVERT_ERROR_INVALID;
    for (size_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        if (c < '0' || c > '9')
            return CULVERT_ERROR_INVALID;
        uint64_t digit = (uint64_t)(c - '0');
        if (digit > max || value > (max - digit) / 10)
            return CULVERT_ERROR_INVALID;
        value = value * 10 + digit;
    }
    *number = value;
    return 0;
}

int str_parse_port(struct text text, uint16_t *port)
{
    uint64_t number;
    int result = str_parse_number(text, UINT16_MAX, &number);
    if (result == 0)
        *port = (uint16_t)number;
    return result;
}

struct unit {
    char letter;
    uint64_t factor;
};

/* A number, and behind it perhaps the letter of one of the units. */
static int parse_with_unit(struct text text, const struct unit *units, uint64_t max,
                           uint64_t *number)
{
    uint64_t factor = 1;
    if (text.size == 0)
        return CULVERT_ERROR_INVALID;
    for (; units->letter != '\0'; units++) {
        if (text.data[text.size - 1] == units->letter) {
            factor = units->factor;
            text.size--;
            break;
        }
    }
    uint64_t value;
    int result = str_parse_number(text, max / factor, &value);
    if (result == 0)
        *number = value * factor;
    return result;
}

int str_parse_size(const char *string, size_t *bytes)
{
    static const struct unit units[] = {
        {'K', UINT64_C(1) << 10}, {'M', UINT64_C(1) << 20}, {'G', UINT64_C(1) << 30}, {'\0', 1}};
    uint64_t number;
    int result = parse_with_unit(text_of(string), units, SIZE_MAX, &number);
    if (result == 0)
        *bytes = (size_t)number;
    return result;
}

int str_parse_duration(const char *string, uint64_t *seconds)
{
    static const struct unit units[] = {
        {'s', 1}, {'m', UINT64_C(60)}, {'h', UINT64_C(3600)}, {'d', UINT64_C(86400)}, {'\0', 1}};
    return parse_with_unit(text_of(string), units, UINT64_MAX, seconds);
}

const char *str_duration_text(uint64_t seconds, char out[static STR_DURATION_SIZE])
{
    static const struct {
        char unit;
        uint64_t size, least;
    } units[] = {{'d', 86400, 2 * 86400}, {'h', 3600, 3600}, {'m', 60, 60}, {'s', 1, 0}};
    size_t i = 0;
    while (seconds < units[i].least || seconds % units[i].size != 0)
        i++;
    snprintf(out, STR_DURATION_SIZE, "%" PRIu64 "%c", seconds / units[i].size, units[i].unit);
    return out;
}

static bool is_name_character(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

/* U+0000 to U+001F and U+007F to U+009F. */
static bool is_control(const uint8_t *character, size_t size)
{
    return (size == 1 && (character[0] < 0x20 || character[0] == 0x7F)) ||
           (size == 2 && character[0] == 0xC2 && character[1] < 0xA0);
}

bool str_is_printable(struct text text)
{
    const uint8_t *data = (const uint8_t *)text.data;
    size_t size = 0;
    for (size_t at = 0; at < text.size; at += size) {
        size = utf8_character_size(data + at, text.size - at);
        if (size == 0 || is_control(data + at, size))
            return false;
    }
    return true;
}

enum { NAME_SIZE = 128 };

static bool is_reserved(struct text name)
{
    return text_equals(name, "gateway") || text_equals(name, "-");
}

bool str_is_legacy_name(struct text text)
{
    return text.size <= NAME_SIZE && !is_reserved(text) && str_is_printable(text);
}

bool str_is_agent_name(struct text text)
{
    if (text.size == 0 || text.size > NAME_SIZE || is_reserved(text))
        return false;
    for (size_t i = 0; i < text.size; i++) {
        if (!is_name_character(text.data[i]))
            return false;
    }
    return true;
}
