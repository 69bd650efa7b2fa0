/* Base64 with the standard alphabet and padding (RFC 4648 §4). */
#ifndef CODEC_BASE64_H
#define CODEC_BASE64_H

#include <stddef.h>
#include <stdint.h>

/* The characters that `size` bytes become, without a terminating zero. */
#define BASE64_SIZE(size) (((size) + 2) / 3 * 4)

/* Writes BASE64_SIZE(size) characters and a zero. */
void base64_encode(const uint8_t *data, size_t size, char *out);

/*
 * Decodes the whole text into `out` and sets `written`. Returns 0, CULVERT_ERROR_INVALID (a foreign
 * character, missing or misplaced padding), or CULVERT_ERROR_TOO_LARGE if `room` does not suffice.
 * Bits left over before the padding are not looked at (RFC 4648 §3.5 leaves that open).
 */
int base64_decode(const char *text, size_t size, uint8_t *out, size_t room, size_t *written);

#endif
