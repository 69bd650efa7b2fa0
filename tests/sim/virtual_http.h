/*
 * HTTP requests in virtual time, in place of net/http_requests.h: what an agent's long poll posts
 * comes to a poll_server, or is lost on the way there or back, late, too large for a proxy, or sent
 * twice by one.
 */
#ifndef VIRTUAL_HTTP_H
#define VIRTUAL_HTTP_H

#include "carrier/poll_server.h"
#include "net/http_requests.h"
#include "trial.h"

/* Of a proxy's limit. */
enum { VIRTUAL_HTTP_LEAST = 4 * 1024, VIRTUAL_HTTP_MOST = 128 * 1024 };

struct virtual_http {
    struct trial *trial;
    struct loop *loop;          /* of the agent */
    struct loop *gateway;       /* of the server */
    struct poll_server *server; /* NULL: not known any more */
    struct list exchanges;
    unsigned lossy; /* per cent of the requests, and of the answers, that are lost */
    size_t limit;   /* bytes; a larger body gets 413. It changes now and then. 0: none */
    bool is_read;   /* whether the server takes what goes up */
    struct {
        uint64_t lost, repeated, refused, too_large;
    } tally;
};

/* `http` stays the caller's. */
struct http_requests *virtual_http_requests(struct virtual_http *http);

/* The server's owner, whose `over` comes when it is of no more use. */
void virtual_http_reads(struct virtual_http *http, bool on);
/* The server is gone: who asks gets 410. */
void virtual_http_forget(struct virtual_http *http);

/* When something arrives; TRIAL_NEVER if nothing is under way. */
uint64_t virtual_http_next(const struct virtual_http *http);
void virtual_http_run(struct virtual_http *http);
/* Drops what is left. */
void virtual_http_end(struct virtual_http *http);

#endif
