/* What the journal's threads wait on, and how they begin. */
#ifndef JOURNAL_THREAD_H
#define JOURNAL_THREAD_H

#include <pthread.h>

/* Starts a thread with every signal blocked, so that they go to the thread that waits for them.
 * Returns 0 or -errno. */
int thread_start(pthread_t *thread, void *(*run)(void *context), void *context);

/* A mutex, and a condition that waits by the monotonic clock (`wake` may be NULL). 0 or -errno. */
int thread_init_locks(pthread_mutex_t *mutex, pthread_cond_t *wake);

#endif
