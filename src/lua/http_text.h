/* The texts of HTTP that require("http") reads and writes: pure functions. */
#ifndef LUA_HTTP_TEXT_H
#define LUA_HTTP_TEXT_H

#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

enum { HTTP_DURATION_MAX = 24 * 60 * 60 * 1000 /* milliseconds; what is longer counts as this */ };

/* A duration as Go writes it, "1s", "1m30.5s", "250ms". Returns 0 or CULVERT_ERROR_INVALID, which
 * negative ones are too. */
int http_text_parse_duration(struct text text, uint32_t *milliseconds);

/* A token (RFC 9110 §5.6.2), such as a method, or a field's or cookie's name. */
bool http_text_is_token(struct text text);
/* What may stand in a field: no control character but tabs (RFC 9110 §5.5). */
bool http_text_is_value(struct text text);

/* The usual spelling of a field's name, in place: Content-Type. */
void http_text_spell_name(char *name, size_t size);

/* Takes the next field off a block of lines, past lines that are none. False at the end. */
bool http_text_take_field(struct text *block, struct text *name, struct text *value);

/* The name and value of a Set-Cookie field (RFC 6265 §5.2), without quotes. False if it has none.
 */
bool http_text_parse_cookie(struct text field, struct text *name, struct text *value);

/* Writes the value of a cookie for a request, without what may not stand there and in quotes where
 * it needs them; `out` has room for `value.size` + 3 bytes. */
void http_text_write_cookie(struct text value, char *out);

/* Whether the text begins with http:// or https:// in any case, has a host behind it, and no
 * control character. */
bool http_text_is_url(struct text url);

/* Takes user and password out of such a URL, in place. */
void http_text_strip_login(char *url);

#endif
