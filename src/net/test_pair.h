/*
 * For tests: two connections joined by TCP on loopback, each sending a pattern in vectors of many
 * sizes and checking what it receives.
 */
#ifndef NET_TEST_PAIR_H
#define NET_TEST_PAIR_H

#include "net/conn.h"

#include <stdbool.h>
#include <stddef.h>

struct test_pair;

struct test_end {
    struct conn *conn;
    struct test_pair *pair;
    size_t to_send;
    size_t sent;
    size_t to_receive;
    size_t received;
    size_t read_size;   /* bytes that one `readable` takes */
    bool keeps_open;    /* does not half-close when all is sent */
    bool waits_for_end; /* sends only when the peer has half-closed */
    bool pauses;        /* puts off each read by a turn */
    bool is_secured;
    bool has_shut_down;
    bool has_end;
    int secured_error;
    int error;
    struct loop_task resume;
};

struct test_pair {
    struct loop loop;
    struct account account;
    struct test_end ends[2];
    struct loop_timer bound; /* no test waits for ever */
    unsigned turns;
    uv_prepare_t turn_counter;
};

/* Two ends that will send `bytes` each to the other. */
void test_pair_open(struct test_pair *pair, size_t bytes);
/* The descriptors alone: of a connected pair of TCP sockets, non-blocking. */
void test_socket_pair(int fds[2]);
/* Starts both ends' events and runs until all has arrived, or fails. */
void test_pair_run(struct test_pair *pair);
/* Asks for events, without running. */
void test_pair_start(struct test_pair *pair);
/* Runs the loop for a while without anybody to stop it; returns the turns it took. */
unsigned test_pair_idle(struct test_pair *pair, unsigned milliseconds);
void test_pair_close(struct test_pair *pair);
/* How many chunks somebody holds. */
size_t test_pair_chunks_held(const struct test_pair *pair);

extern const struct conn_events test_pair_events;

#endif
