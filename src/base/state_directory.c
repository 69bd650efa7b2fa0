#include "base/state_directory.h"

#include "base/error.h"
#include "base/file_access.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int state_directory_path(char *out, size_t size)
{
    const char *state = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    int length;
    if (state != NULL && state[0] == '/') /* relative ones are to be ignored (XDG base directory) */
        length = snprintf(out, size, "%s/culvert", state);
    else if (geteuid() == 0)
        length = snprintf(out, size, "/var/lib/culvert");
    else if (home != NULL && home[0] == '/')
        length = snprintf(out, size, "%s/.local/state/culvert", home);
    else
        return CULVERT_ERROR_NOT_FOUND;
    return length < 0 || (size_t)length >= size ? CULVERT_ERROR_TOO_LARGE : 0;
}

static int make_one_directory(const char *path)
{
    if (mkdir(path, S_IRWXU) == 0)
        return chmod(path, S_IRWXU) == 0 ? 0 : -errno;
    return errno == EEXIST ? 0 : -errno;
}

int state_directory_make(const char *directory)
{
    char path[PATH_MAX];
    int error = 0;
    if (snprintf(path, sizeof path, "%s", directory) >= (int)sizeof path)
        return CULVERT_ERROR_TOO_LARGE;
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        struct stat status;
        *slash = '\0';
        if (stat(path, &status) != 0)
            error = make_one_directory(path);
        *slash = '/';
        if (error != 0)
            return error;
    }
    return make_one_directory(path);
}

/* The directory of a service belongs to the service's user: what is to change is who runs culvert.
 */
static int check_owner(int descriptor, char *why, size_t why_size)
{
    struct stat status;
    if (fstat(descriptor, &status) != 0)
        return -errno;
    if (status.st_uid == 0 || status.st_uid == geteuid())
        return 0;
    snprintf(why, why_size,
             "it belongs to user %u (mode %04o), and culvert runs as user %u: run it as user %u, "
             "such as with sudo -u '#%u'",
             (unsigned)status.st_uid, (unsigned)status.st_mode & 07777U, (unsigned)geteuid(),
             (unsigned)status.st_uid, (unsigned)status.st_uid);
    return CULVERT_ERROR_PERMISSION;
}

int state_directory_check(const char *directory, char *why, size_t why_size)
{
    int descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) {
        int error = -errno;
        snprintf(why, why_size, "cannot open %.900s: %s", directory, error_text(error));
        return error;
    }
    char who[PATH_MAX + 256] = "";
    int error = check_owner(descriptor, who, sizeof who);
    if (error == 0)
        error = file_access_check_writers(descriptor, directory, who, sizeof who);
    if (error != 0)
        snprintf(why, why_size, "the directory %.900s is not safe: %.1200s", directory, who);
    close(descriptor);
    return error;
}
