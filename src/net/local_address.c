#include "net/local_address.h"

#include <errno.h>
#include <netinet/in.h>
#include <unistd.h>

/* A socket can be bound to an address only if it is one of ours. */
bool local_address_is(const struct sockaddr_storage *address)
{
    struct sockaddr_storage any_port = *address;
    socklen_t size = sizeof(struct sockaddr_in);
    if (address->ss_family == AF_INET6) {
        ((struct sockaddr_in6 *)(void *)&any_port)->sin6_port = 0;
        size = sizeof(struct sockaddr_in6);
    } else {
        ((struct sockaddr_in *)(void *)&any_port)->sin_port = 0;
    }
    int descriptor = socket(address->ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0)
        return true;
    int result = bind(descriptor, (const struct sockaddr *)(const void *)&any_port, size);
    bool is_ours = result == 0 || errno != EADDRNOTAVAIL;
    close(descriptor);
    return is_ours;
}
