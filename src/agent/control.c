#include "agent/control.h"

#include "base/error.h"

/* With the mutex held. */
static void post(struct control *control)
{
    if (control->is_posted)
        return;
    control->is_posted = true;
    loop_post(control->loop, &control->message);
}

static void run_requests(struct loop *loop, struct loop_message *message)
{
    struct control *control = CONTAINER_OF(message, struct control, message);
    (void)loop;
    pthread_mutex_lock(&control->mutex);
    control->is_posted = false;
    struct list_node *node;
    while ((node = list_pop(&control->requests)) != NULL) {
        struct control_request *request = CONTAINER_OF(node, struct control_request, node);
        pthread_mutex_unlock(&control->mutex);
        request->run(request);
        pthread_mutex_lock(&control->mutex);
        request->was_run = true;
        request->is_answered = true;
        pthread_cond_broadcast(&control->answered);
    }
    pthread_mutex_unlock(&control->mutex);
}

int control_init(struct control *control, struct loop *loop)
{
    *control = (struct control){.loop = loop, .message = {.run = run_requests}};
    list_init(&control->requests);
    int error = pthread_mutex_init(&control->mutex, NULL);
    if (error != 0)
        return -error;
    error = pthread_cond_init(&control->answered, NULL);
    if (error != 0)
        pthread_mutex_destroy(&control->mutex);
    return -error;
}

void control_deinit(struct control *control)
{
    pthread_cond_destroy(&control->answered);
    pthread_mutex_destroy(&control->mutex);
}

int control_call(struct control *control, struct control_request *request)
{
    request->is_answered = false;
    request->was_run = false;
    pthread_mutex_lock(&control->mutex);
    if (control->phase == CONTROL_IDLE) {
        request->run(request);
        request->was_run = true;
    } else if (control->phase == CONTROL_RUNNING) {
        list_append(&control->requests, &request->node);
        post(control);
        while (!request->is_answered)
            pthread_cond_wait(&control->answered, &control->mutex);
    }
    pthread_mutex_unlock(&control->mutex);
    return request->was_run ? 0 : CULVERT_ERROR_CLOSED;
}

void control_tell(struct control *control, struct control_request *request)
{
    pthread_mutex_lock(&control->mutex);
    if (control->phase != CONTROL_ENDED && !list_node_is_linked(&request->node)) {
        list_append(&control->requests, &request->node);
        post(control);
    }
    pthread_mutex_unlock(&control->mutex);
}

void control_begin(struct control *control)
{
    pthread_mutex_lock(&control->mutex);
    control->phase = CONTROL_RUNNING;
    pthread_mutex_unlock(&control->mutex);
}

void control_end(struct control *control)
{
    struct list_node *node;
    pthread_mutex_lock(&control->mutex);
    control->phase = CONTROL_ENDED;
    while ((node = list_pop(&control->requests)) != NULL)
        CONTAINER_OF(node, struct control_request, node)->is_answered = true;
    pthread_cond_broadcast(&control->answered);
    pthread_mutex_unlock(&control->mutex);
}
