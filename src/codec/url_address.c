#include "codec/url_address.h"

#include <string.h>

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static size_t find_char(struct text text, size_t start, char c)
{
    while (start < text.size && text.data[start] != c)
        start++;
    return start;
}

static struct text part(struct text text, size_t start, size_t end)
{
    return (struct text){text.data + start, end - start};
}

bool url_parse_ipv4(struct text text, uint8_t address[static 4])
{
    size_t at = 0;
    for (int i = 0; i < 4; i++) {
        size_t end = find_char(text, at, '.');
        struct text number = part(text, at, end);
        uint64_t value;
        /* A leading zero means octal to some readers. */
        if (number.size == 0 || (number.size > 1 && number.data[0] == '0') ||
            str_parse_number(number, 255, &value) != 0)
            return false;
        address[i] = (uint8_t)value;
        if ((i < 3) != (end < text.size))
            return false;
        at = end + 1;
    }
    return true;
}

static bool parse_group(struct text text, uint8_t *out)
{
    unsigned value = 0;
    if (text.size == 0 || text.size > 4)
        return false;
    for (size_t i = 0; i < text.size; i++) {
        int digit = hex_value(text.data[i]);
        if (digit < 0)
            return false;
        value = value << 4 | (unsigned)digit;
    }
    out[0] = (uint8_t)(value >> 8);
    out[1] = (uint8_t)value;
    return true;
}

/* Groups up to the text's end, written from the front; `gap` is where "::" stood, 16 if nowhere. */
static bool parse_groups(struct text text, uint8_t bytes[static 16], size_t *count, size_t *gap)
{
    size_t at = 0;
    *count = 0;
    *gap = 16;
    if (text.size >= 2 && memcmp(text.data, "::", 2) == 0) {
        *gap = 0;
        at = 2;
    }
    while (at < text.size) {
        size_t end = find_char(text, at, ':');
        struct text group = part(text, at, end);
        if (find_char(group, 0, '.') < group.size) {
            /* An IPv4 address may stand for the last two groups. */
            if (end < text.size || *count > 12 || !url_parse_ipv4(group, bytes + *count))
                return false;
            *count += 4;
            return true;
        }
        if (*count == 16 || !parse_group(group, bytes + *count))
            return false;
        *count += 2;
        if (end == text.size)
            return true;
        at = end + 1;
        if (at == text.size)
            return false;
        if (text.data[at] == ':') {
            if (*gap < 16)
                return false;
            *gap = *count;
            at++;
        }
    }
    return *gap < 16;
}

bool url_parse_ipv6(struct text text, uint8_t address[static 16])
{
    uint8_t bytes[16] = {0};
    size_t count, gap;
    if (!parse_groups(text, bytes, &count, &gap))
        return false;
    if (gap == 16) {
        if (count != 16)
            return false;
        gap = count;
    } else if (count > 14) {
        return false; /* "::" stands for one group at least */
    }
    memset(address, 0, 16);
    memcpy(address, bytes, gap);
    memcpy(address + 16 - (count - gap), bytes + gap, count - gap);
    return true;
}
