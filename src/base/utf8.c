#include "base/utf8.h"

#include "base/memory.h"

#include <stdbool.h>
#include <string.h>

#define REPLACEMENT "\xef\xbf\xbd"

enum { REPLACEMENT_SIZE = sizeof REPLACEMENT - 1 };

/* RFC 3629 §4 */
size_t utf8_character_size(const uint8_t *text, size_t size)
{
    uint8_t first = text[0];
    if (first < 0x80)
        return 1;
    size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || length > size)
        return 0;
    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    }
    uint8_t second = text[1];
    bool is_too_long = (first == 0xe0 && second < 0xa0) || (first == 0xf0 && second < 0x90);
    bool is_surrogate = first == 0xed && second >= 0xa0;
    bool is_too_high = first == 0xf4 && second >= 0x90;
    return is_too_long || is_surrogate || is_too_high ? 0 : length;
}

char *utf8_repair(const char *text)
{
    size_t left = strlen(text);
    char *copy = memory_allocate(left * REPLACEMENT_SIZE + 1);
    if (copy == NULL)
        return NULL;
    size_t size = 0;
    while (left > 0) {
        size_t length = utf8_character_size((const uint8_t *)text, left);
        size_t taken = length > 0 ? length : 1;
        size_t written = length > 0 ? length : REPLACEMENT_SIZE;
        memcpy(copy + size, length > 0 ? text : REPLACEMENT, written);
        size += written;
        text += taken;
        left -= taken;
    }
    copy[size] = '\0';
    return copy;
}
