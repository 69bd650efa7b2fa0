/* The socket that an API listens on: TCP, or a unix socket that only its owner may use. */
#ifndef API_API_LISTEN_H
#define API_API_LISTEN_H

#include "api/api_server.h"
#include "net/listener.h"

#include <stddef.h>
#include <sys/stat.h>

/* The file of a unix socket, as it was made: what somebody else put in its place is not removed. */
struct api_listen_file {
    dev_t device;
    ino_t inode;
};

/* Listens on the config's address, on the first address of its name that can be bound (the lookup
 * is waited for), or on its unix socket; `file` is set for the last. Returns 0 or an error with a
 * sentence in `why`. */
int api_listen(struct loop *loop, const struct api_server_config *config,
               const struct listener_events *events, void *holder, struct listener **listener,
               struct api_listen_file *file, char why[static API_DETAIL_SIZE]);

/* Removes the file of a unix socket if it is still the one that was made. */
void api_listen_remove(const char *path, const struct api_listen_file *file);

#endif
