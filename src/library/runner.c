#include "library/runner.h"

#include "base/error.h"
#include "base/exit_code.h"
#include "journal/thread.h"
#include "library/log_switch.h"
#include "library/options.h"
#include "library/result.h"

#include <culvert/culvert.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { MILLISECOND = 1000 * 1000, SECOND = 1000 * MILLISECOND };

static _Thread_local struct runner *this_runner;

/* ---- the errors that it logs ---- */

bool runner_keeps(enum log_level level, const char *message)
{
    struct runner *runner = this_runner;
    if (runner == NULL || level < LOG_ERROR)
        return false;
    pthread_mutex_lock(&runner->mutex);
    bool is_opening = runner->state == RUNNER_OPENING;
    /* Opening may fail by several, each of which counts; what ends it later is the last. */
    size_t used = is_opening ? strlen(runner->why) : 0;
    snprintf(runner->why + used, sizeof(runner->why) - used, "%s%s", used > 0 ? "; " : "", message);
    pthread_mutex_unlock(&runner->mutex);
    return is_opening;
}

/* ---- the thread ---- */

static void enter(struct runner *runner, enum runner_state state, int code)
{
    pthread_mutex_lock(&runner->mutex);
    runner->state = state;
    runner->code = code;
    pthread_cond_broadcast(&runner->changed);
    pthread_mutex_unlock(&runner->mutex);
}

static void *run(void *argument)
{
    struct runner *runner = argument;
    this_runner = runner;
    int code = runner->job->open(runner->object);
    if (code == EXIT_CODE_OK) {
        char why[RUNNER_WHY_SIZE];
        memcpy(why, runner->why, sizeof(why)); /* written by this thread alone */
        enter(runner, RUNNER_OPEN, EXIT_CODE_OK);
        if (why[0] != '\0')
            log_error("%s", why);
        code = runner->job->run(runner->object);
    }
    enter(runner, RUNNER_ENDED, code);
    this_runner = NULL;
    return NULL;
}

/* The library takes no signals from the program around it, and a thread that writes to a socket
 * nobody reads from must not end it by SIGPIPE. What the job starts inherits this. */
static int start_thread(struct runner *runner)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&runner->thread, NULL, run, runner);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -error;
}

static void destroy_locks(struct runner *runner)
{
    pthread_mutex_destroy(&runner->mutex);
    pthread_cond_destroy(&runner->changed);
}

/* ---- waiting ---- */

static bool is_open(const struct runner *runner)
{
    return runner->state != RUNNER_OPENING;
}

static bool has_ended(const struct runner *runner)
{
    return runner->state == RUNNER_ENDED;
}

static bool is_registered_or_ended(const struct runner *runner)
{
    return runner->is_registered || has_ended(runner);
}

/* With the mutex held. Whether it is so. */
static bool wait_until(struct runner *runner, bool (*is_so)(const struct runner *),
                       int milliseconds)
{
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    if (milliseconds > 0) {
        end.tv_sec += milliseconds / 1000;
        end.tv_nsec += (long)(milliseconds % 1000) * MILLISECOND;
        end.tv_sec += end.tv_nsec / SECOND;
        end.tv_nsec %= SECOND;
    }
    int error = 0;
    while (!is_so(runner) && error == 0)
        error = milliseconds < 0 ? pthread_cond_wait(&runner->changed, &runner->mutex)
                                 : pthread_cond_timedwait(&runner->changed, &runner->mutex, &end);
    return is_so(runner);
}

int runner_wait_ended(struct runner *runner, int milliseconds)
{
    pthread_mutex_lock(&runner->mutex);
    bool is_so = wait_until(runner, has_ended, milliseconds);
    int code = is_so ? result_of_exit_code(runner->code) : CULVERT_TIMED_OUT;
    pthread_mutex_unlock(&runner->mutex);
    return code;
}

int runner_wait_registered(struct runner *runner, int milliseconds, char *why, size_t why_size)
{
    pthread_mutex_lock(&runner->mutex);
    int code = CULVERT_OK;
    if (!wait_until(runner, is_registered_or_ended, milliseconds))
        code = options_complain(CULVERT_TIMED_OUT, why, why_size,
                                "it is not registered yet; the log says why");
    else if (has_ended(runner) && runner->code != EXIT_CODE_OK)
        code =
            options_complain(result_of_exit_code(runner->code), why, why_size, "%s", runner->why);
    else if (has_ended(runner))
        code = options_complain(CULVERT_STOPPED, why, why_size, "the agent was stopped");
    pthread_mutex_unlock(&runner->mutex);
    return code;
}

void runner_set_registered(struct runner *runner, bool is_registered)
{
    pthread_mutex_lock(&runner->mutex);
    runner->is_registered = is_registered;
    pthread_cond_broadcast(&runner->changed);
    pthread_mutex_unlock(&runner->mutex);
}

bool runner_is_registered(struct runner *runner)
{
    pthread_mutex_lock(&runner->mutex);
    bool is_registered = runner->is_registered && !has_ended(runner);
    pthread_mutex_unlock(&runner->mutex);
    return is_registered;
}

/* ---- life ---- */

int runner_start(struct runner *runner, const struct runner_job *job, void *object, char *why,
                 size_t why_size)
{
    *runner = (struct runner){.job = job, .object = object};
    log_switch_init();
    int error = thread_init_locks(&runner->mutex, &runner->changed);
    if (error == 0) {
        error = start_thread(runner);
        if (error != 0)
            destroy_locks(runner);
    }
    if (error != 0)
        return options_complain(result_of_error(error), why, why_size, "cannot start a thread: %s",
                                error_text(error));
    pthread_mutex_lock(&runner->mutex);
    wait_until(runner, is_open, -1);
    bool has_failed = has_ended(runner) && runner->code != EXIT_CODE_OK;
    pthread_mutex_unlock(&runner->mutex);
    if (!has_failed)
        return CULVERT_OK;
    runner_deinit(runner);
    return options_complain(result_of_exit_code(runner->code), why, why_size, "%s", runner->why);
}

void runner_deinit(struct runner *runner)
{
    pthread_join(runner->thread, NULL);
    destroy_locks(runner);
}
