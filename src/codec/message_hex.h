/* For tests: bytes written as hexadecimal digits, with spaces where they help the reader. */
#ifndef CODEC_MESSAGE_HEX_H
#define CODEC_MESSAGE_HEX_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static inline size_t message_hex(const char *digits, uint8_t *out, size_t room)
{
    size_t size = 0;
    while (*digits != '\0') {
        unsigned byte;
        if (*digits == ' ') {
            digits++;
            continue;
        }
        if (size == room || sscanf(digits, "%2x", &byte) != 1)
            abort();
        out[size++] = (uint8_t)byte;
        digits += 2;
    }
    return size;
}

#endif
