/*
 * One connection to an API: requests one after the other, each read whole and answered before the
 * next is looked at, with bounds in bytes and time. Whom it belongs to tells what the requests
 * mean.
 */
#ifndef API_API_CONNECTION_H
#define API_API_CONNECTION_H

#include "api/api_server.h"
#include "base/list.h"
#include "net/conn.h"

#include <stdbool.h>

enum { API_CONNECTION_GRACE = 250 }; /* milliseconds */

struct api_connection;

/* What the connections of a server share. */
struct api_site {
    struct loop *loop;
    char *given;                   /* the host it was told to listen on, "" for a unix socket */
    char token[API_MAX_TOKEN + 1]; /* the connections look at it with each request */
    void (*refresh_token)(void *context);
    const struct api_route *routes;
    size_t route_count;
    void *context;
    struct list connections;
    unsigned connection_count;
    void (*changed)(struct api_site *site); /* a connection has come, gone, begun, ended */
    uint64_t last_complaint; /* when a caller was last refused in the log; 0: never */
};

/* Takes the descriptor in any case. Returns 0 or an error. */
int api_connection_new(struct api_site *site, int fd);
/* Whether one more can be taken: there are fewer than API_MAX_CONNECTIONS, or one of them may be
 * closed for it, which api_connection_make_room does (the one that has waited for longest): it
 * rests between requests, or it has not shown the token within API_CONNECTION_GRACE. To be asked
 * again when a connection has changed, and after that time. */
bool api_connection_has_room(const struct api_site *site);
void api_connection_make_room(struct api_site *site);
void api_connection_close_all(struct api_site *site);

#endif
