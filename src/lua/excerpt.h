/* What a script says, made fit for a log and for an answer: UTF-8 without control characters, in a
 * given room, and without the secret that the script was shown. */
#ifndef LUA_EXCERPT_H
#define LUA_EXCERPT_H

#include <stddef.h>

/* Copies `text` into `out` and terminates it. What is not UTF-8 becomes `?`, a control character a
 * space, each occurrence of `secret` (NULL or "": none) `[key]`; what does not fit is cut off at a
 * character's end. */
void excerpt_make(char *out, size_t out_size, const char *text, size_t size, const char *secret);

#endif
