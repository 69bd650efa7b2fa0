/*
 * What a gateway does at its memory limit (--max-memory). Workers give cached chunks back. While
 * that is not enough one round at a time, process-wide, counts what each member holds on each
 * worker, and ends the largest stream, or the link, of one of them (base/payer.h). The next
 * round begins when that memory has been given back, or after PAYER_PAUSE.
 */
#ifndef GATEWAY_PRESSURE_H
#define GATEWAY_PRESSURE_H

#include "base/payer.h"
#include "net/loop.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct worker;

/* What all workers share. */
struct pressure {
    struct payers payers;
    _Atomic(bool) is_running;  /* a round: the rest is that round's alone */
    _Atomic(unsigned) missing; /* workers that have not counted yet */
    _Atomic(bool) is_over;     /* the workers have ended */
    struct payer_part victim;
};

/* A worker's part, embedded there. */
struct pressure_gauge {
    uv_prepare_t prepare;
    struct loop_timer look_again;
    struct loop_message count; /* of the round that runs */
    struct loop_message act;
};

int pressure_init(struct pressure *pressure, uint64_t seed);
/* When the workers' loops have ended, before they are deinitialised. */
void pressure_end(struct pressure *pressure);
void pressure_deinit(struct pressure *pressure);

/* Returns 0 or an error. */
int pressure_gauge_init(struct worker *worker);
/* After the loop has ended, before it is deinitialised. */
void pressure_gauge_deinit(struct worker *worker);

#endif
