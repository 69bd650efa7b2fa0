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

#endif
