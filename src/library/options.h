/* What callers hand over: options of their version of the header, and room for a sentence. */
#ifndef LIBRARY_OPTIONS_H
#define LIBRARY_OPTIONS_H

#include <stddef.h>

/* Copies an options struct that begins with its size into one of `own_size`: what the caller's
 * header does not have yet is zero. Returns CULVERT_OK; CULVERT_INVALID when no size is given;
 * CULVERT_UNSUPPORTED when it sets what this library does not have yet; with a sentence in `why`.
 */
int options_take(void *own, size_t own_size, const void *given, char *why, size_t why_size);

/* Writes a sentence where a caller wants one and returns the code. `why` may be NULL. */
__attribute__((format(printf, 4, 5))) int options_complain(int code, char *why, size_t why_size,
                                                           const char *format, ...);

#endif
