#include "base/private_file.h"

#include "base/error.h"
#include "base/file_access.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- reading ---- */

static int read_all(int descriptor, char *text, size_t max, size_t *size)
{
    *size = 0;
    while (*size < max) {
        ssize_t count = read(descriptor, text + *size, max - *size);
        if (count == 0)
            return 0;
        if (count > 0)
            *size += (size_t)count;
        else if (errno != EINTR)
            return -errno;
    }
    return 0;
}

/* Its size is looked at first, so that no more is allocated than is needed. */
static int look(int descriptor, size_t max, size_t *room)
{
    struct stat status;
    if (fstat(descriptor, &status) != 0)
        return -errno;
    if (!S_ISREG(status.st_mode))
        return S_ISDIR(status.st_mode) ? -EISDIR : CULVERT_ERROR_INVALID;
    if ((size_t)status.st_size > max)
        return CULVERT_ERROR_TOO_LARGE;
    *room = (size_t)status.st_size + 1; /* one more, to see that it has not grown */
    return 0;
}

/* Reads what an open file holds; `room` is what there is for it, and one byte more for its end. */
static int read_text(int descriptor, size_t room, char **text, size_t *size)
{
    char *read_here = memory_allocate(room + 1);
    if (read_here == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    int error = read_all(descriptor, read_here, room, size);
    if (error == 0 && *size == room)
        error = -EAGAIN;
    if (error != 0) {
        private_file_free(read_here, room);
        return error;
    }
    read_here[*size] = '\0';
    *text = read_here;
    return 0;
}

/* Editors on Windows begin a file with a byte order mark. What moves is wiped where it was. */
static void drop_byte_order_mark(char *text, size_t *size)
{
    static const char mark[] = {'\xef', '\xbb', '\xbf'};
    if (*size < sizeof mark || memcmp(text, mark, sizeof mark) != 0)
        return;
    *size -= sizeof mark;
    memmove(text, text + sizeof mark, *size);
    explicit_bzero(text + *size, sizeof mark);
}

int private_file_read(const char *path, size_t max, char **text, size_t *size, bool *is_shared,
                      char *why, size_t why_size)
{
    size_t room = 0;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int error = descriptor < 0 ? -errno : look(descriptor, max, &room);
    *is_shared = error == 0 && file_access_check(descriptor, why, why_size) != 0;
    if (error == 0)
        error = read_text(descriptor, room, text, size);
    if (error == 0)
        drop_byte_order_mark(*text, size);
    if (descriptor >= 0)
        close(descriptor);
    if (error == CULVERT_ERROR_INVALID)
        snprintf(why, why_size, "it is not a regular file");
    else if (error == -EAGAIN)
        snprintf(why, why_size, "it was being written while it was read");
    else if (error != 0)
        snprintf(why, why_size, "cannot read it: %s", error_text(error));
    return error;
}

void private_file_free(char *text, size_t size)
{
    if (text != NULL)
        explicit_bzero(text, size);
    memory_free(text);
}

/* ---- writing ---- */

static int write_all(int descriptor, const char *text, size_t size)
{
    while (size > 0) {
        ssize_t count = write(descriptor, text, size);
        if (count < 0 && errno != EINTR)
            return -errno;
        if (count > 0) {
            text += count;
            size -= (size_t)count;
        }
    }
    return fsync(descriptor) == 0 ? 0 : -errno;
}

/* So that the new name is on the disk as well. A file system that cannot do it has done what it
 * can.
 */
static void sync_directory(const char *path)
{
    char directory[PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        snprintf(directory, sizeof directory, ".");
    else
        snprintf(directory, sizeof directory, "%.*s", slash == path ? 1 : (int)(slash - path),
                 path);
    int descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0)
        return;
    (void)fsync(descriptor);
    close(descriptor);
}

/* A file beside `path` with this text; its name in `temporary`. mkostemp gives it mode 0600. */
static int write_beside(const char *path, const char *text, size_t size,
                        char temporary[static PATH_MAX])
{
    if (snprintf(temporary, PATH_MAX, "%s.XXXXXX", path) >= PATH_MAX)
        return -ENAMETOOLONG;
    int descriptor = mkostemp(temporary, O_CLOEXEC);
    if (descriptor < 0)
        return -errno;
    int error = fchmod(descriptor, S_IRUSR | S_IWUSR) == 0 ? 0 : -errno;
    if (error == 0)
        error = write_all(descriptor, text, size);
    if (close(descriptor) != 0 && error == 0)
        error = -errno;
    if (error != 0)
        (void)unlink(temporary);
    return error;
}

int private_file_replace(const char *path, const char *text, size_t size)
{
    char temporary[PATH_MAX];
    int error = write_beside(path, text, size, temporary);
    if (error != 0)
        return error;
    if (rename(temporary, path) != 0) {
        error = -errno;
        (void)unlink(temporary);
        return error;
    }
    sync_directory(path);
    return 0;
}

int private_file_make(const char *path, const char *text, size_t size)
{
    char temporary[PATH_MAX];
    int error = write_beside(path, text, size, temporary);
    if (error != 0)
        return error;
    /* Fails where rename would replace. */
    if (link(temporary, path) != 0)
        error = -errno;
    (void)unlink(temporary);
    if (error == 0)
        sync_directory(path);
    return error;
}
