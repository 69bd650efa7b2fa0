#include "virtual_http.h"

#include "base/error.h"
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MOST_BODY = HTTP_MAX_BODY,
    /* microseconds */
    GIVE_UP = 5 * 1000 * 1000,
    LONGEST_WAIT = (POLL_SERVER_HANG + 1) * 1000 * 1000,
};

struct http_requests {
    struct virtual_http *http;
    struct list requests;
    struct proxy proxy;
};

struct http_request {
    struct list_node node;
    struct http_requests *requests;
    struct exchange *exchange; /* NULL: idle */
    void (*done)(void *holder, const struct http_answer *answer);
    void *holder;
};

enum stage { GOES, WAITS, COMES };

/* A request on its way to the server, at the server, and its answer. */
struct exchange {
    struct list_node node;
    struct virtual_http *http;
    struct http_request *request; /* NULL: nobody is interested in the answer */
    struct poll_waiter waiter;
    enum stage stage;
    uint64_t time;    /* when it arrives at the one side or the other */
    uint64_t arrived; /* at the server */
    uint64_t number;
    bool is_up, has_more, is_answer_lost, has_failed;
    unsigned status;
    uint64_t down; /* the body's number */
    uint8_t *body;
    size_t body_size;
};

struct http_requests *virtual_http_requests(struct virtual_http *http)
{
    struct http_requests *requests = calloc(1, sizeof *requests);
    TRIAL_CHECK(http->trial, requests != NULL);
    requests->http = http;
    list_init(&requests->requests);
    return requests;
}

int http_request_new(struct http_requests *requests, struct http_request **out)
{
    struct http_request *request = calloc(1, sizeof *request);
    TRIAL_CHECK(requests->http->trial, request != NULL);
    request->requests = requests;
    list_append(&requests->requests, &request->node);
    *out = request;
    return 0;
}

const struct proxy *http_requests_proxy(const struct http_requests *self)
{
    return &self->proxy;
}

void http_request_cancel(struct http_request *request)
{
    if (request->exchange != NULL)
        request->exchange->request = NULL;
    request->exchange = NULL;
}

/* A virtual loop never ends with requests under way that anyone waits for. */
void http_requests_finish(struct http_requests *self, unsigned milliseconds)
{
    (void)self;
    (void)milliseconds;
}

void http_requests_close(struct http_requests *self)
{
    struct list_node *node;
    while ((node = list_pop(&self->requests)) != NULL) {
        struct http_request *request = CONTAINER_OF(node, struct http_request, node);
        http_request_cancel(request);
        free(request);
    }
    free(self);
}

static uint64_t some_delay(struct trial *trial)
{
    static const uint64_t most[] = {200, 5000, 60000, 400000};
    return 1 + trial_below(trial, most[trial_below(trial, 4)]);
}

static void drop_body(struct exchange *exchange)
{
    free(exchange->body);
    exchange->body = NULL;
    exchange->body_size = 0;
}

static void copy_body(struct exchange *exchange, const struct slice_queue *body)
{
    drop_body(exchange);
    if (body == NULL || body->bytes == 0)
        return;
    TRIAL_CHECK(exchange->http->trial, body->bytes <= MOST_BODY);
    exchange->body = malloc(body->bytes);
    TRIAL_CHECK(exchange->http->trial, exchange->body != NULL);
    struct slice_cursor cursor = {0};
    exchange->body_size = slice_queue_read(body, &cursor, exchange->body, body->bytes);
}

static void answer(struct exchange *exchange, unsigned status)
{
    struct trial *trial = exchange->http->trial;
    exchange->stage = COMES;
    exchange->status = status;
    exchange->time = trial->now + some_delay(trial);
    if (!exchange->is_answer_lost)
        return;
    exchange->has_failed = true;
    exchange->time += trial_below(trial, GIVE_UP);
}

static void copy_down(struct exchange *exchange)
{
    const struct poll_server *server = exchange->http->server;
    copy_body(exchange, &server->body);
    exchange->down = server->down;
}

static void on_answered(struct poll_waiter *waiter, unsigned status)
{
    struct exchange *exchange = CONTAINER_OF(waiter, struct exchange, waiter);
    TRIAL_CHECK(exchange->http->trial, exchange->stage == WAITS && !exchange->is_up);
    if (status == 200)
        copy_down(exchange);
    answer(exchange, status);
}

