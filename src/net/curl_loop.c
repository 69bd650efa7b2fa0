#include "net/curl_loop.h"

#include "base/error.h"
#include "base/memory.h"

#include <stdbool.h>

struct curl_loop {
    struct loop *loop;
    const struct curl_library *curl;
    const struct curl_loop_owner *owner;
    void *holder;
    CURLM *multi;
    int added;
    struct list watched;
    struct loop_timer timer;
    struct loop_task at_once; /* instead of the timer when no time is to pass */
    struct loop_task failing;
    struct loop_task burial;
    bool is_over;
};

/* A socket of libcurl's that we watch for it; lives until libuv lets go of its handle. */
struct watched {
    struct list_node node;
    struct curl_loop *holder;
    uv_poll_t poll;
    curl_socket_t socket;
};

/* ---- what libcurl has to say ---- */

static void tell_ended(struct curl_loop *self)
{
    CURLMsg *message;
    int left = 0;
    while (!self->is_over && (message = self->curl->multi_info_read(self->multi, &left)) != NULL) {
        if (message->msg == CURLMSG_DONE)
            self->owner->ended(self->holder, message->easy_handle, message->data.result);
    }
}

static void on_failing(struct loop_task *task)
{
    struct curl_loop *self = CONTAINER_OF(task, struct curl_loop, failing);
    self->owner->failed(self->holder, CURLE_OUT_OF_MEMORY);
}

/* In a later turn, since libcurl may be up the stack. */
static void fail(struct curl_loop *self)
{
    loop_defer_next(self->loop, &self->failing);
}

static void act(struct curl_loop *self, curl_socket_t socket, int events)
{
    int running = 0;
    if (self->curl->multi_socket_action(self->multi, socket, events, &running) == CURLM_OK)
        tell_ended(self);
    else if (!self->is_over)
        fail(self);
}

static void on_timer(struct loop_timer *timer)
{
    act(timer->holder, CURL_SOCKET_TIMEOUT, 0);
}

static void on_task(struct loop_task *task)
{
    act(CONTAINER_OF(task, struct curl_loop, at_once), CURL_SOCKET_TIMEOUT, 0);
}

/* ---- what it wants ---- */

static void stop_timer(struct curl_loop *self)
{
    loop_timer_stop(&self->timer);
    loop_task_cancel(&self->at_once);
}

static int on_curl_timer(CURLM *multi, long milliseconds, void *context)
{
    struct curl_loop *self = context;
    (void)multi;
    stop_timer(self);
    if (milliseconds == 0)
        loop_defer_next(self->loop, &self->at_once);
    else if (milliseconds > 0)
        loop_timer_start(&self->timer, (uint64_t)milliseconds);
    return 0;
}

static void on_poll(uv_poll_t *poll, int status, int ready)
{
    struct watched *watched = poll->data;
    int events = status < 0 ? CURL_CSELECT_ERR : 0;
    events |= (ready & UV_READABLE) != 0 ? CURL_CSELECT_IN : 0;
    events |= (ready & UV_WRITABLE) != 0 ? CURL_CSELECT_OUT : 0;
    act(watched->holder, watched->socket, events);
}

static void on_watched_closed(uv_handle_t *handle)
{
    memory_free(handle->data);
}

static void stop_watching(struct watched *watched)
{
    list_remove(&watched->node);
    uv_close((uv_handle_t *)&watched->poll, on_watched_closed);
}

static struct watched *watch(struct curl_loop *self, curl_socket_t socket)
{
    struct watched *watched = memory_allocate_zero(sizeof(*watched));
    if (watched == NULL)
        return NULL;
    if (uv_poll_init(&self->loop->uv, &watched->poll, socket) != 0) {
        memory_free(watched);
        return NULL;
    }
    watched->holder = self;
    watched->socket = socket;
    watched->poll.data = watched;
    list_append(&self->watched, &watched->node);
    self->curl->multi_assign(self->multi, socket, watched);
    return watched;
}

