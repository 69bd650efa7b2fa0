/*
 * The signals that control a gateway or an agent: SIGTERM, SIGINT and SIGHUP. While the loop runs
 * its thread gets them. After the loop has ended SIGTERM and SIGINT end the process at once, with
 * exit code 0.
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

/* From now on a signal calls `taken` on the loop's thread. Returns 0 or an error; signals_release
 * is needed either way. */
int signals_take(struct signals *signals, struct loop *loop,
                 void (*taken)(void *holder, int number), void *holder);

/* Call it when the loop has ended or has never run: from then on SIGTERM and SIGINT end the process
 * at once. No effect unless signals were taken. */
void signals_release(struct signals *signals);

#endif
