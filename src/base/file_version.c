#include "base/file_version.h"

#include <sys/stat.h>

static int64_t nanoseconds(const struct timespec *time)
{
    return (int64_t)time->tv_sec * 1000000000 + time->tv_nsec;
}

bool file_version_update(struct file_version *version, const char *path)
{
    struct file_version now = {0};
    struct stat status;
    if (stat(path, &status) == 0)
        now = (struct file_version){
            .device = status.st_dev,
            .inode = status.st_ino,
            .size = status.st_size,
            .modified = nanoseconds(&status.st_mtim),
            .changed = nanoseconds(&status.st_ctim),
        };
    bool is_same = now.device == version->device && now.inode == version->inode &&
                   now.size == version->size && now.modified == version->modified &&
                   now.changed == version->changed;
    *version = now;
    return !is_same;
}
