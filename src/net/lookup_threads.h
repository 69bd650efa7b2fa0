/*
 * Threads that wait in getaddrinfo(3), so that /etc/hosts, nsswitch.conf, search domains and a
 * changed resolv.conf work as everywhere. A thread is started when there is no idle one, and ends
 * when it was idle for 10 s. Nobody ever joins one: a look-up that runs cannot be called back, and
 * may take far longer than anybody wants to wait. How many run at once is the caller's affair.
 */
#ifndef NET_LOOKUP_THREADS_H
#define NET_LOOKUP_THREADS_H

#include "net/loop.h"

#include <netdb.h>

struct lookup_threads;

/* A look-up. Allocated with memory_allocate by the caller, who sets `host` and `done`. */
struct lookup_job {
    struct loop_message message;
    struct list_node node;
    char *host; /* freed with the job */
    /* On the loop's thread; takes the job, whose result and error are set. */
    void (*done)(struct lookup_job *job);
    void *holder;
    int error;               /* of getaddrinfo: 0 or EAI_... */
    struct addrinfo *result; /* freed with the job */
};

void lookup_job_free(struct lookup_job *job);

/* NULL when memory has run out. */
struct lookup_threads *lookup_threads_new(struct loop *loop);
/* No job is reported any more, except those that the loop's mailbox holds already. Waits for
 * nothing: a thread that is at work frees its job, and the last one what the threads share. */
void lookup_threads_close(struct lookup_threads *threads);

/* Hands the job to a thread. 0, or an error (no thread could be started): the job stays the
 * caller's. */
int lookup_threads_run(struct lookup_threads *threads, struct lookup_job *job);

#endif
