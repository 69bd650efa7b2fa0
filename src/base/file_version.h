/* Whether a file has changed since it was looked at last. */
#ifndef BASE_FILE_VERSION_H
#define BASE_FILE_VERSION_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What a file looked like; all zero: it was not there. */
struct file_version {
    dev_t device;
    ino_t inode;
    off_t size;
    int64_t modified; /* nanoseconds since 1970 */
    int64_t changed;  /* the same of the inode */
};

/* Looks at the file, following symbolic links. Returns whether it differs from *version, which is
 * then replaced. To be called before the file is read, so that a change in between is seen the next
 * time. */
bool file_version_update(struct file_version *version, const char *path);

#endif
