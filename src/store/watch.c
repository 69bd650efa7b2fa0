#include "store/watch.h"

#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "store/expiry_clock.h"

#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    STACK_SIZE = 256 * 1024,
    NANOSECONDS = 1000000000,
    SETBACK_TOLD = 60 * 1000, /* milliseconds that a clock may be set back without a warning */
};

struct store_watch {
    struct store *store; /* the thread's, once it runs */
    void (*changed)(void *context);
    void *context;
    char directory[PATH_MAX];
    int64_t count;
    bool is_new;
    pthread_t thread;

    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t wake;
    struct list rechecks;
    struct list checks;
    size_t check_count;
    bool is_stopping;

    /* The thread's */
    struct expiry_clock clock;
    bool is_setback_told;
    int64_t version;
    int64_t next_expiry;

    atomic_bool is_broken; /* set by the thread */
};

static void run_answer(struct loop *loop, struct loop_message *message)
{
    struct store_question *question = CONTAINER_OF(message, struct store_question, message);
    question->answered(loop, question);
}

static void send_answer(struct store_question *question, int error)
{
    explicit_bzero(question->key, sizeof question->key);
    question->error = error;
    question->message.run = run_answer;
    loop_post(question->loop, &question->message);
}

/* With the mutex held. */
static struct store_question *take_question(struct store_watch *watch, bool *is_check)
{
    struct list_node *node = list_pop(&watch->rechecks);
    *is_check = node == NULL;
    if (node == NULL) {
        node = list_pop(&watch->checks);
        if (node == NULL)
            return NULL;
        watch->check_count--;
    }
    return CONTAINER_OF(node, struct store_question, node);
}

static void answer(struct store_watch *watch, struct store_question *question, bool is_check)
{
    int64_t now = expiry_clock_now(&watch->clock);
    int error;
    if (is_check) {
        struct store_finding finding = {0};
        error = store_check(watch->store, question->name, question->key, question->key_size, now,
                            &finding);
        if (error == 0) {
            question->key_id = finding.id;
            memcpy(question->user, finding.user, sizeof question->user);
        }
        question->denial = finding.denial;
    } else {
        int live = store_is_live(watch->store, question->key_id, now);
        error = live == 0 ? CULVERT_ERROR_REFUSED : live < 0 ? live : 0;
        question->denial = STORE_KEY_REVOKED;
    }
    if (error != 0 && error != CULVERT_ERROR_REFUSED)
        log_error("cannot check a key: %s", store_message(watch->store));
    send_answer(question, error);
}

/* What is there now, to compare with later. */
static int note_state(struct store_watch *watch, int64_t now)
{
    int error = store_version(watch->store, &watch->version);
    return error != 0 ? error : store_next_expiry(watch->store, now, &watch->next_expiry);
}

/* Warns once each time that the clock is set back by SETBACK_TOLD or more. */
static void tell_setback(struct store_watch *watch)
{
    bool is_back = watch->clock.setback >= SETBACK_TOLD;
    if (is_back && !watch->is_setback_told)
        log_warning(
            "the clock was set back by %lld s; until the gateway is restarted, keys expire as if "
            "it had not been",
            (long long)(watch->clock.setback / 1000));
    watch->is_setback_told = is_back;
}

static void look(struct store_watch *watch)
{
    int64_t now = expiry_clock_now(&watch->clock);
    int64_t version = 0;
    int error = store_version(watch->store, &version);
    tell_setback(watch);
    bool has_changed = error == 0 && (version != watch->version || now >= watch->next_expiry);
    if (has_changed)
        error = note_state(watch, now);
    if (error != 0 && !atomic_load(&watch->is_broken))
        log_error("cannot watch for revoked keys: %s", store_message(watch->store));
    atomic_store(&watch->is_broken, error != 0);
    if (has_changed)
        watch->changed(watch->context);
}

static struct timespec later(struct timespec time, long milliseconds)
{
    time.tv_nsec += milliseconds * 1000000;
    time.tv_sec += time.tv_nsec / NANOSECONDS;
    time.tv_nsec %= NANOSECONDS;
    return time;
}

static bool is_before(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec != b->tv_sec ? a->tv_sec < b->tv_sec : a->tv_nsec < b->tv_nsec;
}

/* With the mutex held; lets it go while it works or waits. */
static void turn(struct store_watch *watch, struct timespec *next_look)
{
    bool is_check;
    struct timespec now;
    struct store_question *question = take_question(watch, &is_check);
    clock_gettime(CLOCK_MONOTONIC, &now);
    bool is_due = !is_before(&now, next_look);
    if (question == NULL && !is_due) {
        pthread_cond_timedwait(&watch->wake, &watch->mutex, next_look);
        return;
    }
    pthread_mutex_unlock(&watch->mutex);
    if (is_due) {
        look(watch);
        *next_look = later(now, STORE_WATCH_MILLISECONDS);
    }
    if (question != NULL)
        answer(watch, question, is_check);
    pthread_mutex_lock(&watch->mutex);
}

