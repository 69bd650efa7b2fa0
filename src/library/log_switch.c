#include "library/log_switch.h"

#include "base/log.h"
#include "library/runner.h"

#include <culvert/culvert.h>
#include <pthread.h>
#include <stdatomic.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static _Atomic bool is_silent;

/* Read by all who log, written when the callback changes. */
static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
static culvert_log_callback *callback;
static void *callback_context;

static enum culvert_log_level public_level(enum log_level level)
{
    static const enum culvert_log_level levels[] = {
        [LOG_DEBUG] = CULVERT_LOG_DEBUG,
        [LOG_INFO] = CULVERT_LOG_INFO,
        [LOG_WARNING] = CULVERT_LOG_WARNING,
        [LOG_ERROR] = CULVERT_LOG_ERROR,
    };
    return levels[level];
}

static bool receive(enum log_level level, const char *message)
{
    if (runner_keeps(level, message) || atomic_load(&is_silent))
        return true;
    pthread_rwlock_rdlock(&lock);
    bool is_taken = callback != NULL;
    if (is_taken)
        callback(callback_context, public_level(level), message);
    pthread_rwlock_unlock(&lock);
    return is_taken;
}

static void take_over(void)
{
    log_init(LOG_WARNING, LOG_TEXT, "culvert");
    log_set_receiver(receive);
}

void log_switch_init(void)
{
    pthread_once(&once, take_over);
}

void culvert_log_set_level(enum culvert_log_level level)
{
    log_switch_init();
    atomic_store(&is_silent, level == CULVERT_LOG_NONE);
    switch (level) {
    case CULVERT_LOG_DEBUG:
        log_set_level(LOG_DEBUG);
        break;
    case CULVERT_LOG_INFO:
        log_set_level(LOG_INFO);
        break;
    case CULVERT_LOG_ERROR:
    case CULVERT_LOG_NONE:
        log_set_level(LOG_ERROR);
        break;
    case CULVERT_LOG_DEFAULT:
    case CULVERT_LOG_WARNING:
        log_set_level(LOG_WARNING);
        break;
    }
}

void culvert_log_set_callback(culvert_log_callback *new_callback, void *context)
{
    log_switch_init();
    pthread_rwlock_wrlock(&lock);
    callback = new_callback;
    callback_context = context;
    pthread_rwlock_unlock(&lock);
}
