/* Small files that hold secrets: read whole, and written so that only their owner can read them and
 * nobody ever sees half of one. */
#ifndef BASE_PRIVATE_FILE_H
#define BASE_PRIVATE_FILE_H

#include <stdbool.h>
#include <stddef.h>

/* Reads a regular file of at most `max` bytes into a terminated text, without a UTF-8 byte order
 * mark at its beginning, to be given back to private_file_free. *is_shared tells whether others
 * have access to the file (base/file_access.h); `why` then says who. Returns 0,
 * CULVERT_ERROR_TOO_LARGE, CULVERT_ERROR_INVALID (not a regular file), CULVERT_ERROR_NO_MEMORY or
 * -errno, with a sentence in `why` that does not name the file.
 */
int private_file_read(const char *path, size_t max, char **text, size_t *size, bool *is_shared,
                      char *why, size_t why_size);
/* Wipes and frees; NULL is fine. */
void private_file_free(char *text, size_t size);

/* Writes a file with mode 0600, in place of the one that is there: a temporary file in the same
 * directory, flushed to the disk, then renamed. Returns 0 or -errno, and then the old file is as it
 * was. */
int private_file_replace(const char *path, const char *text, size_t size);

/* The same if there is none; -EEXIST if there is one. */
int private_file_make(const char *path, const char *text, size_t size);

#endif
