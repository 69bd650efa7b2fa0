/*
 * For tests: what every inlet and every outlet must do, whatever it listens on or dials. A new kind
 * of end describes itself below and passes both suites unchanged.
 *
 * The program outside is the test: it has one end of a byte stream as a non-blocking descriptor,
 * which can be shut down for writing, and reset by SO_LINGER with 0.
 */
#ifndef ENDS_CONFORMANCE_H
#define ENDS_CONFORMANCE_H

#include "ends/inlet.h"
#include "ends/test_loop.h"
#include "relay/stream.h"

/* An outlet, and targets for it. */
struct conformance_outlet {
    const char *name;
    /* Makes the targets; what it returns is passed to the others. */
    void *(*open)(struct test_loop *test);
    void (*close)(void *self);
    /* Dials a target that accepts, one that refuses, and one that neither accepts nor refuses. */
    struct stream *(*dial)(void *self);
    struct stream *(*dial_refusing)(void *self);
    struct stream *(*dial_silent)(void *self);
    /* The target's end of the next connection; -1 if none has come. */
    int (*accept)(void *self);
};

/* An inlet, and clients for it. */
struct conformance_inlet {
    const char *name;
    /* Opens an inlet with these events and holder, which does not accept yet. */
    struct inlet *(*open)(struct test_loop *test, const struct inlet_events *events, void *holder);
    /* A client's end of a new connection to it, or a negative errno. */
    int (*connect)(const struct inlet *inlet);
};

/* Each runs its suite as a group of cmocka's; returns the number of tests that failed. */
int conformance_run_outlet(const struct conformance_outlet *outlet);
int conformance_run_inlet(const struct conformance_inlet *inlet);

#endif
