#include "api/api_listen.h"

#include "base/error.h"
#include "net/address.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

/* Parts of a sentence, cut so that it fits. */
#define HOST_SHOWN 256
#define PATH_SHOWN 256

struct attempt {
    struct loop *loop;
    const struct listener_events *events;
    void *holder;
    struct listener **listener;
};

static int listen_on(const struct attempt *attempt, const struct sockaddr *address, socklen_t size)
{
    return listener_new(attempt->loop, address, size, NULL, attempt->events, attempt->holder,
                        attempt->listener);
}

static int complain_port(char why[static API_DETAIL_SIZE], const char *host, uint16_t port,
                         int error)
{
    snprintf(why, API_DETAIL_SIZE, "the API cannot listen on port %u of %.*s: %s", port, HOST_SHOWN,
             host, error_text(error));
    return error;
}

static int listen_tcp(const struct attempt *attempt, const char *host, uint16_t port,
                      char why[static API_DETAIL_SIZE])
{
    struct addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    struct sockaddr_storage address;
    int error = address_parse(host, port, &address);
    if (error == 0) {
        error = listen_on(attempt, (const struct sockaddr *)&address, address_size(&address));
        return error == 0 ? 0 : complain_port(why, host, port, error);
    }
    error = getaddrinfo(host, NULL, &hints, &found);
    if (error != 0) {
        snprintf(why, API_DETAIL_SIZE, "the API's host %.*s has no address: %s", HOST_SHOWN, host,
                 gai_strerror(error));
        return CULVERT_ERROR_RESOLVE;
    }
    error = CULVERT_ERROR_RESOLVE;
    for (const struct addrinfo *next = found; next != NULL; next = next->ai_next) {
        memset(&address, 0, sizeof address);
        memcpy(&address, next->ai_addr, next->ai_addrlen);
        address_set_port(&address, port);
        error = listen_on(attempt, (const struct sockaddr *)&address, next->ai_addrlen);
        if (error == 0)
            break;
    }
    freeaddrinfo(found);
    return error == 0 ? 0 : complain_port(why, host, port, error);
}

/* Whether somebody listens there: 0 if not, -EADDRINUSE or another error. */
static int probe(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int error = -EADDRINUSE;
    if (connect(fd, (const struct sockaddr *)address, sizeof *address) != 0 && errno != EAGAIN)
        error = errno == ECONNREFUSED || errno == ENOENT ? 0 : -errno;
    close(fd);
    return error;
}

/* A process that was killed leaves its socket behind. */
static int remove_stale(const struct sockaddr_un *address, char why[static API_DETAIL_SIZE])
{
    const char *path = address->sun_path;
    struct stat status;
    if (lstat(path, &status) != 0)
        return 0;
    if (!S_ISSOCK(status.st_mode)) {
        snprintf(why, API_DETAIL_SIZE, "%.*s is there and is not a socket", PATH_SHOWN, path);
        return -EEXIST;
    }
    int error = probe(address);
    if (error == 0 && unlink(path) != 0 && errno != ENOENT)
        error = -errno;
    if (error == -EADDRINUSE)
        snprintf(why, API_DETAIL_SIZE, "another process listens on %.*s", PATH_SHOWN, path);
    else if (error != 0)
        snprintf(why, API_DETAIL_SIZE, "the old socket %.*s cannot be replaced: %s", PATH_SHOWN,
                 path, error_text(error));
    return error;
}

/* A user who can remove the socket can replace it by another, and gets the token of its clients. In
 * a sticky directory such as /tmp only the owner can remove it. */
static int check_directory(const char *path, char why[static API_DETAIL_SIZE])
{
    char directory[sizeof((struct sockaddr_un *)NULL)->sun_path + 1];
    struct stat status;
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        snprintf(directory, sizeof directory, ".");
    else
        snprintf(directory, sizeof directory, "%.*s", slash == path ? 1 : (int)(slash - path),
                 path);
    if (stat(directory, &status) != 0)
        return 0; /* which bind reports */
    if (status.st_uid != 0 && status.st_uid != geteuid())
        snprintf(why, API_DETAIL_SIZE,
                 "%s belongs to user %u, who could replace the API's socket in it; choose a "
                 "directory of root or of user %u",
                 directory, (unsigned)status.st_uid, (unsigned)geteuid());
    else if ((status.st_mode & S_IWOTH) != 0 && (status.st_mode & S_ISVTX) == 0)
        snprintf(why, API_DETAIL_SIZE,
                 "all users may write %s (mode %04o) and could replace the API's socket in it: run "
                 "chmod go-w %s",
                 directory, (unsigned)status.st_mode & 07777U, directory);
    else
        return 0;
    return CULVERT_ERROR_PERMISSION;
}

static int listen_unix(const struct attempt *attempt, const char *path,
                       struct api_listen_file *file, char why[static API_DETAIL_SIZE])
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (path[0] == '\0' ||
        text_copy(text_of(path), address.sun_path, sizeof address.sun_path) != 0) {
        snprintf(why, API_DETAIL_SIZE, "the path of a unix socket has 1 to %zu bytes",
                 sizeof address.sun_path - 1);
        return CULVERT_ERROR_INVALID;
    }
    int error = check_directory(path, why);
    if (error == 0)
        error = remove_stale(&address, why);
    if (error != 0)
        return error;
    error = listen_on(attempt, (const struct sockaddr *)&address, sizeof address);
    if (error != 0) {
        snprintf(why, API_DETAIL_SIZE, "the API cannot listen on %.*s: %s", PATH_SHOWN, path,
                 error_text(error));
        return error;
    }
    struct stat status;
    if (lstat(path, &status) == 0)
        *file = (struct api_listen_file){status.st_dev, status.st_ino};
    return 0;
}

int api_listen(struct loop *loop, const struct api_server_config *config,
               const struct listener_events *events, void *holder, struct listener **listener,
               struct api_listen_file *file, char why[static API_DETAIL_SIZE])
{
    struct attempt attempt = {loop, events, holder, listener};
    *file = (struct api_listen_file){0};
    if (config->host == NULL)
        return listen_unix(&attempt, config->path, file, why);
    return listen_tcp(&attempt, config->host, config->port, why);
}

void api_listen_remove(const char *path, const struct api_listen_file *file)
{
    struct stat status;
    if (file->inode != 0 && lstat(path, &status) == 0 && status.st_dev == file->device &&
        status.st_ino == file->inode)
        unlink(path);
}
