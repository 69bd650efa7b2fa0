/*
 * The thread that a handle's gateway or agent is opened and run on. Others wait here until it is
 * open, registered, or over. What is logged as an error on this thread is kept for them: while it
 * opens instead of being logged, later as well.
 */
#ifndef LIBRARY_RUNNER_H
#define LIBRARY_RUNNER_H

#include "base/log.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

enum { RUNNER_WHY_SIZE = 1536 };

/* On the thread; both return an enum exit_code. */
struct runner_job {
    int (*open)(void *object);
    int (*run)(void *object);
};

enum runner_state { RUNNER_OPENING, RUNNER_OPEN, RUNNER_ENDED };

struct runner {
    const struct runner_job *job;
    void *object;
    pthread_t thread;
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t changed;
    enum runner_state state;
    bool is_registered; /* an agent */
    int code;           /* enum exit_code, once it has ended */
    char why[RUNNER_WHY_SIZE];
};

/* Starts the thread, with every signal blocked, and waits until the job is open. Returns an enum
 * culvert_code; then there is nothing to deinitialise, and `why` (may be NULL) says what it was. */
int runner_start(struct runner *runner, const struct runner_job *job, void *object, char *why,
                 size_t why_size);

/* After the job was told to end: waits for the thread. */
void runner_deinit(struct runner *runner);

/* The job's word that an agent is registered, or is not any more. */
void runner_set_registered(struct runner *runner, bool is_registered);
bool runner_is_registered(struct runner *runner);

/* Both wait at most so many milliseconds, for ever if negative, and return an enum culvert_code.
 * Ended: how it has. Registered: CULVERT_OK, or why it will not come to that. */
int runner_wait_ended(struct runner *runner, int milliseconds);
int runner_wait_registered(struct runner *runner, int milliseconds, char *why, size_t why_size);

/* The log's entry is this thread's runner's, if it is one: whether it is kept and not to be logged.
 */
bool runner_keeps(enum log_level level, const char *message);

#endif
