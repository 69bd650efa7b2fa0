/* For tests: a web server on loopback that keeps what is posted to it and answers as it is told. */
#ifndef JOURNAL_TEST_RECEIVER_H
#define JOURNAL_TEST_RECEIVER_H

#include <pthread.h>
#include <stddef.h>

enum {
    RECEIVER_CLOSES = 0,  /* instead of a status: the connection ends without an answer */
    RECEIVER_HANGS = -1,  /* no answer until the receiver is stopped */
    RECEIVER_FLOODS = -2, /* 200, with an answer that does not end */
    RECEIVER_REQUESTS = 512,
};

struct receiver {
    char url[64];
    int listener;
    int stop[2]; /* a pipe that is closed to stop it */
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int answers[RECEIVER_REQUESTS]; /* statuses; all beyond `answer_count` are 200 */
    size_t answer_count;
    const char *extra;                 /* fields of the answers' heads; NULL: none */
    char *requests[RECEIVER_REQUESTS]; /* head and body, terminated */
    size_t request_count;
};

/* Returns 0, or -1. */
int receiver_start(struct receiver *receiver);
void receiver_stop(struct receiver *receiver);

/* Before anything is posted. */
void receiver_answer_next(struct receiver *receiver, int status);

/* The request number `index`, from 0, once it is there; NULL after 10 s. */
const char *receiver_request(struct receiver *receiver, size_t index);
/* Where its body begins. */
const char *receiver_body(struct receiver *receiver, size_t index);
size_t receiver_count(struct receiver *receiver);

#endif
