#include "base/error.h"
#include "base/file_access.h"
#include "base/log.h"
#include "base/memory.h"
#include "lua/crew.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WHY_SIZE = 512 };

/* Returns 0, or an error with what is wrong in `*what`. */
static int read_whole(int file, char *text, size_t *size, const char **what)
{
    size_t count = 0;
    while (count <= FRAME_SCRIPT) {
        ssize_t got = read(file, text + count, FRAME_SCRIPT + 1 - count);
        if (got < 0 && errno != EINTR) {
            *what = error_text(-errno);
            return -errno;
        }
        if (got == 0) {
            *size = count;
            return 0;
        }
        if (got > 0)
            count += (size_t)got;
    }
    *what = "is longer than 1 MiB";
    return CULVERT_ERROR_TOO_LARGE;
}

/* The writers of the script decide about every session. A group may be intended; all users are
 * not. */
static int check_writers(int file, const char *path, const struct stat *status, const char **what)
{
    char why[WHY_SIZE] = "";
    if ((status->st_mode & S_IWOTH) != 0) {
        *what = "is not used, as all users may write it: run chmod go-w on it";
        return CULVERT_ERROR_PERMISSION;
    }
    if (file_access_check_writers(file, path, why, sizeof why) != 0)
        log_warning("the script %.300s decides about every session, but %s", path, why);
    return 0;
}

static int read_file(const char *path, char *text, size_t *size, const char **what)
{
    struct stat status;
    /* A pipe without a writer must not hold us up. */
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    int error = 0;
    if (file < 0 || fstat(file, &status) != 0) {
        error = -errno;
        *what = error_text(error);
    } else if (!S_ISREG(status.st_mode)) {
        *what = "is not a file";
        error = CULVERT_ERROR_INVALID;
    } else {
        error = check_writers(file, path, &status, what);
        if (error == 0)
            error = read_whole(file, text, size, what);
    }
    if (file >= 0)
        close(file);
    return error;
}

int crew_script_read(const char *path, struct crew_script *script, char *why, size_t why_size)
{
    const char *what = error_text(CULVERT_ERROR_NO_MEMORY);
    int error = CULVERT_ERROR_NO_MEMORY;
    *script = (struct crew_script){.path = memory_copy_text(path),
                                   .text = memory_allocate(FRAME_SCRIPT + 1)};
    if (script->path != NULL && script->text != NULL)
        error = read_file(path, script->text, &script->size, &what);
    if (error == 0) {
        char *text = memory_grow(script->text, script->size + 1);
        if (text != NULL)
            script->text = text;
        return 0;
    }
    snprintf(why, why_size, "%s: %s", path, what);
    crew_script_free(script);
    return error;
}

void crew_script_free(struct crew_script *script)
{
    memory_free(script->path);
    memory_free(script->text);
    *script = (struct crew_script){0};
}
