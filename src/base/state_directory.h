/* The directory where a user's culvert keeps what outlives its processes. */
#ifndef BASE_STATE_DIRECTORY_H
#define BASE_STATE_DIRECTORY_H

#include <stddef.h>

/* $XDG_STATE_HOME/culvert where that is set, else /var/lib/culvert for root and
 * ~/.local/state/culvert for others. CULVERT_ERROR_NOT_FOUND if there is no home,
 * CULVERT_ERROR_TOO_LARGE. */
int state_directory_path(char *out, size_t size);

/* Makes a directory, and those above it that are missing, so that nobody else may look into them
 * (0700); one that is there stays as it is. Returns 0, CULVERT_ERROR_TOO_LARGE or -errno. */
int state_directory_make(const char *directory);

/* Checks whether any user other than root and this process's can write the directory, and so
 * replace the files in it. Returns 0, CULVERT_ERROR_PERMISSION with a sentence in `why` that names
 * the user and the remedy, or -errno. */
int state_directory_check(const char *directory, char *why, size_t why_size);

#endif
