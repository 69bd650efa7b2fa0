/*
 * The server's side of one HTTP/1.1 connection (RFC 9112). It reads a request, lets its user
 * answer, and then looks at the next one, with bounds in bytes and time. The user decides what a
 * request means, provides the memory for its body, and holds the answer. The connection itself
 * keeps only the head that it reads, and up to HTTP_AHEAD_BYTES of what comes while a request
 * waits.
 */
#ifndef HTTP_HTTP_CONNECTION_H
#define HTTP_HTTP_CONNECTION_H

#include "codec/http1.h"
#include "http/head_reader.h"
#include "net/conn.h"
#include "net/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum {
    HTTP_AHEAD_BYTES = 4096,         /* kept of what comes while a request waits */
    HTTP_LINGER_BYTES = 1024 * 1024, /* discarded after the last answer */
    HTTP_LINGER_TIME = 2 * 1000,     /* milliseconds for that */
};

enum http_connection_state {
    HTTP_CONNECTION_IDLE,   /* no byte of a request has come */
    HTTP_CONNECTION_HEAD,   /* a part of a request's head has come */
    HTTP_CONNECTION_BODY,   /* the head is complete, the body is not */
    HTTP_CONNECTION_WAIT,   /* the request is complete, and the user has not answered it */
    HTTP_CONNECTION_ANSWER, /* the answer is being written */
    HTTP_CONNECTION_LINGER, /* the last answer is written; input is read and discarded, since a
                               reset for unread input could overtake the answer (RFC 9112 §9.6) */
    HTTP_CONNECTION_CLOSED,
};

/* Shared by many connections; borrowed. Times are in milliseconds. */
struct http_connection_limits {
    size_t head;           /* bytes of a request's head, at least HTTP_AHEAD_BYTES */
    uint64_t first_time;   /* from the start to the first byte */
    uint64_t idle_time;    /* from an answer to the next request's first byte */
    uint64_t request_time; /* from a request's first byte to its last */
    uint64_t answer_time;  /* for an answer to be written */
};

struct http_connection;

struct http_connection_events {
    /* A request's head. The texts are valid during the call. The user calls
     * http_connection_read_body, http_connection_answer or http_connection_close, now or later. */
    void (*head)(struct http_connection *connection, const struct http1_head *head);
    /* The input is no request: CULVERT_ERROR_PROTOCOL or CULVERT_ERROR_TOO_LARGE. The user gives
     * its last answer, or closes. */
    void (*malformed)(struct http_connection *connection, int error);
    /* Returns memory for the next bytes of the body, and sets its size. NULL: memory has run out;
     * `lost` follows with CULVERT_ERROR_NO_MEMORY. */
    void *(*body_space)(struct http_connection *connection, size_t *room);
    /* `size` bytes of the body were written to that memory. */
    void (*body_came)(struct http_connection *connection, size_t size, bool is_last);
    /* Sets up to `max` vectors to the next bytes of the answer. Returns how many; 0: the answer is
     * complete. */
    int (*answer_vectors)(struct http_connection *connection, struct iovec *vectors, int max);
    /* `size` of these bytes were sent. */
    void (*answer_written)(struct http_connection *connection, size_t size);
    /* The whole answer was sent. */
    void (*answered)(struct http_connection *connection);
    /* request_time is over, or the time of http_connection_wait. The user answers or closes. */
    void (*timed_out)(struct http_connection *connection);
    /* The state has changed. */
    void (*changed)(struct http_connection *connection);
    /* The connection has failed, or was closed by the peer, or has used up another time of the
     * limits. The user closes it. */
    void (*lost)(struct http_connection *connection, int error);
};

/* Part of the user's struct, which may read `conn`, `state` and `since`. */
struct http_connection {
    const struct http_connection_events *events;
    const struct http_connection_limits *limits;
    struct loop *loop;
    struct conn *conn;
    struct head_reader reader;
    struct loop_timer timer;
    struct loop_task next; /* takes what was read ahead, in a later turn */
    enum http_connection_state state;
    uint64_t since;    /* microseconds; when the state was entered */
    uint64_t begun;    /* microseconds; when the request's first byte came */
    size_t missing;    /* bytes of the body still to come */
    size_t discarded;  /* bytes while it lingers */
    bool keeps_open;   /* another request may follow this answer */
    bool was_used;     /* a request has been answered */
    bool peer_is_done; /* the peer has ended its side while a request waits */
};

/* Starts to read requests. Takes the descriptor on success. Returns 0 or an error. */
int http_connection_init(struct http_connection *connection, struct loop *loop, int fd,
                         const struct http_connection_limits *limits,
                         const struct http_connection_events *events);

/* Reads the request's body, `size` > 0 bytes, into the user's memory. `asks_first`: the client
 * waits for 100 (Continue). It is sent unless a part of the body has come (RFC 9110 §10.1.1). */
void http_connection_read_body(struct http_connection *connection, size_t size, bool asks_first);

/* Calls `timed_out` if the request has no answer after so long. */
void http_connection_wait(struct http_connection *connection, uint64_t milliseconds);

/* Writes the answer. `keeps_open`: another request may follow; false if a part of this one was not
 * read. A peer that has ended its side still gets the answer. */
void http_connection_answer(struct http_connection *connection, bool keeps_open);

/* Closes at once; no event follows. `closed` is run when the memory may be freed. */
void http_connection_close(struct http_connection *connection, struct loop_task *closed);

#endif
