/* Where the store's file lies, and making it so that nobody else can read it. */
#ifndef STORE_FILE_H
#define STORE_FILE_H

#include <limits.h>
#include <stddef.h>

/* Makes the directory (0700, and those above it that are missing) and in it the file (0600,
 * whatever the umask) where they are missing. Checks that the owner of both is root or the
 * process's user, and that others have no access to the file and cannot write the directory. Gives
 * the file's path and a descriptor of the directory, which the caller closes and which holds an
 * exclusive lock, so that two processes do not make the tables at once. Returns 0,
 * CULVERT_ERROR_PERMISSION, CULVERT_ERROR_TOO_LARGE or -errno, with a sentence in `why`. */
int file_prepare(const char *directory, char path[static PATH_MAX], int *lock, char *why,
                 size_t why_size);

#endif
