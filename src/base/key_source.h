/* Keys and other secrets of one word, from wherever they are given. */
#ifndef BASE_KEY_SOURCE_H
#define BASE_KEY_SOURCE_H

#include <stddef.h>

/* Copies a key after a check that it can be one: no spaces or control characters, at most
 * `size` - 1 bytes, not empty. Returns 0 or CULVERT_ERROR_INVALID with a sentence in `why`. */
int key_source_text(const char *text, char *key, size_t size, char *why, size_t why_size);

/* Reads the key that is a file's only line. A file that others may read is refused. Returns 0,
 * CULVERT_ERROR_INVALID, CULVERT_ERROR_PERMISSION or -errno, with a sentence in `why` and then
 * `key` unchanged. */
int key_source_file(const char *path, char *key, size_t size, char *why, size_t why_size);

/* The same for a secret that is not an agent's key, such as a webhook's. */
int secret_source_file(const char *path, char *secret, size_t size, char *why, size_t why_size);

#endif
