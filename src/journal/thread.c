#include "journal/thread.h"

#include <signal.h>
#include <stddef.h>
#include <time.h>

enum { STACK_SIZE = 512 * 1024 };

int thread_start(pthread_t *thread, void *(*run)(void *context), void *context)
{
    pthread_attr_t attributes;
    sigset_t all;
    sigset_t before;
    int error = pthread_attr_init(&attributes);
    if (error != 0)
        return -error;
    sigfillset(&all);
    pthread_attr_setstacksize(&attributes, STACK_SIZE);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(thread, &attributes, run, context);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return -error;
}

static int init_condition(pthread_cond_t *wake)
{
    pthread_condattr_t attributes;
    int error = pthread_condattr_init(&attributes);
    if (error != 0)
        return -error;
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    error = pthread_cond_init(wake, &attributes);
    pthread_condattr_destroy(&attributes);
    return -error;
}

int thread_init_locks(pthread_mutex_t *mutex, pthread_cond_t *wake)
{
    int error = wake == NULL ? 0 : init_condition(wake);
    if (error != 0)
        return error;
    error = pthread_mutex_init(mutex, NULL);
    if (error != 0 && wake != NULL)
        pthread_cond_destroy(wake);
    return -error;
}
