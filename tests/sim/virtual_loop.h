/*
 * A loop in virtual time: what net/loop.h offers to those who neither read nor write sockets, in
 * place of it. A program that links this one has no other.
 */
#ifndef VIRTUAL_LOOP_H
#define VIRTUAL_LOOP_H

#include "net/loop.h"
#include "trial.h"

enum { VIRTUAL_LOOP_TIMERS = 16 };

struct virtual_loop {
    struct loop loop;
    struct trial *trial;
    struct loop_timer *timers[VIRTUAL_LOOP_TIMERS]; /* those that run */
};

void virtual_loop_init(struct virtual_loop *loop, struct trial *trial, struct account *account);
/* Returns the chunks that are still referenced. */
size_t virtual_loop_deinit(struct virtual_loop *loop);

/* When the next timer fires; TRIAL_NEVER if none runs. */
uint64_t virtual_loop_next(const struct virtual_loop *loop);
/* A turn: timers that are due, then tasks, then burials. What sockets bring comes before. */
void virtual_loop_turn(struct virtual_loop *loop);

#endif
