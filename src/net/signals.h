/*
 * The signals that a gateway or an agent is asked by: SIGTERM, SIGINT and SIGHUP. While the loop
 * runs they are told to its thread; once it has ended SIGTERM and SIGINT end the process at once,
 * with 0 as the first of them does.
 */
#ifndef NET_SIGNALS_H
#define NET_SIGNALS_H

#include "net/loop.h"

#include <uv.h>

enum { SIGNALS_COUNT = 3 };

struct signals {
    uv_signal_t handles[SIGNALS_COUNT];
    unsigned count; /* open handles */
    void (*taken)(void *holder, int number);
    void *holder;
};

/* From here on `taken` is called on the loop's thread. Returns 0 or an error; signals_release
 * either way. */
int signals_take(struct signals *signals, struct loop *loop,
                 void (*taken)(void *holder, int number), void *holder);

/* When the loop has ended, or has never run: what follows does not wait for a signal. No effect
 * unless signals were taken. */
void signals_release(struct signals *signals);

#endif