static struct exchange *new_exchange(struct virtual_http *http, const struct http_post *post)
{
    struct exchange *exchange = calloc(1, sizeof *exchange);
    TRIAL_CHECK(http->trial, exchange != NULL);
    uint64_t number = 0;
    for (size_t i = 0; i < post->field_count; i++) {
        static const char up[] = "Culvert-Up: ", down[] = "Culvert-Down: ";
        const char *field = post->fields[i];
        if (strncmp(field, up, sizeof up - 1) == 0) {
            number = strtoull(field + sizeof up - 1, NULL, 10);
            exchange->is_up = true;
        } else if (strcmp(field, "Culvert-More: 1") == 0) {
            exchange->has_more = true;
        } else if (strncmp(field, down, sizeof down - 1) == 0) {
            number = strtoull(field + sizeof down - 1, NULL, 10);
        }
    }
    TRIAL_CHECK(http->trial, number > 0);
    exchange->http = http;
    exchange->number = number;
    exchange->waiter.answered = on_answered;
    exchange->time = http->trial->now + some_delay(http->trial);
    copy_body(exchange, post->body);
    list_append(&http->exchanges, &exchange->node);
    return exchange;
}

int http_request_post(struct http_request *request, const struct http_post *post)
{
    struct virtual_http *http = request->requests->http;
    struct trial *trial = http->trial;
    TRIAL_CHECK(trial, request->exchange == NULL);
    request->done = post->done;
    request->holder = post->holder;
    struct exchange *exchange = new_exchange(http, post);
    exchange->request = request;
    request->exchange = exchange;
    if (trial_chance(trial, http->lossy)) {
        http->tally.lost++;
        exchange->has_failed = true;
        exchange->stage = COMES;
        exchange->time += trial_below(trial, GIVE_UP);
    } else if (trial_chance(trial, http->lossy)) {
        http->tally.lost++;
        exchange->is_answer_lost = true;
    }
    if (trial_chance(trial, http->lossy)) {
        http->tally.repeated++;
        struct exchange *again = new_exchange(http, post);
        again->time += trial_below(trial, GIVE_UP);
    }
    return 0;
}

static void take_up(struct exchange *exchange)
{
    struct virtual_http *http = exchange->http;
    unsigned status = poll_server_expects(http->server, exchange->number, exchange->body_size);
    if (status == 0 && !http->is_read) {
        exchange->stage = WAITS;
        return;
    }
    if (status == 0) {
        struct slice_queue body = SLICE_QUEUE_NULL;
        for (size_t at = 0; at < exchange->body_size;) {
            struct slice slice;
            size_t part = 1 + (size_t)trial_below(http->trial, exchange->body_size - at);
            TRIAL_CHECK(http->trial,
                        slice_copy(&http->gateway->pool, exchange->body + at, part, &slice) == 0);
            TRIAL_CHECK(http->trial, slice_queue_push(&body, slice) == 0);
            at += part;
        }
        /* By what it says it may be given up, and then this exchange is answered already. */
        exchange->stage = COMES;
        status = poll_server_take(http->server, exchange->number, exchange->has_more, &body);
        slice_queue_deinit(&body);
        TRIAL_CHECK(http->trial, status == 200);
    }
    answer(exchange, status);
}

/* What a proxy refuses does not come to the server. */
static bool is_too_large(const struct exchange *exchange)
{
    struct virtual_http *http = exchange->http;
    if (http->limit == 0)
        return false;
    if (trial_chance(http->trial, 2))
        http->limit = VIRTUAL_HTTP_LEAST + (size_t)trial_below(http->trial, VIRTUAL_HTTP_MOST);
    return exchange->is_up && exchange->body_size > http->limit;
}

static void arrive(struct exchange *exchange)
{
    struct virtual_http *http = exchange->http;
    if (is_too_large(exchange)) {
        http->tally.too_large++;
        answer(exchange, 413);
        return;
    }
    if (http->server == NULL) {
        answer(exchange, 410);
        return;
    }
    if (exchange->is_up) {
        take_up(exchange);
        return;
    }
    exchange->stage = WAITS;
    exchange->arrived = http->trial->now;
    unsigned status = poll_server_ask(http->server, &exchange->waiter, exchange->number);
    http->tally.refused += status == 409;
    if (status == 200)
        copy_down(exchange);
    if (status != 0)
        answer(exchange, status);
}

