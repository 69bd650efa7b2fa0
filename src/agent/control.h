/*
 * What other threads ask of the agent's loop: they post a request and wait for its answer. Nobody
 * waits for a loop that has ended, and before it runs a request is done at once by whoever asks.
 */
#ifndef AGENT_CONTROL_H
#define AGENT_CONTROL_H

#include "base/list.h"
#include "net/loop.h"

#include <pthread.h>
#include <stdbool.h>

/* Embedded in what is asked for. */
struct control_request {
    struct list_node node;
    void (*run)(struct control_request *request); /* on the loop's thread */
    bool is_answered;
    bool was_run;
};

enum control_phase { CONTROL_IDLE, CONTROL_RUNNING, CONTROL_ENDED };

struct control {
    struct loop *loop;
    struct loop_message message; /* wakes the loop */
    pthread_mutex_t mutex;       /* guards what follows */
    pthread_cond_t answered;
    struct list requests;
    enum control_phase phase;
    bool is_posted;
};

/* Returns 0 or -errno. */
int control_init(struct control *control, struct loop *loop);
/* After the loop was deinitialised. */
void control_deinit(struct control *control);

/* Any thread but the loop's: has the request run and waits until it has. Returns 0, or
 * CULVERT_ERROR_CLOSED if the loop has ended before. */
int control_call(struct control *control, struct control_request *request);

/* Any thread: has the request run on the loop, in time or when the loop starts, and does not wait.
 * No effect while it is still to run, or once the loop has ended. */
void control_tell(struct control *control, struct control_request *request);

/* On the loop's thread, before and after it runs. */
void control_begin(struct control *control);
void control_end(struct control *control);

#endif