static int on_curl_socket(CURL *easy, curl_socket_t socket, int what, void *context, void *assigned)
{
    struct curl_loop *self = context;
    struct watched *watched = assigned;
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (watched != NULL)
            stop_watching(watched);
        self->curl->multi_assign(self->multi, socket, NULL);
        return 0;
    }
    if (watched == NULL)
        watched = watch(self, socket);
    int events = ((what & CURL_POLL_IN) != 0 ? UV_READABLE : 0) |
                 ((what & CURL_POLL_OUT) != 0 ? UV_WRITABLE : 0);
    if (watched != NULL && uv_poll_start(&watched->poll, events, on_poll) == 0)
        return 0;
    /* After an error from here libcurl would end the transfers only when it next looks at them. */
    fail(self);
    return -1;
}

/* ---- life ---- */

static void bury(struct loop_task *task)
{
    memory_free(CONTAINER_OF(task, struct curl_loop, burial));
}

static int open_multi(struct curl_loop *self)
{
    const struct curl_library *curl = self->curl;
    self->multi = curl->multi_init();
    if (self->multi == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    int failed =
        curl->multi_setopt(self->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket) != CURLM_OK;
    failed |= curl->multi_setopt(self->multi, CURLMOPT_SOCKETDATA, self) != CURLM_OK;
    failed |= curl->multi_setopt(self->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer) != CURLM_OK;
    failed |= curl->multi_setopt(self->multi, CURLMOPT_TIMERDATA, self) != CURLM_OK;
    return failed ? CULVERT_ERROR_NO_MEMORY : 0;
}

int curl_loop_new(struct loop *loop, const struct curl_library *curl,
                  const struct curl_loop_owner *owner, void *holder, struct curl_loop **out)
{
    struct curl_loop *self = memory_allocate_zero(sizeof(*self));
    if (self == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    self->loop = loop;
    self->curl = curl;
    self->owner = owner;
    self->holder = holder;
    self->at_once.run = on_task;
    self->failing.run = on_failing;
    self->burial.run = bury;
    list_init(&self->watched);
    int error = loop_timer_init(loop, &self->timer, on_timer, self);
    if (error != 0) {
        memory_free(self);
        return error;
    }
    error = open_multi(self);
    if (error != 0) {
        curl_loop_free(self);
        return error;
    }
    *out = self;
    return 0;
}

int curl_loop_add(struct curl_loop *self, CURL *easy)
{
    int running = 0;
    if (self->curl->multi_add_handle(self->multi, easy) != CURLM_OK)
        return CULVERT_ERROR_NO_MEMORY;
    self->added++;
    CURLMcode code = self->curl->multi_socket_action(self->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    if (code != CURLM_OK)
        fail(self);
    else if (running < self->added)
        loop_defer_next(self->loop, &self->at_once);
    return 0;
}

void curl_loop_remove(struct curl_loop *self, CURL *easy)
{
    if (self->curl->multi_remove_handle(self->multi, easy) == CURLM_OK)
        self->added--;
}

void curl_loop_finish(struct curl_loop *self, unsigned milliseconds)
{
    uint64_t end = uv_hrtime() / 1000000 + milliseconds;
    for (;;) {
        int running = 0;
        if (self->is_over || self->curl->multi_perform(self->multi, &running) != CURLM_OK)
            return;
        tell_ended(self);
        uint64_t now = uv_hrtime() / 1000000;
        if (self->is_over || self->added == 0 || now >= end ||
            self->curl->multi_poll(self->multi, NULL, 0, (int)(end - now), NULL) != CURLM_OK)
            return;
    }
}

CURLM *curl_loop_multi(const struct curl_loop *self)
{
    return self->multi;
}

void curl_loop_let_go(struct curl_loop *self)
{
    struct list_node *node;
    self->is_over = true;
    if (self->multi != NULL) {
        self->curl->multi_setopt(self->multi, CURLMOPT_SOCKETFUNCTION, NULL);
        self->curl->multi_setopt(self->multi, CURLMOPT_TIMERFUNCTION, NULL);
    }
    while ((node = list_first(&self->watched)) != NULL)
        stop_watching(CONTAINER_OF(node, struct watched, node));
    stop_timer(self);
    loop_task_cancel(&self->failing);
}

CURLM *curl_loop_take_multi(struct curl_loop *self)
{
    CURLM *multi = self->multi;
    curl_loop_let_go(self);
    self->multi = NULL;
    return multi;
}

void curl_loop_free(struct curl_loop *self)
{
    curl_loop_let_go(self);
    if (self->multi != NULL)
        self->curl->multi_cleanup(self->multi);
    self->multi = NULL;
    loop_timer_close(&self->timer, &self->burial);
}
