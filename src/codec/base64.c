#include "codec/base64.h"

#include "base/error.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(const uint8_t *data, size_t size, char *out)
{
    for (size_t at = 0; at < size; at += 3) {
        size_t left = size - at;
        uint32_t group = (uint32_t)data[at] << 16;
        if (left > 1)
            group |= (uint32_t)data[at + 1] << 8;
        if (left > 2)
            group |= data[at + 2];
        *out++ = alphabet[group >> 18];
        *out++ = alphabet[group >> 12 & 63];
        *out++ = left > 1 ? alphabet[group >> 6 & 63] : '=';
        *out++ = left > 2 ? alphabet[group & 63] : '=';
    }
    *out = '\0';
}

static int digit_value(char digit)
{
    if (digit >= 'A' && digit <= 'Z')
        return digit - 'A';
    if (digit >= 'a' && digit <= 'z')
        return digit - 'a' + 26;
    if (digit >= '0' && digit <= '9')
        return digit - '0' + 52;
    if (digit == '+')
        return 62;
    return digit == '/' ? 63 : -1;
}

int base64_decode(const char *text, size_t size, uint8_t *out, size_t room, size_t *written)
{
    if (size % 4 != 0)
        return CULVERT_ERROR_INVALID;
    size_t digits = size;
    while (digits > 0 && size - digits < 2 && text[digits - 1] == '=')
        digits--;
    if (digits / 4 * 3 + digits % 4 * 3 / 4 > room)
        return CULVERT_ERROR_TOO_LARGE;

    uint32_t group = 0;
    size_t count = 0;
    for (size_t i = 0; i < digits; i++) {
        int value = digit_value(text[i]);
        if (value < 0)
            return CULVERT_ERROR_INVALID;
        group = group << 6 | (uint32_t)value;
        /* Six bits come with each digit: a byte is whole after the 2nd, 3rd and 4th of a group. */
        if (i % 4 != 0)
            out[count++] = (uint8_t)(group >> (6 - 2 * (i % 4)));
    }
    *written = count;
    return 0;
}
