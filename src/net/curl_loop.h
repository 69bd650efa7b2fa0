/*
 * libcurl's transfers at work on a loop: its sockets are watched for it, its timer is kept, and the
 * transfers that have ended are told. Names are looked up on threads of libcurl's own (its
 * "threaded resolver", as every distribution builds it).
 */
#ifndef NET_CURL_LOOP_H
#define NET_CURL_LOOP_H

#include "net/curl_library.h"
#include "net/loop.h"

struct curl_loop;

struct curl_loop_owner {
    /* A transfer has ended, and is still added. libcurl is not up the stack: all below and all of
     * libcurl may be called. */
    void (*ended)(void *holder, CURL *easy, CURLcode code);
    /* libcurl cannot go on with any of them. May be told more than once. */
    void (*failed)(void *holder, CURLcode code);
};

/* Returns 0 or CULVERT_ERROR_NO_MEMORY, or an error of libuv's. */
int curl_loop_new(struct loop *loop, const struct curl_library *curl,
                  const struct curl_loop_owner *owner, void *holder, struct curl_loop **out);

/* Begins a transfer as far as it goes at once. What has ended is told in the next turn, not from
 * here. Returns 0 or CULVERT_ERROR_NO_MEMORY. */
int curl_loop_add(struct curl_loop *self, CURL *easy);
/* Takes a transfer off, ended or not. */
void curl_loop_remove(struct curl_loop *self, CURL *easy);

/* Borrowed. */
CURLM *curl_loop_multi(const struct curl_loop *self);

/* For the loop's end: goes on without it, and waits, until no transfer is there any more or so much
 * time has passed. */
void curl_loop_finish(struct curl_loop *self, unsigned milliseconds);

/* Watches no socket and keeps no timer any more, and nothing is told: libuv must let go of a
 * descriptor before libcurl closes it. Repeatable. */
void curl_loop_let_go(struct curl_loop *self);

/* Lets go; the multi handle is the caller's from now on, and curl_loop_free only frees the rest. */
CURLM *curl_loop_take_multi(struct curl_loop *self);

/* Lets go and frees, the multi handle too, from which all transfers have been removed. Not from
 * inside libcurl's callbacks. */
void curl_loop_free(struct curl_loop *self);

#endif
