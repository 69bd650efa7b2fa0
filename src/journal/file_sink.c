#include "journal/file_sink.h"

#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "journal/event_record.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PENDING_KEPT = 64 * 1024 /* room that stays allocated while nothing waits */ };

struct file_sink {
    char *path;
    int file; /* -1: none is open */
    char *pending;
    size_t size;
    size_t capacity;
    uint64_t lost;     /* lines, since the failure began */
    uint64_t untold;   /* of these, those that no line of the file reports yet */
    int64_t next_look; /* whether the file still has a name */
    int64_t next_try;  /* 0: nothing has failed */
    bool must_reopen;
};

/* Not blocking, for a named pipe that nobody reads; to a file that makes no difference. */
static int open_file(const char *path)
{
    int file;
    do {
        file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600);
    } while (file < 0 && errno == EINTR);
    return file < 0 ? -errno : file;
}

int file_sink_open(const char *path, struct file_sink **out, char *why, size_t why_size)
{
    struct file_sink *sink = memory_allocate_zero(sizeof *sink);
    int error = CULVERT_ERROR_NO_MEMORY;
    if (sink == NULL)
        goto out;
    sink->path = memory_copy_text(path);
    if (sink->path == NULL)
        goto out;
    sink->file = open_file(path);
    if (sink->file < 0) {
        error = sink->file;
        goto out;
    }
    *out = sink;
    return 0;
out:
    snprintf(why, why_size, "cannot open %s for events: %s", path, error_text(error));
    if (sink != NULL)
        memory_free(sink->path);
    memory_free(sink);
    return error;
}

static void fail(struct file_sink *sink, int error, int64_t now)
{
    if (sink->next_try == 0)
        log_error("cannot write events to %s: %s; trying again", sink->path, error_text(error));
    sink->next_try = now + FILE_SINK_RETRY;
}

static void recover(struct file_sink *sink)
{
    if (sink->lost > 0)
        log_warning("events are written to %s again; %" PRIu64 " were lost", sink->path,
                    sink->lost);
    else if (sink->next_try != 0)
        log_info("events are written to %s again", sink->path);
    sink->next_try = 0;
    sink->lost = 0;
}

static int replace(struct file_sink *sink)
{
    int file = open_file(sink->path);
    if (file < 0)
        return file;
    if (sink->file >= 0)
        close(sink->file);
    sink->file = file;
    sink->must_reopen = false;
    return 0;
}

/* A file that was removed takes all there is and nobody can read it: begin a new one. */
static void look_at_name(struct file_sink *sink, int64_t now)
{
    struct stat status;
    if (now < sink->next_look || sink->file < 0)
        return;
    sink->next_look = now + FILE_SINK_RETRY;
    if (fstat(sink->file, &status) == 0 && status.st_nlink == 0 && S_ISREG(status.st_mode)) {
        close(sink->file);
        sink->file = -1;
    }
}

/* Removes the start of a line that a full disk has cut, unless another process has appended to it.
 * Returns whether it did. */
static bool take_back(const struct file_sink *sink, off_t size)
{
    struct stat status;
    off_t end = lseek(sink->file, 0, SEEK_CUR);
    return end >= size && fstat(sink->file, &status) == 0 && status.st_size == end &&
           ftruncate(sink->file, end - size) == 0;
}

/* Returns 0 when all was written. Whole lines, as far as the file lets itself be cut. */
static int write_pending(struct file_sink *sink)
{
    size_t sent = 0;
    int error = 0;
    while (sent < sink->size && error == 0) {
        ssize_t size = write(sink->file, sink->pending + sent, sink->size - sent);
        if (size > 0)
            sent += (size_t)size;
        else if (size == 0)
            error = -EIO;
        else if (errno != EINTR)
            error = -errno;
    }
    if (error != 0 && sent > 0) {
        const char *end = memrchr(sink->pending, '\n', sent);
        size_t whole = end == NULL ? 0 : (size_t)(end - sink->pending) + 1;
        if (whole < sent && take_back(sink, (off_t)(sent - whole)))
            sent = whole;
    }
    sink->size -= sent;
    if (sink->size > 0)
        memmove(sink->pending, sink->pending + sent, sink->size);
    return error;
}

static int make_room(struct file_sink *sink, size_t size)
{
    size_t needed = sink->size + size;
    if (needed <= sink->capacity)
        return 0;
    if (needed > FILE_SINK_PENDING)
        return CULVERT_ERROR_LIMIT;
    size_t capacity = 2 * needed < FILE_SINK_PENDING ? 2 * needed : FILE_SINK_PENDING;
    char *grown = memory_grow(sink->pending, capacity);
    if (grown == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    sink->pending = grown;
    sink->capacity = capacity;
    return 0;
}

static int append(struct file_sink *sink, const char *line, size_t size)
{
    int error = make_room(sink, size + 1);
    if (error != 0)
        return error;
    memcpy(sink->pending + sink->size, line, size);
    sink->pending[sink->size + size] = '\n';
    sink->size += size + 1;
    return 0;
}

/* Reports lost lines in their place, as soon as there is room. */
static int tell_lost(struct file_sink *sink)
{
    char line[EVENT_DROPPED_SIZE];
    if (sink->untold == 0)
        return 0;
    size_t size = event_dropped_json(sink->untold, line);
    int error = append(sink, line, size);
    if (error == 0)
        sink->untold = 0;
    return error;
}

void file_sink_add(struct file_sink *sink, const char *line, size_t size)
{
    if (tell_lost(sink) == 0 && append(sink, line, size) == 0)
        return;
    sink->lost++;
    sink->untold++;
}

static int write_all(struct file_sink *sink)
{
    int error = write_pending(sink);
    if (error == 0 && sink->untold > 0)
        error = tell_lost(sink);
    return error != 0 ? error : write_pending(sink);
}

void file_sink_flush(struct file_sink *sink, int64_t now)
{
    if (sink->next_try != 0 && now < sink->next_try)
        return;
    look_at_name(sink, now);
    int error = 0;
    if (sink->file < 0 || sink->must_reopen)
        error = replace(sink);
    if (sink->file >= 0) {
        int failure = write_all(sink);
        error = failure != 0 ? failure : error;
    }
    if (error != 0) {
        fail(sink, error, now);
        return;
    }
    recover(sink);
    if (sink->capacity > PENDING_KEPT) {
        memory_free(sink->pending);
        sink->pending = NULL;
        sink->capacity = 0;
    }
}

void file_sink_reopen(struct file_sink *sink, int64_t now)
{
    sink->must_reopen = true;
    if (sink->next_try != 0)
        sink->next_try = now;
    file_sink_flush(sink, now);
}

int64_t file_sink_next_try(const struct file_sink *sink)
{
    return sink->next_try;
}

void file_sink_close(struct file_sink *sink)
{
    if (sink == NULL)
        return;
    if (sink->file < 0)
        sink->file = open_file(sink->path);
    if (sink->file >= 0)
        write_all(sink);
    for (size_t i = 0; i < sink->size; i++)
        sink->lost += sink->pending[i] == '\n';
    if (sink->lost > 0)
        log_warning("%" PRIu64 " events could not be written to %s", sink->lost, sink->path);
    if (sink->file >= 0)
        close(sink->file);
    memory_free(sink->pending);
    memory_free(sink->path);
    memory_free(sink);
}
