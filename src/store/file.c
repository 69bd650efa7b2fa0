#include "store/file.h"

#include "base/error.h"
#include "base/state_directory.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OTHERS = S_IRWXG | S_IRWXO };

static const char FILE_NAME[] = "culvert.db";

int store_default_directory(char *out, size_t size)
{
    return state_directory_path(out, size);
}

bool store_exists(const char *directory)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", directory, FILE_NAME) >= (int)sizeof path)
        return false;
    return access(path, F_OK) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

/* An existing file is only looked at by name: closing a descriptor of it would drop the locks that
 * SQLite holds on it in this process (fcntl(2), "Advisory record locking"). */
static int make_file(const char *path, char *why, size_t why_size)
{
    struct stat status;
    int file = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR);
    if (file >= 0) {
        int error = fchmod(file, S_IRUSR | S_IWUSR) == 0 ? 0 : -errno;
        close(file);
        return error;
    }
    if (errno != EEXIST || stat(path, &status) != 0)
        return -errno;
    if (!S_ISREG(status.st_mode)) {
        snprintf(why, why_size, "the store %s is not a regular file", path);
        return CULVERT_ERROR_STORE;
    }
    if (status.st_uid != 0 && status.st_uid != geteuid()) {
        snprintf(why, why_size,
                 "the store %s belongs to user %u; its owner must be root or user %u, as which "
                 "culvert runs: run culvert as user %u, or chown %u %s",
                 path, (unsigned)status.st_uid, (unsigned)geteuid(), (unsigned)status.st_uid,
                 (unsigned)geteuid(), path);
        return CULVERT_ERROR_PERMISSION;
    }
    if ((status.st_mode & OTHERS) != 0) {
        snprintf(why, why_size,
                 "others may read or write the store %s (mode %04o); it should have mode 0600: "
                 "chmod 600 %s",
                 path, (unsigned)status.st_mode & 07777U, path);
        return CULVERT_ERROR_PERMISSION;
    }
    return 0;
}

int file_prepare(const char *directory, char path[static PATH_MAX], int *lock, char *why,
                 size_t why_size)
{
    int error = 0;
    int descriptor = -1;
    why[0] = '\0';
    if (snprintf(path, PATH_MAX, "%s/%s", directory, FILE_NAME) >= PATH_MAX) {
        error = CULVERT_ERROR_TOO_LARGE;
        goto out;
    }
    error = state_directory_make(directory);
    if (error != 0)
        goto out;
    descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0 || flock(descriptor, LOCK_EX) != 0) {
        error = -errno;
        goto out;
    }
    error = state_directory_check(directory, why, why_size);
    if (error == 0)
        error = make_file(path, why, why_size);
out:
    if (error != 0) {
        if (why[0] == '\0')
            snprintf(why, why_size, "cannot make the store in %s: %s", directory,
                     error_text(error));
        if (descriptor >= 0)
            close(descriptor);
        return error;
    }
    *lock = descriptor;
    return 0;
}
