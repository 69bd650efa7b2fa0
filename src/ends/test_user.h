/* For tests of ends: a stream's holder, and the outside program at the stream's other end. Each
 * sends and receives as many bytes as the test says, and checks the bytes it receives. */
#ifndef ENDS_TEST_USER_H
#define ENDS_TEST_USER_H

#include "ends/test_loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TEST_USER_PIECE = 64 * 1024,   /* the largest piece that is written */
    TEST_USER_WINDOW = 256 * 1024, /* bytes written and not yet reported as written, at most */
};

/* A stream's holder, and the program outside at its other end. */
struct test_user {
    struct test_holder told;  /* what the stream has told; its data is checked, not kept */
    int peer;                 /* -1: none */
    uint64_t wanted, offered; /* of the bytes for the program outside */
    uint64_t consumed;        /* of the bytes from it */
    uint64_t appetite;        /* bytes that are consumed a turn */
    uint64_t peer_wanted, peer_sent, peer_received;
    uint64_t peer_appetite;
    bool peer_got_end, peer_got_reset;
};

/* Takes a stream; consumes and receives without bound until `appetite` and `peer_appetite` say
 * otherwise. */
void test_user_take(struct test_user *user, struct stream *stream);
/* Closes the stream and the program's descriptor if they are open. */
void test_user_let_go(struct test_user *user);
/* Writes all wanted bytes, without waiting until earlier ones are reported as written. */
void test_user_write_all(struct test_user *user);
/* Resets the stream and lets go of it. */
void test_user_reset(struct test_user *user, int code);

/* What each does in a turn of the loop: the holder writes what is wanted and consumes; the program
 * outside sends what is wanted, and receives. */
void test_user_turn_holder(struct test_user *user);
void test_user_send(struct test_user *user);
void test_user_turn(struct test_user *user);

/* Conditions of a user, for test_loop_until: each lets the user do its part first. */
bool test_user_all_has_arrived(void *context);
/* All bytes have left the sender's system, so that a reset discards none there. */
bool test_user_peer_has_sent(void *context);
bool test_user_all_was_written(void *context);
bool test_user_peer_got_end(void *context);
bool test_user_peer_got_reset(void *context);
bool test_user_holder_got_reset(void *context);

#endif
