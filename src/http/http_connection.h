/*
 * The server's side of one HTTP/1.1 connection (RFC 9112): requests one after the other, each read
 * and answered before the next is looked at, with bounds in bytes and time. What a request means,
 * and where its body goes and its answer comes from, is the user's to say. Nothing of a body or an
 * answer is kept here; while a request waits for its answer the connection holds no buffer.
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
    HTTP_LINGER_BYTES = 1024 * 1024, /* thrown away after the last answer */
    HTTP_LINGER_TIME = 2 * 1000,     /* milliseconds for them */
};

enum http_connection_state {
    HTTP_CONNECTION_IDLE,   /* no byte of a request is there */
    HTTP_CONNECTION_HEAD,   /* some of a request's head is */
    HTTP_CONNECTION_BODY,   /* its head is, some of its body is not */
    HTTP_CONNECTION_WAIT,   /* the user has the request, and has not answered it */
    HTTP_CONNECTION_ANSWER, /* its answer is being written */
    HTTP_CONNECTION_LINGER, /* the last answer is written; what still comes is thrown away, since a
                               reset for unread input could overtake it (RFC 9112 §9.6) */
    HTTP_CONNECTION_CLOSED,
};

/* Shared by many; borrowed. Milliseconds. */
struct http_connection_limits {
    size_t head;               /* bytes of a request's head */
    uint64_t first_time;       /* from the start to the first byte */
    uint64_t idle_time;        /* from an answer to the next request's first byte */
    uint64_t request_time;     /* from a request's first byte to its last */
    uint64_t answer_time;      /* for an answer to be written */
    bool counts_from_progress; /* the last two begin anew with each piece of a body or an answer */
};

struct http_connection;

struct http_connection_events {
    /* A request's head. The texts are valid during the call. The user answers, or reads the body,
     * or does one of these later, or takes the connection away, or closes it. */
    void (*head)(struct http_connection *connection, const struct http1_head *head);
    /* What came is no request: CULVERT_ERROR_PROTOCOL or CULVERT_ERROR_TOO_LARGE. As above, but
     * an answer is the last one. */
    void (*malformed)(struct http_connection *connection, int error);
    /* Memory for the next bytes of the body; sets how many fit. NULL: there is none, and
     * CULVERT_ERROR_NO_MEMORY is told by `lost`. */
    void *(*body_space)(struct http_connection *connection, size_t *room);
    /* So many bytes are in it; of a body that is skipped only the end is told, with 0. */
    void (*body_came)(struct http_connection *connection, size_t size, bool is_last);
    /* The next bytes of the answer: fills up to `max` vectors, and returns how many; 0 at the end.
     */
    int (*answer_vectors)(struct http_connection *connection, struct iovec *vectors, int max);
    /* So many bytes of them were written. */
    void (*answer_written)(struct http_connection *connection, size_t size);
    /* The answer has left: the next request is looked at, or the connection lingers. */
    void (*answered)(struct http_connection *connection);
    /* The request did not come within its time, or http_connection_wait is over. The user answers
     * or closes. */
    void (*timed_out)(struct http_connection *connection);
    /* The peer has ended its side while the request waits; it may still read. NULL: no matter. */
    void (*peer_ended)(struct http_connection *connection);
    /* The state has changed. NULL: no matter. */
    void (*changed)(struct http_connection *connection);
    /* The connection is of no more use; the user closes it. */
    void (*lost)(struct http_connection *connection, int error);
};

/* In the user's struct; read only through the functions below. */
struct http_connection {
    const struct http_connection_events *events;
    const struct http_connection_limits *limits;
    struct loop *loop;
    struct conn *conn; /* NULL: taken away */
    struct head_reader reader;
    struct loop_timer timer;
    struct loop_task next; /* looks at what was read ahead, in a later turn */
    enum http_connection_state state;
    uint64_t since;   /* microseconds; when it came into this state */
    uint64_t begun;   /* microseconds; when the request's first byte came */
    size_t missing;   /* bytes of the body */
    size_t discarded; /* bytes while it lingers */
    bool is_skipping; /* the body goes nowhere */
    bool is_paused;   /* the body is not read */
    bool keeps_open;  /* after this answer */
    bool was_used;    /* a request has been answered */
    bool peer_is_done;
};

/* Takes the descriptor on success. Returns 0 or an error. Reads at once. */
int http_connection_init(struct http_connection *connection, struct loop *loop, int fd,
                         const struct http_connection_limits *limits,
                         const struct http_connection_events *events);

/* Reads the request's body, `size` > 0 bytes, into the user's space. `asks_first`: the client waits
 * for 100 (Continue), which is sent unless some of the body is there (RFC 9110 §10.1.1). */
void http_connection_read_body(struct http_connection *connection, size_t size, bool asks_first);
/* Reads it and throws it away. */
void http_connection_skip_body(struct http_connection *connection, size_t size);
/* While a body is read: reads no more until it is turned off again. */
void http_connection_pause(struct http_connection *connection, bool on);

/* Tells `timed_out` after so long without an answer. */
void http_connection_wait(struct http_connection *connection, uint64_t milliseconds);

/* Writes the answer that the user's vectors hold. `keeps_open`: another request may follow; false
 * when some of this one is not read. */
void http_connection_answer(struct http_connection *connection, bool keeps_open);

/* Gives the connection away, for another protocol. What was read ahead is in the reader, which
 * stays. The caller closes this one next. */
struct conn *http_connection_take_conn(struct http_connection *connection);

/* Closes at once; no event follows. `closed` is buried when the memory may be freed. */
void http_connection_close(struct http_connection *connection, struct loop_task *closed);

#endif
