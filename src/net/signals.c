#include "net/signals.h"

#include "base/exit_code.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

static const int numbers[SIGNALS_COUNT] = {SIGTERM, SIGINT, SIGHUP};

static void arrived(uv_signal_t *handle, int number)
{
    struct signals *signals = handle->data;
    signals->taken(signals->holder, number);
}

int signals_take(struct signals *signals, struct loop *loop,
                 void (*taken)(void *holder, int number), void *holder)
{
    signals->count = 0;
    signals->taken = taken;
    signals->holder = holder;
    for (unsigned i = 0; i < SIGNALS_COUNT; i++) {
        uv_signal_t *handle = &signals->handles[i];
        int error = uv_signal_init(&loop->uv, handle);
        if (error != 0)
            return error;
        signals->count++;
        handle->data = signals;
        error = uv_signal_start(handle, arrived, numbers[i]);
        if (error != 0)
            return error;
    }
    return 0;
}

static void end_process(int number)
{
    (void)number;
    _exit(EXIT_CODE_OK);
}

void signals_release(struct signals *signals)
{
    sigset_t ours;
    sigset_t before;
    if (signals->count == 0)
        return;
    /* uv_close restores the default action, with which the signal kills the process. */
    sigemptyset(&ours);
    for (unsigned i = 0; i < SIGNALS_COUNT; i++)
        sigaddset(&ours, numbers[i]);
    pthread_sigmask(SIG_BLOCK, &ours, &before);
    for (unsigned i = 0; i < SIGNALS_COUNT; i++) {
        if (i < signals->count)
            uv_close((uv_handle_t *)&signals->handles[i], NULL);
        signal(numbers[i], numbers[i] == SIGHUP ? SIG_IGN : end_process);
    }
    signals->count = 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}