static void come_back(struct exchange *exchange)
{
    struct virtual_http *http = exchange->http;
    struct http_request *request = exchange->request;
    char head[128];
    list_remove(&exchange->node);
    if (request != NULL) {
        struct slice_queue body = SLICE_QUEUE_NULL;
        int size = snprintf(head, sizeof head, "HTTP/1.1 %u X\r\nCulvert-Down: %llu\r\n\r\n",
                            exchange->status, (unsigned long long)exchange->down);
        struct http_answer told = {
            .status = (int)exchange->status,
            .head = (const uint8_t *)head,
            .head_size = (size_t)size,
            .body = &body,
        };
        if (exchange->has_failed) {
            told.error = CULVERT_ERROR_CLOSED;
            told.why = "the connection broke";
        }
        struct slice slice;
        if (exchange->body_size > 0 && exchange->status == 200 && !exchange->is_up) {
            TRIAL_CHECK(http->trial, slice_copy(&http->loop->pool, exchange->body,
                                                exchange->body_size, &slice) == 0);
            TRIAL_CHECK(http->trial, slice_queue_push(&body, slice) == 0);
        }
        request->exchange = NULL;
        request->done(request->holder, &told);
        slice_queue_deinit(&body);
    }
    drop_body(exchange);
    free(exchange);
}

void virtual_http_reads(struct virtual_http *http, bool on)
{
    http->is_read = on;
    struct list_node *node = list_first(&http->exchanges);
    for (; on && node != NULL; node = list_next(&http->exchanges, node)) {
        struct exchange *exchange = CONTAINER_OF(node, struct exchange, node);
        if (exchange->is_up && exchange->stage == WAITS) {
            exchange->stage = GOES;
            exchange->time = http->trial->now;
        }
    }
}

void virtual_http_forget(struct virtual_http *http)
{
    http->server = NULL;
    struct list_node *node = list_first(&http->exchanges);
    for (; node != NULL; node = list_next(&http->exchanges, node)) {
        struct exchange *exchange = CONTAINER_OF(node, struct exchange, node);
        if (exchange->stage == WAITS)
            answer(exchange, 410);
    }
}

uint64_t virtual_http_next(const struct virtual_http *http)
{
    uint64_t next = TRIAL_NEVER;
    struct list_node *node = list_first(&http->exchanges);
    for (; node != NULL; node = list_next(&http->exchanges, node)) {
        const struct exchange *exchange = CONTAINER_OF(node, struct exchange, node);
        if (exchange->stage != WAITS)
            trial_earlier(&next, exchange->time);
    }
    return next;
}

static struct exchange *find_due(struct virtual_http *http)
{
    struct list_node *node = list_first(&http->exchanges);
    for (; node != NULL; node = list_next(&http->exchanges, node)) {
        struct exchange *exchange = CONTAINER_OF(node, struct exchange, node);
        if (exchange->stage != WAITS && exchange->time <= http->trial->now)
            return exchange;
    }
    return NULL;
}

/* One at a time waits for a body, and not for ever. */
static void check_waiters(const struct virtual_http *http)
{
    unsigned waiters = 0;
    struct list_node *node = list_first(&http->exchanges);
    for (; node != NULL; node = list_next(&http->exchanges, node)) {
        const struct exchange *exchange = CONTAINER_OF(node, struct exchange, node);
        if (exchange->stage != WAITS || exchange->is_up)
            continue;
        waiters++;
        TRIAL_CHECK(http->trial, http->trial->now - exchange->arrived <= LONGEST_WAIT);
    }
    TRIAL_CHECK(http->trial, waiters <= 1);
}

void virtual_http_run(struct virtual_http *http)
{
    struct exchange *exchange;
    while ((exchange = find_due(http)) != NULL) {
        if (exchange->stage == GOES)
            arrive(exchange);
        else
            come_back(exchange);
    }
    check_waiters(http);
}

void virtual_http_end(struct virtual_http *http)
{
    struct list_node *node;
    while ((node = list_pop(&http->exchanges)) != NULL) {
        struct exchange *exchange = CONTAINER_OF(node, struct exchange, node);
        TRIAL_CHECK(http->trial, exchange->request == NULL);
        drop_body(exchange);
        free(exchange);
    }
}
