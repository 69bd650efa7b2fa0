#include "base/output.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* What of a line was left when its descriptor took only the first part. */
struct rest {
    char data[OUTPUT_LINE];
    size_t size;
};

/* The same pipe may be both, so one lock guards both. */
static struct {
    pthread_mutex_t mutex;
    int reopened[STDERR_FILENO + 1]; /* the same pipe or terminal, not blocking; -1: none */
    struct rest rest[STDERR_FILENO + 1];
    _Atomic uint64_t dropped; /* lines of output_print since the last that was taken */
} output = {.mutex = PTHREAD_MUTEX_INITIALIZER, .reopened = {-1, -1, -1}};

/* A description of its own: O_NONBLOCK on the one that we were given would hold for everybody else
 * who has it. */
static int reopen(int descriptor)
{
    char path[64];
    struct stat status;
    if (fstat(descriptor, &status) != 0 || (!S_ISFIFO(status.st_mode) && isatty(descriptor) == 0))
        return -1;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", descriptor);
    return open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

void output_open(void)
{
    for (int descriptor = 0; descriptor <= STDERR_FILENO; descriptor++) {
        if (fcntl(descriptor, F_GETFD) >= 0 || errno != EBADF)
            continue;
        /* The lowest free number is this one. */
        int opened = open("/dev/null", O_RDWR);
        if (opened > STDERR_FILENO)
            close(opened);
    }
    pthread_mutex_lock(&output.mutex);
    for (int descriptor = STDOUT_FILENO; descriptor <= STDERR_FILENO; descriptor++) {
        if (output.reopened[descriptor] >= 0)
            close(output.reopened[descriptor]);
        output.reopened[descriptor] = reopen(descriptor);
        output.rest[descriptor].size = 0;
    }
    pthread_mutex_unlock(&output.mutex);
}

/* Writes what a descriptor that blocks takes at once. A pipe that can be written to has room for
 * PIPE_BUF bytes. */
static ssize_t write_polled(int descriptor, const char *data, size_t size)
{
    struct pollfd poller = {.fd = descriptor, .events = POLLOUT};
    if (poll(&poller, 1, 0) != 1 || (poller.revents & POLLOUT) == 0) {
        errno = EAGAIN;
        return -1;
    }
    return write(descriptor, data, size < PIPE_BUF ? size : PIPE_BUF);
}

static ssize_t write_some(int descriptor, const char *data, size_t size)
{
    ssize_t sent = send(descriptor, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0 || errno != ENOTSOCK)
        return sent;
    if (output.reopened[descriptor] >= 0)
        return write(output.reopened[descriptor], data, size);
    return write_polled(descriptor, data, size);
}

/* Returns how much was taken. */
static size_t write_most(int descriptor, const char *data, size_t size)
{
    size_t taken = 0;
    while (taken < size) {
        ssize_t sent = write_some(descriptor, data + taken, size - taken);
        if (sent > 0)
            taken += (size_t)sent;
        else if (sent == 0 || errno != EINTR)
            break;
    }
    return taken;
}

static bool write_rest(int descriptor)
{
    struct rest *rest = &output.rest[descriptor];
    size_t taken = write_most(descriptor, rest->data, rest->size);
    rest->size -= taken;
    memmove(rest->data, rest->data + taken, rest->size);
    return rest->size == 0;
}

bool output_write(int descriptor, const char *line, size_t size)
{
    size_t taken = 0;
    pthread_mutex_lock(&output.mutex);
    if (size <= OUTPUT_LINE && write_rest(descriptor))
        taken = write_most(descriptor, line, size);
    if (taken > 0 && taken < size) {
        struct rest *rest = &output.rest[descriptor];
        rest->size = size - taken;
        memcpy(rest->data, line + taken, rest->size);
    }
    pthread_mutex_unlock(&output.mutex);
    return taken > 0;
}

void output_print(const char *format, ...)
{
    char line[OUTPUT_LINE];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof(line) - 1, format, arguments);
    va_end(arguments);
    if (length < 0)
        return;
    size_t size = (size_t)length < sizeof(line) - 2 ? (size_t)length : sizeof(line) - 2;
    line[size++] = '\n';
    if (!output_write(STDOUT_FILENO, line, size)) {
        if (atomic_fetch_add(&output.dropped, 1) == 0)
            log_warning("nobody reads standard output: lines for it are dropped");
        return;
    }
    uint64_t dropped = atomic_exchange(&output.dropped, 0);
    if (dropped > 0)
        log_warning("%" PRIu64 " line%s for standard output %s dropped since nobody read it",
                    dropped, dropped == 1 ? "" : "s", dropped == 1 ? "was" : "were");
}
