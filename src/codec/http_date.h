/* Dates in HTTP fields (RFC 9110 §5.6.7). */
#ifndef CODEC_HTTP_DATE_H
#define CODEC_HTTP_DATE_H

#include "base/str.h"

#include <stdint.h>

/* Reads a date in any of the three forms that recipients must accept: "Sun, 06 Nov 1994 08:49:37
 * GMT", "Sunday, 06-Nov-94 08:49:37 GMT" and "Sun Nov  6 08:49:37 1994". Of two digits of a year,
 * 70 to 99 are in the 20th century. The day of the week is not checked against the date. Gives
 * seconds since 1970. Returns 0 or CULVERT_ERROR_INVALID. */
int http_date_parse(struct text text, int64_t *seconds);

#endif
