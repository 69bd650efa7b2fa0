/* For tests: an HTTP/1.1 server on threads of its own, which answers as a function says. */
#ifndef NET_TEST_HTTP_SERVER_H
#define NET_TEST_HTTP_SERVER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TEST_HTTP_HEAD = 4096,
    TEST_HTTP_BODY = 1024 * 1024,
    TEST_HTTP_CONNECTIONS = 64,
};

struct test_http_request {
    int fd;
    unsigned connection; /* counted from 1 */
    unsigned count;      /* on this connection, from 1 */
    char head[TEST_HTTP_HEAD + 1];
    uint8_t *body;
    size_t body_size;
};

struct test_http_server {
    /* Called on the connection's thread with the lock held, which it may give up while it waits.
     * Returns whether the connection stays. */
    bool (*handle)(struct test_http_server *server, const struct test_http_request *request);
    void *holder;
    int listening;
    uint16_t port;
    unsigned accepted;
    bool is_ending;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* also told when it ends */
    pthread_t acceptor;
    pthread_t threads[TEST_HTTP_CONNECTIONS];
    int fds[TEST_HTTP_CONNECTIONS];
};

/* On a free port of 127.0.0.1. */
void test_http_start(struct test_http_server *server,
                     bool (*handle)(struct test_http_server *, const struct test_http_request *),
                     void *holder);
/* Closes all connections and waits for the threads. */
void test_http_stop(struct test_http_server *server);

/* The value of a field, "" if there is none. */
const char *test_http_field(const struct test_http_request *request, const char *name,
                            char out[static 256]);

/* Writes a text as it is. */
void test_http_write(const struct test_http_request *request, const char *text);
/* Writes a head, of a status such as "200 OK" and further fields, each with its line's end, and a
 * body. */
void test_http_answer(const struct test_http_request *request, const char *status,
                      const char *fields, const void *body, size_t size);

#endif
