/* For tests: bytes written as hexadecimal digits, with spaces where they help the reader. */
#ifndef CODEC_MESSAGE_HEX_H
#define CODEC_MESSAGE_HEX_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static inline uint8_t message_hex_digit(char digit)
{
    static const char digits[] = "0123456789abcdef";
    const char *found = strchr(digits, digit);
    if (digit == '\0' || found == NULL)
        abort();
    return (uint8_t)(found - digits);
}

static inline size_t message_hex(const char *digits, uint8_t *out, size_t room)
{
    size_t size = 0;
    while (*digits != '\0') {
        if (*digits == ' ') {
            digits++;
            continue;
        }
        if (size == room)
            abort();
        uint8_t high = message_hex_digit(digits[0]);
        out[size++] = (uint8_t)(high << 4 | message_hex_digit(digits[1]));
        digits += 2;
    }
    return size;
}

#endif
