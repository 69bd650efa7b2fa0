/* For tests: a loop that is turned until a condition holds, and TCP sockets on loopback. */
#ifndef ENDS_TEST_LOOP_H
#define ENDS_TEST_LOOP_H

#include "net/loop.h"
#include "relay/stream.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct test_loop {
    struct loop loop;
    struct account account;
    uv_timer_t tick;
};

void test_loop_open(struct test_loop *test);
/* Asserts that everything was closed and every chunk came home. */
void test_loop_close(struct test_loop *test);

/* Turns the loop until `condition` holds; fails the test after 60 seconds. */
void test_loop_until(struct test_loop *test, bool (*condition)(void *context), void *context);
/* The same without waiting between two turns, where `condition` moves much data. */
void test_loop_spin_until(struct test_loop *test, bool (*condition)(void *context), void *context);
/* Turns the loop until the number is not 0. */
void test_loop_until_set(struct test_loop *test, const int *number);
/* How many turns the loop takes by itself in 100 ms. */
unsigned test_loop_idle(struct test_loop *test);
/* How many chunks somebody holds, the loop's own read chunk left out. */
size_t test_loop_chunks_held(const struct test_loop *test);

/* A connected pair of non-blocking TCP sockets; small kernel buffers so that they fill up soon. */
void test_tcp_pair(int fds[2]);
/* A listening socket on 127.0.0.1, and its port. */
int test_tcp_listen(uint16_t *port);
int test_tcp_connect(const char *host, uint16_t port);
/* Closes with a RST. */
void test_tcp_abort(int fd);

/* A holder that remembers what its stream tells. Closes the stream on a reset. */
struct test_holder {
    struct stream *stream;
    int opened, fins, resets, finished;
    int code;
    size_t written;
    size_t bytes;
    char data[4096]; /* the first of them */
};

void test_holder_take(struct test_holder *holder, struct stream *stream);
/* Its stream's events but `data`, for a holder that begins with a test_holder and takes the data in
 * its own way. */
void test_holder_opened(struct stream *stream);
void test_holder_fin(struct stream *stream);
void test_holder_reset(struct stream *stream, int code, const char *reason);
void test_holder_written(struct stream *stream, size_t bytes);
void test_holder_finished(struct stream *stream);
/* Writes a copy of the text through the holder's stream. */
void test_holder_write(struct test_holder *holder, struct chunk_pool *pool, const char *text);

#endif
