/*
 * Who may call an API: whoever knows its bearer token (RFC 6750), and names the server by a name of
 * its own. A page in a browser that reaches the server by a name of the page's own (DNS rebinding)
 * says that name in `Host`, and a page from elsewhere says where it is from in `Origin`.
 */
#ifndef API_API_ACCESS_H
#define API_API_ACCESS_H

#include "base/str.h"
#include "codec/http1.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum {
    API_ACCESS_HOST_SIZE = 272,
    API_ACCESS_HOSTS = 4,
};

struct api_access {
    const char *token;   /* borrowed */
    bool takes_any_host; /* of a unix socket, which no browser reaches */
    uint16_t port;       /* of the server */
    unsigned host_count; /* its own hosts, IPv6 addresses in brackets, without the port */
    char hosts[API_ACCESS_HOSTS][API_ACCESS_HOST_SIZE];
};

/* `given` is the host that the server was told to listen on; `own` is the address that the
 * connection arrived at, or of the listener. AF_UNIX takes any host. */
void api_access_init(struct api_access *access, const char *token, const char *given,
                     const struct sockaddr_storage *own);

/* Whether the request says the token; the time it takes does not tell how much of it was right. */
bool api_access_knows_token(const struct api_access *access, const struct http1_head *head);

/* Whether `authority` ("localhost:7070", or without the port where that is 80) is the server. */
bool api_access_is_own(const struct api_access *access, struct text authority);

/* Whether Origin, if there is one, is the server itself. */
bool api_access_takes_origin(const struct api_access *access, const struct http1_head *head);

#endif
