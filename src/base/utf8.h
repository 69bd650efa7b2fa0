/* UTF-8 (RFC 3629), as far as text from a peer must be looked at before others take it for such. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* The bytes of the character at `text`, of which `size` (at least 1) are there; 0 where there is
 * none: a byte that begins none, one that is cut off, too long a form, a surrogate. */
size_t utf8_character_size(const uint8_t *text, size_t size);

/* A copy in which U+FFFD stands for each byte that belongs to no character; NULL when memory has
 * run out. The caller frees it (base/memory.h). */
char *utf8_repair(const char *text);

#endif
