#include "net/lookup_threads.h"

#include "base/error.h"
#include "base/memory.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

enum {
    STACK_SIZE = 256 * 1024,
    IDLE_SECONDS = 10,
};

/* Shared by the loop and the threads; the last of them frees it. */
struct lookup_threads {
    pthread_mutex_t mutex;
    pthread_cond_t wanted;
    struct loop *loop; /* NULL: closed */
    struct list jobs;  /* that no thread has taken yet */
    unsigned waiting;  /* of these */
    unsigned idle;
    unsigned holders;
};

void lookup_job_free(struct lookup_job *job)
{
    if (job->result != NULL)
        freeaddrinfo(job->result);
    memory_free(job->host);
    memory_free(job);
}

static void report(struct loop *loop, struct loop_message *message)
{
    struct lookup_job *job = CONTAINER_OF(message, struct lookup_job, message);
    (void)loop;
    job->done(job);
}

/* Unlocks, and frees with the last holder. */
static void let_go(struct lookup_threads *threads)
{
    bool is_last = --threads->holders == 0;
    pthread_mutex_unlock(&threads->mutex);
    if (!is_last)
        return;
    pthread_cond_destroy(&threads->wanted);
    pthread_mutex_destroy(&threads->mutex);
    memory_free(threads);
}

static struct lookup_job *take_job(struct lookup_threads *threads)
{
    struct list_node *node = list_pop(&threads->jobs);
    if (node == NULL)
        return NULL;
    threads->waiting--;
    return CONTAINER_OF(node, struct lookup_job, node);
}

/* Waits until there is a job, for as long as a thread may be idle. NULL: the thread shall end. */
static struct lookup_job *wait_for_job(struct lookup_threads *threads)
{
    struct timespec until;
    int error = 0;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += IDLE_SECONDS;
    threads->idle++;
    while (error == 0 && list_is_empty(&threads->jobs) && threads->loop != NULL)
        error = pthread_cond_timedwait(&threads->wanted, &threads->mutex, &until);
    threads->idle--;
    return take_job(threads);
}

static void look_up(struct lookup_job *job)
{
    static const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    job->error = getaddrinfo(job->host, NULL, &hints, &job->result);
    if (job->error != 0)
        job->result = NULL;
}

static void *work(void *context)
{
    struct lookup_threads *threads = context;
    struct lookup_job *job;
    pthread_mutex_lock(&threads->mutex);
    while ((job = wait_for_job(threads)) != NULL) {
        pthread_mutex_unlock(&threads->mutex);
        look_up(job);
        pthread_mutex_lock(&threads->mutex);
        if (threads->loop != NULL)
            loop_post(threads->loop, &job->message);
        else
            lookup_job_free(job);
    }
    let_go(threads);
    return NULL;
}

/* Detached, with all signals left to the program's own threads. */
static int start_thread(struct lookup_threads *threads)
{
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all;
    sigset_t before;
    int error = pthread_attr_init(&attributes);
    if (error != 0)
        return -error;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK_SIZE);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&thread, &attributes, work, threads);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return -error;
}

static int init_condition(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    int error = pthread_condattr_init(&attributes);
    if (error != 0)
        return error;
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    error = pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
    return error;
}

struct lookup_threads *lookup_threads_new(struct loop *loop)
{
    struct lookup_threads *threads = memory_allocate_zero(sizeof(*threads));
    if (threads == NULL)
        return NULL;
    if (pthread_mutex_init(&threads->mutex, NULL) != 0)
        goto no_mutex;
    if (init_condition(&threads->wanted) != 0)
        goto no_condition;
    threads->loop = loop;
    threads->holders = 1;
    list_init(&threads->jobs);
    return threads;
no_condition:
    pthread_mutex_destroy(&threads->mutex);
no_mutex:
    memory_free(threads);
    return NULL;
}

void lookup_threads_close(struct lookup_threads *threads)
{
    struct lookup_job *job;
    pthread_mutex_lock(&threads->mutex);
    threads->loop = NULL;
    while ((job = take_job(threads)) != NULL)
        lookup_job_free(job);
    pthread_cond_broadcast(&threads->wanted);
    let_go(threads);
}

int lookup_threads_run(struct lookup_threads *threads, struct lookup_job *job)
{
    int error = 0;
    job->message.run = report;
    pthread_mutex_lock(&threads->mutex);
    if (threads->idle <= threads->waiting) {
        error = start_thread(threads);
        threads->holders += error == 0;
    }
    if (error == 0) {
        list_append(&threads->jobs, &job->node);
        threads->waiting++;
        pthread_cond_signal(&threads->wanted);
    }
    pthread_mutex_unlock(&threads->mutex);
    return error;
}
