/* Problem details: errors of an HTTP API as JSON (RFC 9457). */
#ifndef API_PROBLEM_H
#define API_PROBLEM_H

#include <jansson.h>

/* The reason phrase of a status that the server gives ("Not Found"; RFC 9110 §15), or "". */
const char *problem_title(int status);

/* {"type":"about:blank","title":...,"status":...,"detail":...,"field":...}; "" leaves the detail or
 * the field out. Bytes that are not UTF-8 become U+FFFD. NULL when memory has run out; else the
 * caller's. */
json_t *problem_new(int status, const char *detail, const char *field);

#endif
