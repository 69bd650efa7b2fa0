/*
 * For tests: two suites that every inlet and every outlet must pass, whatever it listens on or
 * dials. A new kind of end fills in a struct below and runs the suite unchanged.
 *
 * The test plays the outside program: it has one end of a byte stream as a non-blocking descriptor,
 * which it can shut down for writing, and reset by SO_LINGER with 0.
 */
#ifndef ENDS_TEST_CONFORMANCE_H
#define ENDS_TEST_CONFORMANCE_H

#include "ends/inlet.h"
#include "ends/test_loop.h"
#include "relay/stream.h"

/* An outlet, and targets for it. */
struct conformance_outlet {
    const char *name;
    /* Makes the targets. The other functions get its result as `self`. */
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
    /* Opens an inlet with these events and this holder; the inlet does not accept yet. */
    struct inlet *(*open)(struct test_loop *test, const struct inlet_events *events, void *holder);
    /* A client's end of a new connection to it, or a negative errno. */
    int (*connect)(const struct inlet *inlet);
};

/* Each runs its suite as a cmocka group, and returns the number of failed tests. */
int conformance_run_outlet(const struct conformance_outlet *outlet);
int conformance_run_inlet(const struct conformance_inlet *inlet);

#endif