static void *run_thread(void *argument)
{
    struct store_watch *watch = argument;
    struct store_question *question;
    struct timespec next_look;
    bool is_check;
    clock_gettime(CLOCK_MONOTONIC, &next_look);
    pthread_mutex_lock(&watch->mutex);
    while (!watch->is_stopping)
        turn(watch, &next_look);
    while ((question = take_question(watch, &is_check)) != NULL)
        send_answer(question, CULVERT_ERROR_CLOSED);
    pthread_mutex_unlock(&watch->mutex);
    return NULL;
}

/* With every signal blocked, so that they go to the thread that waits for them. */
static int start_thread(struct store_watch *watch)
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
    error = pthread_create(&watch->thread, &attributes, run_thread, watch);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return -error;
}

static int init_locks(struct store_watch *watch)
{
    pthread_condattr_t attributes;
    int error = pthread_condattr_init(&attributes);
    if (error != 0)
        return -error;
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    error = pthread_cond_init(&watch->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    if (error != 0)
        return -error;
    error = pthread_mutex_init(&watch->mutex, NULL);
    if (error != 0)
        pthread_cond_destroy(&watch->wake);
    return -error;
}

static void free_watch(struct store_watch *watch)
{
    store_close(watch->store);
    pthread_mutex_destroy(&watch->mutex);
    pthread_cond_destroy(&watch->wake);
    memory_free(watch);
}

static int open_store(struct store_watch *watch, const char *directory, char *why, size_t why_size)
{
    int error = 0;
    if (directory == NULL)
        error = store_default_directory(watch->directory, sizeof watch->directory);
    else
        error = text_copy(text_of(directory), watch->directory, sizeof watch->directory);
    if (error != 0) {
        snprintf(why, why_size, "%s",
                 directory == NULL ? "there is no home directory to keep the store in; name one"
                                   : "the path of the store is too long");
        return error;
    }
    watch->is_new = !store_exists(watch->directory);
    error = store_open(watch->directory, &watch->store, why, why_size);
    if (error != 0)
        return error;
    int64_t now = expiry_clock_now(&watch->clock);
    error = note_state(watch, now);
    if (error == 0)
        error = store_count(watch->store, now, &watch->count);
    if (error != 0)
        snprintf(why, why_size, "%s", store_message(watch->store));
    return error;
}

int store_watch_start(const char *directory, void (*changed)(void *context), void *context,
                      struct store_watch **out, char *why, size_t why_size)
{
    struct store_watch *watch = memory_allocate_zero(sizeof *watch);
    int error = watch == NULL ? CULVERT_ERROR_NO_MEMORY : init_locks(watch);
    if (error != 0) {
        snprintf(why, why_size, "cannot start the store's thread: %s", error_text(error));
        memory_free(watch);
        return error;
    }
    watch->changed = changed;
    watch->context = context;
    watch->clock = EXPIRY_CLOCK_NULL;
    list_init(&watch->rechecks);
    list_init(&watch->checks);
    error = open_store(watch, directory, why, why_size);
    if (error == 0) {
        error = start_thread(watch);
        if (error != 0)
            snprintf(why, why_size, "cannot start the store's thread: %s", error_text(error));
    }
    if (error != 0) {
        free_watch(watch);
        return error;
    }
    *out = watch;
    return 0;
}

const char *store_watch_directory(const struct store_watch *watch)
{
    return watch->directory;
}

bool store_watch_is_broken(const struct store_watch *watch)
{
    return atomic_load(&watch->is_broken);
}

bool store_watch_is_new(const struct store_watch *watch)
{
    return watch->is_new;
}

int64_t store_watch_count(const struct store_watch *watch)
{
    return watch->count;
}

int store_watch_check(struct store_watch *watch, struct store_question *question, const char *name,
                      struct text key)
{
    int error = text_copy(text_of(name), question->name, sizeof question->name);
    if (error == 0)
        error = text_copy(key, question->key, sizeof question->key);
    if (error != 0)
        return error;
    question->key_size = key.size;
    pthread_mutex_lock(&watch->mutex);
    if (watch->check_count >= STORE_WATCH_CHECKS) {
        error = CULVERT_ERROR_LIMIT;
        explicit_bzero(question->key, sizeof question->key);
    } else {
        list_append(&watch->checks, &question->node);
        watch->check_count++;
        pthread_cond_signal(&watch->wake);
    }
    pthread_mutex_unlock(&watch->mutex);
    return error;
}

int store_watch_recheck(struct store_watch *watch, struct store_question *question, int64_t key_id)
{
    question->key_id = key_id;
    pthread_mutex_lock(&watch->mutex);
    list_append(&watch->rechecks, &question->node);
    pthread_cond_signal(&watch->wake);
    pthread_mutex_unlock(&watch->mutex);
    return 0;
}

void store_watch_stop(struct store_watch *watch)
{
    pthread_mutex_lock(&watch->mutex);
    watch->is_stopping = true;
    pthread_cond_signal(&watch->wake);
    pthread_mutex_unlock(&watch->mutex);
    pthread_join(watch->thread, NULL);
    free_watch(watch);
}
