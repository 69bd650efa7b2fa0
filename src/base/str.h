/* Text: parsing of small values, and copies with a bound. */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A borrowed piece of text, not terminated. */
struct text {
    const char *data;
    size_t size;
};

#define TEXT_NULL ((struct text){NULL, 0})

/* The text of a terminated string; NULL gives TEXT_NULL. */
struct text text_of(const char *string);
bool text_equals(struct text a, const char *b);
/* ASCII only, as for HTTP field names. */
bool text_equals_ignore_case(struct text a, const char *b);

/* Copies `text` and a zero into `buffer`; CULVERT_ERROR_TOO_LARGE if it does not fit. */
int text_copy(struct text text, char *buffer, size_t size);

/* Decimal digits only, 0 to 65535, whole text. Returns 0 or CULVERT_ERROR_INVALID. */
int str_parse_port(struct text text, uint16_t *port);

/* Decimal digits only, up to `max`, whole text. Returns 0 or CULVERT_ERROR_INVALID. */
int str_parse_number(struct text text, uint64_t max, uint64_t *number);

/* A size such as 512M, 2G, 65536 (suffixes K, M, G, powers of 1024; bytes). 0 or
 * CULVERT_ERROR_INVALID. */
int str_parse_size(const char *string, size_t *bytes);

/* A duration such as 90s, 15m, 24h, 7d, or plain seconds. 0 or CULVERT_ERROR_INVALID. */
int str_parse_duration(const char *string, uint64_t *seconds);

enum { STR_DURATION_SIZE = 24 };

/* Writes a duration as str_parse_duration takes it, in the largest unit of which it is a whole
 * number: 90s, 15m, 24h, 7d (days from two on). Returns `out`. */
const char *str_duration_text(uint64_t seconds, char out[static STR_DURATION_SIZE]);

/* Whether the text is UTF-8 (RFC 3629) without control characters. */
bool str_is_printable(struct text text);

/* An agent's name: 1 to 128 bytes of [A-Za-z0-9._-], neither the reserved `gateway` nor `-`, which
 * stands for nobody. */
bool str_is_agent_name(struct text text);

/* A name that Hubble 0.1, which has no rule for names, may bring along: up to 128 printable bytes,
 * not the reserved ones. */
bool str_is_legacy_name(struct text text);

#endif
