/*
 * A small HTTP/1.1 server for JSON APIs, on a loop: connections, requests with bounds in bytes,
 * time and number, a table of routes, answers in JSON, errors as application/problem+json (RFC
 * 9457). Who may call is decided here: a bearer token (RFC 6750), and a `Host` and `Origin` of the
 * server's own, so that no web page reaches it by rebinding a name of its own (DNS rebinding).
 */
#ifndef API_API_SERVER_H
#define API_API_SERVER_H

#include "base/str.h"
#include "net/loop.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    API_MAX_BODY = 64 * 1024, /* of a request; more is 413 */
    API_MAX_CONNECTIONS = 64,
    API_REQUEST_TIME = 10, /* seconds for a request to come in whole */
    API_IDLE_TIME = 60,    /* seconds that a connection may stay without one */
    API_DETAIL_SIZE = 512,
    API_MAX_TOKEN = 256, /* bytes */
};

struct api_server;

struct api_request {
    struct text method;
    struct text parameter; /* what stands for {id} in the route's path; not decoded, no slash */
    const json_t *body;    /* the request's JSON, borrowed; NULL where the method has none */
};

/* An answer; zero is 200 without a body. For status 400 and above `detail` says in a sentence what
 * is wrong and what to do; the rest of the problem is made of it. */
struct api_response {
    int status;
    json_t *body;       /* taken; NULL: none (then 204 unless status says otherwise) */
    char location[256]; /* "": no Location */
    char detail[API_DETAIL_SIZE];
    char field[64]; /* the field of the request that is wrong: "field" of the problem; "": none */
};

struct api_route {
    const char *method; /* "GET", "POST", "DELETE" */
    const char *path;   /* "/v1/forwards/{id}" */
    bool has_body;      /* JSON is wanted: else 415, malformed 400 */
    void (*handle)(void *context, const struct api_request *request, struct api_response *response);
};

struct api_server_config {
    const char *host;  /* a numeric address or a name; NULL: a unix socket */
    uint16_t port;     /* 0: a free one */
    const char *path;  /* of the unix socket, made with mode 0600; a stale one is replaced */
    const char *token; /* up to API_MAX_TOKEN bytes */
    /* Called before a request's token is looked at, and may set another; or NULL. */
    void (*refresh_token)(void *context);
    const struct api_route *routes; /* borrowed */
    size_t route_count;
    void *context; /* of the routes' handlers and refresh_token */
};

/* Listens and serves. Texts but the routes' are copied. Returns 0, or an error (-EADDRINUSE) with a
 * sentence in `why`. */
int api_server_new(struct loop *loop, const struct api_server_config *config,
                   struct api_server **server, char *why, size_t why_size);
/* Replaces the token, from the next request on. CULVERT_ERROR_TOO_LARGE if it is too long. */
int api_server_set_token(struct api_server *server, const char *token);
/* "http://127.0.0.1:7070" or "unix:/run/culvert.sock", with the real port. */
void api_server_text(const struct api_server *server, char *out, size_t size);
/* The TCP port; 0 for a unix socket. */
uint16_t api_server_port(const struct api_server *server);
/* Closes everything; the memory is freed when the loop lets go. */
void api_server_close(struct api_server *server);

#endif
