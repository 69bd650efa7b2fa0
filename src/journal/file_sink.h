/*
 * A file that events are appended to, one a line. Belongs to one thread. What cannot be written (a
 * full disk, a directory that is gone) waits within a bound and is tried again; it is told to the
 * log once, and once more when it works again; an events.dropped
 * without a number reports lost lines in the file.
 */
#ifndef JOURNAL_FILE_SINK_H
#define JOURNAL_FILE_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    FILE_SINK_PENDING = 4 * 1024 * 1024, /* bytes of lines that wait at most */
    FILE_SINK_RETRY = 1000,              /* milliseconds between two attempts */
};

struct file_sink;

/* Opens the file, with mode 0600 if it is made. Returns 0, or an error with a sentence in `why`. */
int file_sink_open(const char *path, struct file_sink **out, char *why, size_t why_size);

/* Writes what it can, says what was lost, and frees. NULL: nothing. */
void file_sink_close(struct file_sink *sink);

/* Takes a line, without its end, for the next flush. */
void file_sink_add(struct file_sink *sink, const char *line, size_t size);

/* Writes what was added. `now` in milliseconds of a monotonic clock. */
void file_sink_flush(struct file_sink *sink, int64_t now);

/* Opens the file anew by its name; keeps the one that is open until that has worked. */
void file_sink_reopen(struct file_sink *sink, int64_t now);

/* When file_sink_flush wants to be called though nothing was added; 0: it does not. */
int64_t file_sink_next_try(const struct file_sink *sink);

#endif
